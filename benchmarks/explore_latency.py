"""How long the page of explore takes to answer each of its controls, as the reader's browser sees it.

  python benchmarks/explore_latency.py                     # the run that ships; half a minute on a quiet machine
  python benchmarks/explore_latency.py runs/clips --repeats 20

Needs the extras explore and dev, and Chromium. The time runs from the event of the mouse or the keyboard to the first frame of
the browser in which a clip of the page differs. It holds the way to the server and back, the model, and the drawing. Every
control is used a few times; the first use, which may make what the others find, is among them.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from playwright.sync_api import Page, sync_playwright

# All clips of the page, also those in the shadow trees of Bokeh, and when they were first seen to differ after an event.
WATCH = """() => {
  const all = root => [...root.querySelectorAll('*')].flatMap(e => [
    ...(e.classList.contains('clip') && e.checkVisibility() ? [e.outerHTML] : []), ...(e.shadowRoot ? all(e.shadowRoot) : [])])
  const before = all(document).join()
  window.begun = window.answered = null
  for (const kind of ['click', 'input', 'keydown'])
    document.addEventListener(kind, () => window.begun ??= performance.now(), {capture: true, once: true})
  const look = now => {
    if (window.begun && all(document).join() != before) window.answered = performance.now() - window.begun
    else requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}"""


@contextmanager
def served(run: str) -> Iterator[str]:
    """The address of the page."""
    command = [sys.executable, "-m", "pyro_dsvae.explore", run, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().removeprefix("open: ").strip()
        finally:
            server.terminate()


def controls(page: Page) -> list[tuple[str, str, Callable[[int], None]]]:
    """Page, control, and what uses it for the i-th time, so that a clip of the page changes."""

    def button(name: str) -> Callable[[int], None]:
        return lambda i: page.get_by_role("button", name=name, exact=True).click()

    def either(*names: str) -> Callable[[int], None]:
        return lambda i: button(names[i % len(names)])(i)

    def select(name: str) -> Callable[[int], None]:
        box = page.get_by_role("combobox", name=name, exact=True)

        def choose(i: int) -> None:
            box.select_option(index=(3 + 2 * i) % box.locator("option").count())

        return choose

    def slider(place: int) -> Callable[[int], None]:
        return lambda i: page.locator(".noUi-handle:visible").nth(place).press(("End", "Home")[i % 2])

    return [
        ("Swap", "First clip", select("First clip")),
        ("Latents", "a slider of f", slider(2)),
        ("Latents", "Clip", select("Clip")),
        ("Sample", "Draw others", button("Draw others")),
        ("Sample", "Keep", either("f of the clip", "z of the clip")),
        ("Interpolate", "First clip", select("First clip")),
        ("Interpolate", "Share of the way", slider(2)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="sprites")
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or sys.exit("needs Chromium: apt-get install chromium")
    print("| page | control | median, ms | slowest, ms |\n|---|---|---|---|")
    with served(options.run) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.locator(".clip").first.wait_for()
        page.get_by_role("button", name="Play", exact=True).click()
        for name, control, use in controls(page):
            page.get_by_role("button", name=name, exact=True).click()
            page.wait_for_timeout(1000)
            taken = []
            for i in range(options.repeats):
                page.evaluate(WATCH)
                use(i)
                page.wait_for_function("window.answered !== null", timeout=60_000)
                taken.append(page.evaluate("window.answered"))
                page.wait_for_timeout(200)
            print(f"| {name} | {control} | {median(taken):.0f} | {max(taken):.0f} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
