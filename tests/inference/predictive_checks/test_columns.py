"""Discrepancies of single columns against NumPy and SciPy, on what was observed of each."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from pyro_dsvae.inference.predictive_checks.columns import MOST_COLUMNS, PROPERTIES, column_discrepancies
from pyro_dsvae.inference.predictive_checks.discrepancy import Frames

B, T, P = 5, 12, 3
NAMES = ("pulse", "skin", "steps")


def autocorrelation(t: Any, x: Any) -> float:
    centred = x - np.nanmean(x)
    return float(np.nanmean(centred[1:] * centred[:-1]) / np.nanmean(centred**2))


def fast(t: Any, x: Any) -> float:
    centred = np.nan_to_num(x - np.nanmean(x))
    power = np.abs(np.fft.fft(centred)) ** 2
    return float(power[np.abs(np.fft.fftfreq(len(x))) > 0.25].sum() / power.sum())


# Of one column (T,) with NaN where not observed.
BY_HAND: dict[str, Callable[[Any, Any], float]] = {
    "level": lambda t, x: float(np.nanmean(x)),
    "trend": lambda t, x: float(stats.linregress(t[~np.isnan(x)], x[~np.isnan(x)]).slope),
    "variation": lambda t, x: float(np.nanstd(x)),
    "lag-1 autocorrelation": autocorrelation,
    "share of fast changes": fast,
    "largest value": lambda t, x: float(np.nanmax(x)),
    "smallest value": lambda t, x: float(np.nanmin(x)),
}


def series(pattern: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    torch.manual_seed(0)
    x = 1e3 * torch.tensor([1.0, 1e-6, 1e3]) * torch.randn(B, T, P).double().cumsum(1)
    times = torch.rand(B, T).double().cumsum(1) if "times" in pattern else None
    seen = None
    if "values" in pattern:
        seen = torch.rand(B, T, P) < 0.6
        seen[:, [0, 3, 4]] = True
    elif "steps" in pattern:
        seen = (torch.arange(T) < torch.tensor([12, 7, 9, 4, 12])[:, None]).unsqueeze(-1)
    return x if seen is None else x.where(seen, torch.zeros(())), seen, times


@pytest.mark.parametrize("pattern", ["complete", "times", "missing values, times", "missing steps"])
def test_each_is_the_property_of_its_column_in_its_own_units(pattern: str) -> None:
    x, seen, times = series(pattern)
    made = column_discrepancies(NAMES)
    assert [d.name for d in made] == [f"{what} of {name}" for name in NAMES for what in BY_HAND]
    assert not any(d.pooled or d.realised for d in made)
    shown = x if seen is None else x.where(seen, math.nan)
    for d in made:
        what, _, name = d.name.partition(" of ")
        if what == "share":
            what, name = "share of fast changes", d.name.rpartition(" of ")[2]
        column = NAMES.index(name)
        # Two draws of the same, as replications are given.
        found = d.function(Frames(x.expand(2, -1, -1, -1), 1, seen, times))
        assert found.shape == (2, B)
        for b in range(B):
            t = np.arange(T) if times is None else times[b].numpy()
            expected = BY_HAND[what](t, shown[b, :, column].numpy())
            assert found[1, b].item() == pytest.approx(expected, rel=1e-6), (d.name, b)


def test_a_single_value_has_no_trend_and_none_no_property() -> None:
    x, seen = torch.ones(2, T, 1), torch.zeros(2, T, 1, dtype=torch.bool)
    seen[0, 3] = True
    assert torch.isnan(PROPERTIES["trend"](Frames(x * seen, 1, seen))).all()
    for what in ("level", "largest value", "smallest value"):
        assert PROPERTIES[what](Frames(x * seen, 1, seen)).isnan().tolist() == [False, True]


def test_many_columns_are_not_tested_one_by_one() -> None:
    assert len(column_discrepancies(["a"] * MOST_COLUMNS)) == 7 * MOST_COLUMNS
    assert column_discrepancies(["a"] * (MOST_COLUMNS + 1)) == []
