"""Labels of a file: the classes that occur, whatever they are stored as, under their own names."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.judges.own import OwnJudge
from pyro_dsvae.metrics.generation import score

N = 24
FRAMES = np.random.default_rng(0).normal(size=(N, 5, 3)).astype(np.float32)


def loaded(folder: Path, **arrays: Any) -> SequenceData:
    np.savez(folder / "mine.npz", frames=FRAMES, **arrays)
    return Arrays(str(folder / "mine.npz")).load()


@pytest.mark.parametrize(
    ("kinds", "classes"),
    [
        (np.array([1, 2, 3, 4]), ("1", "2", "3", "4")),
        (np.array([-1, 1]), ("-1", "1")),
        (np.array([10, 20, 30], np.uint8), ("10", "20", "30")),
        (np.array([0, 1, 2]), ("0", "1", "2")),
        (np.array([10**9, 7]), ("7", "1000000000")),
        (np.array([False, True]), ("False", "True")),
        (np.array([1.0, 2.0]), ("1", "2")),
        (np.array([0.5, 0.1], np.float32), ("0.1", "0.5")),
        (np.array(["walk", "run", "jump"]), ("jump", "run", "walk")),
        (np.array(["läuft", "geht"]), ("geht", "läuft")),
        (np.char.encode(np.array(["läuft", "geht"]), "utf-8"), ("geht", "läuft")),
    ],
)
def test_values_that_occur_are_the_classes(tmp_path: Path, kinds: np.ndarray, classes: tuple[str, ...]) -> None:
    """Each sequence has the class that is called as its value is."""
    chosen = np.arange(N) % len(kinds)
    label = loaded(tmp_path, labels_gait=kinds[chosen]).labels["gait"]
    assert label.classes == classes
    plain = [
        str(int(v)) if kinds.dtype.kind == "f" and v == int(v) else v.decode() if isinstance(v, bytes) else str(v)
        for v in kinds
    ]
    assert [label.classes[i] for i in label.values.tolist()] == [plain[i] for i in chosen]


@pytest.mark.parametrize("values", [np.array([0, 3, 1]), np.array(["stand", "jump", "walk"])])
def test_named_classes_that_do_not_occur_are_left_out(tmp_path: Path, values: np.ndarray) -> None:
    """In the order of the names, whether labels are their numbers or the names themselves."""
    names = ["stand", "walk", "run", "jump"]
    label = loaded(tmp_path, labels_gait=values[np.arange(N) % 3], classes_gait=names).labels["gait"]
    assert label.classes == ("stand", "walk", "jump")
    assert label.values[:3].tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("values", "before", "numbers"),
    [
        (np.array([1, 2, 3, 4]), ("0", "1", "2", "3", "4"), [1, 2, 3, 4]),
        (np.array([2, 5]), ("0", "1", "2", "3", "4", "5"), [2, 5]),
        (np.array([True, False]), ("0", "1"), [1, 0]),
    ],
)
def test_runs_of_before_know_the_data_again(
    tmp_path: Path, values: np.ndarray, before: tuple[str, ...], numbers: list[int]
) -> None:
    """The fingerprint is that of the labels as versions before this one numbered them: all integers from 0 on."""
    pick = np.arange(N) % len(values)
    data = loaded(tmp_path, labels_gait=values[pick])
    old = Label(torch.tensor(numbers)[pick], before, "static")
    assert data.fingerprint() == SequenceData(data.frames, data.split, labels={"gait": old}).fingerprint()


def test_chance_inception_score_and_entropy_are_of_the_classes_that_occur(tmp_path: Path) -> None:
    """Labels 1 to 4, equally frequent: the bounds are 4 and ln 4, and equal answers are 0 away from equal shares."""
    data = loaded(tmp_path, labels_gait=1 + np.arange(N) % 4)
    (label,) = data.labels.values()
    judge = OwnJudge(data.frame_shape, {name: len(each.classes) for name, each in data.labels.items()})
    assert judge(data.frames, None)["gait"].shape == (N, 4)
    sure = torch.full((N, 4), -50.0).scatter(1, label.values[:, None], 0.0).double().log_softmax(1)
    (found,) = score("motion", {"gait": sure[None]}, {"gait": sure}, data, data).values()
    assert found.chance == pytest.approx(1 / 4)
    assert found.entropies.classes == 4
    assert found.entropies.score == pytest.approx(4)
    assert found.entropies.marginal == pytest.approx(math.log(4))
    assert found.from_uniform == pytest.approx(0)
