r"""How well incomplete clips are restored: the judge on them, and the error against what is missing.

  python benchmarks/restoration.py RUN --out benchmarks/results        # RUN: a fit to labelled clips, e.g. the real Sprites art

1. Half of the pixels and 3 of 8 frames missing: the share of restored test clips in which the judge sees the true action and
   attributes, beside the baseline (each missing pixel from the nearest frame that shows it) and the true clips.
2. The root mean squared error over what is missing against the share of missing pixels (0.1 to .9), and of missing frames.

Random, unpicked test clips; what is missing is drawn from the seed. Prints and writes restoration.md, .json and
docs/restoration.png.
"""

import argparse
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.inference.sampling.gap_filling import nearest_frame
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.judge import Judge

SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
FRAMES = (1, 2, 3, 4, 5, 6)


def kept_pixels(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    """(B, T, C, H, W) bool: each pixel is missing in all its channels with probability ``share``."""
    return (torch.rand(shape[0], shape[1], 1, *shape[3:], generator=generator) >= share).expand(shape)


def kept_frames(shape: torch.Size, missing: int, generator: torch.Generator) -> Tensor:
    """(B, T, C, H, W) bool: ``missing`` random frames of every clip are missing."""
    order = torch.rand(shape[:2], generator=generator).argsort(1)
    return (order >= missing).view(*shape[:2], *(1,) * (len(shape) - 2)).expand(shape)


def judged(judge: Judge, clips: Tensor, truth: Mapping[str, Tensor]) -> dict[str, float]:
    """Label -> share of clips (B, T, \\*frame) in which the judge sees the true class."""
    with torch.no_grad():
        logits = judge(clips.clamp(0, 1).float())
    return {name: float((logits[name].argmax(-1) == values).float().mean()) for name, values in truth.items()}


def error(restored: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """Root mean squared error over the values that were hidden."""
    return float((restored - truth).square()[hidden].mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=90)
    parser.add_argument("--curve", type=int, default=30, help="clips for every point of the curves")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--method", choices=("amortised", "refined", "langevin"), default="refined")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path, default=Path("docs/restoration.png"))
    options = parser.parse_args()
    started = time.perf_counter()
    run = pyro_dsvae.load(options.run)
    data = run.sequences()
    judge = load_or_train_judge(data, run.model.likelihood.to_model_units)
    generator = torch.Generator().manual_seed(options.seed)
    rows = data.rows("test")
    chosen = data.take(rows[torch.randperm(len(rows), generator=generator)[: options.clips]])
    truth = run.model.likelihood.to_model_units(chosen.frames)
    labels = {name: label.values for name, label in chosen.labels.items()}

    def restore(count: int, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Restored by the model, and by the baseline."""
        found = run.impute(chosen.frames[:count], kept, draws=options.draws, method=options.method, seed=options.seed)
        return found.mean, nearest_frame(truth[:count] * kept, kept)

    kept = kept_pixels(truth.shape, 0.5, generator) & kept_frames(truth.shape, 3, generator)
    model, baseline = restore(len(truth), kept)
    shares = {
        "restored": judged(judge, model, labels),
        "nearest frame": judged(judge, baseline, labels),
        "true clips": judged(judge, truth, labels),
    }
    errors = {"restored": error(model, truth, ~kept), "nearest frame": error(baseline, truth, ~kept)}
    curves: dict[str, list[tuple[float, float, float]]] = {"pixels": [], "frames": []}
    some = truth[: options.curve]
    for kind, amounts in (("pixels", SHARES), ("frames", FRAMES)):
        for amount in amounts:
            left = (
                kept_pixels(some.shape, amount, generator)
                if kind == "pixels"
                else kept_frames(some.shape, int(amount), generator)
            )
            ours, theirs = restore(len(some), left)
            share = amount if kind == "pixels" else amount / some.shape[1]
            curves[kind].append((share, error(ours, some, ~left), error(theirs, some, ~left)))
    minutes = (time.perf_counter() - started) / 60
    result = {
        "judged": shares,
        "errors": errors,
        "curves": curves,
        "options": {k: str(v) for k, v in vars(options).items()},
    }
    draw(curves, options.figure)
    text = report(result, options, minutes)
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "restoration.md").write_text(text)
        (options.out / "restoration.json").write_text(json.dumps(result, indent=2) + "\n")


def report(result: Mapping[str, Any], options: argparse.Namespace, minutes: float) -> str:
    """Markdown."""
    labels = list(result["judged"]["restored"])
    lines = [
        "# Restoring incomplete clips",
        "",
        f"`python benchmarks/restoration.py RUN`, {options.clips} random test clips ({options.curve} for the curves), method "
        f"{options.method}, {options.draws} draws, seed {options.seed}; {minutes:.1f} minutes, {torch.get_num_threads()} "
        f"thread(s), cpu ({platform.machine()}), torch {torch.__version__}.",
        "",
        "Half of the pixels and 3 of the frames missing; share of clips in which the judge sees the true class, and root mean "
        "squared error over what is missing:",
        "",
        "| clips | " + " | ".join(labels) + " | error |",
        "|---|" + "---|" * (len(labels) + 1),
    ]
    for name, shares in result["judged"].items():
        wrong = result["errors"].get(name)
        cells = [f"{shares[label]:.1%}" for label in labels] + ["" if wrong is None else f"{wrong:.4f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for kind, points in result["curves"].items():
        lines += ["", f"| share of missing {kind} | " + " | ".join(f"{share:.0%}" for share, _, _ in points) + " |"]
        lines += ["|---|" + "---|" * len(points)]
        for place, name in ((1, "restored"), (2, "nearest frame")):
            lines.append(f"| {name} | " + " | ".join(f"{point[place]:.4f}" for point in points) + " |")
    return "\n".join(lines) + "\n"


def draw(curves: Mapping[str, list[tuple[float, float, float]]], path: Path) -> None:
    """Both curves of errors."""
    figure = Figure(figsize=(9, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (kind, points) in zip(panels, curves.items(), strict=True):
        share, ours, theirs = zip(*points, strict=True)
        axes.plot(share, ours, color="#0b6bcb", marker="o", label="restored by the model")
        axes.plot(share, theirs, color="#6a737d", marker="s", linestyle="--", label="from the nearest frame")
        axes.set_xlabel(f"share of missing {kind}")
        axes.set_ylim(bottom=0)
        axes.grid(color="#d0d7de", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("error over what is missing")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
