"""What a page shows is what the Python API returns, to the pixel."""

import io
import re
import shutil
import zipfile
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import panel as pn
import param
import pytest
import torch
from PIL import Image
from torch import Tensor

from pyro_dsvae.clips.writing import to_bytes
from pyro_dsvae.explorer.dimensions import information
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.page import PAGES, page, report_of
from pyro_dsvae.explorer.pages.fill import observed_of
from pyro_dsvae.explorer.pages.swap import swap_page
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.projection import project
from pyro_dsvae.explorer.server import REPORT
from pyro_dsvae.explorer.uploads import LARGEST, read_upload
from pyro_dsvae.inference.latent_checks.usage import latent_usage
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from tests.explorer.strips import pixels

Widget = TypeVar("Widget", bound=pn.widgets.Widget)


def shown(view: pn.viewable.Viewable) -> list[str]:
    """The clips of a page, in order."""
    return [pane.object for pane in view.select(pn.pane.HTML) if 'class="clip"' in pane.object]


def control(view: pn.viewable.Viewable, kind: type[Widget], name: str) -> Widget:
    return next(each for each in view.select(kind) if each.label == name)


def assert_shows(text: str, clip: Tensor) -> None:
    np.testing.assert_array_equal(pixels(text), to_bytes(clip))


@pytest.fixture
def player(library: Library) -> Player:
    return Player(library.run.length)


def frames(library: Library, *titles: str) -> list[Tensor]:
    """What the data hold, (1, T, C, H, W) uint8 each."""
    part = library.source.data.part("validation").frames
    return [part[int(title.partition(":")[0])][None] for title in titles]


def test_swap(library: Library, player: Player) -> None:
    view = PAGES["Swap"](library, player)
    titles = list(library.titles)
    for name, title in (("First clip", titles[3]), ("Second clip", titles[7])):
        control(view, pn.widgets.Select, name).value = title
    a, b = frames(library, titles[3], titles[7])
    for text, clip in zip(shown(view), (a, b, library.run.swap(a, b), library.run.swap(b, a)), strict=True):
        assert_shows(text, clip[0])


def test_latents(library: Library, player: Player) -> None:
    view = PAGES["Latents"](library, player)
    codes = library.run.encode(frames(library, next(iter(library.titles)))[0])
    assert_shows(shown(view)[1], library.run.decode(codes.f, codes.z)[0])
    for letter in "fz":
        slider = next(each for each in view.select(pn.widgets.FloatSlider) if each.label.startswith(letter))
        slider.value = slider.end
        dimension = int(slider.label.split(":")[0].split()[1])
        f, z = codes.f.clone(), codes.z.clone()
        if letter == "f":
            f[:, dimension] = slider.end
        else:
            z[..., dimension] += slider.end
        assert_shows(shown(view)[1], library.run.decode(f, z)[0])
        control(view, pn.widgets.Button, "Back to the clip").param.trigger("clicks")
        assert_shows(shown(view)[1], library.run.decode(codes.f, codes.z)[0])


def test_the_first_dimensions_say_which_label_they_tell_of(library: Library, player: Player) -> None:
    """Which way a figure faces is a part of the action that f tells of, too."""
    names = [slider.label for slider in PAGES["Latents"](library, player).select(pn.widgets.FloatSlider)]
    told = {letter: {re.sub(r".*: | \(.*", "", n) for n in names if n.startswith(letter)} for letter in "fz"}
    assert "action" in told["z"]
    assert told["f"] & {"skin", "trousers", "top", "hair"}


def test_information_is_that_of_latent_usage(library: Library) -> None:
    """Which decodes draws for its other figures: with them the page of latents took seconds to open."""
    few = library.source.at(library.positions[:5])
    codes = few.encode(library.run)
    usage = latent_usage(library.run.sampler(), Sequences.of(*few.batch), draws=2)
    found = information(codes.f, codes.f_scale).double()
    torch.testing.assert_close(found, usage.kl_static_per_dimension, rtol=1e-3, atol=1e-3)
    assert not information(codes.f, torch.zeros_like(codes.f)).sub(codes.f.var(0)).any()


def test_sample(library: Library, player: Player) -> None:
    view = PAGES["Sample"](library, player)
    control(view, pn.widgets.IntInput, "Seed").value = 5
    control(view, pn.widgets.RadioButtonGroup, "Keep").value = "f of the clip"
    (x,) = frames(library, next(iter(library.titles)))
    for text, clip in zip(shown(view)[1:], library.run.sample(4, seed=5, keep="static", x=x), strict=True):
        assert_shows(text, clip)
    control(view, pn.widgets.Button, "Draw others").param.trigger("clicks")
    assert_shows(shown(view)[1], library.run.sample(4, seed=6, keep="static", x=x)[0])


def test_interpolate(library: Library, player: Player) -> None:
    view = PAGES["Interpolate"](library, player)
    control(view, pn.widgets.RadioButtonGroup, "What changes").value = "f"
    control(view, pn.widgets.IntSlider, "Share of the way (%)").value = 30
    ends = [control(view, pn.widgets.Select, name).value for name in ("First clip", "Second clip")]
    way = library.run.interpolate(*frames(library, *ends), count=11, latent="static")
    assert_shows(shown(view)[1], way[3])


def test_map(library: Library, player: Player) -> None:
    view = PAGES["Map"](library, player)
    (plot,) = (pane.object for pane in view.select(pn.pane.Bokeh))
    source = plot.renderers[0].data_source
    source.selected.indices = [11]  # as a click does
    title = list(library.titles)[11]
    assert control(view, pn.widgets.Select, "Clip").value == title
    assert_shows(shown(view)[0], frames(library, title)[0][0])
    control(view, pn.widgets.Select, "Colour by").value = "action"
    action = library.labels["action"].values.tolist()
    assert len(set(source.data["colour"])) == len(set(action))
    assert len(set(zip(source.data["colour"], action, strict=True))) == len(set(action))


def test_projection_keeps_most_of_the_spread() -> None:
    """Against NumPy's eigenvectors of the covariance."""
    f = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1, 0.2, 2, 0.1])
    values = np.linalg.eigvalsh(np.cov(f.numpy().T))[::-1]
    np.testing.assert_allclose(project(f).var(0).numpy(), values[:2], rtol=1e-4)


def test_fill_in(library: Library, player: Player) -> None:
    view = PAGES["Fill in"](library, player)
    (plot,) = (pane.object for pane in view.select(pn.pane.Bokeh))
    x = frames(library, next(iter(library.titles)))[0]
    mask = torch.ones(x.shape, dtype=torch.bool)
    mask[..., 10:12, 5:9] = False
    mask[:, 2] = False
    control(view, pn.widgets.CheckButtonGroup, "Frames to erase").value = ["2"]
    cells = [row * 32 + column for row in (10, 11) for column in range(5, 9)]
    plot.renderers[0].data_source.selected.indices = cells  # as a dragged box does
    found = library.run.impute(x, mask, draws=20, method="amortised")
    assert_shows(shown(view)[1], found.mean[0])
    assert_shows(shown(view)[2], found.draws[0, 0])
    left = pixels(shown(view)[0])
    assert (left[2] == round(0.89 * 255)).all()
    assert (left[:, 10:12, 5:9] == round(0.89 * 255)).all()


def test_cells_of_vectors_are_single_values() -> None:
    mask = observed_of(torch.zeros(1, 6, 3), [0, 6 + 2], [5])
    assert (~mask).nonzero().tolist() == [[0, 0, 0], [0, 2, 1], *([0, 5, i] for i in range(3))]


def test_forecast(library: Library, player: Player) -> None:
    view = PAGES["Forecast"](library, player)
    given, horizon = (control(view, pn.widgets.IntSlider, f"Frames {name}") for name in ("given", "to forecast"))
    with param.edit_constant(given), param.edit_constant(horizon):
        given.param.update(value=4, value_throttled=4)
        horizon.param.update(value=9, value_throttled=9)
    (x,) = frames(library, next(iter(library.titles)))
    found = library.run.forecast(x[:, :4], 9, draws=20)
    seen = x[0, :4] / 255
    assert_shows(shown(view)[1], torch.cat([seen, found.mean[0]]))
    assert_shows(shown(view)[2], torch.cat([seen, found.means[0, 0]]))
    assert player.end == 12


def test_every_picture_has_words_and_every_page_opens(library: Library) -> None:
    view = page(library)
    chooser = control(view, pn.widgets.RadioButtonGroup, "Page")
    for name in chooser.options:
        chooser.value = name
        assert shown(view)
        assert all('role="img"' in text and 'aria-label="' in text for text in shown(view))


def test_a_report_of_ppc_has_a_link(library: Library) -> None:
    def title() -> str:
        return str(page(library).select(pn.pane.Markdown)[0].object)

    assert "href" not in title()
    report = report_of(library)
    assert report == library.run.path / "ppc" / "report.html"
    report.parent.mkdir()
    report.touch()
    try:
        assert f'<a href="{REPORT}"' in title()
    finally:
        shutil.rmtree(report.parent)


def gif(size: int) -> bytes:
    buffer = io.BytesIO()
    pages = [Image.fromarray(np.full((size, size, 3), 40 * i, np.uint8)) for i in range(4)]
    pages[0].save(buffer, "GIF", save_all=True, append_images=pages[1:], duration=100)
    return buffer.getvalue()


def test_an_uploaded_clip_is_read_as_the_commands_read_it(library: Library) -> None:
    buffer = io.BytesIO()
    (x,) = frames(library, list(library.titles)[5])
    np.savez(buffer, frames=x[0].numpy())
    found = read_upload("my, clip.npz", buffer.getvalue(), library.source)
    assert found.names == ("my, clip.npz",)
    torch.testing.assert_close(found.batch.x, x / 255)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.py", b"print('run')", "a.py: a clip is one of .npz, .gif"),
        ("a.gif", b"GIF89a and then nothing", "a.gif"),
        ("a.npz", gif(32), "a.npz"),
        ("../../etc/a.npz", b"PK\x03\x04", "a.npz"),
        ("a.png", b"\0" * (LARGEST + 1), "a.png has 16.0 MB; at most 16 MB can be uploaded"),
        ("a.gif", gif(20), "20"),
    ],
)
def test_an_upload_that_is_no_clip_of_this_run_is_one_line(
    library: Library, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")) as refused:
        read_upload(name, content, library.source)
    assert "/" not in str(refused.value).split()[0]
    assert "\n" not in str(refused.value)


def zeros() -> bytes:
    count = 600_000_000
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("frames.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (count,)})
        for _ in range(count // 1_000_000):
            member.write(bytes(1_000_000))
    return buffer.getvalue()


def long_gif() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("L", (2_000, 2_000), i) for i in range(40)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "made"), [("a.npz", zeros), ("a.gif", long_gif)])
def test_a_small_upload_that_takes_much_memory_is_refused(
    library: Library, name: str, made: Callable[[], bytes]
) -> None:
    content = made()
    assert len(content) < LARGEST
    with pytest.raises(UsageError, match=r"MB when it is unpacked; at most 500 MB"):
        read_upload(name, content, library.source, convert=True)


def test_the_name_of_an_upload_is_text_and_never_html(library: Library, player: Player) -> None:
    view = swap_page(library, player)
    upload = view.select(pn.widgets.FileDropper)[0]
    upload.value = {"<img src=x onerror=alert(1)>.gif": b"no picture"}
    alert = view.select(pn.pane.Alert)[0].object
    assert alert.startswith("&lt;img src=x onerror=alert(1)&gt;.gif")
    upload.value = {"<script>alert(1)</script>.gif": gif(32)}
    assert not any("<script>" in text or "script&gt;" not in text for text in shown(view)[:1])


def test_an_upload_of_another_size_is_converted_when_the_reader_says_so(library: Library, player: Player) -> None:
    view = swap_page(library, player)
    before = shown(view)
    upload = view.select(pn.widgets.FileDropper)[0]
    upload.value = {"large.gif": gif(64)}
    alert = view.select(pn.pane.Alert)[0]
    assert alert.visible
    assert "64" in alert.object
    assert shown(view) == before
    convert = view.select(pn.widgets.Button)[0]
    assert convert.visible
    convert.param.trigger("clicks")
    assert not alert.visible
    assert pixels(shown(view)[0]).shape == (4, 32, 32, 3)
    assert not upload.value, "what was uploaded is kept"
