"""Pages of clips in rows and columns, as a PNG with all frames side by side or as a GIF that plays them; probes as bars."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pyro_dsvae.clips.writing import FRAME_MS, write_animation
from pyro_dsvae.figures.run import (
    APPEARANCE,
    BORDER,
    GAP,
    GREY,
    INK,
    LONGEST_NAME,
    MARGIN,
    MOTION,
    SEAM,
    Array,
    Sheet,
    Style,
    blank,
    literal,
    plain_axes,
    save,
)
from pyro_dsvae.inference.sequences import evenly_spaced

LINE = 20  # pixels from one line of words to the next
MOST_FRAMES = 16  # of a longer clip, this many at equal distances are shown
NOTHING = "#e3e6ea"  # what was not observed


@dataclass(frozen=True)
class Cell:
    """A clip ``(T, *frame)`` on a page, with a border where a colour is given."""

    clip: Tensor
    colour: str | None = None


@dataclass(frozen=True)
class Row:
    """Cells beside each other, under the words of the page's columns.

    Attributes:
        label: Words to the left, lines apart by a line break.
        apart: More room above.
    """

    cells: Sequence[Cell | None]
    label: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Page:
    """Rows of clips of one kind of frame.

    Attributes:
        title: Words with their colours, one after the other on the first line.
        columns: A heading per column.
        side: Height of a frame in pixels, about; in a GIF twice that.
        still: Of images, the PNG shows this frame only.
        divider: In front of this frame of every clip a line is drawn, as where a forecast begins.
    """

    rows: Sequence[Row]
    title: Sequence[tuple[str, str]] = ()
    columns: Sequence[str] = ()
    side: int = 48
    divider: int | None = None
    still: int | None = None

    @property
    def image(self) -> bool:
        """Whether the frames are images; vectors become curves."""
        return self._clips[0].ndim == 4

    @property
    def length(self) -> int:
        """Frames of the longest clip."""
        return max(len(clip) for clip in self._clips)

    @property
    def _clips(self) -> list[Tensor]:
        return [cell.clip for row in self.rows for cell in row.cells if cell is not None]


def named_rows(name: str, lines: Sequence[tuple[str, Tensor]], apart: bool, colour: str | None = None) -> list[Row]:
    """Labelled clips below each other that belong together: the first has the name, too, and the colour."""
    (label, clip), *others = lines
    first = Row([Cell(clip, colour)], f"{name}\n{label}", apart)
    return [first, *(Row([Cell(clip)], label) for label, clip in others)]


def write_png(page: Page, path: Path) -> Figure:
    """The page with all frames of a clip side by side, at most `MOST_FRAMES` at equal distances."""
    return save(_drawn(page, None).figure, path)


def write_gif(page: Page, path: Path, frame_ms: int = FRAME_MS) -> None:
    """The page playing all its clips at once; shorter ones start again. Images only."""
    page = _sideways(page)
    write_animation(path, [_pixels(_drawn(page, frame)) for frame in range(page.length)], frame_ms)


def moments(page: Page) -> tuple[Iterator[Array], tuple[int, int]]:
    """The same as pictures (H, W, 3) uint8, one after the other, and their height and width, which are even."""
    page = _sideways(page)

    def at(frame: int) -> Array:
        pixels: Array = np.asarray(_pixels(_drawn(page, frame)))
        return np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")

    height, width = at(0).shape[:2]
    return (at(frame) for frame in range(page.length)), (height, width)


def _sideways(page: Page) -> Page:
    """A page of one column with its rows beside each other, a new line where rows are apart; any other as it is."""
    if any(len(row.cells) != 1 for row in page.rows):
        return page
    starts = [i for i, row in enumerate(page.rows) if i == 0 or row.apart]
    groups = [page.rows[a:b] for a, b in zip(starts, [*starts[1:], len(page.rows)], strict=True)]
    rows = []
    for group in groups:
        name, below, _ = group[0].label.partition("\n")
        rows.append(Row([row.cells[0] for row in group], name if below else ""))
    columns = [row.label.rpartition("\n")[2] for row in max(groups, key=len)]
    return replace(page, rows=rows, columns=columns)


def _pixels(sheet: Sheet) -> Image.Image:
    canvas = sheet.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _drawn(page: Page, at: int | None) -> Sheet:
    """The page, or one moment of it."""
    shown = {id(cell): _shown(cell.clip, page, at) for row in page.rows for cell in row.cells if cell is not None}
    style = Style(*(clip[None] for clip in shown.values()))
    side = style.side(page.side if at is None else page.side * 2)
    count = max(len(row.cells) for row in page.rows)
    widths = [
        max(
            (
                style.width(side, len(shown[id(row.cells[c])]) if style.image else None)
                for row in page.rows
                if c < len(row.cells) and row.cells[c]
            ),
            default=0,
        )
        for c in range(count)
    ]
    pitch = GAP + 2 * BORDER
    probe = Sheet(10, 10)
    lines = [row.label.split("\n") for row in page.rows]
    left = max((probe.text(0, 0, line, 10) for label in lines for line in label if line), default=0)
    left = MARGIN + (round(left) + 2 * GAP if left else 0)
    heads = [round(probe.text(0, 0, words, 10)) for words in page.columns]
    widths = [max(width, *heads[c : c + 1], 0) for c, width in enumerate(widths)]
    words = sum(round(probe.text(0, 0, part, 11, weight="bold")) for part, _ in page.title)
    inner = left + sum(widths) + pitch * (count - 1)
    top = MARGIN + (LINE + 2 * GAP if page.title else 0) + (LINE + GAP if page.columns else 0)
    step = side + pitch
    height = top + sum(step + (2 * GAP if row.apart else 0) for row in page.rows) - pitch
    sheet = Sheet(max(inner, MARGIN + words) + MARGIN, height + MARGIN)
    end: float = MARGIN
    for part, colour in page.title:
        end = sheet.text(end, MARGIN + 4, part, 11, colour, weight="bold")
    starts = [left + sum(widths[:c]) + pitch * c for c in range(count)]
    for x, heading in zip(starts, page.columns, strict=False):
        sheet.text(x, top - LINE // 2 - GAP, heading, 10, GREY)
    y = top
    for row, label in zip(page.rows, lines, strict=True):
        y += 2 * GAP if row.apart else 0
        first = y + side // 2 - (len(label) - 1) * LINE // 2
        for number, line in enumerate(label):
            sheet.text(left - 2 * GAP, first + number * LINE, line, 10, GREY if number else INK, ha="right")
        for x, cell in zip(starts, row.cells, strict=False):
            if cell is not None:
                sheet.clip(x, y, shown[id(cell)], style, side, cell.colour)
        y += step
    if page.divider is not None and at is None and page.image:
        for x in starts:
            sheet.bar(x + style.width(side, page.divider), top - GAP, SEAM, height - top + 2 * GAP, MOTION)
    return sheet


def _shown(clip: Tensor, page: Page, at: int | None) -> Array:
    """``(T, *frame)`` of what is drawn of a clip."""
    values: Array = clip.detach().cpu().double().numpy()
    if not page.image:
        return np.where(np.isfinite(values), values, np.nan)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    at = page.still if at is None else at
    if at is not None:
        return values[at % len(values)][None]
    if len(values) > MOST_FRAMES:
        values = values[evenly_spaced(len(values), MOST_FRAMES)]
    return values


# --- colours of what is no clip ---------------------------------------------------------------------------------------


def veiled(clip: Tensor, observed: Tensor) -> Tensor:
    """A clip ``(T, *frame)``, images in RGB, with a flat light grey where it was not observed; vectors with NaN there."""
    if clip.ndim != 4:
        return clip.masked_fill(~observed, torch.nan)
    grey = torch.tensor([int(NOTHING[i : i + 2], 16) / 255 for i in (1, 3, 5)]).view(3, 1, 1)
    return torch.where(observed.any(1, keepdim=True), _rgb(clip), grey.expand(len(clip), 3, *clip.shape[2:]))


def heat(values: Tensor, most: float) -> Tensor:
    """Values (T, C, H, W) from 0 to ``most``, the mean over channels as colours (T, 3, H, W); vectors as they are."""
    if values.ndim != 4:
        return values
    from matplotlib import colormaps

    level = (values.mean(1) / max(most, 1e-9)).clamp(0, 1).cpu().numpy()
    return torch.from_numpy(colormaps["inferno"](level)[..., :3]).permute(0, 3, 1, 2)


def _rgb(clip: Tensor) -> Tensor:
    return clip if clip.shape[1] == 3 else clip.mean(1, keepdim=True).expand(-1, 3, -1, -1)


# --- probes -----------------------------------------------------------------------------------------------------------


def probes(accuracy: Mapping[str, Mapping[str, float]], path: Path) -> Figure:
    """Bars of how well each label is predicted from f and from z, beside chance.

    Args:
        accuracy: From each label to the shares predicted correctly from "f" and "z", where there are such codes, and by
            "chance".
        path: The PNG to write.
    """
    figure = blank(max(4.0, 1.6 + 1.2 * len(accuracy)), 3.2)  # the legend takes 3.6 inches
    axes = figure.subplots()
    plain_axes(axes)
    places = np.arange(len(accuracy))

    def shares(kind: str) -> Array:
        return np.array([100 * known.get(kind, 0.0) for known in accuracy.values()])

    bars = [
        axes.bar(places + shift, shares(code), 0.38, color=colour, label=f"from {code}", zorder=2)
        for shift, code, colour in ((-0.2, "f", APPEARANCE), (0.2, "z", MOTION))
    ]
    line = axes.hlines(
        shares("chance"), places - 0.42, places + 0.42, color=INK, linewidth=1.4, label="by chance", zorder=3
    )
    axes.set_xticks(range(len(accuracy)), [literal(name, LONGEST_NAME) for name in accuracy], color=INK)
    axes.set_xlim(-0.6, len(accuracy) - 0.4)
    axes.set_ylim(0, 105)
    axes.set_ylabel("% predicted right")
    axes.grid(visible=False, axis="x")
    figure.legend(handles=[*bars, line], loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return save(figure, path)
