"""Means and standard deviations of columns, against NumPy's masked arrays."""

import numpy as np
import pytest
import torch

from pyro_dsvae.data.tables import columns as module
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.sequences import Sequences

N, T, P = 12, 7, 5


@pytest.mark.parametrize("chunk", [2**24, T * P * 5])
@pytest.mark.parametrize("kind", ["values", "frames", "none"])
def test_moments_are_those_of_observed_values_of_these_sequences(
    kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is masked, does not exist, or belongs to other splits holds NaN, and does not count."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(N, T, P)) * [1, 5, 30, 0.1, 1e-3] + [0, 1e4, -3, 7, 0]
    lengths, rows = rng.integers(2, T + 1, N), np.array([0, 2, 3, 5, 8, 11])
    shape = {"values": (N, T, P), "frames": (N, T), "none": ()}[kind]
    mask = rng.random(shape) < 0.6 if shape else None
    exists = (np.arange(T) < lengths[:, None])[..., None] & np.ones((N, T, P), bool)
    observed = exists if mask is None else exists & mask.reshape(N, T, -1)
    stored = torch.from_numpy(np.where(observed, frames, np.nan))
    given = Sequences.of(stored, None if mask is None else torch.from_numpy(mask), torch.from_numpy(lengths)).take(
        torch.from_numpy(rows)
    )
    found = ColumnMoments.of(given)
    expected = np.ma.MaskedArray(frames[rows], ~observed[rows]).reshape(-1, P)
    np.testing.assert_allclose(found.mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.sd, expected.std(0), rtol=1e-10)
    assert not (found.constant | found.unobserved | found.coarse).any()


def test_columns_that_cannot_be_standardised_are_named() -> None:
    """A constant column is centred exactly and divided by 1, one that was never observed is left as it is."""
    frames = torch.randn(N, T, P)
    frames[..., 1] = 9.9
    frames[..., 3] = frames[..., 3] * 1e-4 + 52.5
    mask = torch.ones(N, T, P, dtype=torch.bool)
    mask[..., 4] = False
    found = ColumnMoments.of(Sequences.of(frames, mask))
    assert found.constant.tolist() == [False, True, False, False, False]
    assert found.unobserved.tolist() == [False, False, False, False, True]
    assert found.coarse.tolist() == [False, False, False, True, False]
    assert torch.equal(found.mean[1].float(), frames[0, 0, 1])
    assert (found.sd[1], found.mean[4], found.sd[4]) == (1, 0, 1)
    first, *others = found.sentences()
    assert "3 columns" in first
    assert "--standardise false" in first
    assert [line.split(" is ")[0] for line in others] == ["column 1", "column 4", "column 3"]
    assert all("\n" not in line for line in found.sentences())


def test_many_constant_columns_take_one_line() -> None:
    found = ColumnMoments.of(Sequences.of(torch.zeros(4, 3, 100)))
    assert found.sentences() == [
        "columns 0, 1, 2, 3, 4, 5, 6, 7 and 92 more are constant in the training split, so only centred"
    ]
