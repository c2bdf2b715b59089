"""Pages in a real browser: clips to the pixel what the Python API returns, and nothing from elsewhere."""

import asyncio
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from torch import Tensor
from tornado.platform.asyncio import AsyncIOLoop

from pyro_dsvae.clips.writing import write_npz
from pyro_dsvae.explorer import server
from pyro_dsvae.explorer.dimensions import used
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.page import page, report_of
from pyro_dsvae.explorer.pages.latents import NUMBER
from tests.explorer.tab import Tab

Result = TypeVar("Result")
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
