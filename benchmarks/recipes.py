r"""What each recipe can and cannot do, in one picture: reconstructions beside draws from the prior.

  python -m benchmarks.recipes --out runs/recipes                      # autoencoder, vae and the default model
  python -m benchmarks.recipes --out runs/recipes --only vae -- --steps 500

Options after -- go to every fit. Fits that are there already are not repeated. Writes recipes.png and prints a table: the
ELBO's terms on the test split, as `evaluate RUN --split test` has them, and the share of neighbouring frames of a draw between
which the judge sees the same character, which no model of frames on their own can keep.
"""

import argparse
import json
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pyro_dsvae
from benchmarks.sprites.fits import fitted
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.inference.prediction import decode, posterior_means, sample_latents
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.models.steps import Steps

RECIPES = {
    "autoencoder": ["--config", "autoencoder"],
    "vae": ["--config", "vae"],
    "default (DSVAE)": [],
}
SHOWN = 3


@torch.no_grad()
def clips(folder: Path) -> tuple[Tensor, Tensor, float]:
    """True clips beside their reconstructions (2 SHOWN, T, ...), draws, and how often a draw stays one character."""
    opened = pyro_dsvae.load(folder)
    data = opened.data.load()
    held_out = data.part("validation")
    likelihood = opened.model.likelihood
    some = held_out.take(torch.arange(0, len(held_out), len(held_out) // SHOWN)[:SHOWN])
    x = likelihood.to_model_units(some.frames)
    pairs = torch.stack([x, decode(opened.model, *posterior_means(opened.guide, x))], dim=1).flatten(0, 1)
    torch.manual_seed(0)
    drawn = decode(opened.model, *sample_latents(opened.model, 256, Steps(data.length)))
    judge = load_or_train_judge(data, likelihood.to_model_units)
    static = [name for name, label in data.labels.items() if label.role == "static"]
    # Every frame as a clip that stands still, so that the judge says of each what it shows.
    still = drawn.flatten(0, 1).unsqueeze(1).expand(-1, data.length, *data.frame_shape)
    said = [judge(part) for part in still.split(256)]
    classes = torch.stack([torch.cat([s[name] for s in said]).argmax(-1).view(256, -1) for name in static])
    same = (classes[:, :, 1:] == classes[:, :, :-1]).all(0)
    return pairs, drawn[: 2 * SHOWN], float(same.double().mean())


def terms_of_test_split(folder: Path, options: list[str]) -> dict[str, float]:
    """The ELBO of the test split and its terms: of a run that is fitted, and evaluated on it, where that is not done."""
    fitted(folder, options)
    out = folder / "evaluation"
    if not (out / "evaluation.json").exists():
        evaluate(folder, out, split="test")
    terms: dict[str, float] = json.loads((out / "evaluation.json").read_text())["terms"]
    return terms


def picture(panels: dict[str, tuple[Tensor, Tensor]], path: Path) -> None:
    """One row per recipe: on the left pairs of clip and reconstruction, on the right draws."""
    figure = Figure(figsize=(9, 3.1 * len(panels)), dpi=110, layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False)
    for row, (name, columns) in zip(grid, panels.items(), strict=True):
        titles = (f"{name}: clip above its reconstruction", f"{name}: draws from the prior")
        for axes, strips, title in zip(row, columns, titles, strict=True):
            film = strips.clamp(0, 1).permute(0, 3, 1, 4, 2)  # (n, H, T, W, C)
            axes.imshow(
                film.reshape(film.shape[0] * film.shape[1], -1, film.shape[-1]).numpy(), interpolation="nearest"
            )
            axes.set_title(title, fontsize=11, loc="left")
            axes.set_axis_off()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=list(RECIPES), action="append")
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    panels = {}
    print("| recipe | ELBO | reconstruction | KL of f | KL of z | one character from frame to frame |")
    print("|---|---|---|---|---|---|")
    for name in arguments.only or RECIPES:
        folder = arguments.out / name.split(maxsplit=1)[0]
        test = terms_of_test_split(folder, [*RECIPES[name], *options])
        pairs, drawn, same = clips(folder)
        panels[name] = (pairs, drawn)
        terms = [f"{test[key]:,.0f}" for key in ("elbo", "reconstruction", "kl_static", "kl_dynamic")]
        print(f"| {name} | " + " | ".join([*terms, f"{same:.0%}"]) + " |")
    picture(panels, arguments.out / "recipes.png")
    print(f"wrote: {arguments.out / 'recipes.png'}")


if __name__ == "__main__":
    main()
