"""A folder of clips: the frames that were written, cut, timed, labelled and split as its owner meant."""

import os
import re
import shutil
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_dsvae import VideoFolder
from pyro_dsvae.configuration.checking import source_of
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.video.framing import box
from pyro_dsvae.data.video.layouts import recognised
from pyro_dsvae.data.video.timing import at_own_rate, at_rate
from pyro_dsvae.fit import fit
from pyro_dsvae.models.errors import Remark, UsageError
from tests.data.videos import greys, noise, squares, write_animation, write_pictures, write_sound, write_video

pytest.importorskip("av", reason="PyAV is the extra 'video'")


@pytest.fixture(autouse=True)
def _caches_are_of_one_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def loaded(root: Path, **options: Any) -> tuple[SequenceData, list[str]]:
    """The data, and what was said of them."""
    given = {"window": 4, "height": 12, "width": 16, "validation": 0.25, "test": 0.25} | options
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Remark)
        data = VideoFolder(root, **given).load()
    return data, [str(each.message) for each in told]


def of_clip(data: SequenceData, name: str) -> torch.Tensor:
    """(n, T, C, H, W): the windows of one clip."""
    assert data.names is not None
    return data.frames[[i for i, each in enumerate(data.names.entities) if each.startswith(f"{name} ")]]


def windows(frames: np.ndarray, window: int = 4, stride: int = 4) -> torch.Tensor:
    """The windows of frames (T, H, W, C), by slicing."""
    cut = [frames[i : i + window] for i in range(0, len(frames) - window + 1, stride)]
    return torch.from_numpy(np.stack(cut).transpose(0, 1, 4, 2, 3).copy())


def greys_of(clip: torch.Tensor) -> list[list[int]]:
    """The grey of each frame of each window, which has one."""
    assert (clip == clip[:, :, :1, :1, :1]).all()
    return clip[:, :, 0, 0, 0].tolist()


def test_lossless_clips_are_the_frames_that_were_written(tmp_path: Path) -> None:
    written = {f"clip{i}.mkv": noise(9, seed=i) for i in range(3)}
    for name, frames in written.items():
        write_video(tmp_path / "in" / name, frames)
    written["frames"] = noise(8, seed=3)
    write_pictures(tmp_path / "in" / "frames", written["frames"])
    written["a.png"] = noise(8, seed=4)
    write_animation(tmp_path / "in" / "a.png", written["a.png"], 40)
    written["b.webp"] = noise(4, seed=5)
    write_animation(tmp_path / "in" / "b.webp", written["b.webp"], 40, lossless=True, exact=True)
    data, said = loaded(tmp_path / "in")
    for name, frames in written.items():
        assert torch.equal(of_clip(data, name), windows(frames)), name
    assert said == []
    assert len(data) == 3 * 2 + 2 + 2 + 1


def test_windows_have_the_stride_and_say_where_they_begin(tmp_path: Path) -> None:
    for i in range(4):
        write_video(tmp_path / "in" / f"{i}.mkv", noise(11, seed=i))
    data, _ = loaded(tmp_path / "in", stride=3)
    assert torch.equal(of_clip(data, "2.mkv"), windows(noise(11, seed=2), stride=3))
    assert data.names is not None
    assert data.names.entities[:3] == ("0.mkv from 0.00 s", "0.mkv from 0.12 s", "0.mkv from 0.24 s")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mkv", "a.mp4"])
@pytest.mark.parametrize(
    ("rate", "shown"),
    [(None, [0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3]), (10, [0, 1, 1, 1, 2, 3]), (40, np.repeat(range(4), [4, 12, 4, 2]))],
)
def test_pictures_last_as_long_as_they_are_shown(name: str, rate: float | None, shown: Any, tmp_path: Path) -> None:
    durations = [100, 300, 100, 50]
    for copy in range(4):
        path = tmp_path / "in" / f"{copy}{name}"
        if path.suffix in (".mkv", ".mp4"):
            codec = {".mkv": {}, ".mp4": {"codec": "libx264rgb", "pixels": "rgb24", "options": {}}}[path.suffix]
            # The last picture lasts one frame of this rate.
            write_video(path, greys(4), rate=20, starts_ms=[0, 100, 400, 500], **codec)  # type: ignore[arg-type]
        else:
            write_animation(path, greys(4), durations, **({"lossless": True} if path.suffix == ".webp" else {}))
    data, _ = loaded(tmp_path / "in", window=2, stride=1, rate=rate)
    steps = [20 + i for i in shown]
    assert greys_of(of_clip(data, f"0{name}")) == [list(pair) for pair in pairwise(steps)]


def test_frames_that_an_encoder_merged_come_back(tmp_path: Path) -> None:
    held = greys(3)[[0, 0, 0, 1, 1, 2]]
    for i in range(4):
        write_animation(tmp_path / "in" / f"{i}.gif", held, 40)
    with Image.open(tmp_path / "in" / "0.gif") as image:
        assert image.n_frames == 3  # else nothing is shown by what follows
    assert greys_of(of_clip(loaded(tmp_path / "in", window=6)[0], "0.gif")) == [[20, 20, 20, 21, 21, 22]]


def test_a_grid_shows_what_a_viewer_sees() -> None:
    steady = [round(i * 1000 / 30) / 1000 for i in range(30)]  # as Matroska rounds them
    assert at_own_rate(steady, 1.0).tolist() == list(range(30))
    assert at_rate(steady, 1.0, 30).tolist() == list(range(30))
    assert at_rate(steady, 1.0, 10).tolist() == list(range(0, 30, 3))
    assert at_rate(steady, 1.0, 60).tolist() == np.repeat(range(30), 2).tolist()
    dropped = [t for i, t in enumerate(steady) if i != 7]
    assert at_own_rate(dropped, 1.0).tolist() == [*range(7), 6, *range(7, 29)]
    irregular = np.cumsum(np.random.RandomState(0).uniform(0.01, 0.09, 100))
    grid = at_own_rate(list(irregular), float(irregular[-1]) + 0.05)
    assert abs(len(grid) - 100) <= 1
    assert (np.diff(grid) >= 0).all()


def test_crops_have_the_shape_of_the_frames() -> None:
    assert box((480, 640), (64, 64), "centre", "") == (0, 80, 480, 480)
    assert box((640, 480), (32, 64), "centre", "") == (200, 0, 240, 480)
    top, left, height, width = box((200, 300), (64, 64), "face", "")
    assert (height, width) == (120, 120)
    assert (top, left) == (32, 90)
    places = {box((480, 640), (64, 64), "random", str(i)) for i in range(20)}
    assert len(places) > 10
    assert all(0 <= left <= 160 and (top, height, width) == (0, 480, 480) for top, left, height, width in places)


def test_pictures_are_resized_by_means_and_may_be_grey(tmp_path: Path) -> None:
    for i in range(4):
        write_video(tmp_path / "in" / f"{i}.mkv", noise(4, 24, 40, seed=i))
    data, said = loaded(tmp_path / "in")
    taken = noise(4, 24, 40, seed=1)[:, :, 4:36].astype(float)
    means = taken.reshape(4, 12, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(of_clip(data, "1.mkv")[0].permute(0, 2, 3, 1).numpy() - means).max() <= 0.5
    grey, _ = loaded(tmp_path / "in", grey=True)
    assert grey.frame_shape == (1, 12, 16)
    assert np.abs(of_clip(grey, "1.mkv")[0, :, 0].numpy() - means.mean(-1)).max() <= 1
    assert said == []


def test_clips_are_upright(tmp_path: Path) -> None:
    """A matrix in the header of an mp4 says that the camera was held upright."""
    frames = np.broadcast_to(noise(1, 16, 32), (4, 16, 32, 3)).copy()
    frames[:, :8, :16], frames[:, 8:, :16], frames[:, :8, 16:], frames[:, 8:, 16:] = 250, 170, 90, 10
    for i in range(4):
        path = tmp_path / "in" / f"{i}.mp4"
        write_video(path, frames, codec="libx264rgb", pixels="rgb24", options={})
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 44
        unit = 1 << 16
        # (x, y) is shown at (16 - y, x).
        matrix = (0, unit, 0, -unit, 0, 0, 16 * unit, 0, 1 << 30)
        content[at : at + 36] = b"".join(value.to_bytes(4, signed=True) for value in matrix)
        path.write_bytes(content)
    data, _ = loaded(tmp_path / "in", height=32, width=16)
    shown = of_clip(data, "0.mp4")[0, 0, 0]
    assert abs(shown[8, 4].item() - 170) < 9
    assert [abs(shown[y, x].item() - v) < 9 for y, x, v in ((8, 12, 250), (24, 4, 10), (24, 12, 90))] == [True] * 3


# --- what cannot be used ----------------------------------------------------------------------------------------------


def bad(root: Path) -> dict[str, str | tuple[str, ...]]:
    """Files that are no clips, and how the line of each begins."""
    write_video(root / "whole.mp4", squares(40), codec="mpeg4", pixels="yuv420p", options={})
    whole = (root / "whole.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_video(root / "fast.mp4", squares(40), codec="mpeg4", pixels="yuv420p", options={"movflags": "faststart"})
    fast = (root / "fast.mp4").read_bytes()
    (root / "fast.mp4").write_bytes(fast[: len(fast) * 3 // 4])
    write_video(root / "cut.mkv", noise(40))
    content = (root / "cut.mkv").read_bytes()
    (root / "cut.mkv").write_bytes(content[: len(content) // 2])
    (root / "text.mp4").write_text("This is no video.\n" * 50)
    (root / "empty.mp4").touch()
    write_sound(root / "sound.mp4")
    write_video(root / "short.mkv", noise(3))
    write_animation(root / "cut.gif", noise(8), 40)
    (root / "cut.gif").write_bytes((root / "cut.gif").read_bytes()[:-2000])
    write_pictures(root / "sizes", noise(6))
    Image.fromarray(noise(1, 20, 20)[0]).save(root / "sizes" / "img_3.png")
    write_pictures(root / "spoilt", noise(6))
    (root / "spoilt" / "img_2.png").write_bytes(b"no picture")
    (root / "whole.mp4").unlink()
    return {
        "cut.gif": "is no image that can be read, or is cut short",
        "cut.mkv": "is cut short: it holds",
        "cut.mp4": "is no video that can be read, or is cut short",
        "empty.mp4": "is no video that can be read, or is cut short",
        "fast.mp4": ("is damaged at frame", "is cut short: it holds"),
        "short.mkv": "is shorter than a window: 3 of 4 frames",
        "sizes": "holds frames of different sizes (12 x 16 (H x W), 20 x 20); a clip has one size",
        "sound.mp4": "holds sound only",
        "spoilt": "img_2.png is no image that can be read",
        "text.mp4": "is no video that can be read",
    }


def test_what_cannot_be_used_has_a_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(4):
        write_video(root / "good" / f"{i}.mkv", noise(8, seed=i))
    (root / "bad").mkdir()
    (root / "none").mkdir()
    (root / "none" / "notes.txt").touch()
    expected = bad(root / "bad")
    data, said = loaded(root)
    assert said[:2] == ["folders without a clip: none", "files that are no clips: .txt"]
    lines = dict(line.removeprefix("bad/").split(" ", 1) for line in said[2:-2])
    assert lines.keys() == expected.keys()
    assert all(lines[name].startswith(line) for name, line in expected.items()), lines
    assert said[-2:] == ["left out 10 of 14 clips", "no clip of class bad could be used"]
    assert data.labels["class"].classes == ("good",)
    assert torch.equal(data.frames, torch.cat([windows(noise(8, seed=i)) for i in range(4)]))
    # What is wrong with them is known from the cache, too.
    again, told = loaded(root)
    assert told == said
    assert again.fingerprint() == data.fingerprint()


def test_sizes_rates_and_transparency_may_be_mixed(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_video(root / "a.mkv", noise(8), rate=25)
    write_video(root / "b.mkv", greys(8, 24, 32), rate=50)
    clear = np.concatenate([np.full((8, 12, 16, 3), 200), np.full((8, 12, 16, 1), 255)], -1).astype(np.uint8)
    clear[:, :6, :, 3] = 0
    write_video(root / "c.mkv", clear, pixels="bgra", source="rgba")
    write_pictures(root / "d", clear)
    data, _ = loaded(root)
    assert greys_of(of_clip(data, "b.mkv")) == [[20, 21, 22, 23], [24, 25, 26, 27]]
    for name in ("c.mkv", "d"):
        assert (of_clip(data, name)[..., :6, :] == 0).all()
        assert (of_clip(data, name)[..., 6:, :] == 200).all()
    assert data.names is not None
    understood = "\n".join(data.names.understood)
    assert "pictures: 3 of 12 x 16 (H x W), 1 of 24 x 32 (H x W) pixels" in understood
    assert "2 of 25, 1 of 50, 1 of no frames a second" in understood
    assert "rate (frames a second) brings all clips to the same step" in understood
    slower, _ = loaded(root, rate=25)
    assert greys_of(of_clip(slower, "b.mkv")) == [[20, 22, 24, 26]]


def test_pixels_that_are_wide_are_shown_wide(tmp_path: Path) -> None:
    ramp = np.broadcast_to(10 * np.arange(1, 17)[:, None], (4, 12, 16, 3)).astype(np.uint8)
    for i in range(4):
        write_video(tmp_path / "in" / f"{i}.mp4", ramp, codec="libx264rgb", pixels="rgb24", aspect=2)
    shown = of_clip(loaded(tmp_path / "in")[0], "3.mp4")
    expected = windows(ramp[:, :, 4:12].repeat(2, axis=2))  # shown 12 x 32, of which the middle is taken
    assert (shown.int() - expected.int()).abs().max() <= 12


def test_pictures_of_ten_bits_are_read(tmp_path: Path) -> None:
    for i in range(4):
        write_video(tmp_path / "in" / f"{i}.mkv", greys(4), pixels="yuv420p10le")
    data, _ = loaded(tmp_path / "in")
    assert np.abs(of_clip(data, "0.mkv")[0].numpy() - np.arange(20.0, 24)[:, None, None, None]).max() <= 2


def test_names_that_are_no_text_are_left_out_and_links_in_a_circle_are_walked_once(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(4):
        write_animation(root / f"{i}.gif", noise(4, seed=i), 40)
    shutil.copy(root / "0.gif", os.fsencode(root) + b"/\xff.gif")
    shutil.copy(root / "0.gif", root / "two\nlines.gif")
    (root / "again").symlink_to(root)
    data, said = loaded(root)
    assert len(data) == 4
    assert said == [
        "left out, since its name is no text: two\\nlines.gif",
        "left out, since its name is no text: \\udcff.gif",
    ]


def test_an_extra_that_is_missing_is_named_and_needed_by_videos_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for i in range(4):
        write_animation(tmp_path / "in" / f"{i}.gif", greys(4), 40)
    assert len(loaded(tmp_path / "in")[0]) == 4
    (tmp_path / "in" / "film.mp4").touch()
    with pytest.raises(UsageError, match=r"a video file needs av, .*: pip install 'pyro-dsvae\[video\]'$"):
        loaded(tmp_path / "in")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, "window = 1; it has at least 2 steps"),
        ({"rate": 0.0}, "rate is 0.0; it must be positive"),
        ({"crop": "left"}, "crop is 'left'; it is one of centre, random, face"),
        ({"folders": "subject/expression"}, "names each level above the clips once"),
        ({"dynamic": "clas"}, r"there is no label 'clas' \(did you mean class\?\)"),
        ({"by": "subject"}, "no level of folders and no column is a subject"),
        ({"test": 0.7}, "no clip is for validation: .* of 2 files"),
        ({"labels": "none.csv"}, r"none\.csv: cannot be read: No such file"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    for i in range(2):
        write_animation(tmp_path / "in" / "jump" / f"{i}.gif", greys(4), 40)
    with pytest.raises(UsageError, match=message) as caught:
        loaded(tmp_path / "in", **options)
    assert "\n" not in str(caught.value)


def test_a_folder_is_answered_with_the_source_that_reads_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give the object, such as VideoFolder\('"):
        fit(data=str(tmp_path))  # type: ignore[arg-type]
    assert source_of(tmp_path / "a.csv") == "SeriesTable"
    assert source_of(tmp_path / "a.npz") == "Arrays"


def test_a_folder_without_clips_and_one_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="holds no clip; a clip is a video, an animated image or a folder with an image"
    ):
        loaded(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds no clip, but \.txt; a clip is a video"):
        loaded(tmp_path)
    with pytest.raises(UsageError, match="does not exist; VideoFolder takes the folder that holds the clips"):
        loaded(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is a file; VideoFolder takes the folder that holds the clips"):
        loaded(tmp_path / "notes.txt")


# --- labels and splits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        ([()], ()),
        ([("ApplyLipstick",), ("Archery",)], ("class",)),
        ([("id10001",), ("id10002",)], ("subject",)),
        ([("id10001", "1zcIwhmdeo4"), ("id10001", "7w0IBEWc9Qw"), ("id10002", "8rd3Rqeb")], ("subject", "-")),
        ([(s, e) for s in ("001", "002") for e in ("anger", "fear", "neutral")], ("subject", "expression")),
        ([(s, e) for s in ("anna", "bert") for e in ("anger", "fear", "neutral")], ("subject", "expression")),
        ([(e, s) for s in ("001", "002") for e in ("anger", "fear")], ("class", "subject")),
        ([("train", "jump"), ("val", "jump"), ("test", "run")], ("split", "class")),
        ([("jump", "more"), ("run",)], ("class",)),
    ],
)
def test_layouts_are_recognised(folders: list[tuple[str, ...]], names: tuple[str, ...]) -> None:
    assert recognised(folders) == names


def test_a_tree_like_mug_has_subjects_and_expressions(tmp_path: Path) -> None:
    """subject/expression/take, each take a folder of frames."""
    root = tmp_path / "in"
    for who in range(8):
        for expression in ("anger", "fear"):
            for take in range(2):
                frames = noise(5, seed=4 * who + 2 * (expression == "fear") + take)
                write_pictures(root / f"{who:03}" / expression / f"take{take:03}", frames)
    data, said = loaded(root, window=5)
    assert len(data) == 8 * 2 * 2
    assert {name: (label.role, len(label.classes)) for name, label in data.labels.items()} == {
        "subject": ("static", 8),
        "expression": ("dynamic", 2),
    }
    subject = data.labels["subject"].values
    assert all(len(data.split[subject == i].unique()) == 1 for i in range(8))
    assert [int((data.split == i).sum()) for i in range(3)] == [16, 8, 8]
    assert said == []
    assert data.names is not None
    assert "folders are taken as subject/expression/clip (8 x subject, 2 x expression)" in data.names.understood
    assert data.recordings is not None
    assert torch.equal(data.recordings[:, None] == data.recordings, subject[:, None] == subject)
    by_file, _ = loaded(root, window=5, by="file")
    assert any(len(by_file.split[subject == i].unique()) > 1 for i in range(8))
    assert by_file.recordings is not None
    assert len(by_file.recordings.unique()) == len(by_file)


def test_groups_of_ucf101_and_recordings_stay_together(tmp_path: Path) -> None:
    """Clips of one film must not be on both sides of a split."""
    root = tmp_path / "in"
    for group in range(4):
        for clip in range(3):
            for name in ("Archery", "Biking"):
                write_animation(root / name / f"v_{name}_g{group:02}_c{clip:02}.gif", greys(4), 40)
    data, _ = loaded(root)
    assert data.labels["class"].role == "dynamic"
    assert data.names is not None
    groups = [name.partition("_c")[0] for name in data.names.entities]
    assert data.recordings is not None
    assert data.recordings.tolist() == [sorted(set(groups)).index(group) for group in groups]
    parts = {group: {int(data.split[i]) for i, each in enumerate(groups) if each == group} for group in set(groups)}
    assert len(parts) == 8
    assert all(len(part) == 1 for part in parts.values())


def test_identities_of_a_tree_like_voxceleb_are_subjects_whose_recordings_stay_together(tmp_path: Path) -> None:
    """identity/recording/clip; recordings are no labels."""
    root = tmp_path / "in"
    for who in range(8):
        for recording in ("1zcIwhmdeo4", "7gWzIy6yIIk"):
            write_animation(root / f"id{10_000 + who}" / f"{recording}{who}" / "00001.gif", greys(4), 40)
    data, _ = loaded(root)
    assert {name: label.role for name, label in data.labels.items()} == {"subject": "static"}
    subject = data.labels["subject"].values
    assert all(len(data.split[subject == i].unique()) == 1 for i in range(8))
    assert data.names is not None
    assert "folders are taken as subject/-/clip (8 x subject)" in data.names.understood
    assert data.recordings is not None
    assert torch.equal(data.recordings, subject)
    anyone, _ = loaded(root, folders="-/class")  # a folder that is no subject's may show anyone
    assert anyone.recordings is not None
    assert anyone.recordings.tolist() == list(range(16))


def test_windows_of_one_file_are_in_one_split_and_folders_may_say_in_which(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(8):
        write_animation(root / "all" / f"{i}.gif", noise(12, seed=i), 40)
    data, _ = loaded(root / "all", stride=1)
    assert len(data) == 8 * 9
    assert all(len(data.split[9 * i : 9 * i + 9].unique()) == 1 for i in range(8))
    assert data.recordings is not None
    assert data.recordings.tolist() == [i for i in range(8) for _ in range(9)]
    for i in range(8):
        place = root / "told" / ("test" if i > 5 else "train") / "jump"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "all" / f"{i}.gif", place)
    told, _ = loaded(root / "told")
    assert told.names is not None
    tested = {name.partition(" ")[0] for i, name in enumerate(told.names.entities) if told.split[i] == 2}
    assert tested == {"test/jump/6.gif", "test/jump/7.gif"}
    assert set(told.labels) == {"class"}
    assert (told.split == 1).any()


def test_a_subject_in_two_given_parts_is_refused_unless_files_are_split(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i, place in enumerate(("train/001", "train/002", "validation/003", "test/002")):
        write_animation(root / place / f"{i}.gif", noise(4, seed=i), 40)
    for by in (None, "subject"):
        with pytest.raises(
            UsageError, match=r"subject 002 is in train and test, as the folders or the table say; by = file"
        ):
            loaded(root, by=by)
    assert loaded(root, by="file")[0].split.tolist() == [2, 0, 0, 1]
    shutil.rmtree(root / "test" / "002")
    write_animation(root / "test" / "004" / "3.gif", noise(4, seed=3), 40)
    assert loaded(root)[0].split.tolist() == [2, 0, 0, 1]


def test_a_clip_in_two_parts_is_refused_where_these_are_given_and_said_where_they_are_drawn(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i, place in enumerate(("train", "train", "validation", "test")):
        write_animation(root / place / f"{i}.gif", noise(4, seed=i), 40)
    shutil.copy(root / "train" / "0.gif", root / "test" / "copy.gif")
    with pytest.raises(
        UsageError, match=r"test/copy\.gif and train/0\.gif hold the same clip, and are for test and train; leave one"
    ):
        loaded(root)
    drawn = tmp_path / "drawn"
    for i in range(9):
        write_animation(drawn / f"{i}.gif", noise(4, seed=min(i, 5)), 40)
    data, (said,) = loaded(drawn)
    assert data.split[5:].unique().numel() > 1
    pattern = r"5\.gif and \d\.gif hold the same clip, and are for \w+ and \w+( \(1 of \d such pairs\))?; leave one of them out"
    assert re.fullmatch(pattern, said)


def test_of_many_sizes_the_smallest_and_the_largest_are_said(tmp_path: Path) -> None:
    for i in range(6):
        write_animation(tmp_path / "in" / f"{i}.gif", greys(4, 12 + i, 30 - i), 40)
    data, _ = loaded(tmp_path / "in")
    assert data.names is not None
    assert "pictures: 12 to 17 x 25 to 30 (H x W) pixels, centre crop; 25 frames a second" in data.names.understood


def test_a_table_labels_clips(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(9):
        write_animation(root / f"part{i % 2}" / f"clip{i}.gif", noise(4, seed=i), 40)
    rows = [
        "video;person;emotion",
        *(f"part{i % 2}/clip{i}.gif;p{i // 2};{'joy' if i % 2 else 'fear'}" for i in range(6)),
    ]
    rows += ["clip6;p3;joy", "clip7.gif;p3;fear", "gone.gif;p9;joy"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    data, said = loaded(root, labels=tmp_path / "labels.csv")
    assert data.names is not None
    found = dict(
        zip([name.partition(" ")[0] for name in data.names.entities], data.labels["emotion"].values, strict=True)
    )
    classes = data.labels["emotion"].classes
    assert {name: classes[i] for name, i in found.items()} == {
        f"part{i % 2}/clip{i}.gif": "joy" if i in (1, 3, 5, 6) else "fear" for i in range(8)
    }
    assert (data.labels["person"].role, data.labels["emotion"].role) == ("static", "dynamic")
    person = data.labels["person"].values
    assert data.recordings is not None
    assert torch.equal(data.recordings[:, None] == data.recordings, person[:, None] == person)
    assert all(len(data.split[person == i].unique()) == 1 for i in range(4))
    assert said == [
        "left out, since labels.csv does not name them: part0/clip8.gif",
        "labels.csv names what is no clip: gone.gif",
    ]
    (tmp_path / "labels.csv").write_text("person,mood\np1,joy\np2,calm\n")
    with pytest.raises(
        UsageError, match=r"column 'person' names no clip, but p1, p2; a column 'file' has the path of each clip"
    ):
        loaded(root, labels=tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("clip,mood\nclip1,\nclip2,calm\n")
    with pytest.raises(UsageError, match=r"labels\.csv: row 2, column 'mood' is empty"):
        loaded(root, labels=tmp_path / "labels.csv")
