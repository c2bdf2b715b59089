r"""A finding of the predictive checks and its cure: two runs that differ in their static prior, side by side.

  python benchmarks/finding_and_cure.py runs/lpc-normal runs/lpc --out docs/ppc

The runs are two rows of the Sprites benchmark, seed 0:

  python -m pyro_dsvae.fit --data LPCSprites --data.root DIR --data.size 32 --steps 4700 \
      --static_prior StandardNormal --out runs/lpc-normal
  python -m pyro_dsvae.fit --data LPCSprites --data.root DIR --data.size 32 --steps 4700 --out runs/lpc

and checked by ``python -m pyro_dsvae.ppc RUN --split test``. Writes generated.png: clips drawn from the priors alone, decoder
means, the first of seed 0, not chosen; and copies the reports' figures of f and of the judge's labels. Only decoded frames are
shown: the art itself is not this project's to copy.
"""

import argparse
import shutil
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from pyro_dsvae.inference.prediction import decode, sample_latents
from pyro_dsvae.loading import load
from pyro_dsvae.models.steps import Steps

CLIPS, LENGTH = 6, 8
CREDIT = "Decoded by models fitted to the Liberated Pixel Cup sprites (CC-BY-SA 3.0 / GPL 3.0)"


@torch.no_grad()
def generated(path: Path) -> tuple[str, Tensor]:
    """The name of a run's static prior, and clips (B, T, C, H, W) drawn from its priors."""
    run = load(path, device="cpu")
    torch.manual_seed(0)
    frames = decode(run.model, *sample_latents(run.model, CLIPS, Steps(LENGTH)))
    return type(run.model.static_prior).__name__, frames.clamp(0, 1)


def draw(rows: list[tuple[str, Tensor]], path: Path) -> None:
    """Two clips beside each other, three lines per run."""
    size = rows[0][1].shape[-1]
    figure = Figure(figsize=(10, 0.62 * (3 * len(rows)) + 1.0), layout="constrained")
    panels = figure.subplots(len(rows), 1)
    for panel, (name, clips) in zip(panels, rows, strict=True):
        gap = torch.ones(3, size, 4)
        strips = [torch.cat(list(clip), dim=-1) for clip in clips]
        lines = [torch.cat([strips[i], gap, strips[i + 1]], dim=-1) for i in range(0, CLIPS, 2)]
        panel.imshow(torch.cat(lines, dim=-2).permute(1, 2, 0).numpy(), interpolation="nearest")
        panel.set_title(f"generated with the static prior {name}", loc="left", fontsize=11)
        panel.set_axis_off()
    figure.text(0.995, 0.005, CREDIT, ha="right", va="bottom", fontsize=7, color="#57606a")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, help="before and after")
    parser.add_argument("--reports", type=Path, nargs=2, help="their folders of ppc (by default RUN/ppc)")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw([generated(path) for path in arguments.runs], arguments.out / "generated.png")
    reports = arguments.reports or [path / "ppc" for path in arguments.runs]
    for when, report in zip(("before", "after"), reports, strict=True):
        for figure in ("aggregated-f", "labels"):
            shutil.copy(report / "figures" / f"{figure}.png", arguments.out / f"{figure}-{when}.png")


if __name__ == "__main__":
    main()
