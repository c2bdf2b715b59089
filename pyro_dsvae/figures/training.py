"""The curves of a fit: its ELBO and the terms of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pyro_dsvae.figures.run import INK, Array, blank, plain_axes, save

_PANELS = {
    "elbo": "ELBO",
    "reconstruction": "Reconstruction",
    "kl_static": "KL of f (static)",
    "kl_dynamic": "KL of z (dynamic)",
}


def training(metrics: Sequence[Mapping[str, float | str]], path: Path) -> Figure:
    """ELBO, reconstruction and both KL terms against steps, in nats per sequence, for training and validation.

    Args:
        metrics: Rows with step, split ("train" or "validation") and the four terms.
    """
    figure = blank(9, 6)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (name, title) in zip(panels.flat, _PANELS.items(), strict=True):
        shown = []
        for split, colour, width in (("train", "#8fb8e8", 1.0), ("validation", "#c2410c", 1.8)):
            rows = [(float(row["step"]), float(row[name])) for row in metrics if row["split"] == split]
            points = np.array([row for row in rows if np.isfinite(row[1])]).reshape(-1, 2)
            # A line through one point is nothing that one sees.
            marker = "o" if len(points) == 1 or (len(points) < 40 and split == "validation") else ""
            axes.plot(*points.T, color=colour, linewidth=width, marker=marker, markersize=3, label=split)
            shown.append(points)
        axes.set_title(title, fontsize=11, loc="left", color=INK)
        axes.set_ylim(*_limits(np.concatenate(shown), nonnegative=name.startswith("kl")))
        plain_axes(axes)
    for axes in panels[1]:
        axes.set_xlabel("step")
    for axes in panels[:, 0]:
        axes.set_ylabel("nats per sequence")
    figure.align_ylabels(panels[:, 0])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=10)
    return save(figure, path)


def _limits(points: Array, nonnegative: bool) -> tuple[float, float]:
    """Limits of the ordinate for points (N, 2) that leave out the first steps, huge as they may be, and stray values."""
    if len(points) == 0:
        return 0.0, 1.0
    settled = points[points[:, 0] >= 0.05 * points[:, 0].max(), 1]
    low, high = np.quantile(settled, [0.01, 0.99])
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return (0.0 if nonnegative and low >= 0 else low - room), high + room
