"""One page of a browser, driven as a reader drives it."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, WebSocket
from torch import Tensor

from pyro_dsvae.clips.writing import to_bytes
from tests.explorer.strips import pixels

PATIENCE = 30_000  # milliseconds, for machines that do much else


@dataclass
class Tab:
    """A page of the browser, and what it complained of, asked for and told the server."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str | None] = field(default_factory=set)
    sent: int = 0

    @classmethod
    def open(cls, context: BrowserContext, address: str) -> "Tab":
        tab = cls(context.new_page())
        tab.page.set_default_timeout(PATIENCE)

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                tab.complaints.append(message.text)

        tab.page.on("console", heard)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("request", lambda request: tab.hosts.add(urlparse(request.url).hostname))

        def told(message: object) -> None:
            tab.sent += 1

        def connected(socket: WebSocket) -> None:
            tab.hosts.add(urlparse(socket.url).hostname)
            socket.on("framesent", told)

        tab.page.on("websocket", connected)
        tab.page.goto(address)
        tab.clips.first.wait_for()
        return tab

    @property
    def clips(self) -> Locator:
        return self.page.locator(".clip")

    def turn(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def to(self, page: str, first: str) -> None:
        """Turn to a page, whose first clip has this caption."""
        self.turn(page)
        self.page.locator("figcaption").first.get_by_text(first, exact=True).wait_for()

    def select(self, name: str) -> Locator:
        return self.page.get_by_role("combobox", name=name, exact=True)

    def options(self, name: str) -> list[str]:
        return self.select(name).locator("option").all_inner_texts()

    def slide(self, name: str, *keys: str) -> None:
        """Move a slider by keyboard."""
        for key in keys:
            self.page.get_by_role("slider", name=name, exact=True).first.press(key)

    def html(self, place: int) -> str:
        """That of a clip."""
        found: str = self.clips.nth(place).evaluate("clip => clip.outerHTML")
        return found

    def shows(self, place: int, clip: Tensor) -> bool:
        """Whether a clip of the page is this one, to the pixel, or soon becomes it."""
        wanted = to_bytes(clip)
        for _ in range(PATIENCE // 200):
            found = pixels(self.html(place))
            if found.shape == wanted.shape and (found == wanted).all():
                return True
            self.page.wait_for_timeout(200)
        return False

    def upload(self, place: int, file: Path) -> None:
        self.page.locator("input[type=file]").nth(place).set_input_files(file)

    def check(self) -> None:
        """Nothing was wrong, and nothing came from elsewhere."""
        complaints, self.complaints = self.complaints, []
        assert not complaints, complaints
        assert self.hosts <= {"localhost", "", None}, self.hosts

    def close(self) -> None:
        self.check()
        self.page.close()
