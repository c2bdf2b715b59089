"""Clips of vectors as lines, in the units of the data."""

from collections.abc import Sequence
from typing import Any

from bokeh.models import ColumnDataSource
from bokeh.palettes import Category10
from bokeh.plotting import figure
from torch import Tensor

WIDTH, HEIGHT = 340, 200
MOST_CHANNELS = 10

Columns = dict[str, Sequence[Any]]


def columns(clip: Tensor, channels: Sequence[str], low: Tensor | None = None, high: Tensor | None = None) -> Columns:
    """A clip (T, P) as the columns of a plot, a row for each of the first channels, with intervals where they are given."""
    names = list(channels[:MOST_CHANNELS])
    steps, count = list(range(len(clip))), range(len(names))
    inside: list[list[float]] = [[] for _ in count]
    around: list[list[int]] = [[] for _ in count]
    if low is not None and high is not None:
        inside = [low[:, i].tolist() + high[:, i].flip(0).tolist() for i in count]
        around = [steps + steps[::-1] for _ in count]
    return {
        "x": [steps for _ in count],
        "y": [clip[:, i].tolist() for i in count],
        "around": around,
        "inside": inside,
        "name": names,
        "colour": [Category10[10][i] for i in count],
    }


def nothing() -> ColumnDataSource:
    """The columns of a plot that shows nothing yet."""
    return ColumnDataSource({name: [] for name in ("x", "y", "around", "inside", "name", "colour")})


def curves(source: ColumnDataSource, title: str) -> figure:
    """The plot of what `columns` makes."""
    plot = figure(
        width=WIDTH,
        height=HEIGHT,
        title=title,
        tools="pan,wheel_zoom,reset",
        toolbar_location=None,
        x_axis_label="frame",
        tooltips=[("channel", "@name"), ("frame, value", "$x{0}, $y")],
    )
    plot.title.text_font_size = "8pt"
    plot.patches("around", "inside", source=source, color="colour", alpha=0.2)
    plot.multi_line("x", "y", source=source, color="colour", line_width=2, legend_field="name")
    plot.legend.label_text_font_size, plot.legend.padding = "8pt", 2
    return plot
