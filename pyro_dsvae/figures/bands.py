"""Series with the intervals of what is not known, against time, in the units of the data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pyro_dsvae.figures.run import APPEARANCE, GREY, INK, LONGEST_NAME, MOTION, blank, literal, plain_axes, save

MOST_CLIPS, MOST_CHANNELS = 6, 6


@dataclass(frozen=True)
class Bands:
    """n series of P channels.

    Attributes:
        seen_at: (n, T) times of what was observed; NaN for steps that do not exist.
        seen: (n, T, P) its values; NaN where nothing was.
        at: (n, H) times of what the model says.
        mean, low, high: (n, H, P), its mean and the bounds of its interval.
        hidden: (n, T, P) values that the model was not shown, NaN elsewhere; None where there are none.
    """

    seen_at: Tensor
    seen: Tensor
    at: Tensor
    mean: Tensor
    low: Tensor
    high: Tensor
    hidden: Tensor | None = None


def bands(said: Bands, names: tuple[str, ...], channels: tuple[str, ...], time: str, path: Path) -> Figure:
    """A row for each series and a column for each channel, of many the first.

    Args:
        said: What to draw.
        names: (n,) of the series.
        channels: (P,).
        time: What the axis of time is called.
        path: The PNG to write.
    """
    rows, columns = min(len(names), MOST_CLIPS), min(len(channels), MOST_CHANNELS)
    figure = blank(1.2 + 2.4 * columns, 0.9 + 1.5 * rows)
    panels = figure.subplots(rows, columns, sharex="row", sharey="col", squeeze=False)
    for (i, p), axes in np.ndenumerate(panels):
        at = said.at[i].cpu().numpy()
        low, high, mean = (values[i, :, p].cpu().numpy() for values in (said.low, said.high, said.mean))
        axes.fill_between(at, low, high, color=MOTION, alpha=0.2, linewidth=0, label="90 % interval")
        axes.plot(at, mean, color=MOTION, linewidth=1.2, marker=".", markersize=2, label="mean")
        seen_at = said.seen_at[i].cpu().numpy()
        dots = {"markersize": 2.5, "linestyle": ""}
        axes.plot(seen_at, said.seen[i, :, p].cpu().numpy(), marker="o", color=INK, label="observed", **dots)
        if said.hidden is not None:
            hidden = said.hidden[i, :, p].cpu().numpy()
            axes.plot(seen_at, hidden, marker="x", color=APPEARANCE, label="hidden", **dots)
        plain_axes(axes)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if i == 0:
            axes.set_title(literal(channels[p], LONGEST_NAME), fontsize=9, color=INK)
        if p == 0:
            axes.set_ylabel(literal(names[i], LONGEST_NAME), fontsize=8)
    figure.supxlabel(literal(time), fontsize=8, color=GREY)  # below each column it would run into that of the next
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return save(figure, path)
