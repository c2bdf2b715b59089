"""Clips of vectors as lines in the units of the data: a plot for each channel, one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM, Range1d
from bokeh.palettes import Category10
from bokeh.plotting import figure
from torch import Tensor

WIDTH, HEIGHT, TIME_AXIS = 320, 100, 40  # pixels
MOST_CHANNELS = 6
MARGIN = 0.1  # of the range of a channel, on both sides

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True)
class Axes:
    """What clips of vectors are drawn against.

    Attributes:
        channels: (P,) the names of the values of a frame.
        ranges: (P,) the lowest and highest value of each in the data, which all plots of it reach.
        time: What stands below the plots.
    """

    channels: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    time: str = "frame"

    @property
    def left_out(self) -> str:
        """What is said where not all channels are shown."""
        count = len(self.channels)
        return "" if count <= MOST_CHANNELS else f"the first {MOST_CHANNELS} of {count} channels"


class Curves:
    """The plots of one clip at a time.

    Args:
        axes: What they are drawn against.

    Attributes:
        source: What they show, as `columns` makes it.
        layout: The plots.
    """

    def __init__(self, axes: Axes) -> None:
        names = axes.channels[:MOST_CHANNELS]
        keys = (f"{key}{i}" for i in range(len(names)) for key in ("y", "low", "high"))
        self.source = ColumnDataSource({"x": [], **{key: [] for key in keys}})
        self._plots = [self._plot(i, name, axes) for i, name in enumerate(names)]
        for plot in self._plots[1:]:
            plot.x_range = self._plots[0].x_range
        for plot in self._plots[:-1]:
            plot.xaxis.visible = False
        self._plots[-1].height += TIME_AXIS
        self._plots[-1].xaxis.axis_label = axes.time
        self.layout: LayoutDOM = column(*self._plots, spacing=0)

    def columns(
        self, clip: Tensor, times: Tensor | None = None, low: Tensor | None = None, high: Tensor | None = None
    ) -> Columns:
        """What `source` holds for a clip. The plots reach as far as it does.

        Args:
            clip: (T, P), NaN where nothing was observed.
            times: (T,); where there are none, frames are counted.
            low, high: (T, P) an interval around each value.
        """
        found: Columns = {"x": list(range(len(clip))) if times is None else times.tolist()}
        for i, plot in enumerate(self._plots):
            values, least, most = ((clip if side is None else side)[:, i] for side in (None, low, high))
            found |= {f"y{i}": values.tolist(), f"low{i}": least.tolist(), f"high{i}": most.tolist()}
            ends = torch.stack([least, most])
            if (there := ends[ends.isfinite()]).numel():
                bottom, top = reach(float(there.min()), float(there.max()))
                plot.y_range.update(start=min(plot.y_range.start, bottom), end=max(plot.y_range.end, top))
        return found

    def show(
        self, clip: Tensor, times: Tensor | None = None, low: Tensor | None = None, high: Tensor | None = None
    ) -> None:
        """Show a clip; the arguments are those of `columns`."""
        self.source.data = self.columns(clip, times, low, high)

    def _plot(self, i: int, name: str, axes: Axes) -> figure:
        colour = Category10[10][i]
        plot = figure(
            width=WIDTH,
            height=HEIGHT,
            title=name,
            tools=[],
            toolbar_location=None,
            min_border_left=50,
            y_range=Range1d(*reach(*axes.ranges[i])),
        )
        plot.yaxis.ticker.desired_num_ticks = 4
        plot.varea("x", f"low{i}", f"high{i}", source=self.source, color=colour, alpha=0.2)
        plot.line("x", f"y{i}", source=self.source, color=colour, line_width=2)
        # Without dots, a value between two gaps would not be seen.
        dots = plot.scatter("x", f"y{i}", source=self.source, color=colour, size=4)
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[(axes.time, "@x"), (name, f"@y{i}")]))
        return plot


def reach(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis for values between these two."""
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin
