"""The pictures of a run: reconstructions, swaps and samples. Images are shown as strips, vectors as curves."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import evenly_spaced

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

DPI = 150
MOST_FRAMES = 8  # of a longer clip, this many at equal distances are shown
LONGEST_NAME = 32  # characters of a label's or a class's name that a picture shows
LONGEST_TITLE = 16  # characters of a channel's name above its curves
MOST_CURVES = 12  # vectors of more dimensions are drawn as a map, time to the right
GAP, MARGIN, BORDER, SEAM = 8, 28, 5, 2  # pixels
INK, GREY, RULE = "#1f2328", "#6a737d", "#d0d7de"
APPEARANCE, MOTION = "#d9730d", "#0b6bcb"  # what belongs to f, and what to z


def literal(words: str, most: int = 200) -> str:
    """Words as a picture shows them: a dollar in the name of a label is no formula, and a very long name is cut."""
    return (words if len(words) <= most else f"{words[: most - 1]}…").replace("$", r"\$")


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which pyplot knows nothing of and so does not keep."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """Axes with a light grid and short numbers."""
    axes.grid(color=RULE, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter("{x:,g}")


# --- clips ------------------------------------------------------------------------------------------------------------


def reconstruction(true: Tensor, reconstructed: Tensor, path: Path, names: Sequence[str] = ()) -> Figure:
    """Clips ``(n, T, *frame)``, each above its reconstruction of the same shape.

    Vectors of up to `MOST_CURVES` values are drawn as curves instead, the reconstruction over the clip: a row for each clip, a
    column with an axis of its own for each value, so that a value that varies little is judged on its own scale. ``names`` are
    those of the values.
    """
    above, below = as_arrays(true), as_arrays(reconstructed)
    style = Style(above, below)
    if not style.image and above.shape[-1] <= MOST_CURVES:
        return _curves(above, below, path, names)
    side, label = style.side(96), 130
    columns = 2 if len(above) > 1 else 1
    rows = -(-len(above) // columns)
    step = 2 * side + GAP + 3 * GAP
    pitch = style.width(side) + 4 * GAP
    sheet = Sheet(label + columns * pitch - 4 * GAP + 2 * MARGIN, rows * step - 3 * GAP + 2 * MARGIN)
    for i, pair in enumerate(zip(above, below, strict=True)):
        x, y = MARGIN + label + i % columns * pitch, MARGIN + i // columns * step
        for name, clip in zip(("true", "decoded"), pair, strict=True):
            if i % columns == 0:
                sheet.text(MARGIN + label - 2 * GAP, y + side // 2, name, 11, GREY, ha="right")
            sheet.clip(x, y, clip, style, side)
            y += side + GAP
    return save(sheet.figure, path)


def _curves(true: Array, reconstructed: Array, path: Path, names: Sequence[str]) -> Figure:
    """Every value of vectors (n, T, P) against time, true and decoded."""
    rows, _, columns = true.shape
    figure = blank(max(5.0, 0.4 + 1.35 * columns), 0.7 + 0.9 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey="col", squeeze=False)
    for place, axes in np.ndenumerate(panels):
        clip, value = place
        curve(axes, true[clip, :, value], INK, 1.2, "true")
        curve(axes, reconstructed[clip, :, value], APPEARANCE, 1.2, "decoded")
        plain_axes(axes)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(2))
        if clip == 0:
            axes.set_title(literal(names[value], LONGEST_TITLE) if names else f"value {value}", fontsize=9, color=INK)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return save(figure, path)


def samples(clips: Tensor, path: Path) -> Figure:
    """Clips ``(n, T, *frame)`` drawn from the prior."""
    drawn = as_arrays(clips)
    style = Style(drawn)
    side, head = style.side(96), 44
    columns = 2 if len(drawn) > 1 else 1
    rows = -(-len(drawn) // columns)
    pitch = style.width(side) + 4 * GAP
    sheet = Sheet(columns * pitch - 4 * GAP + 2 * MARGIN, head + rows * (side + 2 * GAP) - 2 * GAP + 2 * MARGIN)
    sheet.text(MARGIN, MARGIN + 10, "Draws from the prior: one f and one path of z per clip", 11, GREY)
    for i, clip in enumerate(drawn):
        place = MARGIN + i % columns * pitch, MARGIN + head + i // columns * (side + 2 * GAP)
        sheet.clip(*place, clip, style, side)
    return save(sheet.figure, path)


def swap(
    source: Tensor,
    look_donors: Tensor,
    look_replaced: Tensor,
    motion_donors: Tensor,
    motion_replaced: Tensor,
    path: Path,
) -> Figure:
    """One source clip with f, then with z, of other clips.

    Args:
        source: ``(T, *frame)``.
        look_donors: ``(k, T, *frame)`` whose f replaces that of the source in ``look_replaced``, of the same shape.
        motion_donors: ``(m, T, *frame)`` whose z replaces that of the source in ``motion_replaced``, of the same shape.
    """
    clip = as_arrays(source.unsqueeze(0))
    looks, looked, motions, moved = (
        as_arrays(clips) for clips in (look_donors, look_replaced, motion_donors, motion_replaced)
    )
    style = Style(clip, looks, looked, motions, moved)
    side = style.side(128)
    small = style.side(side // 2)
    left, arrow = max(style.width(small), 330), 76
    x = MARGIN + left + arrow
    head, step = 64, side + 2 * GAP
    heights = [head + (len(clips) + 1) * step + 2 * GAP for clips in (looks, motions)]
    sheet = Sheet(x + style.width(side) + MARGIN, sum(heights) + GAP + 2 * MARGIN)
    look, motion = ("the appearance", "the motion") if style.image else ("the static part", "the dynamic part")
    y = MARGIN
    for latent, changes, stays, kind, constant, donors, results in (
        ("f", look, motion, APPEARANCE, MOTION, looks, looked),
        ("z", motion, look, MOTION, APPEARANCE, motions, moved),
    ):
        end = sheet.text(MARGIN, y + 14, f"{latent} replaced: {changes} changes,", 15, kind, weight="bold")
        sheet.text(end, y + 14, f" {stays} stays", 15, constant, weight="bold")
        y += head
        sheet.text(x - arrow // 2, y + side // 2, "source clip", 12, GREY, ha="right")
        sheet.clip(x, y, clip[0], style, side, constant)
        y += step + 2 * GAP
        for donor, result in zip(donors, results, strict=True):
            if kind == APPEARANCE and style.image:  # one frame tells the appearance
                start = x - arrow - style.frame_width(side)
                sheet.clip(start, y, donor[:1], style, side, kind)
                sheet.text(start - 3 * GAP, y + side // 2, f"{latent} of", 12, GREY, ha="right")
            else:
                start, top = x - arrow - style.width(small), y + side - small - BORDER
                sheet.clip(start, top, donor, style, small, kind)
                sheet.text(start - BORDER, top - 3 * GAP, f"{latent} of", 12, GREY)
            sheet.text(x - arrow // 2, y + side // 2, "→", 16, GREY, ha="center")
            sheet.clip(x, y, result, style, side)
            y += step
        y += 3 * GAP
    return save(sheet.figure, path)


# --- layout -----------------------------------------------------------------------------------------------------------


class Style:
    """What all clips of one figure have in common: images or vectors, how many frames, the range of each value of a vector."""

    def __init__(self, *clips: Array) -> None:
        filled = [values for values in clips if values.size]
        self.image = clips[0].ndim == 5
        # (P,) for vectors: each value has a scale of its own, as a temperature beside a pressure needs.
        axes = (0, 1) if clips[0].ndim == 3 else None
        self.low: Array = np.min([np.nan_to_num(v, nan=np.inf).min(axes) for v in filled], axis=0)
        high: Array = np.max([np.nan_to_num(v, nan=-np.inf).max(axes) for v in filled], axis=0)
        self.range: Array = np.where(high > self.low, high - self.low, 0.0)  # also where nothing is known
        self.frames: int
        self.own_side: int
        self.frames, self.own_side = (clips[0].shape[1], clips[0].shape[3]) if self.image else (MOST_FRAMES, 1)
        self.aspect: float = clips[0].shape[4] / clips[0].shape[3] if self.image else 1

    def side(self, wanted: int) -> int:
        """Height of a clip: about the wanted one, and a multiple of the height of an image; less where images are wide."""
        wanted = round(wanted / max(1, self.aspect) ** 0.5)
        return self.own_side * round(wanted / self.own_side) or wanted

    def frame_width(self, side: int) -> int:
        """Width of one frame of a clip of this height."""
        return max(1, round(side * self.aspect))

    def width(self, side: int, frames: int | None = None) -> int:
        """Width of a clip of this height, by default with as many frames as the clips of the figure."""
        frames = self.frames if frames is None else frames
        return frames * (self.frame_width(side) + SEAM) - SEAM


class Sheet:
    """A page laid out in pixels from its top left corner. Frames cover whole pixels, so that nothing blurs them."""

    def __init__(self, width: int, height: int) -> None:
        # The surplus keeps the rounding of the canvas from losing a pixel.
        self.figure = Figure(figsize=((width + 0.01) / DPI, (height + 0.01) / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def text(self, x: float, y: int, words: str, size: float, colour: str = INK, **style: Any) -> float:
        """Words from x on, or up to it with ``ha="right"``, with their middle at y; returns where they end."""
        style = {"va": "center_baseline", **style}
        text = self.figure.text(
            x, self.height - y, literal(words), size=size, color=colour, transform=IdentityTransform(), **style
        )
        with any_script():
            return float(text.get_window_extent().x1)

    def bar(self, x: int, y: int, width: int, height: int, colour: str) -> None:
        """A filled rectangle."""
        place = (x, self.height - y - height)
        shape = Rectangle(place, width, height, color=colour, linewidth=0, transform=IdentityTransform())
        self.figure.add_artist(shape)

    def clip(self, x: int, y: int, clip: Array, style: Style, side: int, colour: str | None = None) -> None:
        """A clip ``(T, *frame)``, ``side`` pixels high, with its top left corner at x, y, and a border outside it."""
        width = style.width(side, len(clip) if style.image else None)
        if colour is not None:
            self.bar(x - BORDER, y - BORDER, width + 2 * BORDER, side + 2 * BORDER, colour)
        if style.image:
            self.figure.figimage(
                _film(clip, side, style.frame_width(side)), x, self.height - y - side, origin="upper", zorder=2
            )
            return
        place = (x / self.width, 1 - (y + side) / self.height, width / self.width, side / self.height)
        axes = self.figure.add_axes(place, zorder=2)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(RULE)
        scaled = np.where(style.range > 0, (clip - style.low) / np.where(style.range > 0, style.range, 1), 0.5)
        scaled[np.isnan(clip)] = np.nan
        if clip.shape[1] > MOST_CURVES:
            axes.imshow(scaled.T, aspect="auto", origin="lower", vmin=0, vmax=1)
            return
        axes.set_xlim(0, len(clip) - 1)
        axes.set_ylim(-0.06, 1.06)
        for values, tone in zip(scaled.T, np.linspace(0, 0.85, clip.shape[1]), strict=True):
            curve(axes, values, colormaps["viridis"](tone), 1.4)


def as_arrays(clips: Tensor) -> Array:
    """Clips ``(n, T, *frame)`` as an array; of images at most `MOST_FRAMES` frames at equal distances.

    A NaN is a value that does not exist: a gap in a curve, black in an image.
    """
    values = clips.detach().cpu().double().numpy()
    if values.ndim != 5:
        return np.where(np.isfinite(values), values, np.nan)
    if values.shape[1] > MOST_FRAMES:
        values = values[:, evenly_spaced(values.shape[1], MOST_FRAMES)]
    return np.nan_to_num(values)


def seen(batch: Batch) -> Tensor:
    """Clips ``(B, T, *frame)`` as pictures show them: where nothing was observed there is NaN in vectors, black in images."""
    return batch.visible if batch.frame_ndim > 1 else batch.x.masked_fill(~batch.observed, math.nan)


def curve(axes: Axes, values: Array, colour: Any, width: float, label: str | None = None) -> None:
    """One value (T,) against the steps: a line with gaps, and a dot for a value between two gaps."""
    axes.plot(values, color=colour, linewidth=width, label=label)
    there = np.r_[False, np.isfinite(values), False]
    alone = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:])
    if len(alone):
        axes.plot(alone, values[alone], ".", color=colour, markersize=2.5 * width)


def _film(clip: Array, height: int, width: int) -> Pixels:
    """Frames (T, C, H, W) side by side, as (height, columns, 3), each enlarged to height x width without interpolation."""
    colours = clip if clip.shape[1] == 3 else clip.mean(1, keepdims=True).repeat(3, axis=1)
    rows, columns = (np.arange(size) * own // size for size, own in zip((height, width), clip.shape[2:], strict=True))
    frames = (colours.clip(0, 1) * 255).round().astype(np.uint8)[:, :, rows][..., columns]
    film = np.full((height, len(clip) * (width + SEAM), 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        film[:, i * (width + SEAM) : i * (width + SEAM) + width] = frame.transpose(1, 2, 0)
    return film[:, :-SEAM]


def save(figure: Figure, path: Path) -> Figure:
    """Write the figure as a PNG, which does not name the version of matplotlib."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with any_script():
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return figure


@contextmanager
def any_script() -> Iterator[None]:
    """Within it, a name in a script that the font lacks is drawn as boxes without a warning per letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
