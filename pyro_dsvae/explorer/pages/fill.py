"""Erase frames and values of a clip; see draws fill them, and how far they differ."""

from collections.abc import Mapping, Sequence

import panel as pn
import torch
from bokeh.models import BoxSelectTool, ColumnDataSource
from bokeh.plotting import figure
from torch import Tensor

from pyro_dsvae.clips.writing import to_bytes
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf
from pyro_dsvae.figures.clip_pages import heat
from pyro_dsvae.inference.latent_space.imputation import Method

DRAWS, SHOWN, SIDE = 20, 3, 300
METHODS: Mapping[str, Method] = {"quick": "amortised", "careful (seconds)": "refined"}
ERASED = 0.89  # the grey of what is erased


def fill_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Drag boxes over what to erase in every frame, or name frames; the posterior fills both."""
    run, channels = library.run, None if library.image else library.channels
    captions = ("What is left", "Mean of draws", *(f"Draw {i + 1}" for i in range(SHOWN)), "Spread of draws")
    screens = [Screen(player, caption, channels) for caption in captions]
    cells = ColumnDataSource({"x": [], "y": [], "colour": []})
    frames = pn.widgets.MultiChoice(label="Frames to erase", width=300)
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
        count = int((~mask).sum())
        grey = torch.full_like(clip.x, ERASED) if library.image else torch.full_like(clip.x, torch.nan)
        screens[0].show(torch.where(mask, clip.x, grey)[0], f"{count:,} values erased")
        screens[1].show(found.mean[0], "what the draws agree on")
        for screen, draw in zip(screens[2:-1], found.draws, strict=False):
            screen.show(draw[0], "one way to fill it")
        spread = torch.where(mask, torch.zeros_like(found.model_sd), found.model_sd)[0]
        screens[-1].show(heat(spread, float(spread.max())), f"standard deviation, at most {float(spread.max()):.2g}")

    def begin() -> None:
        clip = picker.selection.batch.visible[0]
        busy[0] = True  # until all controls are those of this clip
        cells.selected.indices = []
        cells.data = grid(clip)
        frames.param.update(options=[str(i) for i in range(len(clip))], value=[])
        rows.param.update(end=heights(clip), value=(0, 0))
        busy[0] = False
        show()

    def strike(*_: object) -> None:
        clip = picker.selection.batch.visible[0]
        low, high = rows.value
        width = clip.shape[-1] if library.image else len(clip)
        cells.selected.indices = list(range(low * width, high * width))

    picker = Picker(library, "Clip", next(iter(library.titles)), begin)
    cells.selected.on_change("indices", lambda attribute, old, new: show())
    frames.param.watch(show, "value")
    method.param.watch(show, "value")
    rows.param.watch(strike, "value_throttled")
    reset.on_click(lambda event: begin())
    begin()
    board = pn.pane.Bokeh(canvas(cells, picker.selection.batch.x[0]), width=SIDE, height=SIDE)
    controls = pn.Column(picker.layout, frames, rows, method, reset)
    return pn.Column(pn.FlexBox(controls, board), shelf(*screens))


def heights(clip: Tensor) -> int:
    """Rows of the board: of pixels, or values of a vector."""
    return clip.shape[-2] if clip.ndim == 4 else clip.shape[1]


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
    """The cells of the board: centre and colour of each, the colours those of the first frame."""
    if clip.ndim == 4:
        pixels = to_bytes(clip[:1])[0]
        height, width, channels = pixels.shape
        colours = [f"#{bytes(p[:3] if channels > 2 else p[:1].repeat(3)).hex()}" for p in pixels.reshape(-1, channels)]
    else:
        width, height = clip.shape
        colours = ["#0b6bcb"] * (width * height)
    cells = [(x + 0.5, y + 0.5) for y in range(height) for x in range(width)]
    return {"x": [x for x, _ in cells], "y": [y for _, y in cells], "colour": colours}


def canvas(cells: ColumnDataSource, clip: Tensor) -> figure:
    """The board on which boxes are dragged; with shift they add to those before."""
    width, height = (clip.shape[-1], clip.shape[-2]) if clip.ndim == 4 else (clip.shape[0], clip.shape[1])
    tool = BoxSelectTool()
    plot = figure(
        width=SIDE,
        height=SIDE,
        tools=[tool],
        toolbar_location=None,
        x_range=(0, width),
        y_range=(height, 0),
        title="Drag a box to erase; shift adds",
    )
    plot.toolbar.active_drag = tool
    plot.rect("x", "y", 1, 1, source=cells, color="colour", selection_color="#e3e3e3", nonselection_alpha=1.0)
    return plot
