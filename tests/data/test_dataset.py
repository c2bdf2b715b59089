"""The contract of SequenceData: what it accepts, what it refuses and in which words."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from pyro_dsvae.data.dataset import SPLITS, DataSource, SequenceData
from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.words import numbered_sequences
from pyro_dsvae.models.errors import Remark, UsageError

N, T = 6, 4


def example() -> SequenceData:
    """Six sequences of four 3-vectors with every optional field."""
    return SequenceData(
        frames=torch.arange(N * T * 3, dtype=torch.float32).view(N, T, 3),
        split=torch.tensor([0, 1, 2, 0, 0, 2], dtype=torch.uint8),
        lengths=torch.tensor([4, 3, 2, 4, 4, 4]),
        mask=torch.ones(N, T, dtype=torch.bool),
        times=torch.arange(T, dtype=torch.float64).repeat(N, 1),
        labels={"who": Label(torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), "static")},
    )


def test_shape_properties() -> None:
    data = example()
    assert len(data) == N
    assert data.length == T
    assert data.frame_shape == (3,)
    images = SequenceData(torch.zeros(2, 5, 1, 8, 9, dtype=torch.uint8), torch.zeros(2, dtype=torch.uint8))
    assert images.frame_shape == (1, 8, 9)
    assert dict(images.labels) == {}


def test_part_takes_the_rows_of_one_split_in_order() -> None:
    data = example()
    rows = {"train": [0, 3, 4], "validation": [1], "test": [2, 5]}
    for i, name in enumerate(SPLITS):
        part = data.part(name)
        assert torch.equal(part.frames, data.frames[rows[name]])
        assert part.split.tolist() == [i] * len(rows[name])


def test_part_refuses_an_empty_split() -> None:
    data = replace(example(), split=torch.zeros(N, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"the test split is empty: .*'train': 6, 'validation': 0, 'test': 0"):
        data.part("test")


def test_what_is_measured_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = example()
    assert torch.equal(data.measured("train").frames, data.part("train").frames)
    monkeypatch.setattr("pyro_dsvae.data.dataset.MEASURED", 2 * T * 3 * 4 + 1)
    with pytest.warns(Remark, match="2 of the 3 sequences of the train split are taken, evenly spaced"):
        some = data.measured("train")
    assert torch.equal(some.frames, data.frames[[0, 4]])  # of the rows 0, 3 and 4
    assert torch.equal(some.labels["who"].values, torch.tensor([0, 0]))


def test_take_picks_every_field_in_the_given_order() -> None:
    data = example()
    rows = torch.tensor([5, 2])
    taken = data.take(rows)
    assert taken.lengths is not None
    assert taken.mask is not None
    assert taken.times is not None
    assert torch.equal(taken.frames, data.frames[rows])
    assert taken.split.tolist() == [2, 2]
    assert taken.lengths.tolist() == [4, 2]
    assert taken.mask.shape == (2, T)
    assert taken.times.shape == (2, T)
    assert taken.labels["who"].values.tolist() == [1, 0]
    assert taken.labels["who"].classes == ("a", "b")
    assert len(data) == N


def test_take_leaves_absent_fields_absent() -> None:
    bare = SequenceData(torch.zeros(3, 2, 1), torch.zeros(3, dtype=torch.uint8)).take(torch.tensor([1]))
    assert (bare.lengths, bare.mask, bare.times) == (None, None, None)


def test_fingerprint_is_that_of_the_content() -> None:
    assert example().fingerprint() == example().fingerprint()
    assert len(example().fingerprint()) == 64
    # The layout in memory is no content.
    data = example()
    scattered = data.frames.transpose(0, 1).contiguous().transpose(0, 1)
    assert not scattered.is_contiguous()
    assert replace(data, frames=scattered).fingerprint() == data.fingerprint()


def test_fingerprint_changes_with_anything() -> None:
    data = example()
    frames = data.frames.clone()
    frames[-1, -1, -1] += 1
    mask = torch.ones(N, T, dtype=torch.bool)
    mask[0, 0] = False
    who = data.labels["who"]
    assert data.times is not None
    changed = [
        data,
        replace(data, frames=frames),
        replace(data, frames=data.frames.double()),
        replace(data, frames=data.frames.unsqueeze(-1)),
        replace(data, split=data.split.flip(0)),
        replace(data, lengths=None),
        replace(data, mask=None),
        replace(data, mask=mask),
        replace(data, times=data.times * 2),
        replace(data, labels={}),
        replace(data, labels={"whom": who}),
        replace(data, labels={"who": replace(who, role="dynamic")}),
        replace(data, labels={"who": replace(who, classes=("a", "c"))}),
        replace(data, labels={"who": replace(who, values=who.values.flip(0))}),
        replace(data, recordings=torch.arange(N)),
        replace(data, recordings=torch.arange(N) // 2),
        data.take(torch.arange(N - 1)),
    ]
    prints = [item.fingerprint() for item in changed]
    assert len(set(prints)) == len(prints)


def test_a_run_of_before_knows_its_data_by_a_fingerprint_without_recordings() -> None:
    data = replace(example(), recordings=torch.arange(N))
    assert data.has_fingerprint(data.fingerprint())
    assert data.has_fingerprint(example().fingerprint())
    assert not replace(data, recordings=torch.arange(N) // 2).has_fingerprint(data.fingerprint())
    assert not replace(data, times=None).has_fingerprint(example().fingerprint())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": torch.zeros(N, T)}, r"shape \(6, 4\); they must be \(N, T, …\)"),
        ({"frames": torch.zeros(0, T, 3)}, "hold no sequence"),
        ({"frames": torch.zeros(N, 1, 3)}, "T = 1 frames; a sequence model needs at least 2"),
        ({"frames": torch.zeros(N, 0, 3)}, "T = 0 frames"),
        ({"frames": torch.zeros(N, T, 0)}, "every axis must have at least one element"),
        ({"frames": torch.zeros(N, T, 3, dtype=torch.int64)}, r"torch\.int64; they must be uint8 or a floating"),
        (
            {"frames": torch.full((N, T, 3), torch.nan)},
            "not finite in sequences 0, 1, 2, 3, 4 and 5: say in an array mask",
        ),
        ({"split": torch.zeros(N)}, r"split must be \(6,\) uint8 with values 0\.\.2 \(train, validation, test\)"),
        ({"split": torch.zeros(N - 1, dtype=torch.uint8)}, r"split must be \(6,\)"),
        ({"split": torch.full((N,), 3, dtype=torch.uint8)}, r"values 0\.\.2"),
        ({"lengths": torch.full((N,), 4.0)}, r"lengths are torch\.float32 \(6,\); they must be int64 \(6,\)"),
        ({"lengths": torch.tensor([4])}, r"lengths are torch\.int64 \(1,\)"),
        (
            {"lengths": torch.tensor([1, 2, 3, 4, 0, 4])},
            r"run from 0 to 4; they must lie in 2\.\.4: leave out sequences 0 and 4, or mend their lengths",
        ),
        ({"lengths": torch.tensor([5, 2, 3, 4, 4, 4])}, r"run from 2 to 5; .*: leave out sequence 0, or"),
        (
            {"mask": torch.ones(N, T, dtype=torch.bool).index_fill(0, torch.tensor([1, 5]), False)},
            "nothing was observed of sequences 1 and 5: leave them out",
        ),
        # What lies beyond a sequence's end is not observed, whatever mask says.
        (
            {"mask": torch.arange(T).expand(N, T) == 2, "lengths": torch.tensor([4, 4, 2, 4, 3, 4])},
            "nothing was observed of sequence 2: leave it out",
        ),
        ({"mask": torch.ones(N, T)}, r"mask is torch\.float32 \(6, 4\); it must be bool \(6, 4\) or \(6, 4, 3\)"),
        ({"mask": torch.ones(N, dtype=torch.bool)}, r"mask is torch\.bool \(6,\)"),
        ({"times": torch.zeros(N, T, dtype=torch.int64)}, r"times are torch\.int64"),
        ({"times": torch.zeros(T, dtype=torch.float64)}, r"must be floating \(6, 4\)"),
        ({"times": torch.zeros(N, T, dtype=torch.float64)}, "finite and strictly increasing"),
        ({"times": torch.full((N, T), torch.inf, dtype=torch.float64)}, "finite and strictly increasing"),
        ({"labels": {"k": Label(torch.zeros(N), ("a",), "static")}}, r"label 'k' is torch\.float32"),
        ({"labels": {"k": Label(torch.zeros(2, dtype=torch.int64), ("a",), "static")}}, r"must be int64 \(6,\)"),
        ({"labels": {"k": Label(torch.ones(N, dtype=torch.int64), ("a",), "static")}}, r"outside 0\.\.0, its 1 cl"),
        ({"labels": {"k": Label(torch.full((N,), -1), ("a",), "static")}}, r"outside 0\.\.0"),
        (
            {"labels": {"k": Label(torch.zeros(N, dtype=torch.int64), ("a",), cast(Role, "who"))}},
            "role 'who'; it must be 'static'",
        ),
    ],
)
def test_one_line_for_each_broken_field(change: dict, words: str) -> None:
    bare: dict = {"lengths": None, "mask": None, "times": None, "labels": {}}
    with pytest.raises(UsageError, match=words) as caught:
        replace(example(), **(bare | change))
    assert "\n" not in str(caught.value)


def test_first_bad_sequence_is_named() -> None:
    frames = torch.zeros(N, T, 3)
    frames[4, 1, 2] = torch.inf
    with pytest.raises(UsageError, match="not finite in sequence 4: say"):
        replace(example(), frames=frames)


def test_mask_may_cover_single_values() -> None:
    mask = torch.arange(N * T * 3).view(N, T, 3) % 2 == 0
    taken = replace(example(), mask=mask).take(torch.tensor([1])).mask
    assert taken is not None
    assert torch.equal(taken, mask[1:2])


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "sequence 0"), (2, "sequences 0 and 1"), (12, "sequences 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (12 in all)")],
)
def test_sequences_are_listed_by_their_numbers(count: int, words: str) -> None:
    assert numbered_sequences(torch.arange(12) < count) == words


def test_what_was_not_observed_may_be_nan() -> None:
    """Under the mask, and beyond the end of a sequence; the same values elsewhere are refused."""
    data = example()
    frames = data.frames.clone()
    frames[0, 1] = torch.nan
    frames[1, 3] = torch.inf  # sequence 1 has 3 frames
    mask = torch.ones(N, T, dtype=torch.bool)
    mask[0, 1] = False
    found = replace(data, frames=frames, mask=mask).frames
    expected = data.frames.clone()
    expected[0, 1] = expected[1, 3] = 0
    assert torch.equal(found, expected)
    assert frames.isnan().any()  # the caller's own stay as they are
    with pytest.raises(UsageError, match="not finite in sequence 0: say in an array mask"):
        replace(data, frames=frames)
    with pytest.raises(UsageError, match="not finite in sequence 1: say in an array mask"):
        replace(data, frames=frames, mask=mask, lengths=None)


@pytest.mark.parametrize(
    ("shape", "lengths", "words"),
    [
        ((80, 6, 100), None, "80 sequences of 6 steps of 100 values"),
        ((80, 6, 1), None, "80 sequences of 6 steps of 1 value"),
        ((3, 6, 2), [2, 6, 4], "3 sequences of 2 to 6 steps of 2 values"),
        ((20, 8, 3, 24, 32), None, "20 clips of 8 frames of 24 x 32 (H x W), 3 channels"),
        ((20, 8, 1, 32, 32), None, "20 clips of 8 frames of 32 x 32, 1 channel"),
    ],
)
def test_data_are_said_in_words(shape: tuple[int, ...], lengths: list[int] | None, words: str) -> None:
    split = torch.zeros(shape[0], dtype=torch.uint8)
    given = None if lengths is None else torch.tensor(lengths)
    assert SequenceData(torch.zeros(shape), split, given).in_words() == words


def test_the_fingerprint_of_one_number_per_step() -> None:
    """An axis of size 1 may have stride 0, as `numpy` leaves it."""
    values = torch.arange(N * T, dtype=torch.float32)
    split = torch.zeros(N, dtype=torch.uint8)
    strange = values.as_strided((N, T, 1), (T, 1, 0))
    assert SequenceData(strange, split).fingerprint() == SequenceData(values.reshape(N, T, 1), split).fingerprint()


def test_classes_that_do_not_occur_are_left_out_and_the_fingerprint_stays() -> None:
    """Runs that were fitted with the classes 0 to 4 of labels 1 to 4 still open."""
    numbers, names = np.array([1, 2, 4, 3, 1, 4]), ("0", "1", "2", "3", "4")
    label = Label.occurring(numbers, names, "static")
    assert (label.classes, label.values.tolist()) == (("1", "2", "3", "4"), [0, 1, 3, 2, 0, 3])
    assert len({*label.classes}) == 4
    before = replace(example(), labels={"who": Label(torch.from_numpy(numbers), names, "static")})
    assert replace(example(), labels={"who": label}).fingerprint() == before.fingerprint()
    whole = Label.occurring(numbers - 1, names[1:], "static")
    assert whole.numbered == ()
    assert replace(example(), labels={"who": whole}).fingerprint() != before.fingerprint()


def test_a_source_has_to_load() -> None:
    with pytest.raises(TypeError, match="load"):
        DataSource()  # type: ignore[abstract]
    assert DataSource.__abstractmethods__ == {"load"}
