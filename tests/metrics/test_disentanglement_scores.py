"""DCI, MIG and SAP of codes whose scores are known, and against their definitions written out."""

import math
import sys
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.metrics.disentanglement import (
    BINS,
    completeness,
    dci,
    disentanglement,
    mig,
    sap,
    scikit_learn,
)
from pyro_dsvae.metrics.labelled import measure_scores
from pyro_dsvae.models.errors import UsageError

pytest.importorskip("sklearn", reason="scikit-learn is the extra 'evaluate'")

N, K = 1200, 4


def factors(n: int = 2 * N, seed: int = 0) -> dict[str, Label]:
    """Three independent factors of four classes."""
    generator = torch.Generator().manual_seed(seed)
    names = tuple(str(i) for i in range(K))
    return {name: Label(torch.randint(K, (n,), generator=generator), names, "static") for name in ("a", "b", "c")}


def noise(n: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def codes(labels: dict[str, Label], mix: Tensor | None = None) -> Tensor:
    """A code for each factor, all but noiseless, then mixed."""
    values = torch.stack([label.values.float() for label in labels.values()], dim=1)
    clean = values + 0.05 * noise(len(values), 3)
    return clean if mix is None else clean @ mix


def halves(
    c: Tensor, labels: dict[str, Label], n: int = N
) -> tuple[Tensor, dict[str, Label], Tensor, dict[str, Label]]:
    """Codes and labels to learn from, and others: n of each."""
    first, second = (
        {k: Label(v.values[part], v.classes, v.role) for k, v in labels.items()} for part in (slice(n), slice(N, N + n))
    )
    return c[:n], first, c[N : N + n], second


def rotation(seed: int) -> Tensor:
    return torch.linalg.qr(noise(3, 3, seed))[0]


# --- DCI --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("importance", "d", "c"),
    [
        (np.eye(3), 1, 1),
        (np.eye(3)[[2, 0, 1]], 1, 1),  # whichever code it is
        (np.ones((3, 3)), 0, 0),
        (np.vstack([np.eye(2), np.zeros((2, 2))]), 1, 1),  # codes that tell nothing do not count
        ([[1, 0], [1, 0], [0, 1], [0, 1]], 1, 0.5),  # two of four codes for each factor: 1 - ln 2 / ln 4
        ([[1, 1], [0, 0]], 0, 1),  # one code for all
        ([[1, 1], [0, 2]], 2 / 4 * 1, 1 / 4 * 1 + 3 / 4 * (1 - (np.log(3) - 2 / 3 * np.log(2)) / np.log(2))),
        (np.zeros((3, 2)), 0, 0),
        ([[1], [1]], 1, 0),
        # The toy values of disentanglement_lib's own tests: codes and factors of which some are empty, double or missing.
        (5 * np.eye(5), 1, 1),
        ([[1, 0], [0, 1], [0, 0]], 1, 1),
        (np.vstack([5 * np.eye(5), 5 * np.eye(5)]), 1, 1 - np.log(2) / np.log(10)),
        (np.hstack([5 * np.eye(5), 5 * np.eye(5)]), 1 - np.log(2) / np.log(10), 1),
        (5 * np.eye(5)[:2], 1, 1),
    ],
)
def test_disentanglement_and_completeness_of_known_importance(
    importance: list[list[float]], d: float, c: float
) -> None:
    matrix = np.asarray(importance, dtype=float)
    assert disentanglement(matrix) == pytest.approx(d, abs=1e-12)
    assert completeness(matrix) == pytest.approx(c, abs=1e-12)


def test_both_are_their_definitions_by_loops() -> None:
    matrix = np.random.default_rng(0).random((5, 3))
    d, c = 0.0, 0.0
    for i in range(5):
        p = matrix[i] / matrix[i].sum()
        d += matrix[i].sum() / matrix.sum() * (1 + sum(x * math.log(x, 3) for x in p))
    for j in range(3):
        p = matrix[:, j] / matrix[:, j].sum()
        c += matrix[:, j].sum() / matrix.sum() * (1 + sum(x * math.log(x, 5) for x in p))
    assert disentanglement(matrix) == pytest.approx(d)
    assert completeness(matrix) == pytest.approx(c)


def test_dci_of_factors_themselves_of_mixtures_and_of_noise() -> None:
    labels = factors()
    clean = dci(*halves(torch.cat([codes(labels), noise(2 * N, 3, 5)], dim=1), labels))
    assert clean.disentanglement > 0.97
    assert clean.completeness > 0.97
    assert min(clean.informativeness.values()) > 0.99
    assert clean.importance[:3].argmax(0).tolist() == [0, 1, 2]
    torch.testing.assert_close(clean.importance.sum(0), torch.ones(3, dtype=torch.float64))
    mixed = dci(*halves(codes(labels, rotation(3)), labels))
    assert mixed.disentanglement < 0.5
    assert mixed.completeness < 0.5
    assert min(mixed.informativeness.values()) > 0.8
    nothing = dci(*halves(noise(2 * N, 6, 6), labels))
    assert nothing.disentanglement < 0.1
    assert max(nothing.informativeness.values()) < 0.35
    once, again = (dci(*halves(noise(2 * N, 6, 6), labels, 150)) for _ in range(2))
    assert again.informativeness == once.informativeness
    assert torch.equal(again.importance, once.importance)


# --- MIG --------------------------------------------------------------------------------------------------------------


def test_mig_of_factors_of_copies_and_of_halves() -> None:
    """A code that is the factor: 1; a second copy of it: 0; one that tells 2 of 4 classes: ln 2 / ln 4."""
    values = torch.arange(4 * 300) % K
    label = {"a": Label(values, tuple("0123"), "static")}
    other = torch.arange(4 * 300) // K % 7  # independent of the factor
    exact = torch.stack([values, other], dim=1).float()
    assert mig(exact, label).mean == pytest.approx(1, abs=0.01)
    assert mig(torch.cat([exact, exact[:, :1]], dim=1), label).mean == pytest.approx(0, abs=1e-9)
    half = mig(torch.stack([values // 2, other], dim=1).float(), label)
    assert half.factors == {"a": pytest.approx(0.5, abs=0.01)}
    assert mig(values[:, None].float(), label).mean == pytest.approx(1)  # no second code
    assert mig(exact, {"b": Label(torch.zeros_like(values), ("0",), "static")}).mean == 0


def test_mig_is_its_definition_by_loops() -> None:
    labels = factors(400)
    c = codes(labels, torch.eye(3) + 0.4 * noise(3, 3, 9)).numpy()
    gaps = []
    for label in labels.values():
        v, shared = label.values.numpy(), []
        for code in c.T:
            width = (code.max() - code.min()) / BINS
            cut = np.minimum(((code - code.min()) / width).astype(int), BINS - 1)
            total = 0.0
            for i, k in product(range(BINS), range(K)):
                both = np.mean((cut == i) & (v == k))
                if both > 0:
                    total += both * math.log(both / (np.mean(cut == i) * np.mean(v == k)))
            shared.append(total)
        entropy = -sum(np.mean(v == k) * math.log(np.mean(v == k)) for k in range(K))
        first, second, _ = sorted(shared, reverse=True)
        gaps.append((first - second) / entropy)
    found = mig(torch.from_numpy(c), labels)
    assert list(found.factors.values()) == pytest.approx(
        gaps, abs=5e-3
    )  # a value at the edge of a bin may fall either way
    assert found.mean == pytest.approx(np.mean(gaps), abs=5e-3)


# --- SAP --------------------------------------------------------------------------------------------------------------


def test_sap_of_two_classes_of_copies_and_of_mixtures() -> None:
    labels = {k: Label(v.values // 2, ("low", "high"), v.role) for k, v in factors().items()}
    clean = sap(*halves(codes(labels), labels))
    assert clean.mean == pytest.approx(1 / 2, abs=0.05)  # the second best code is at chance
    assert set(clean.factors) == set(labels)
    twice = sap(*halves(codes(labels)[:, [0, 1, 2, 0, 1, 2]], labels))
    assert twice.mean == pytest.approx(0, abs=1e-12)
    assert sap(*halves(codes(labels, rotation(3)), labels)).mean < 0.4
    assert sap(*halves(codes(labels)[:, :1], labels)).factors["a"] > 0.99  # no second code
    one = {"one": Label(torch.zeros(2 * N, dtype=torch.int64), ("0",), "static")}
    assert sap(*halves(codes(labels), one)).mean == 0


def test_sap_of_two_classes_is_the_least_squared_hinge_loss_by_search() -> None:
    """The line of a linear machine, with classes weighed alike and the offset penalised like the slope, by a grid."""
    generator = torch.Generator().manual_seed(4)
    rare = (torch.rand(2 * N, generator=generator) < 0.1).long()
    c = torch.stack([3 * rare + noise(2 * N, 1, 7)[:, 0], 2 * rare + noise(2 * N, 1, 8)[:, 0]], dim=1)
    label = {"rare": Label(rare, ("no", "yes"), "static")}
    train, train_labels, test, test_labels = halves(c, label)
    scores = []
    for i in range(2):
        slope, offset = machine(train[:, i].double().numpy(), train_labels["rare"].values.numpy())
        seen = slope * test[:, i].double().numpy() + offset > 0
        scores.append(np.mean(seen == (test_labels["rare"].values.numpy() == 1)))
    found = sap(train, train_labels, test, test_labels)
    assert found.factors["rare"] == pytest.approx(abs(scores[0] - scores[1]), abs=1e-3)
    assert max(scores) > 0.85


def machine(code: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """min (w^2 + b^2) / 2 + 0.01 sum_i c_i max(0, 1 - y_i (w x_i + b))^2, by SciPy from several starts."""
    sign = 2.0 * true - 1
    weight = len(true) / 2 / np.where(true == 1, (true == 1).sum(), (true == 0).sum())

    def loss(at: np.ndarray) -> float:
        hinge = np.maximum(0, 1 - sign * (at[0] * code + at[1]))
        return float((at**2).sum() / 2 + 0.01 * (weight * hinge**2).sum())

    best = min((minimize(loss, start, tol=1e-12) for start in ([0, 0], [1, -1], [-1, 1])), key=lambda found: found.fun)
    return float(best.x[0]), float(best.x[1])


# --- f and z ----------------------------------------------------------------------------------------------------------


def test_codes_of_f_and_of_z_are_told_apart() -> None:
    """Who in one dimension of f, what in the mean of one dimension of z: importance falls where it belongs."""
    labels = factors()
    labels["c"] = Label(labels["c"].values, labels["c"].classes, "dynamic")
    values = codes(labels)
    f = torch.cat([values[:, :2], noise(2 * N, 1, 2)], dim=1)
    z = torch.stack([values[:, 2:] + 0.01 * noise(2 * N, 1, 3 + t) for t in range(4)], dim=1)
    z = torch.cat([z, noise(2 * N * 4, 1, 30).view(2 * N, 4, 1)], dim=2)

    def part(rows: slice, split: int) -> tuple[Latents, SequenceData]:
        own = {k: Label(v.values[rows], v.classes, v.role) for k, v in labels.items()}
        data = SequenceData(torch.zeros(N, 4, 1), torch.full((N,), split, dtype=torch.uint8), labels=own)
        return Latents(f[rows], z[rows]), data

    found = measure_scores(*part(slice(N), 0), *part(slice(N, None), 2), 0)
    assert found.in_f["a"] > 0.97
    assert found.in_f["b"] > 0.97
    assert found.in_f["c"] < 0.03
    assert found.dci.importance.shape == (3 + 2 * 2, 3)
    assert found.dci.disentanglement > 0.95
    assert found.sap.mean > 0.4  # of four classes in a row one line tells the outer ones


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UsageError, match=r"pip install 'pyro-dsvae\[evaluate\]'"):
        scikit_learn("svm")
