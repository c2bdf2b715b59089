"""The server of the page: on this machine alone, and for those alone who know its address."""

import os
import secrets
import socket
import sys
import warnings
import webbrowser
from collections.abc import Callable
from pathlib import Path

import panel as pn
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.routing import Matcher, Rule
from tornado.web import ErrorHandler, HTTPError, RequestHandler, StaticFileHandler

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import listening

ADDRESS, NAME = "127.0.0.1", "localhost"
# Which Bokeh serves without the prefix, where it would be refused.
ICON = (r"/(favicon\.ico)", StaticFileHandler, {"path": str(Path(pn.__file__).parent / "dist" / "images")})
REPORT = "ppc.html"  # below the token
LARGEST_MESSAGE = 4_000_000  # bytes; uploads come in pieces


class Report(RequestHandler):
    """Answers with the report of ppc, as it is at that moment. Its scripts, if someone put any there, do not run.

    Args:
        path: The file.
    """

    def initialize(self, path: Path) -> None:
        """Tornado's constructor."""
        self.path = path

    def get(self) -> None:
        """The answer."""
        if not self.path.is_file():
            raise HTTPError(404)
        self.set_header(
            "Content-Security-Policy", "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        )
        self.finish(self.path.read_bytes())


class Refused(Matcher):
    """Matches requests under another host's name, and those without the token.

    A page of another site can neither guess the token nor have the browser come here under a name of its own.

    Args:
        token: The first part of every path.
        port: Of the server.
    """

    def __init__(self, token: str, port: int) -> None:
        self.start = f"/{token}"
        self.host = f"{NAME}:{port}"

    def match(self, request: HTTPServerRequest) -> dict[str, object] | None:
        """None for a request that is let in."""
        path = request.path
        known = secrets.compare_digest(path[: len(self.start)].encode(), self.start.encode())
        return None if request.host == self.host and known and path[len(self.start) :][:1] in ("", "/") else {}


def serve(make: Callable[[], pn.viewable.Viewable], title: str, report: Path, port: int, browser: bool) -> None:
    """Serve the page until the process is asked to stop.

    Args:
        make: The page of one visitor.
        title: Of its window.
        report: Of ppc; served at `REPORT` where there is one.
        port: Where; 0 for one that is free.
        browser: Whether to open a browser.

    Raises:
        UsageError: Where the port cannot be had.
    """
    check_port(port)
    # What Bokeh says when a button of a page that was turned to is pressed; it means nothing to the reader.
    warnings.filterwarnings("ignore", "reference already known")
    loop = IOLoop(make_current=False)
    try:
        _serve(loop, make, title, report, port, browser)
    finally:
        loop.close(all_fds=True)


def _serve(
    loop: IOLoop, make: Callable[[], pn.viewable.Viewable], title: str, report: Path, port: int, browser: bool
) -> None:
    token = secrets.token_urlsafe(16)
    server = pn.io.server.get_server(
        make,
        port=port,
        address=ADDRESS,
        loop=loop,
        title=title,
        prefix=token,
        extra_patterns=[ICON, (f"/{REPORT}", Report, {"path": report})],
        websocket_max_message_size=LARGEST_MESSAGE,
    )
    # Before all of the server's own: those that are refused never come to them.
    server._tornado.default_router.rules.insert(
        0, Rule(Refused(token, server.port), ErrorHandler, {"status_code": 403})
    )
    address = f"http://{NAME}:{server.port}/{token}/"
    with listening(lambda number: loop.add_callback_from_signal(loop.stop)):
        server.start()
        print(f"open: {address}\nCtrl-C ends it", flush=True)
        if browser and not opened(address):
            print("no browser can be opened here; open that address yourself", file=sys.stderr, flush=True)
        loop.start()
    server.stop()


def check_port(port: int) -> None:
    """Raises `UsageError` where the port cannot be had."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # where it would share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise UsageError(
                f"port {port} is in use or not allowed; take another with --port, or leave it out for one that is free"
            ) from error


def opened(address: str) -> bool:
    """Whether a browser was opened; a browser of the terminal would take the terminal, and does not count."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
