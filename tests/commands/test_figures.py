"""The pictures: they exist, have a sane size, their words do not collide, and pixels are what was given."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from pyro_dsvae.figures import run as figures
from pyro_dsvae.figures.clip_pages import Cell, Page, Row, write_png
from pyro_dsvae.figures.training import training
from pyro_dsvae.inference.batch import Batch

SHAPES = {"colour": (3, 32, 32), "grey": (1, 16, 16), "large": (3, 128, 128), "curves": (3,), "map": (40,)}


def clips(n: int, shape: tuple[int, ...], length: int = 8) -> Tensor:
    """(n, length, *shape): flat frames, so that the files stay small."""
    values = torch.rand(n, length, *shape[:1], *(1,) * (len(shape) - 1), generator=torch.Generator().manual_seed(n))
    return values.expand(n, length, *shape).contiguous()


def rows(steps: int = 60) -> list[dict[str, float | str]]:
    """Metrics with a huge start, as training writes them."""
    out: list[dict[str, float | str]] = []
    for i in range(1, steps + 1):
        value = -4e6 if i == 1 else -1000.0 / i
        terms = {"elbo": value, "reconstruction": value + 90, "kl_static": 60.0, "kl_dynamic": 30.0 + i % 5}
        out.append({"step": float(i * 50), "seconds": i / 10, "split": "train", **terms})
        if i % 10 == 0:
            out.append({"step": float(i * 50), "seconds": i / 10, "split": "validation", **terms})
    return out


def drawn_texts(figure: Figure) -> list[Text]:
    """All words on the page; axes keep labels of ticks beyond their limits, which are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            hidden |= {
                t for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high for t in tick.findobj(Text)
            }
    texts = [t for t in figure.findobj(Text) if isinstance(t, Text) and t not in hidden]
    return [t for t in texts if t.get_visible() and t.get_text().strip()]


def check(figure: Figure, path: Path, most_bytes: int = 600_000) -> None:
    """A PNG of the figure's size; all words lie on the page and none on another."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 600 <= image.width <= 2600
        assert 100 <= image.height <= 2600
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 2
        assert image.size == tuple(int(v) for v in figure.bbox.size)
    assert path.stat().st_size < most_bytes
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in drawn_texts(figure)]
    page = figure.bbox
    for words, box in boxes:
        assert page.x0 <= box.x0, words
        assert page.y0 <= box.y0, words
        assert box.x1 <= page.x1, words
        assert box.y1 <= page.y1, words
    for (one, a), (other, b) in combinations(boxes, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(width, height) < 1, (one, other)


def test_training_leaves_out_the_huge_start(tmp_path: Path) -> None:
    figure = training(rows(), tmp_path / "new" / "training.png")
    check(figure, tmp_path / "new" / "training.png")
    elbo, reconstruction, static, dynamic = figure.axes
    assert [axes.get_title(loc="left") for axes in (elbo, static)] == ["ELBO", "KL of f (static)"]
    assert -600 < elbo.get_ylim()[0] < elbo.get_ylim()[1] < 50
    assert reconstruction.get_ylim()[1] > 50
    assert static.get_ylim()[0] == dynamic.get_ylim()[0] == 0
    assert dynamic.get_ylim()[1] < 40


@pytest.mark.parametrize("count", [0, 1, 2])
def test_training_with_few_or_broken_rows(tmp_path: Path, count: int) -> None:
    few = rows()[:count]
    if few:
        few[0]["elbo"] = "nan"
        few[0]["kl_static"] = float("inf")
    check(training(few, tmp_path / "training.png"), tmp_path / "training.png")


def test_a_lone_point_is_seen(tmp_path: Path) -> None:
    """A fit that was evaluated once: one row of each split, and a line through one point is nothing."""
    row = rows(10)[-1]
    figure = training([{**row, "split": split} for split in ("train", "validation")], tmp_path / "a.png")
    for axes in figure.axes:
        assert all(line.get_marker() == "o" for line in axes.lines)


def test_every_value_of_a_vector_is_drawn_on_a_scale_of_its_own(tmp_path: Path) -> None:
    """Of values a thousand times apart the small one fills its panel as the large one does, and its error is seen."""
    x = torch.rand(2, 20, 2) * torch.tensor([1000.0, 1.0])
    wrong = x.clone()
    wrong[..., 1] = 0.5
    figure = figures.reconstruction(x, wrong, tmp_path / "a.png")
    check(figure, tmp_path / "a.png")
    first, second = figure.axes[:2]
    assert first.get_ylim()[1] > 900
    assert second.get_ylim()[1] < 1.2
    assert [line.get_label() for line in second.lines] == ["true", "decoded"]
    assert np.array_equal(second.lines[1].get_ydata(), np.full(20, 0.5))
    drawn = figures.samples(x, tmp_path / "b.png").axes
    for place in range(2):
        curves = np.concatenate([np.asarray(axes.lines[place].get_ydata()) for axes in drawn])
        low, high = drawn[0].get_ylim()
        assert np.ptp(curves) > 0.8 * (high - low)
    many = torch.rand(2, 20, 40) * torch.logspace(-3, 3, 40)
    maps = [axes.images[0].get_array() for axes in figures.samples(many, tmp_path / "c.png").axes]
    assert all(np.ptp(np.concatenate([m[value] for m in maps])) == pytest.approx(1) for value in range(40))


def test_what_was_not_observed_is_a_gap_in_curves_and_a_value_between_gaps_a_dot(tmp_path: Path) -> None:
    """Zeros there would be read as measurements, and would flatten what was measured."""
    x = 50 + torch.rand(2, 6, 2)
    mask = torch.ones(x.shape, dtype=torch.bool)
    mask[0, [1, 3], 0] = False
    mask[1, :, 1] = False
    shown = figures.seen(Batch(x, mask, torch.tensor([6, 4])))
    names = ("temperature", "humidity of the cellar")
    figure = figures.reconstruction(shown, x, tmp_path / "a.png", names)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["temperature", "humidity of the…"]
    line, dot = (np.asarray(found.get_ydata(), float) for found in figure.axes[0].lines[:2])
    np.testing.assert_allclose(line, np.where(mask[0, :, 0], x[0, :, 0], np.nan))
    np.testing.assert_allclose(dot, x[0, [0, 2], 0])
    assert np.isnan(np.asarray(figure.axes[2].lines[0].get_ydata(), float)[4:]).all()
    assert figure.axes[0].get_ylim()[0] > 49
    drawn = figures.samples(shown, tmp_path / "b.png").axes[0].lines[0]
    assert np.isnan(np.asarray(drawn.get_ydata(), float)).tolist() == [False, True, False, True, False, False]
    assert np.nanmin(np.asarray(drawn.get_ydata(), float)) < 0.5
    write_png(Page([Row([Cell(shown[0])]), Row([Cell(torch.full_like(shown[0], torch.nan))])]), tmp_path / "c.png")
    image = Batch(torch.ones(1, 3, 1, 8, 8), torch.zeros(1, 3, dtype=torch.bool))
    assert not figures.seen(image).any()


@pytest.mark.parametrize("kind", SHAPES)
def test_clips_of_every_kind(tmp_path: Path, kind: str) -> None:
    shape = SHAPES[kind]
    x = clips(9, shape)
    path = tmp_path / "picture.png"
    check(figures.reconstruction(x[:3], x[:3] + 0.1, path), path)
    check(figures.samples(x[:3], path), path)
    check(figures.swap(x[0], x[1:3], x[1:3], x[4:5], x[4:5], path), path)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2,)])
def test_few_and_short_clips(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = clips(2, shape, length=2)
    path = tmp_path / "picture.png"
    figures.reconstruction(x[:1], x[:1], path)
    figures.samples(x[:1], path)
    figures.swap(x[0], x[1:], x[1:], x[:0], x[:0], path)
    with Image.open(path) as image:
        assert image.width > 400


def test_long_clips_show_eight_frames_and_curves_all(tmp_path: Path) -> None:
    short = figures.samples(clips(2, (3, 32, 32)), tmp_path / "a.png")
    long = figures.samples(clips(2, (3, 32, 32), length=50), tmp_path / "b.png")
    assert long.bbox.width == short.bbox.width
    curves = figures.samples(clips(2, (3,), length=50), tmp_path / "c.png")
    assert [len(line.get_xdata()) for line in curves.axes[0].lines] == [50] * 3  # type: ignore[arg-type]


def test_pixels_are_enlarged_exactly_and_clipped(tmp_path: Path) -> None:
    x = clips(1, (3, 32, 32))
    x[0, 0] = torch.rand(3, 32, 32)
    x[0, 0, 0, 0, 0], x[0, 0, 0, 0, 1] = 7.0, -7.0
    figures.samples(x, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        page = np.asarray(image.convert("RGB"))
    wanted = (x[0, 0].double().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().repeat(3, 0).repeat(3, 1)
    top = page.shape[0] - figures.MARGIN - 96
    assert np.array_equal(page[top : top + 96, figures.MARGIN : figures.MARGIN + 96], wanted)


def test_swap_frames_donors_in_the_colour_of_what_they_give(tmp_path: Path) -> None:
    x = torch.zeros(5, 8, 3, 32, 32)
    figure = figures.swap(x[0], x[1:3], x[1:3], x[3:], x[3:], tmp_path / "a.png")
    words = [text.get_text() for text in figure.texts]
    assert words.count("source clip") == 2
    assert words.count("f of") == words.count("z of") == 2
    titles = {text.get_text().strip(): text.get_color() for text in figure.texts}
    assert titles["f replaced: the appearance changes,"] == titles["the appearance stays"] == figures.APPEARANCE
    assert titles["z replaced: the motion changes,"] == titles["the motion stays"] == figures.MOTION
    x = x[..., 0, 0]
    vectors = figures.swap(x[0], x[1:3], x[1:3], x[3:], x[3:], tmp_path / "b.png")
    assert "f replaced: the static part changes," in [text.get_text() for text in vectors.texts]


def test_no_global_state(tmp_path: Path) -> None:
    before = pyplot.get_fignums()
    figures.samples(clips(2, (2,)), tmp_path / "a.png")
    assert pyplot.get_fignums() == before
