"""The file of decoded windows: the same however often its making was stopped, and made anew where it is damaged."""

import contextlib
import errno
import os
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae import VideoFolder
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.folders import cache
from pyro_dsvae.data.video import windows
from pyro_dsvae.data.video.windows import Clip
from pyro_dsvae.models.errors import Remark, UsageError
from tests.data.videos import greys, noise, write_animation

CLIPS = 5


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five clips of four windows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(CLIPS):
        write_animation(tmp_path / "in" / f"{i}.png", noise(8, seed=i), 40)
    return tmp_path / "in"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the clips that are decoded."""
    names: list[str] = []
    real = windows.read_clip

    def noted(folder: Path, source: cache.Source, *rest: object) -> Clip:
        names.append(source.name)
        return real(folder, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(windows, "read_clip", noted)
    return names


def load(root: Path) -> SequenceData:
    return VideoFolder(root, window=2, height=12, width=16, validation=0.2, test=0.2).load()


def files(tmp_path: Path) -> dict[str, bytes]:
    """What lies in the cache."""
    (folder,) = (tmp_path / "cache" / "pyro_dsvae" / "video").iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_clip_is_decoded_once(root: Path, decoded: list[str], tmp_path: Path) -> None:
    first = load(root)
    assert len(decoded) == CLIPS
    assert list(files(tmp_path)) == ["clips"]
    first.frames[0] = 0  # the file stays as it is
    again = load(root)
    assert len(decoded) == CLIPS
    assert torch.equal(again.frames[0, 0].permute(1, 2, 0), torch.from_numpy(noise(8)[0]))


@pytest.mark.parametrize("stop", [0, 1, 5, 11, 17, 19])
def test_making_that_was_stopped_goes_on_to_the_same_file(
    stop: int, root: Path, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many windows, and again two windows later. A killed process leaves half a window and half a line."""
    whole = load(root)
    expected = files(tmp_path)["clips"]
    (folder,) = (tmp_path / "cache" / "pyro_dsvae" / "video").iterdir()
    (folder / "clips").unlink()
    with monkeypatch.context() as patch:
        for left in (stop, 2):
            patch.setattr(Clip, "windows", _stopping(left))
            with pytest.raises(KeyboardInterrupt):
                load(root)
            assert "clips" not in files(tmp_path)
            with (folder / "clips.part").open("ab") as part, (folder / "journal").open("a") as journal:
                part.write(b"half")
                journal.write('{"name": "2.p')
            patch.undo()
    decoded.clear()
    again = load(root)
    assert files(tmp_path) == {"clips": expected}
    assert again.fingerprint() == whole.fingerprint()
    assert decoded == [f"{i}.png" for i in range(_finished(stop, 2), CLIPS)]


def test_what_was_spoilt_after_a_stop_is_decoded_again(
    root: Path, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a loss of power: the journal names three clips, and the second is not what was written."""
    load(root)
    expected = files(tmp_path)["clips"]
    (folder,) = (tmp_path / "cache" / "pyro_dsvae" / "video").iterdir()
    (folder / "clips").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Clip, "windows", _stopping(12))
        with pytest.raises(KeyboardInterrupt):
            load(root)
    content = bytearray((folder / "clips.part").read_bytes())
    _flip(content)
    (folder / "clips.part").write_bytes(content)
    decoded.clear()
    load(root)
    assert decoded == [f"{i}.png" for i in range(1, CLIPS)]
    assert files(tmp_path) == {"clips": expected}


def _interrupt() -> None:
    raise KeyboardInterrupt


def _stopping(left: int, stop: Callable[[], None] = _interrupt) -> Callable[[Clip], object]:
    """`Clip.windows` that is stopped after so many windows in all."""
    real, count = Clip.windows, [left]

    def windows(clip: Clip) -> object:
        for window in real(clip):
            if count[0] == 0:
                stop()
            count[0] -= 1
            yield window

    return windows


def _finished(*stops: int) -> int:
    """How many clips of four windows are whole after these stops, each of which goes on at the border of a clip."""
    return sum(stop // 4 for stop in stops)


def test_a_killed_process_leaves_what_the_next_goes_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL after a random number of windows, until a process comes to the end."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(30):
        write_animation(tmp_path / "in" / f"{i}.png", noise(8, 32, 32, seed=i), 40)
    whole = load(tmp_path / "in").fingerprint()
    expected = files(tmp_path)
    (tmp_path / "cache").rename(tmp_path / "whole")
    random, killed = np.random.RandomState(0), 0
    for _ in range(12):
        left = int(random.randint(1, 10))
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                monkeypatch.setattr(Clip, "windows", _stopping(left, lambda: os.kill(os.getpid(), signal.SIGKILL)))
                load(tmp_path / "in")
            os._exit(0)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert killed > 2
    assert load(tmp_path / "in").fingerprint() == whole
    assert files(tmp_path) == expected


def _flip(content: bytearray) -> None:
    content[5000] ^= 1


@pytest.mark.parametrize(
    ("damage", "anew"),
    [
        (_flip, ["1.png"]),
        (lambda content: content.__delitem__(slice(-1, None)), [f"{i}.png" for i in range(CLIPS)]),
        (lambda content: content.__setitem__(slice(0, 9000), b""), [f"{i}.png" for i in range(CLIPS)]),
        (lambda content: content.clear(), [f"{i}.png" for i in range(CLIPS)]),
    ],
)
def test_a_damaged_file_is_made_anew(
    damage: Callable[[bytearray], None], anew: list[str], root: Path, decoded: list[str], tmp_path: Path
) -> None:
    load(root)
    whole = files(tmp_path)["clips"]
    (folder,) = (tmp_path / "cache" / "pyro_dsvae" / "video").iterdir()
    content = bytearray(whole)
    damage(content)
    (folder / "clips").write_bytes(content)
    decoded.clear()
    load(root)
    assert decoded == anew
    assert files(tmp_path) == {"clips": whole}


def test_a_clip_that_changed_is_decoded_anew_and_the_others_are_not(root: Path, decoded: list[str]) -> None:
    load(root)
    decoded.clear()
    write_animation(root / "2.png", noise(10, seed=9), 40)
    write_animation(root / "00.png", noise(4, seed=8), 40)
    (root / "4.png").unlink()
    data = load(root)
    assert decoded == ["00.png", "2.png"]
    assert len(data) == 4 + 2 + 4 + 5 + 4
    assert data.names is not None
    row = data.names.entities.index("2.png from 0.32 s")
    assert torch.equal(data.frames[row, 1].permute(1, 2, 0), torch.from_numpy(noise(10, seed=9)[9]))


def test_a_clip_that_changes_while_it_is_read_is_left_out(
    root: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Clip.windows

    def changing(clip: Clip) -> object:
        yield from real(clip)
        if decoded[-1] == "1.png":
            write_animation(root / "1.png", noise(8, seed=7), 40)
        if decoded[-1] == "2.png":
            (root / "3.png").unlink()

    with monkeypatch.context() as patch:
        patch.setattr(Clip, "windows", changing)
        with pytest.warns(Remark) as told:
            data = load(root)
    lines = [str(each.message) for each in told]
    assert lines[0] == "1.png changed while it was read"
    assert lines[1].startswith("3.png is no image that can be read")
    assert lines[2] == "left out 2 of 5 clips"
    assert len(data) == 12
    assert len(load(root)) == 16  # now as it is


def test_a_full_disk_is_a_line_and_leaves_whole_clips(
    root: Path, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Clip.windows

    def full(clip: Clip) -> object:
        for i, window in enumerate(real(clip)):
            if decoded[-1] == "3.png" and i == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield window

    with monkeypatch.context() as patch:
        patch.setattr(Clip, "windows", full)
        with pytest.raises(
            UsageError, match=r"cannot take the decoded clips: No space left on device; make room, or set"
        ):
            load(root)
    kept = files(tmp_path)
    assert len(kept["clips.part"]) == 3 * 4 * 2 * 3 * 12 * 16
    assert "scratch" not in kept
    decoded.clear()
    assert len(load(root)) == 20
    assert decoded == ["3.png", "4.png"]


def test_memory_does_not_grow_with_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 16 frames, of which all clips together hold 6 MB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(5):
        write_animation(tmp_path / "in" / f"{i}.gif", np.roll(greys(96, 64, 64), i, axis=0), 40)
    peaks: list[int] = []
    real = cache.WindowCache.load

    def measured(self: cache.WindowCache, sources: list[cache.Source]) -> tuple[torch.Tensor, list[cache.Entry]]:
        tracemalloc.start()
        found = real(self, sources)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return found

    monkeypatch.setattr(cache.WindowCache, "load", measured)
    data = VideoFolder(tmp_path / "in", validation=0.2, test=0.2).load()
    size: Array = data.frames.numpy()
    assert size.nbytes > 5_000_000
    assert peaks[0] < 2_500_000
    assert np.array_equal(size[0, :, 0, 0, 0], np.arange(20, 36))
