"""Pages in a real browser: clips to the pixel what the Python API returns, and nothing from elsewhere."""

import asyncio
import queue
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from torch import Tensor
from tornado.platform.asyncio import AsyncIOLoop

from pyro_dsvae.checks.html import document
from pyro_dsvae.clips.writing import write_npz
from pyro_dsvae.explorer import server
from pyro_dsvae.explorer.dimensions import used
from pyro_dsvae.explorer.export import write_page
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.page import PAGES, page, report_of
from pyro_dsvae.explorer.pages.latents import NUMBER
from tests.explorer.strips import pixels
from tests.explorer.tab import Tab

Result = TypeVar("Result")
# The first caption of each page that begins with another than "Clip".
FIRST = {"Swap": "First clip", "Latents": "Reconstruction", "Interpolate": "First clip", "Fill in": "What is left"}
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


class Served:
    """The page, and what the tests compute: both in one thread, because Pyro has one stack of handlers."""

    def __init__(self, library: Library) -> None:
        self._loop = AsyncIOLoop(make_current=False)
        opened: queue.Queue[str] = queue.Queue()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "opened", lambda address: opened.put(address) or True)
            arguments = (self._loop, lambda: page(library), "sprites", report_of(library), 0, True)
            self._thread = threading.Thread(target=server._serve, args=arguments)
            self._thread.start()
            self.address = opened.get(timeout=60)

    def __call__(self, compute: Callable[..., Result], *arguments: object, **named: object) -> Result:
        """What a function returns."""

        async def work() -> Result:
            return compute(*arguments, **named)

        return asyncio.run_coroutine_threadsafe(work(), self._loop.asyncio_loop).result(300)

    def stop(self) -> None:
        self._loop.add_callback(self._loop.stop)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close(all_fds=True)


@pytest.fixture(scope="module")
def api(library: Library) -> Iterator[Served]:
    """Served in this process, so that the data are made once: `test_server.py` looks at the command."""
    served = Served(library)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened(browser: Browser, api: Served) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Tab.open(context, api.address)
    context.close()


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    """One for all tests, which look at different pages; the first leaves it paused, which is faster."""
    yield opened
    opened.check()


@pytest.fixture(scope="module")
def clips(library: Library) -> Tensor:
    return library.source.data.part("validation").frames


def position(title: str) -> int:
    return int(title.partition(":")[0])


FRAME = "Number(getComputedStyle(document.documentElement).getPropertyValue('--frame'))"


def frame(tab: Tab) -> int:
    return int(tab.page.evaluate(FRAME))


def test_clips_play_pause_step_and_change_their_speed(tab: Tab) -> None:
    tab.page.wait_for_function(f"{FRAME} > 2")
    tab.slide("Frames a second", "End")
    for _ in range(2):
        tab.turn("Play")
    before = frame(tab)
    tab.page.wait_for_function(f"before => {FRAME} != before", arg=before)
    tab.turn("Frame on")
    stopped = frame(tab)
    for name in ("Frame back", "Frame on", "Frame on"):
        tab.turn(name)
    assert frame(tab) == (stopped + 1) % 8
    place = tab.clips.first.evaluate("clip => getComputedStyle(clip).backgroundPositionX")
    assert float(place.removesuffix("px")) == -160 * frame(tab)
    sent = tab.sent
    tab.turn("Play")
    for value in range(8):
        tab.page.wait_for_function(f"{FRAME} == {value}")
    assert tab.sent < sent + 8, "frames are told to the server"
    tab.turn("Play")
    tab.slide("Frame", "Home")
    assert frame(tab) == 0


def test_swaps_and_uploads(tab: Tab, api: Served, library: Library, clips: Tensor, tmp_path: Path) -> None:
    tab.to("Swap", "First clip")
    options = tab.options("First clip")
    a, b = (clips[position(options[i])][None] for i in (20, 33))
    tab.select("First clip").select_option(options[20])
    tab.select("Second clip").select_option(options[33])
    for place, clip in enumerate((a, b, api(library.run.swap, a, b), api(library.run.swap, b, a))):
        assert tab.shows(place, clip[0])
    write_npz(tmp_path / "mine.npz", {"frames": clips[7]}, {})
    tab.upload(0, tmp_path / "mine.npz")
    assert tab.shows(2, api(library.run.swap, clips[7:8], b)[0])
    (tmp_path / "wrong.gif").write_text("no picture")
    tab.upload(1, tmp_path / "wrong.gif")
    tab.page.get_by_role("alert").get_by_text("wrong.gif").wait_for()
    assert tab.shows(1, b[0])
    frames = [Image.fromarray(np.full((64, 64, 3), 40 * i, np.uint8)) for i in range(4)]
    frames[0].save(tmp_path / "large.gif", save_all=True, append_images=frames[1:])
    tab.upload(1, tmp_path / "large.gif")
    tab.turn("Convert it")
    assert tab.shows(1, torch.stack([torch.full((3, 32, 32), 40 * i, dtype=torch.uint8) for i in range(4)]))
    (tmp_path / "huge.npz").write_bytes(bytes(17_000_000))
    tab.upload(0, tmp_path / "huge.npz")
    tab.page.get_by_text("File is too large").first.wait_for()


def test_latents(tab: Tab, api: Served, library: Library, clips: Tensor) -> None:
    tab.to("Latents", "Reconstruction")
    codes = api(library.run.encode, clips[:1])
    own = api(library.run.decode, codes.f, codes.z)[0]
    assert tab.shows(1, own)
    f, z = codes.f.clone(), codes.z.clone()
    for dimension in [*used(library, "static", NUMBER), *used(library, "dynamic", NUMBER)]:
        tab.slide(dimension.name, "End")
        if dimension.latent == "static":
            f[:, dimension.index] = dimension.high
        else:
            z[..., dimension.index] += dimension.high
        assert tab.shows(1, api(library.run.decode, f, z)[0])
    tab.turn("Back to the clip")
    assert tab.shows(1, own)


def test_sample(tab: Tab, api: Served, library: Library, clips: Tensor) -> None:
    tab.to("Sample", "Clip")
    tab.turn("Draw others")
    assert tab.shows(1, api(library.run.sample, 4, seed=1)[0])
    tab.turn("f of the clip")
    assert tab.shows(1, api(library.run.sample, 4, seed=1, keep="static", x=clips[:1])[0])
    tab.turn("z of the clip")
    tab.page.get_by_label("Seed").fill("7")
    tab.page.get_by_label("Seed").press("Enter")
    assert tab.shows(4, api(library.run.sample, 4, seed=7, keep="dynamic", x=clips[:1])[3])


def test_interpolate(tab: Tab, api: Served, library: Library, clips: Tensor) -> None:
    tab.to("Interpolate", "First clip")
    ends = [clips[position(tab.select(name).input_value())][None] for name in ("First clip", "Second clip")]
    assert tab.shows(1, api(library.run.interpolate, *ends, count=11)[0])
    tab.slide("Share of the way (%)", "End", "ArrowLeft")
    assert tab.shows(1, api(library.run.interpolate, *ends, count=11)[9])
    tab.turn("z")
    assert tab.shows(1, api(library.run.interpolate, *ends, count=11, latent="dynamic")[9])


def test_forecast(tab: Tab, api: Served, library: Library, clips: Tensor) -> None:
    tab.to("Forecast", "Clip")
    for given, horizon in ((5, 8), (1, 16)):
        found = api(library.run.forecast, clips[:1, :given], horizon, draws=20)
        assert tab.shows(1, torch.cat([clips[0, :given] / 255, found.mean[0]]))
        tab.slide("Frames given", "Home")
        tab.slide("Frames to forecast", "End")


# On the screen, the point that is farthest to the right, so that no other lies on it.
POINT = """() => {
  const plot = Bokeh.documents.flatMap(d => [...d._all_models.values()]).find(m => m.type == 'Figure' && m.name == 'map')
  const view = plot && Bokeh.index.find_one(plot)
  if (!view) return false
  const data = plot.renderers[0].data_source.data, i = data.x.indexOf(Math.max(...data.x))
  const box = view.el.getBoundingClientRect(), {x_scale, y_scale} = view.frame
  return {x: box.x + x_scale.compute(data.x[i]), y: box.y + y_scale.compute(data.y[i]), title: data.title[i]}
}"""


def test_a_point_of_the_map_is_clicked(tab: Tab, clips: Tensor) -> None:
    tab.to("Map", "Clip")
    tab.select("Colour by").select_option("action")
    tab.page.locator("span:visible", has_text="walk front").first.wait_for()
    point = tab.page.wait_for_function(POINT).json_value()
    tab.page.mouse.click(point["x"], point["y"])
    assert tab.shows(0, clips[position(point["title"])])
    assert tab.select("Clip").input_value() == point["title"]


def test_pixels_that_are_erased_by_mouse_are_filled(tab: Tab, api: Served, library: Library, clips: Tensor) -> None:
    tab.to("Fill in", "What is left")
    assert tab.shows(0, clips[0])
    box = tab.page.locator(".bk-Figure:visible").first.bounding_box()
    assert box is not None
    tab.page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    tab.page.mouse.up()
    tab.page.locator('.clip[aria-label*=" values erased"]:not([aria-label*=" 0 values"])').wait_for()
    mask = torch.from_numpy((pixels(tab.html(0)) != 227).any(-1)).unsqueeze(1).expand(-1, 3, -1, -1)[None]
    assert 0 < int((~mask).sum()) < mask.numel() / 4
    assert tab.shows(1, api(library.run.impute, clips[:1], mask, draws=20, method="amortised").mean[0])
    tab.turn("Erase nothing")
    assert tab.shows(0, clips[0])


def test_a_narrow_window_is_not_moved_sideways(browser: Browser, api: Served) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 800})
    tab = Tab.open(context, api.address)
    tab.turn("Play")
    for name in PAGES:
        tab.to(name, FIRST.get(name, "Clip"))
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400, name
    tab.close()
    context.close()


def test_an_exported_page_needs_no_server(
    browser: Browser, api: Served, library: Library, clips: Tensor, tmp_path: Path
) -> None:
    """Nor any file beside it: what cannot be loaded is said in the console."""
    api(write_page, library, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 20_000_000
    context = browser.new_context(offline=True)
    tab = Tab.open(context, (tmp_path / "page.html").as_uri())
    tab.turn("Play")
    options = tab.options("f of")
    tab.select("f of").select_option(options[2])
    tab.select("z of").select_option(options[5])
    assert tab.shows(0, api(library.run.swap, *(clips[position(options[i])][None] for i in (2, 5)))[0])
    ends = [clips[position(tab.select(name).input_value())][None] for name in ("From", "To")]
    tab.slide("Share of the way (%)", "Home", "ArrowRight")
    assert tab.shows(1, api(library.run.interpolate, *ends, count=11)[1])
    tab.select("Clip").select_option(index=3)
    assert tab.shows(2, clips[position(tab.select("Clip").input_value())])
    tab.close()
    context.close()


def act(tab: Tab, choice: random.Random, count: int) -> None:
    """Use controls at random. The page may take one away meanwhile: then nothing happens, as to a user who is too late."""
    for _ in range(count):
        one = choice.choice(tab.page.locator("button:visible, select:visible, .noUi-handle:visible").element_handles())
        kind = one.evaluate("e => e.tagName")
        if kind == "SELECT":
            index = choice.randrange(one.evaluate("e => e.options.length"))
            one.evaluate("(e, i) => { e.selectedIndex = i; e.dispatchEvent(new Event('change')); }", index)
        elif kind == "BUTTON":
            one.evaluate("e => e.click()")
        else:
            one.evaluate("e => e.focus()")
            tab.page.keyboard.press(choice.choice(["ArrowLeft", "ArrowRight", "Home", "End"]))
        tab.page.wait_for_timeout(100)
    tab.to("Sample", "Clip")


def memory(tab: Tab) -> tuple[float, float]:
    """Bytes of the objects of the page, and the most that this process, which serves it, ever had."""
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("HeapProfiler.collectGarbage")
    return session.send("Runtime.getHeapUsage")["usedSize"], 1024 * getrusage(RUSAGE_SELF).ru_maxrss


def test_random_actions(tab: Tab, clips: Tensor) -> None:
    act(tab, random.Random(0), 20)
    tab.to("Swap", "First clip")
    tab.select("First clip").select_option(index=3)
    assert tab.shows(0, clips[position(tab.select("First clip").input_value())])
    assert not tab.complaints


@pytest.mark.slow
def test_a_thousand_random_actions_take_no_more_and_more_memory(tab: Tab) -> None:
    choice = random.Random(1)
    act(tab, choice, 300)
    before = memory(tab)
    act(tab, choice, 700)
    after = memory(tab)
    print(f"page and server, MB: {before}, then {after}")
    assert all(b < a + 100e6 for a, b in zip(before, after, strict=True))


def test_two_tabs_go_on_when_the_run_is_deleted(browser: Browser, api: Served, library: Library, clips: Tensor) -> None:
    """They also have the link to the report of ppc, which is not of a later day, and cannot run scripts."""
    report = report_of(library)
    report.parent.mkdir()
    report.write_text(document("Checks", ["<p>all is well</p><script>document.title = 'run'</script>"]))
    context = browser.new_context()
    one, other = (Tab.open(context, api.address) for _ in range(2))
    with context.expect_page() as opened:
        one.page.get_by_role("link", name="What ppc found").click()
    opened.value.get_by_text("all is well").wait_for()
    assert opened.value.title() == "Checks"
    run = library.run.path
    run.rename(run.with_name("gone"))
    try:
        gone = opened.value.reload()
        assert gone is not None
        assert gone.status == 404
        options = one.options("First clip")
        for tab, place in ((one, 9), (other, 14)):
            tab.select("First clip").select_option(options[place])
        for tab, place in ((one, 9), (other, 14)):
            assert tab.shows(0, clips[position(options[place])])
            tab.to("Sample", "Clip")
            assert tab.shows(1, api(library.run.sample, 4)[0])
            tab.close()
    finally:
        run.with_name("gone").rename(run)
        shutil.rmtree(report.parent)
    context.close()
