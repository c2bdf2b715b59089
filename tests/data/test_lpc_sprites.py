"""LPC sprites: the composed data against the data set's published facts, the cache, and the download."""

import errno
import hashlib
import http.server
import io
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pyro_dsvae.data import lpc_sprites
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.lpc_sprites import ACTIONS, CLASSES, SHA256, LPCSprites
from pyro_dsvae.models.errors import UsageError

ART = Path(os.environ.get("PYRO_DSVAE_LPC") or Path(__file__).parents[2].parent / "shared/data/sprites/lpc")
needs_art = pytest.mark.skipif(
    not (ART / "shoes/1.png").is_file(), reason=f"the LPC sheets are not in {ART}; set PYRO_DSVAE_LPC to their folder"
)
# For a cell of the sheets, by action label: its row; by action: its column in each frame.
ROWS = {"walk": (10, 9, 11), "spell": (2, 1, 3), "slash": (14, 13, 15)}
COLUMNS = {"walk": (8, 1, 2, 3, 4, 5, 6, 7), "spell": (0, 1, 2, 3, 4, 5, 4, 6), "slash": (0, 1, 2, 3, 4, 5, 4, 0)}
PLACES = {"body": 216, "bottomwear": 36, "topwear": 6, "hair": 1}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test touches the user's cache; composed files do not stay in pytest's folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return LPCSprites(str(ART), cache=False).load()


@pytest.fixture(scope="module")
def colours(data: SequenceData) -> tuple[NDArray[np.uint8], int]:
    """Every pixel as its number in the palette, (1296, 9, 8, 4096), black being 0, and the number of colours."""
    table = np.zeros(1 << 24, np.uint8)
    seen = np.zeros(1 << 24, bool)

    def codes(i: int) -> NDArray[np.int32]:
        red, green, blue = data.frames[i * 9 : i * 9 + 9].numpy().transpose(2, 0, 1, 3, 4).astype(np.int32)
        return red << 16 | green << 8 | blue

    for i in range(1296):
        seen[codes(i)] = True
    palette = seen.nonzero()[0]
    assert palette[0] == 0
    assert len(palette) <= 256
    table[palette] = np.arange(len(palette))
    indexed = np.empty((1296, 9, 8, 4096), np.uint8)
    for i in range(1296):
        indexed[i] = table[codes(i)].reshape(9, 8, 4096)
    return indexed, len(palette)


def pil_frames(body: int, bottomwear: int, topwear: int, hair: int) -> NDArray[np.uint8]:
    """(9, 8, 3, 64, 64) of one character, composed by PIL as whole sheets."""
    whole = Image.new("RGBA", (832, 1344), "black")
    parts = {"body": body, "bottomwear": bottomwear, "topwear": topwear, "hair": hair, "shoes": 1}
    for part, i in parts.items():
        with Image.open(ART / part / f"{i}.png") as sheet:
            whole = Image.alpha_composite(whole, sheet.convert("RGBA"))
    pixels = np.asarray(whole)
    assert (pixels[..., 3] == 255).all()
    cells = [
        pixels[64 * row : 64 * row + 64, 64 * column : 64 * column + 64, :3]
        for action, rows in ROWS.items()
        for row in rows
        for column in COLUMNS[action]
    ]
    return np.stack(cells).reshape(9, 8, 64, 64, 3).transpose(0, 1, 4, 2, 3)


# --- the composed data -------------------------------------------------------------------------------------------


@needs_art
def test_shapes_and_labels(data: SequenceData) -> None:
    assert data.frames.shape == (11664, 8, 3, 64, 64)
    assert data.frames.dtype == torch.uint8
    assert (data.lengths, data.mask, data.times) == (None, None, None)
    assert list(data.labels) == ["action", "body", "bottomwear", "topwear", "hair"]
    index = torch.arange(11664)
    assert torch.equal(data.labels["action"].values, index % 9)
    assert data.labels["action"].role == "dynamic"
    assert data.labels["action"].classes == ACTIONS
    assert ACTIONS[:4] == ("walk front", "walk left", "walk right", "spell front")
    assert ACTIONS[4:] == ("spell left", "spell right", "slash front", "slash left", "slash right")
    for name, place in PLACES.items():
        label = data.labels[name]
        assert torch.equal(label.values, index // 9 // place % 6)
        assert (label.role, label.classes, len(set(label.classes))) == ("static", CLASSES[name], 6)


@needs_art
def test_frames_are_those_of_pil(data: SequenceData) -> None:
    # Together they have every variant of every part, the sheets with half-transparent pixels several times.
    characters = [(i, (i + s) % 6, (i + 2 * s) % 6, (i + 3 * s) % 6) for i in range(6) for s in (0, 1)]
    for character in [*characters, (0, 1, 1, 0), (3, 4, 3, 1), (0, 4, 4, 2), (4, 3, 0, 4)]:
        start = 9 * sum(i * place for i, place in zip(character, PLACES.values(), strict=True))
        assert np.array_equal(data.frames[start : start + 9].numpy(), pil_frames(*character)), character


@needs_art
def test_palette_and_brightness(data: SequenceData, colours: tuple[NDArray[np.uint8], int]) -> None:
    indexed, count = colours
    assert count == 190
    assert np.count_nonzero(indexed) / indexed.size == pytest.approx(0.23, abs=0.005)
    assert data.frames.numpy().mean() == pytest.approx(23.09, abs=0.005)


@needs_art
def test_different_sequences_and_frames(colours: tuple[NDArray[np.uint8], int]) -> None:
    def distinct(rows: NDArray[np.uint8]) -> int:
        return len({hashlib.blake2b(row.data, digest_size=16).digest() for row in rows})

    assert distinct(colours[0].reshape(11664, -1)) == 11664
    assert distinct(colours[0].reshape(93312, -1)) == 81168


@needs_art
def test_every_attribute_changes_every_frame(colours: tuple[NDArray[np.uint8], int]) -> None:
    grid = colours[0].reshape(6, 6, 6, 6, 72, 4096)
    least = {}
    for axis, name in enumerate(PLACES):
        by_variant = np.moveaxis(grid, axis, 0)
        least[name] = min(
            int(np.count_nonzero(one[others] != two[others], axis=1).min())
            for one, two in combinations(by_variant, 2)
            for others in np.ndindex(6, 6, 6)
        )
    assert least == {"body": 92, "bottomwear": 43, "topwear": 126, "hair": 259}


@needs_art
def test_repeated_frames(colours: tuple[NDArray[np.uint8], int]) -> None:
    walk, spell, slash = (colours[0][:, i : i + 3] for i in (0, 3, 6))  # (1296, 3, 8, 4096)
    assert np.array_equal(spell[:, :, 6], spell[:, :, 4])
    assert np.array_equal(slash[:, :, 6], slash[:, :, 4])
    assert np.array_equal(slash[:, :, 7], slash[:, :, 0])
    assert int((spell[:, :, 0] == slash[:, :, 0]).all(-1).sum()) == 480
    assert not (walk[:, :, 6] == walk[:, :, 4]).all(-1).any()


@needs_art
def test_split_is_the_literatures(data: SequenceData) -> None:
    assert torch.bincount(data.split).tolist() == [8100, 900, 2664]
    assert torch.equal(data.split.view(1296, 9), lpc_sprites.character_split()[:, None].expand(-1, 9))
    tested = (data.split == 2).nonzero().squeeze(1)
    counts = {name: torch.bincount(data.labels[name].values[tested[::9]], minlength=6).tolist() for name in PLACES}
    assert counts == {
        "body": [52, 53, 49, 48, 44, 50],
        "bottomwear": [50, 49, 48, 52, 43, 54],
        "topwear": [50, 47, 50, 45, 57, 47],
        "hair": [49, 51, 52, 46, 48, 50],
    }


@needs_art
def test_smaller_frames_are_means_and_come_from_the_cache(data: SequenceData, tmp_path: Path) -> None:
    composed = LPCSprites(str(ART), size=32).load().frames
    assert composed.shape == (11664, 8, 3, 32, 32)
    for i in range(0, 11664, 1000):
        squares = data.frames[i].numpy().astype(int).reshape(8, 3, 32, 2, 32, 2)
        assert np.array_equal(composed[i].numpy(), (squares.sum((3, 5)) + 2) // 4)
    (file,) = (tmp_path / "cache/pyro_dsvae/composed").iterdir()
    before = file.stat().st_mtime_ns
    cached = LPCSprites(str(ART), size=32).load().frames
    assert torch.equal(cached, composed)
    assert file.stat().st_mtime_ns == before
    # An ordinary NumPy file, too.
    assert np.array_equal(np.load(file, mmap_mode="r")[5000], composed[5000].numpy())


# --- without the art ---------------------------------------------------------------------------------------------


def test_permutation_of_the_split() -> None:
    order = np.random.RandomState(423).permutation(1296).tolist()
    assert order[:10] == [1116, 1135, 17, 469, 1293, 491, 869, 961, 91, 793]
    assert order[1000:1010] == [884, 1285, 252, 297, 947, 713, 1063, 643, 299, 523]
    assert order[-5:] == [1144, 623, 26, 56, 1262]
    split = lpc_sprites.character_split()
    assert split[order].tolist() == [0] * 900 + [1] * 100 + [2] * 296


def test_means_round_halves_up() -> None:
    frames = np.zeros((1, 64, 64), np.uint8)
    frames[0, :2, :8] = [[0, 1, 0, 1, 255, 255, 0, 0], [0, 0, 1, 0, 255, 255, 0, 3]]
    assert lpc_sprites._pool(frames, 32)[0, 0, :4].tolist() == [0, 1, 255, 1]
    # Sixteen values with the sums 3 and 1023.
    assert lpc_sprites._pool(frames, 16)[0, 0, :2].tolist() == [0, 64]
    assert lpc_sprites._pool(frames, 64) is frames


def test_default_root_honours_the_xdg_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LPCSprites().root == tmp_path / "cache/pyro_dsvae/lpc"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert LPCSprites().root == tmp_path / ".cache/pyro_dsvae/lpc"
    assert LPCSprites("~/art").root == tmp_path / "art"


def test_size_is_checked() -> None:
    with pytest.raises(UsageError, match="size = 48; LPC sprites come in 64, 32 or 16 pixels"):
        LPCSprites(size=48)


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing; .*--data.download true"),
        (b"", "is damaged: it cannot be read as an image; fetch it anew with --data.download true"),
        (b"not an image", "is damaged"),
        (png((832, 1344))[:-200], "is damaged"),
        (png((64, 65)), "is 64 x 65 pixels, not 832 x 1344"),
        (png((832, 1344)), r"is not the art of the Sprites data set \(its SHA-256 differs\)"),
    ],
    ids=["missing", "empty", "text", "truncated", "size", "other art"],
)
def test_sheets_are_verified(tmp_path: Path, content: bytes | None, words: str) -> None:
    (tmp_path / "body").mkdir()
    if content is not None:
        (tmp_path / "body/0.png").write_bytes(content)
    with pytest.raises(UsageError, match=f"body/0.png {words}") as caught:
        LPCSprites(str(tmp_path)).load()
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "body/0.png").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"body/0\.png cannot be read"):
        LPCSprites(str(tmp_path)).load()


# --- the cache, with stand-ins for art and composition -------------------------------------------------------------


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Stand-ins for the 25 sheets, which the digest table now asks for."""
    contents = {name: (name * 50).encode() for name in SHA256}
    monkeypatch.setattr(lpc_sprites, "SHA256", {n: hashlib.sha256(c).hexdigest() for n, c in contents.items()})
    return contents


@pytest.fixture
def composed(sheets: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stand-ins in tmp_path/art; the list grows with each composition, whose character i is all i % 251."""
    for name, content in sheets.items():
        (tmp_path / "art" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "art" / name).write_bytes(content)
    calls: list[int] = []

    def compose(_: dict[str, bytes], size: int) -> Iterator[NDArray[np.uint8]]:
        calls.append(size)
        return (np.full((9, 8, 3, size, size), i % 251, np.uint8) for i in range(1296))

    monkeypatch.setattr(lpc_sprites, "compose", compose)
    return calls


def frames_of(tmp_path: Path, **options: Any) -> torch.Tensor:
    """Load the stand-ins and check the frames."""
    frames = LPCSprites(str(tmp_path / "art"), size=16, **options).load().frames
    assert torch.equal(frames[:, 0, 0, 0, 0], torch.arange(11664).div(9, rounding_mode="floor").fmod(251).byte())
    return frames


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.*"))


def test_cache_is_read_the_second_time(composed: list[int], tmp_path: Path) -> None:
    frames_of(tmp_path)
    frames_of(tmp_path)
    assert composed == [16]
    assert len(cache_files(tmp_path)) == 1


def test_writing_to_cached_frames_leaves_the_file_alone(composed: list[int], tmp_path: Path) -> None:
    frames_of(tmp_path).fill_(7)
    assert frames_of(tmp_path).max() == 250
    assert composed == [16]


def test_cache_can_be_switched_off(composed: list[int], tmp_path: Path) -> None:
    frames_of(tmp_path, cache=False)
    frames_of(tmp_path, cache=False)
    assert composed == [16, 16]
    assert cache_files(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "longer", "flipped"])
def test_damaged_cache_is_composed_anew(composed: list[int], tmp_path: Path, damage: str) -> None:
    frames_of(tmp_path)
    (file,) = cache_files(tmp_path)
    size = file.stat().st_size
    with file.open("r+b") as stream:
        if damage == "flipped":
            stream.seek(size // 2)
            stream.write(b"\xff")
        else:
            stream.truncate({"truncated": size - 1, "empty": 0, "longer": size + 1}[damage])
    frames_of(tmp_path)
    assert composed == [16, 16]
    frames_of(tmp_path)  # the damaged file was replaced
    assert composed == [16, 16]
    assert cache_files(tmp_path) == [file]


def test_unwritable_cache_is_not_fatal(composed: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    frames_of(tmp_path)
    assert composed[-1] == 16
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "composed sprites are not cached in" in record.message
    assert "\n" not in record.message
    (tmp_path / "cache").unlink()


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_broken_off_writing_leaves_no_file(
    composed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    class Limited(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 1 << 20:
                raise failure
            return super().write(data)

    real = Path.open

    def full(path: Path, mode: str = "r", **options: Any) -> Any:
        return Limited(path, mode) if path.suffix == ".part" else real(path, mode, **options)

    monkeypatch.setattr(Path, "open", full)
    if isinstance(failure, OSError):
        frames_of(tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            frames_of(tmp_path)
    assert cache_files(tmp_path) == []
    assert composed[0] == 16


# --- the download, from a server of our own ------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `contents`; `log` holds (path, Range header) of each request."""

    contents: dict[str, bytes]
    ranges = True  # honour Range requests
    cut: int | None = None  # break off after so many bytes
    log: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.log.append((name, wanted))
        content = self.server.contents.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(sheets: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.contents, running.log = dict(sheets), []
        monkeypatch.setattr(lpc_sprites, "_BASE_URL", f"http://127.0.0.1:{running.server_port}/")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def download(tmp_path: Path) -> None:
    lpc_sprites._download(tmp_path / "art")


def refusal(tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        download(tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def found(tmp_path: Path) -> dict[str, bytes]:
    """Every file below the root."""
    root = tmp_path / "art"
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def put_part(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "art/body").mkdir(parents=True)
    (tmp_path / "art/body/0.png.part").write_bytes(content)


def test_published_files() -> None:
    assert lpc_sprites._BASE_URL.startswith("https://raw.githubusercontent.com/YingzhenLi/Sprites/3ce4048c52278")
    assert lpc_sprites._BASE_URL.endswith("0c/")
    assert sorted(SHA256) == sorted([f"{part}/{i}.png" for part in PLACES for i in range(6)] + ["shoes/1.png"])
    assert len(set(SHA256.values())) == 25


def test_download_fetches_everything_once(
    server: Server, sheets: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert "CC-BY-SA 3.0 or GPL 3.0" in caplog.text
    download(tmp_path)
    assert [name for name, _ in server.log] == list(sheets)


def test_load_downloads_only_when_asked(server: Server, composed: list[int], tmp_path: Path) -> None:
    (tmp_path / "art/hair/3.png").unlink()
    with pytest.raises(UsageError, match=r"hair/3\.png is missing"):
        frames_of(tmp_path)
    assert server.log == []
    frames_of(tmp_path, download=True)
    assert server.log == [("hair/3.png", None)]
    assert composed == [16]


def test_other_art_is_replaced(server: Server, sheets: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "art/body").mkdir(parents=True)
    (tmp_path / "art/body/0.png").write_bytes(b"other")
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert len(server.log) == 25


@pytest.mark.parametrize("ranges", [True, False])
def test_partial_file_is_continued(server: Server, sheets: dict[str, bytes], tmp_path: Path, ranges: bool) -> None:
    server.ranges = ranges
    put_part(tmp_path, sheets["body/0.png"][:100])
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert server.log[0] == ("body/0.png", "bytes=100-")
    assert len(server.log) == 25


def test_whole_partial_file_needs_no_request(server: Server, sheets: dict[str, bytes], tmp_path: Path) -> None:
    put_part(tmp_path, sheets["body/0.png"])
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert len(server.log) == 24


@pytest.mark.parametrize("length", [100, 10_000], ids=["spoiled", "too long"])
def test_spoiled_partial_file_is_fetched_anew(
    server: Server, sheets: dict[str, bytes], tmp_path: Path, length: int
) -> None:
    put_part(tmp_path, b"?" * length)
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert server.log[:2] == [("body/0.png", f"bytes={length}-"), ("body/0.png", None)]


def test_broken_connection_keeps_what_came(server: Server, sheets: dict[str, bytes], tmp_path: Path) -> None:
    server.cut = 50
    assert "body/0.png broke off; try again" in refusal(tmp_path)
    assert found(tmp_path) == {"body/0.png.part": sheets["body/0.png"][:50]}
    server.cut = None
    download(tmp_path)
    assert found(tmp_path) == sheets
    assert server.log[1] == ("body/0.png", "bytes=50-")


def test_wrong_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.contents["body/0.png"] = b"something else"
    assert "body/0.png is not the expected file (its SHA-256 differs)" in refusal(tmp_path)
    assert found(tmp_path) == {}


def test_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    server.contents.clear()
    assert "body/0.png cannot be fetched: the server answers 404 Not Found" in refusal(tmp_path)
    assert found(tmp_path) == {}


def test_offline(sheets: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(lpc_sprites, "_BASE_URL", f"http://{host}/")
        line = refusal(tmp_path)
    assert line.startswith(f"{host} cannot be reached for http://{host}/{next(iter(sheets))}")
    assert f"try again online, or put the file at {tmp_path / 'art/body/0.png'}" in line
    assert found(tmp_path) == {}


def test_unwritable_root(server: Server, tmp_path: Path) -> None:
    (tmp_path / "art").write_text("a file where the folder should be")
    assert "body/0.png cannot be written: " in refusal(tmp_path)
    assert server.log == []
