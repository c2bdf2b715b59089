"""Erase frames and values of a clip; see draws fill them, and how far they differ."""

import math
from collections.abc import Mapping, Sequence

import panel as pn
import torch
from bokeh.models import BoxSelectTool, ColumnDataSource
from bokeh.palettes import Blues256
from bokeh.plotting import figure
from torch import Tensor

from pyro_dsvae.actions.series_csv import imputed_interval
from pyro_dsvae.clips.writing import to_bytes
from pyro_dsvae.explorer.curves import Axes
from pyro_dsvae.explorer.draws import Draws
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside, times_of, titled
from pyro_dsvae.figures.run import seen
from pyro_dsvae.inference.latent_space.imputation import Method

DRAWS, SIDE = 20, 300
METHODS: Mapping[str, Method] = {"quick": "amortised", "careful (seconds)": "refined"}
WRAPPED = ".bk-btn-group { flex-wrap: wrap; max-width: 300px; }"
ERASED = 0.89  # the grey of what is erased


def fill_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Drag boxes over what to erase in every frame, or name frames; the posterior fills both."""
    run = library.run
    left = Screen(player, "What is left", library.axes)
    drawn = Draws(player, left, "one way to fill it", library.axes)
    cells = ColumnDataSource({"x": [], "y": [], "colour": []})
    frames = pn.widgets.CheckButtonGroup(label="Frames to erase", stylesheets=[WRAPPED])
    method = pn.widgets.RadioButtonGroup(label="How", options=list(METHODS))
    rows = pn.widgets.IntRangeSlider(label="Rows to erase", start=0, end=1, value=(0, 0), width=300)
    reset = pn.widgets.Button(label="Erase nothing", width=300)
    busy = [False]

    def show(*_: object) -> None:
        if busy[0]:
            return
        clip = picker.selection.batch
        mask = observed_of(clip.x, cells.selected.indices, [int(f) for f in frames.value]) & clip.observed
        found = run.impute(clip.x, mask, clip.lengths, clip.times, DRAWS, METHODS[method.value])
        times, erased, never = (
            times_of(picker.selection),
            int((clip.observed & ~mask).sum()),
            int((~clip.observed).sum()),
        )
        said = f"{erased:,} values erased" + (f", {never:,} not observed" if never else "")
        nothing = torch.full_like(clip.x, ERASED if library.image else torch.nan)
        left.show(torch.where(mask, clip.x, nothing)[0], said, times)
        said, mean, draws = "what the draws agree on", found.mean[0], found.draws[:, 0]
        if library.image:
            spread = torch.where(mask, torch.zeros_like(found.model_sd), found.model_sd)
            drawn.show_images(said, mean, draws, spread[0])
        else:
            low, high = imputed_interval(run, found)
            drawn.show_lines(said, mean, draws, times, (low[0], high[0]))

    def begin() -> None:
        clip = seen(picker.selection.batch)[0]
        busy[0] = True  # until all controls are those of this clip
        cells.selected.indices = []
        cells.data = grid(clip)
        plot.x_range.end = width_of(clip)
        frames.param.update(options=[str(i) for i in range(len(clip))], value=[])
        rows.param.update(end=heights(clip), value=(0, 0))
        busy[0] = False
        show()

    def strike(*_: object) -> None:
        low, high = rows.value
        width = width_of(picker.selection.batch.x[0])
        cells.selected.indices = list(range(low * width, high * width))

    picker = Picker(library, "Clip", next(iter(library.titles)), begin)
    plot = canvas(cells, picker.selection.batch.x[0], library.axes)
    cells.selected.on_change("indices", lambda attribute, old, new: show())
    frames.param.watch(show, "value")
    method.param.watch(show, "value")
    rows.param.watch(strike, "value_throttled")
    reset.on_click(lambda event: begin())
    begin()
    board = pn.pane.Bokeh(plot, width=SIDE, height=SIDE)
    controls = [picker.layout, titled("Frames to erase", frames), rows, titled("How", method), reset]
    return beside(controls, board, drawn.layout)


def heights(clip: Tensor) -> int:
    """Rows of the board: of pixels, or values of a vector."""
    return clip.shape[-2] if clip.ndim == 4 else clip.shape[1]


def width_of(clip: Tensor) -> int:
    """Columns of the board: of pixels, or steps of vectors."""
    return clip.shape[-1] if clip.ndim == 4 else len(clip)


def observed_of(x: Tensor, erased: list[int], frames: list[int]) -> Tensor:
    """The mask of a clip (1, T, *frame) with cells of the board erased, and frames.

    A cell is a pixel of every frame (row by row), or one value of one step of vectors (value by value).
    """
    mask = torch.ones(x.shape, dtype=torch.bool)
    if erased:
        places = torch.tensor(erased)
        if x.ndim == 5:
            width = x.shape[-1]
            mask[..., places // width, places % width] = False
        else:
            mask[0, places % x.shape[1], places // x.shape[1]] = False
    mask[:, frames] = False
    return mask


def grid(clip: Tensor) -> dict[str, Sequence[object]]:
    """The cells of the board: centre and colour of each.

    Colours are those of the first frame. Of vectors a cell is the darker the larger its value is among those of its channel,
    and white where nothing was observed.
    """
    if clip.ndim == 4:
        pixels = to_bytes(clip[:1])[0]
        height, width, channels = pixels.shape
        colours = [f"#{bytes(p[:3] if channels > 2 else p[:1].repeat(3)).hex()}" for p in pixels.reshape(-1, channels)]
    else:
        width, height = clip.shape
        colours = [shade for channel in clip.unbind(1) for shade in shades(channel)]
    cells = [(x + 0.5, y + 0.5) for y in range(height) for x in range(width)]
    return {"x": [x for x, _ in cells], "y": [y for _, y in cells], "colour": colours}


def shades(values: Tensor) -> list[str]:
    """A blue for each value of a channel."""
    there = values[values.isfinite()].double()
    low, width = (float(there.min()), float(there.max() - there.min()) or 1.0) if len(there) else (0.0, 1.0)
    return [
        Blues256[255 - round(255 * (0.2 + 0.8 * (value - low) / width))] if math.isfinite(value) else "#ffffff"
        for value in values.tolist()
    ]


def canvas(cells: ColumnDataSource, clip: Tensor, axes: Axes | None) -> figure:
    """The board on which boxes are dragged; with shift they add to those before."""
    tool = BoxSelectTool()
    plot = figure(
        width=SIDE,
        height=SIDE,
        tools=[tool],
        toolbar_location=None,
        x_range=(0, width_of(clip)),
        y_range=(heights(clip), 0),
        title="Drag a box to erase; shift adds",
    )
    plot.toolbar.active_drag = tool
    if axes is not None:
        plot.xaxis.axis_label = "frame"
        plot.yaxis.ticker = [i + 0.5 for i in range(len(axes.channels))]
        plot.yaxis.major_label_overrides = {i + 0.5: name for i, name in enumerate(axes.channels)}
    plot.rect("x", "y", 1, 1, source=cells, color="colour", selection_color="#e3e3e3", nonselection_alpha=1.0)
    return plot
