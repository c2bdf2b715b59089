"""Who is let in, how the command ends, and what it says where something is wrong."""

import asyncio
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import panel as pn
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from pyro_dsvae import explore, pretrained
from pyro_dsvae.explorer.server import Report, opened, serve
from pyro_dsvae.models.errors import UsageError

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command without a browser and without a display, and the address that it prints."""
    command = [sys.executable, "-m", "pyro_dsvae.explore"]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=environment
    ) as running:
        assert running.stdout is not None
        yield running, running.stdout.readline().removeprefix("open: ").strip()
        running.kill()


def status(address: str, path: str, host: str | None = None, **headers: str) -> int:
    port = urlparse(address).port
    connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host or f"localhost:{port}", **headers})
        with connection.getresponse() as response:
            return response.status


def test_only_those_who_know_the_address_are_let_in(server: tuple[subprocess.Popen[str], str]) -> None:
    _, address = server
    path = urlparse(address).path
    port = urlparse(address).port
    assert len(path) > 20
    assert status(address, path) == 200
    assert status(address, f"{path}favicon.ico") == 200
    assert status(address, f"{path}ppc.html") == 404, "there is no report"
    for refused in ("/", "/static/js/bokeh.min.js", path[:-2] + "/", "/x" + path, path[:-1] + "x/"):
        assert status(address, refused) == 403, refused
    for host in ("example.org", f"example.org:{port}", "localhost"):
        assert status(address, path, host) == 403, host
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert status(address, f"{path}ws", Origin="http://example.org", **upgrade) == 403
    assert status(address, "/ws", Origin=f"http://localhost:{port}", **upgrade) == 403


def test_a_request_to_stop_ends_it_cleanly(server: tuple[subprocess.Popen[str], str]) -> None:
    """The last test of the server. It also said that there is no browser."""
    running, _ = server
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.read() == "Ctrl-C ends it\n"
    said, *refused = running.stderr.read().splitlines()
    assert said == "no browser can be opened here; open that address yourself"
    others = [line for line in refused if not line.startswith(("403 ", "404 "))]
    assert all("Refusing websocket connection from Origin 'http://example.org'" in line for line in others), others


def test_a_report_of_ppc_is_served_as_it_is_now_and_runs_no_scripts(tmp_path: Path) -> None:
    report = tmp_path / "report.html"

    async def answers() -> tuple[int, HTTPResponse]:
        (listener,) = bind_sockets(0, "127.0.0.1")
        HTTPServer(Application([("/ppc.html", Report, {"path": report})])).add_socket(listener)
        client, address = AsyncHTTPClient(), f"http://127.0.0.1:{listener.getsockname()[1]}/ppc.html"
        before = await client.fetch(address, raise_error=False)
        report.write_text("all is well")
        return before.code, await client.fetch(address)

    before, after = asyncio.run(answers())
    assert before == 404
    assert after.body == b"all is well"
    assert "sandbox; default-src 'none'" in after.headers["Content-Security-Policy"]


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use"):
            serve(pn.Column, "title", Path("report.html"), port, browser=False)


def test_a_browser_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert not opened("http://localhost")


def refused(*arguments: str) -> str:
    with pytest.raises(UsageError) as error:
        explore.main([*arguments])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_the_reader_got_wrong_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no run" in refused(str(tmp_path / "nowhere"))
    shutil.copytree(pretrained.FOLDER / "sprites", tmp_path / "damaged")
    (tmp_path / "damaged" / "best.pt").write_bytes(b"PK" + bytes(1000))
    assert "damaged" in refused(str(tmp_path / "damaged"), "--no-browser")
    assert "holds no finished comparison" in refused("sprites", "--compare", str(tmp_path))
    assert "port is 70000" in refused("--port", "70000")
    (tmp_path / "page.html").write_text("mine")
    page = str(tmp_path / "page.html")
    assert (
        refused("--export", page)
        == f"{page} exists; name another place with --export, or replace it with --overwrite true"
    )
    assert refused("--export", f"{page}/new.html").endswith("is a file; name another place with --export")
    assert "leave out --compare" in refused("--export", str(tmp_path / "new.html"), "--compare", "OUT")
    for served in (["--port", "8000"], ["--no-browser"]):
        assert "serves no page; leave out --port" in refused("--export", str(tmp_path / "new.html"), *served)
    assert "name the file with --export" in refused("--overwrite")
    assert "nowhere holds no run" in refused("--no-browser", str(tmp_path / "nowhere")), "the flag takes no value"
    monkeypatch.setitem(sys.modules, "panel", None)
    assert "pip install 'pyro-dsvae[explore]'" in refused("sprites")
