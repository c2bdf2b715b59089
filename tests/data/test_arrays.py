"""Arrays: every key and option of a user's own file, and the line for every mistake."""

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.tables.splits import drawn_split, enough
from pyro_dsvae.models.errors import Remark, UsageError

N, T = 20, 5
VECTORS = np.random.default_rng(0).normal(size=(N, T, 3)).astype(np.float32)


def load(folder: Path, **arrays: object) -> SequenceData:
    """What Arrays makes of a .npz file with these arrays."""
    path = folder / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return Arrays(str(path)).load()


def refusal(source: Arrays) -> str:
    with pytest.raises(UsageError) as caught:
        source.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused(folder: Path, **arrays: object) -> str:
    """The line with which a .npz file with these arrays is refused."""
    path = folder / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    line = refusal(Arrays(str(path)))
    assert line.startswith(f"{path}: ")
    return line


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((N, T), (N, T, 1)),
        ((N, T, 3), (N, T, 3)),
        ((N, T, 6, 7), (N, T, 1, 6, 7)),
        ((N, T, 3, 6, 7), (N, T, 3, 6, 7)),
        ((N, T, 6, 7, 1), (N, T, 1, 6, 7)),
        ((N, T, 6, 7, 3), (N, T, 3, 6, 7)),
        ((N, T, 6, 7, 4), (N, T, 4, 6, 7)),
        ((N, T, 3, 6, 4), (N, T, 3, 6, 4)),
    ],
)
def test_frames_are_arranged_by_rank(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = load(tmp_path, frames=values)
    assert data.frames.shape == expected
    assert data.frames.dtype == torch.uint8
    assert data.frames.is_contiguous()
    moved = len(shape) == 5 and expected != shape
    assert np.array_equal(data.frames.numpy(), np.moveaxis(values, 4, 2) if moved else values.reshape(expected))


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64", ">f4"])
def test_floats_and_booleans_become_float32(tmp_path: Path, dtype: str) -> None:
    data = load(tmp_path, frames=(VECTORS > 0).astype(dtype))
    assert data.frames.dtype == torch.float32
    assert torch.equal(data.frames, torch.from_numpy(VECTORS > 0).float())


def test_npy_holds_the_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", VECTORS)
    data = Arrays(str(tmp_path / "mine.npy")).load()
    assert np.array_equal(data.frames.numpy(), VECTORS)
    assert dict(data.labels) == {}


def test_x_is_another_name_of_frames(tmp_path: Path) -> None:
    """So is any name of an array that can only be meant; it is said which one is taken."""
    for name in ("x", "data", "arr_0", "frame"):
        with pytest.warns(Remark, match=rf"there is no array 'frames'; '{name}' \(20, 5, 3\) is taken for it"):
            assert np.array_equal(load(tmp_path, **{name: VECTORS, "split": np.arange(N) % 3}).frames.numpy(), VECTORS)


def test_compressed_files_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "mine.npz", frames=VECTORS)
    assert np.array_equal(Arrays(str(tmp_path / "mine.npz")).load().frames.numpy(), VECTORS)


def test_every_optional_array(tmp_path: Path) -> None:
    data = load(
        tmp_path,
        frames=VECTORS,
        lengths=np.full(N, 3, np.int16),
        mask=np.ones((N, T), np.uint8),
        times=np.tile(np.arange(T), (N, 1)),
        split=np.arange(N) % 3,
        labels_who=np.arange(N) % 2,
        classes_who=["ann", "bob"],
        labels_gait=np.arange(N) % 4,
        role_gait="dynamic",
    )
    assert data.lengths is not None
    assert data.mask is not None
    assert data.times is not None
    assert (data.lengths.dtype, data.lengths.tolist()) == (torch.int64, [3] * N)
    assert (data.mask.dtype, bool(data.mask.all())) == (torch.bool, True)
    assert (data.times.dtype, data.times[0].tolist()) == (torch.float64, [0, 1, 2, 3, 4])
    assert data.split.tolist() == [i % 3 for i in range(N)]
    who, gait = data.labels["who"], data.labels["gait"]
    assert (who.classes, who.role) == (("ann", "bob"), "static")
    assert (gait.classes, gait.role) == (("0", "1", "2", "3"), "dynamic")
    assert gait.values.tolist() == [i % 4 for i in range(N)]


def test_quantities_of_every_frame(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(*VECTORS.shape[:2], 2))
    path = tmp_path / "mine.npz"
    named = {"quantities_place": numbers, "components_place": ["x", "y"], "unit_place": "m"}
    np.savez(path, frames=VECTORS, quantities_speed=numbers[..., 0], **named)
    data = Arrays(str(path)).load()
    place, speed = data.quantities["place"], data.quantities["speed"]
    assert (place.components, place.unit, speed.components, speed.unit) == (("x", "y"), "m", ("1",), "")
    np.testing.assert_allclose(place.values, numbers, rtol=1e-6)
    np.testing.assert_allclose(speed.values[..., 0], numbers[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(data.part("test").quantities["place"].values, place.values[data.split == 2])


def test_mask_of_the_frames_shape_moves_with_them(tmp_path: Path) -> None:
    images = np.zeros((N, T, 6, 7, 3), np.uint8)
    mask = np.random.default_rng(2).random(images.shape) < 0.5
    data = load(tmp_path, frames=images, mask=mask)
    assert data.mask is not None
    assert np.array_equal(data.mask.numpy(), np.moveaxis(mask, 4, 2))


def test_mask_of_number_series_stays_n_by_t(tmp_path: Path) -> None:
    mask = load(tmp_path, frames=VECTORS[..., 0], mask=np.ones((N, T), bool)).mask
    assert mask is not None
    assert mask.shape == (N, T)


@pytest.mark.parametrize("kind", ["U", "S"])
def test_split_by_name(tmp_path: Path, kind: str) -> None:
    names = np.array(["train", "test", "validation", "train"] * 5).astype(kind)
    assert load(tmp_path, frames=VECTORS, split=names).split.tolist() == [0, 2, 1, 0] * 5


def test_random_split_follows_fractions_and_seed(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.npy")
    np.save(path, VECTORS)

    def split(**options: float) -> list[int]:
        return Arrays(path, **options).load().split.tolist()  # type: ignore[arg-type]

    assert [split().count(i) for i in range(3)] == [14, 2, 4]
    assert [split(validation=0.25, test=0.5).count(i) for i in range(3)] == [5, 5, 10]
    assert split() == split(seed=0)
    assert split() != split(seed=1)
    assert split() != sorted(split())


def test_split_in_the_file_wins_over_fractions(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", frames=VECTORS, split=np.zeros(N, int))
    assert Arrays(str(tmp_path / "mine.npz"), validation=0.3, test=0.3).load().split.tolist() == [0] * N


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation": 0.0}, r"validation = 0\.0; it is a fraction between 0 and 1"),
        ({"test": 1.0}, r"test = 1\.0"),
        ({"test": float("nan")}, "test = nan"),
        ({"validation": 0.5, "test": 0.5}, r"validation \+ test = 1 leaves nothing to train on"),
        ({"seed": -1}, r"seed = -1; it must lie in 0\.\.4294967295"),
    ],
)
def test_options_are_checked(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Arrays("mine.npz", **options)


def test_fractions_that_leave_a_split_empty(tmp_path: Path) -> None:
    line = refused(tmp_path, frames=VECTORS[:4])
    assert "of 4 sequences leave an empty split, {'train': 3, 'validation': 0, 'test': 1}" in line
    assert "; validation = 0.25 and test = 0.25 give each split a sequence, or put a split into the file" in line
    for n in range(3, 40):
        share = re.search(r"validation = (\S+) and", enough(n, "sequence", "sequences"))
        assert share is not None
        assert set(drawn_split(n, float(share[1]), float(share[1]), 0)) == {0, 1, 2}


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    np.save(tmp_path / "walkers.npy", VECTORS)
    assert refusal(Arrays(str(tmp_path / "walkers.npz"))).endswith("no such file (did you mean walkers.npy?)")
    assert refusal(Arrays(str(tmp_path / "qqq"))).endswith("qqq: no such file")
    assert "nor its folder" in refusal(Arrays(str(tmp_path / "no" / "walkers.npy")))
    assert "cannot be read" in refusal(Arrays(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x89PNG\r\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    assert "is neither an .npz nor an .npy file" in refusal(Arrays(str(path)))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    path.write_bytes(pickle.dumps(VECTORS))
    assert "is a pickle" in refusal(Arrays(str(path)))
    objects = np.array([[1, 2], [3, None]], dtype=object)
    np.save(path, objects, allow_pickle=True)
    assert "holds Python objects in 'frames'; these are pickled, may run any code" in refusal(Arrays(str(path)))
    assert "objects in 'frames'" in refused(tmp_path, split=np.zeros(2, int), frames=objects)
    names = np.array(["ann", "bob"] * 10, dtype=object)  # as pandas keeps strings
    line = refused(tmp_path, frames=VECTORS, labels_who=names)
    assert line.endswith(
        "holds Python objects in 'labels_who'; these are pickled, may run any code and are never read: "
        "save labels_who.astype(str)"
    )
    assert load(tmp_path, frames=VECTORS, labels_who=eval(line.rpartition("save ")[2], {"labels_who": names})).labels


@pytest.mark.parametrize("frame", [(), (3,), (1, 16, 16)])
def test_the_line_of_code_for_sequences_of_different_lengths_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: tuple[int, ...]
) -> None:
    """Run as it is printed, it makes a file that is read with every sequence at its own length."""
    monkeypatch.chdir(tmp_path)
    lengths = [3, 5, 2, 4] * 5
    clips = [np.random.default_rng(i).normal(size=(length, *frame)) for i, length in enumerate(lengths)]
    ragged = np.empty(len(clips), dtype=object)
    ragged[:] = clips
    line = refused(tmp_path, frames=ragged)
    exec(line.partition("lengths beside them: ")[2], {"np": np, "clips": clips})
    data = Arrays("clips.npz").load()
    assert data.lengths is not None
    assert data.lengths.tolist() == lengths
    for found, clip in zip(data.frames, clips, strict=True):
        assert np.array_equal(found[: len(clip)].numpy().reshape(clip.shape), clip.astype(np.float32))
        assert not found[len(clip) :].any()


@pytest.mark.parametrize("name", ["mine.npy", "mine.npz"])
def test_truncated_and_spoiled_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("z"):
        np.savez(path, frames=VECTORS)
    else:
        np.save(path, VECTORS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in refusal(Arrays(str(path)))
    if name.endswith("z"):  # the zip's checksum tells
        path.write_bytes(whole[:400] + b"spoiled" + whole[407:])
        assert "is damaged: Bad CRC-32" in refusal(Arrays(str(path)))


def test_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert "is a zip archive with 'letter.txt', which is no array" in refusal(Arrays(str(tmp_path / "mine.npz")))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": VECTORS, "y": VECTORS}, "has no 'frames', and 'x', 'y' may each be meant; give one that name"),
        ({"split": np.zeros(N, int)}, "has no 'frames'; it holds split: name the array of sequences so"),
        ({"frames": VECTORS, "x": VECTORS}, "has an unknown array 'x'"),
        ({"frames": VECTORS, "length": 1}, "has an unknown array 'length' (did you mean lengths?)"),
        (
            {"frames": VECTORS, "y": np.arange(N)},
            "unknown array 'y'; what has a value for each sequence is labels_y; valid",
        ),
        ({"frames": VECTORS, "label_who": 1}, "has an unknown array 'label_who' (did you mean"),
        (
            {"frames": VECTORS, "qqq": 1},
            "unknown array 'qqq'; valid are frames, lengths, mask, times, split, recordings, labels_",
        ),
        ({"frames": VECTORS, "unit_place": "m"}, "has an unknown array 'unit_place'"),
        ({"frames": VECTORS, "quantities_a": np.zeros(VECTORS.shape[0])}, "they must be numbers (N, T) or (N, T, K)"),
        ({"frames": VECTORS, "quantities_a": VECTORS[:, 1:]}, "quantity 'a' is torch.float32"),
        ({"frames": VECTORS, "quantities_a": VECTORS * np.nan}, "quantity 'a' holds non-finite values"),
        ({"frames": VECTORS, "quantities_a": VECTORS, "unit_a": ["m"]}, "unit_a is ['m']; it must be one string"),
        ({"frames": VECTORS, "quantities_a": VECTORS, "components_a": ["x"]}, "they must be 3 strings"),
        (
            {"frames": VECTORS, "quantities_a": VECTORS, "labels_a": np.arange(len(VECTORS)) % 2},
            "is a label and a quantity",
        ),
        ({"frames": VECTORS, "role_who": "static"}, "has an unknown array 'role_who'"),
        ({"frames": VECTORS[0, 0]}, "frames have shape (3,); they must be (N, T), (N, T, P)"),
        ({"frames": np.zeros((N, T, 1, 1, 1, 1))}, "frames have shape (20, 5, 1, 1, 1, 1)"),
        ({"frames": VECTORS[:0]}, "every axis must have at least one element"),
        ({"frames": VECTORS[:, :1]}, "T = 1 frames"),
        ({"frames": VECTORS[:, :0]}, "every axis must have at least one element"),
        ({"frames": VECTORS[..., :0]}, "at least one element"),
        ({"frames": VECTORS.astype(complex)}, "frames are complex128; convert"),
        ({"frames": VECTORS.astype(str)}, "convert them to uint8"),
        (
            {"frames": VECTORS * np.nan},
            "nothing was observed of sequences 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (20 in all)",
        ),
        ({"frames": np.full((N, T, 2), 1e300)}, "not finite in sequences 0"),
        (
            {"frames": VECTORS, "lengths": np.full(N, 1)},
            "lengths run from 1 to 1; they must lie in 2..5: leave out sequences 0, 1",
        ),
        ({"frames": VECTORS, "lengths": np.full(N, 6)}, "lengths run from 6 to 6"),
        ({"frames": VECTORS, "lengths": np.full(N, 3.0)}, "lengths are float64; they must be integers"),
        ({"frames": VECTORS, "lengths": np.full(7, 3)}, "they must be int64 (20,)"),
        ({"frames": VECTORS, "mask": np.full((N, T), 2)}, "mask must be boolean"),
        ({"frames": VECTORS, "mask": np.full((N, T), 0.5)}, "mask must be boolean"),
        ({"frames": VECTORS, "mask": np.ones(N, bool)}, "it must be bool (20, 5) or (20, 5, 3)"),
        ({"frames": VECTORS, "times": np.zeros((N, T))}, "strictly increasing"),
        ({"frames": VECTORS, "times": np.full((N, T), "now")}, "they must be real numbers"),
        ({"frames": VECTORS, "split": np.zeros(7, int)}, "split has shape (7,); it must be (20,)"),
        ({"frames": VECTORS, "split": np.full(N, 3)}, "split holds 3; valid are 0 (train), 1 (validation)"),
        ({"frames": VECTORS, "split": np.full(N, -1)}, "split holds -1"),
        ({"frames": VECTORS, "split": np.full(N, 0.5)}, "split is float64; it must be integers 0..2 or strings"),
        ({"frames": VECTORS, "split": np.full(N, "valid")}, "split holds 'valid' (did you mean validation?); valid"),
        (
            {"frames": VECTORS, "labels_a": np.zeros(N, complex)},
            "labels_a are complex128; they must be strings, numbers",
        ),
        ({"frames": VECTORS, "labels_a": np.zeros(7, int)}, "labels_a have shape (7,); they must be (20,), one value"),
        ({"frames": VECTORS, "labels_a": np.zeros((N, T), int)}, "labels_a have shape (20, 5); they must be (20,)"),
        (
            {"frames": VECTORS, "labels_a": np.where(np.arange(N) == 3, np.nan, 1)},
            "labels_a have no value for sequence 3",
        ),
        ({"frames": VECTORS, "labels_a": np.array(["", "b"] * 10)}, "labels_a have no value for sequences 0, 2, 4"),
        (
            {"frames": VECTORS, "labels_a": np.linspace(0, 1, N)},
            "20 different values in 20 sequences; these are no classes",
        ),
        (
            {"frames": VECTORS, "labels_a": np.full(N, 2), "classes_a": ["p", "q"]},
            "labels_a run from 2 to 2; with 2 classes_a they must be whole numbers in 0..1, or the names themselves",
        ),
        ({"frames": VECTORS, "labels_a": np.full(N, 0.5), "classes_a": ["p", "q"]}, "whole numbers in 0..1"),
        (
            {"frames": VECTORS, "labels_a": np.full(N, "r"), "classes_a": ["p", "q"]},
            "hold 'r', which classes_a do not name",
        ),
        ({"frames": VECTORS, "labels_a": np.full(N, 0), "classes_a": [1, 2]}, "they must be a list of strings"),
        ({"frames": VECTORS, "labels_a": np.full(N, 0), "classes_a": ["p", "p"]}, "name the same class twice"),
        ({"frames": VECTORS, "labels_a": np.full(N, 0), "role_a": "stat"}, "role_a is 'stat'; it must be one string"),
        ({"frames": VECTORS, "labels_a": np.full(N, 0), "role_a": ["static"]}, "role_a is ['static']; it must be"),
    ],
)
def test_one_line_for_each_mistake(tmp_path: Path, arrays: dict, words: str) -> None:
    assert words in refused(tmp_path, **arrays)
