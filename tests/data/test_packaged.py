"""Series that ship in packages: the sizes and splits that their sources publish, and the values of their files."""

import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae import BasicMotions, JapaneseVowels, WatchExercises
from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.models.errors import UsageError


def archive_file(name: str) -> list[str]:
    """The lines of data of a file that sktime ships."""
    spec = find_spec("sktime")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "datasets" / "data" / name.partition("_")[0] / f"{name}.ts").read_text()
    return [line for line in text.partition("@data")[2].splitlines() if line.strip()]


def values(line: str) -> tuple[np.ndarray, str]:
    """(T, P) and the class in a line: channels are parted by colons."""
    *channels, kind = line.split(":")
    return np.array([[float(v) for v in channel.split(",")] for channel in channels]).T, kind


@pytest.mark.parametrize(
    ("source", "file", "label", "role", "each"),
    [
        (JapaneseVowels(), "JapaneseVowels", "speaker", "static", {0: 27, 1: 3}),
        (BasicMotions(), "BasicMotions", "motion", "dynamic", {0: 8, 1: 2}),
    ],
)
def test_the_archive_is_read_as_its_files_say(
    source: DataSource, file: str, label: str, role: str, each: dict[int, int]
) -> None:
    """Every value, length and class; the test set is the test split, and a share of each training class validates."""
    pytest.importorskip("sktime")
    data = source.load()
    train, test = (archive_file(f"{file}_{part}") for part in ("TRAIN", "TEST"))
    factor = data.labels[label]
    assert factor.role == role
    for row, line in enumerate([*train, *test]):
        series, kind = values(line)
        length = data.length if data.lengths is None else int(data.lengths[row])
        assert length == len(series)
        np.testing.assert_allclose(data.frames[row, :length], series, rtol=1e-6)
        assert factor.classes[factor.values[row]].lower() == kind.lower()
    assert set(data.split[len(train) :].tolist()) == {2}
    for number in range(len(factor.classes)):
        assert Counter(data.split[: len(train)][factor.values[: len(train)] == number].tolist()) == each
    assert data.names is not None
    assert len(data.names.columns) == data.frame_shape[0]


def test_vowels_are_of_nine_speakers_in_7_to_29_steps() -> None:
    pytest.importorskip("sktime")
    data = JapaneseVowels().load()
    assert data.in_words() == "640 sequences of 7 to 29 steps of 12 values"
    assert [len(data.part(split)) for split in ("train", "validation", "test")] == [243, 27, 370]  # type: ignore[arg-type]
    assert torch.equal(data.split, JapaneseVowels().load().split)
    assert not torch.equal(data.split, JapaneseVowels(seed=1).load().split)


def recordings() -> dict:
    return pytest.importorskip("seglearn.datasets").load_watch()


def test_windows_of_the_watch_are_those_of_a_loop() -> None:
    """Means of five samples, windows within a recording, labels of that recording."""
    watch = recordings()
    data = WatchExercises(window=40, stride=25).load()
    assert data.names is not None
    row = 0
    for i, series in enumerate(watch["X"]):
        steps = np.stack([series[5 * t : 5 * t + 5].mean(0) for t in range(len(series) // 5)])
        for start in range(0, len(steps) - 40 + 1, 25):
            np.testing.assert_allclose(data.frames[row], steps[start : start + 40], rtol=1e-5, atol=1e-6)
            found = {name: label.classes[label.values[row]] for name, label in data.labels.items()}
            side = ("left", "right")[int(watch["side"][i])]
            assert found == {
                "person": str(watch["subject"][i]),
                "side": side,
                "exercise": watch["y_labels"][watch["y"][i]],
            }
            assert data.names.entities[row] == f"person {found['person']}, {side}, {found['exercise']}"
            row += 1
    assert row == len(data)
    assert data.recordings is not None
    arms = [name.rpartition(", ")[0] for name in data.names.entities]
    assert len({*zip(arms, data.recordings.tolist(), strict=True)}) == len(set(arms)) == 20
    assert data.names.columns == ("ax", "ay", "az", "wx", "wy", "wz")
    assert {name: label.role for name, label in data.labels.items()} == {
        "person": "static",
        "side": "static",
        "exercise": "dynamic",
    }


def splits_of(data: SequenceData) -> dict[str, set[int]]:
    assert data.names is not None
    found: dict[str, set[int]] = {}
    for name, split in zip(data.names.entities, data.split.tolist(), strict=True):
        found.setdefault(name, set()).add(split)
    return found


def test_windows_of_a_recording_are_in_one_split() -> None:
    recordings()
    found = splits_of(WatchExercises().load())
    assert len(found) == 140
    assert Counter(split for (split,) in found.values()) == {0: 98, 1: 14, 2: 28}


def test_windows_by_time_are_of_every_recording_and_cross_no_border() -> None:
    """A window of the training steps lies in the first 70 of 100 steps of its recording, and so on."""
    watch = pytest.importorskip("seglearn.datasets").load_watch()
    data = WatchExercises(by="time").load()
    assert data.names is not None
    whole: dict[str, np.ndarray] = {}
    for i, series in enumerate(watch["X"]):
        side = ("left", "right")[int(watch["side"][i])]
        name = f"person {watch['subject'][i]}, {side}, {watch['y_labels'][watch['y'][i]]}"
        whole[name] = np.stack([series[5 * t : 5 * t + 5].mean(0) for t in range(len(series) // 5)])
    borders = ((0, 0.7), (0.7, 0.8), (0.8, 1))
    found = Counter(zip(data.names.entities, data.split.tolist(), strict=True))
    for name, steps in whole.items():
        for split, (low, high) in enumerate(borders):
            start, end = (int(len(steps) * share + 1e-9) for share in (low, high))
            expected = [steps[at : at + 32] for at in range(start, end - 32 + 1, 16)]
            assert found[name, split] == len(expected)
            rows = [
                row
                for row, (entity, part) in enumerate(zip(data.names.entities, data.split.tolist(), strict=True))
                if (entity, part) == (name, split)
            ]
            for row, window in zip(rows, expected, strict=True):
                np.testing.assert_allclose(data.frames[row], window, rtol=1e-5, atol=1e-6)


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, source in (("seglearn", WatchExercises()), ("sktime", JapaneseVowels()), ("sktime", BasicMotions())):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            patch.delitem(sys.modules, f"{module}.datasets", raising=False)
            with pytest.raises(
                UsageError, match=rf"needs {module}, which is not installed: pip install 'pyro-dsvae\[series"
            ):
                source.load()


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="window = 1; it has at least 2 steps"):
        WatchExercises(window=1)
    with pytest.raises(UsageError, match="every is 0; it must be a whole number"):
        WatchExercises(every=0)
    with pytest.raises(UsageError, match="split by recording or time, not 'person'"):
        WatchExercises(by="person")  # type: ignore[arg-type]
    pytest.importorskip("sktime")
    with pytest.raises(UsageError, match=r"validation = 1\.5; it is a fraction between 0 and 1"):
        BasicMotions(validation=1.5).load()
