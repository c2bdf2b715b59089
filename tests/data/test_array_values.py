"""Arrays as people write them: missing values as NaN, integers, 16 bit, windows of many or one sequence, short sequences."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.reading import read_first
from pyro_dsvae.models.errors import Remark, UsageError

N, T, P = 20, 12, 3
VALUES = np.random.default_rng(0).normal(size=(N, T, P)).astype(np.float32)
GAPS = np.random.default_rng(1).random((N, T, P)) < 0.25


def load(folder: Path, frames: np.ndarray, options: dict[str, Any] | None = None, **arrays: Any) -> SequenceData:
    np.savez(folder / "mine.npz", frames=frames, **arrays)
    return Arrays(str(folder / "mine.npz"), **options or {}).load()


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letters", ["NTP", "TNP", "NPT"])
def test_nan_means_missing_as_a_mask_does(tmp_path: Path, letters: str) -> None:
    """In any layout; and beside a mask it is refused, where that says it was observed."""
    frames, seen = (np.einsum(f"NTP->{letters}", v.astype(np.float32)) for v in (VALUES, ~GAPS))
    options = {"layout": letters}
    told = load(tmp_path, np.where(seen > 0, frames, np.nan), options)
    masked = load(tmp_path, np.where(seen > 0, frames, 1e6), options, mask=seen.astype(bool))
    assert told.mask is not None
    assert np.array_equal(told.mask.numpy(), ~GAPS)
    assert masked.mask is not None
    assert torch.equal(told.mask, masked.mask)
    assert np.array_equal(told.frames.numpy(), np.where(GAPS, 0, VALUES))
    with pytest.raises(UsageError, match="not finite in sequence"):
        load(tmp_path, np.where(seen > 0, frames, np.nan), options, mask=np.ones_like(seen, dtype=bool))


def test_the_share_of_missing_values_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of values of steps that exist."""
    lengths = np.where(np.arange(N) % 2, T, 7)
    np.savez(tmp_path / "mine.npz", frames=np.where(GAPS, np.nan, VALUES), lengths=lengths)
    read_first(Arrays(str(tmp_path / "mine.npz")))
    share = GAPS[np.arange(T) < lengths[:, None]].mean()
    said = capsys.readouterr().err.splitlines()[0]
    assert said == f"data: 20 sequences of 7 to 12 steps of 3 values; {share:.1%} of the values are missing"


def test_sequences_of_which_nothing_is_there_are_listed(tmp_path: Path) -> None:
    frames = VALUES.copy()
    frames[[3, 7]] = np.nan
    with pytest.raises(UsageError, match="nothing was observed of sequences 3 and 7: leave them out"):
        load(tmp_path, frames)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "int64", "uint64"])
def test_integers_are_numbers(tmp_path: Path, dtype: str) -> None:
    counts = np.random.default_rng(2).integers(0, 100, (N, T, P)).astype(dtype)
    data = load(tmp_path, counts)
    assert data.frames.dtype == torch.float32
    assert np.array_equal(data.frames.numpy(), counts)


def test_images_of_16_bit_are_intensities_and_of_whole_numbers_bytes(tmp_path: Path) -> None:
    deep = np.random.default_rng(3).integers(0, 2**16, (N, 4, 8, 9), dtype=np.uint16)
    with pytest.warns(Remark, match="images of uint16 are taken as intensities, x / 65535"):
        data = load(tmp_path, deep)
    np.testing.assert_allclose(data.frames[:, :, 0], deep / 65535, rtol=1e-6)
    np.savez(tmp_path / "bytes.npz", frames=(deep >> 8).astype(np.int64))
    data = read_first(Arrays(str(tmp_path / "bytes.npz")))
    assert data.frames.dtype == torch.uint8
    assert np.array_equal(data.frames[:, :, 0].numpy(), deep >> 8)


def test_a_npy_file_is_mapped_and_never_written_to(tmp_path: Path) -> None:
    """Frames are the file's own pages, and what is changed is not."""
    np.save(tmp_path / "mine.npy", VALUES)
    before = (tmp_path / "mine.npy").read_bytes()
    data = Arrays(str(tmp_path / "mine.npy")).load()
    address = data.frames.data_ptr()
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "mine.npy" in line]
    assert any(int(a, 16) <= address < int(b, 16) for a, b in (line[0].split("-") for line in mapped))
    data.frames.zero_()
    assert (tmp_path / "mine.npy").read_bytes() == before


@pytest.mark.parametrize("name", ["mine.npz", "mine.npy"])
def test_what_does_not_fit_into_memory_is_told_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not of a file that is mapped as it is."""
    path = str(tmp_path / name)
    if name.endswith("z"):
        np.savez_compressed(path, frames=np.zeros((N, T, P)))
    else:
        np.save(path, np.zeros((N, T, P)))
    with monkeypatch.context() as patch:
        patch.setattr("pyro_dsvae.data.files.npz.physical_memory", lambda: N * T * P * 4 - 1)
        with pytest.raises(
            UsageError, match=r"GiB of memory, and this machine has .*: save frames as float32 or uint8 with"
        ):
            Arrays(path).load()
        np.save(tmp_path / "plain.npy", VALUES)
        assert len(Arrays(str(tmp_path / "plain.npy")).load()) == N
    assert len(Arrays(path).load()) == N


def test_values_are_checked_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked at once is small, wherever the value is that is not finite."""
    sizes: list[int] = []
    whole = torch.isfinite
    monkeypatch.setattr("pyro_dsvae.inference.batch.PART", 2 * T * P)
    monkeypatch.setattr(torch, "isfinite", lambda values: sizes.append(values.numel()) or whole(values))
    split = torch.zeros(N, dtype=torch.uint8)
    SequenceData(torch.from_numpy(VALUES), split)
    assert max(sizes) == 2 * T * P
    assert sum(sizes) == VALUES.size
    spoilt = VALUES.copy()
    spoilt[-1, -1, -1] = np.inf
    with pytest.raises(UsageError, match="not finite in sequence 19"):
        SequenceData(torch.from_numpy(spoilt), split)


# --- windows ----------------------------------------------------------------------------------------------------------

NUMBERS = np.arange(N * T, dtype=np.float32).reshape(N, T, 1)


@pytest.mark.parametrize(("window", "stride"), [(4, None), (5, 2), (3, 1), (4, 6)])
def test_windows_are_those_of_a_loop_in_the_split_of_their_sequence(
    tmp_path: Path, window: int, stride: int | None
) -> None:
    lengths = np.where(np.arange(N) % 2, T, 9)
    split = np.arange(N) % 3
    options = {"window": window, "stride": stride}
    arrays = {"lengths": lengths, "split": split, "labels_who": np.arange(N), "times": 2.0 * NUMBERS[..., 0]}
    data = load(tmp_path, NUMBERS, options, mask=NUMBERS[..., 0] % 5 != 0, **arrays)
    expected = [
        (i, NUMBERS[i, start : start + window, 0])
        for i in range(N)
        for start in range(0, lengths[i] - window + 1, stride or window)
    ]
    assert len(data) == len(expected)
    assert data.times is not None
    assert data.mask is not None
    assert data.lengths is None
    for row, (i, numbers) in enumerate(expected):
        seen = numbers % 5 != 0
        assert np.array_equal(data.frames[row, :, 0].numpy(), numbers)
        assert np.array_equal(data.mask[row].numpy(), seen)
        assert np.array_equal(data.times[row].numpy(), 2 * numbers)
        assert int(data.split[row]) == split[i]
        assert data.labels["who"].classes[data.labels["who"].values[row]] == str(i)
    assert data.recordings is not None
    assert data.recordings.tolist() == [i for i, _ in expected]


def test_windows_of_one_sequence_are_in_one_split(tmp_path: Path) -> None:
    data = load(tmp_path, NUMBERS, {"window": 3, "stride": 2, "seed": 5})
    splits = [{int(s) for s in data.split[data.frames[:, 0, 0] // T == i]} for i in range(N)]
    assert [len(each) for each in splits] == [1] * N
    assert [sum(each == {i} for each in splits) for i in range(3)] == [14, 2, 4]


@pytest.mark.parametrize("many", [True, False])
def test_no_window_crosses_a_border_of_time(tmp_path: Path, many: bool) -> None:
    """Windows that overlap share no step with a window of another split, and later splits have later steps."""
    steps = 100
    frames = np.arange(3 * steps, dtype=np.float32).reshape(3, steps, 1) if many else np.arange(300, dtype=np.float32)
    options = {"window": 8, "stride": 3, **({"by": "time"} if many else {"layout": "T", "window": 8})}
    data = load(tmp_path, frames, options)
    numbers = data.frames[..., 0].numpy()
    assert {int(w) for w in np.diff(numbers, axis=1).ravel()} == {1}
    for sequence in range(3 if many else 1):
        own = numbers // steps == sequence if many else np.ones_like(numbers, bool)
        rows = own.all(1)
        first = [numbers[rows & (data.split.numpy() == i)].min() for i in range(3)]
        last = [numbers[rows & (data.split.numpy() == i)].max() for i in range(3)]
        assert last[0] < first[1]
        assert last[1] < first[2]
    assert not own.any(1)[~rows].any() if not many else (numbers[:, 0] // steps == numbers[:, -1] // steps).all()


def test_sequences_that_are_too_short_are_listed_and_dropped_on_request(tmp_path: Path) -> None:
    lengths = np.full(N, T)
    lengths[[2, 11]] = 1, 5
    arrays = {"lengths": lengths, "labels_who": np.arange(N) % 4}
    for options, which in (({}, "sequence 2"), ({"window": 6}, "sequences 2 and 11")):
        least = options.get("window", 2)
        with pytest.raises(UsageError, match=f"they must lie in {least}..12: leave out {which}, or have") as caught:
            load(tmp_path, VALUES, options, **arrays)
        assert caught.value.options == ("data.short",)
        with pytest.warns(Remark, match=re.escape(f"dropped, since they have fewer than {least} steps: {which}")):
            data = load(tmp_path, VALUES, {**options, "short": "drop"}, **arrays)
        kept = np.setdiff1d(np.arange(N), [2] if not options else [2, 11])
        assert len(data) == len(kept) * (2 if options else 1)
        assert np.array_equal(data.frames[:: 2 if options else 1, 0].numpy(), VALUES[kept, 0])


def test_mistakes_of_windows_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stride = 2 is the distance of windows; give their steps"):
        Arrays("mine.npz", stride=2)
    with pytest.raises(UsageError, match="stride is 0; it must be a whole number of at least 1"):
        Arrays("mine.npz", window=4, stride=0)
    with pytest.raises(UsageError, match="has a split, and is to be split by time; leave out either"):
        load(tmp_path, VALUES, {"window": 4, "by": "time"}, split=np.arange(N) % 3)
