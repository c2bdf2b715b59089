"""Uniformity: the simultaneous band of an empirical distribution function."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SIMULATIONS = 4_000


@dataclass(frozen=True)
class ECDFBand:
    """A band around the ECDF of ``count`` independent uniform values, simultaneous over its points.

    Attributes:
        count: Of values.
        points: (K - 1,) j / K: the values are counted in K bins of equal probability.
        lower: (K - 1,) share of the values at or below each point: a sample of uniform values stays at or above
            ``lower``.
        upper: (K - 1,) and at or below ``upper``, everywhere at once, with probability ``level``.
        level: Of the band.
        extremes: (M,) what `p_values` compares with, sorted.
    """

    count: int
    points: Tensor
    lower: Tensor
    upper: Tensor
    level: float
    extremes: Tensor = field(repr=False)

    @classmethod
    def of(cls, count: int, bins: int, level: float = 0.95, seed: int = 0) -> "ECDFBand":
        """Simulated: 4,000 samples of uniform values, each told by how unlikely its least likely count below a point is.

        Source: Säilynoja, Bürkner & Vehtari, "Graphical test for discrete uniformity and its applications in
        goodness-of-fit evaluation and multiple sample comparison", Statistics and Computing 32, 2022 (section 2).
        """
        generator = torch.Generator().manual_seed(seed)
        extremes = _extremes(_simulated(count, bins, generator), count).sort().values
        critical = extremes[int((1 - level) * len(extremes))]
        below, above = _tails(count, bins)
        inside = (2 * torch.minimum(below, above) >= critical).double()
        lower = inside.argmax(0)
        upper = count - inside.flip(0).argmax(0)
        points = torch.arange(1, bins, dtype=torch.float64) / bins
        return cls(count, points, lower.double() / count, upper.double() / count, level, extremes)

    def p_values(self, histogram: Tensor) -> Tensor:
        """``(*C)`` p-values of uniformity for counts per bin ``(*C, K)``; none is below 1 / 4,001."""
        found = _extremes(histogram[..., :-1].cumsum(-1), self.count)
        # The least likely count is a number out of a table, so equal ones are equal.
        reached = torch.searchsorted(self.extremes, found.contiguous(), right=True)
        return (1 + reached).double() / (1 + len(self.extremes))


def chi_square_p_values(histogram: Tensor) -> Tensor:
    """``(*C)`` p-values of Pearson's test of equal probabilities, for counts per bin ``(*C, K)``."""
    from scipy import stats

    with np.errstate(invalid="ignore"):  # nothing over nothing, where nothing was counted: 1
        p = stats.chisquare(histogram.numpy(), axis=-1).pvalue
    return torch.from_numpy(np.asarray(p)).nan_to_num(1.0)


def histograms(u: Tensor, bins: int) -> Tensor:
    """``(*C, K)`` counts over the first dimension of u ``(N, *C)`` in [0, 1); NaN is not counted."""
    index = (u * bins).long().clamp(0, bins - 1)
    known = ~u.isnan()
    one_hot = torch.zeros(*u.shape, bins, dtype=torch.int64)
    one_hot.scatter_(-1, index.where(known, 0).unsqueeze(-1), known.long().unsqueeze(-1))
    return one_hot.sum(0)


def discoveries(p_values: Tensor, rate: float = 0.05) -> Tensor:
    """(n,) bool, which of n hypotheses are rejected so that in expectation at most ``rate`` of them are rejected wrongly.

    Source: Benjamini & Hochberg, "Controlling the false discovery rate", JRSS B 57, 1995.
    """
    from scipy import stats

    return torch.from_numpy(stats.false_discovery_control(p_values.numpy()) <= rate)


def _simulated(count: int, bins: int, generator: torch.Generator) -> Tensor:
    """(M, K - 1) counts at or below each point, bin by bin, so that the work does not grow with ``count``."""
    left = torch.full((SIMULATIONS,), float(count), dtype=torch.float64)
    columns = []
    for j in range(bins - 1):
        drawn = torch.binomial(left, torch.full_like(left, 1 / (bins - j)), generator=generator)
        left = left - drawn
        columns.append(count - left)
    return torch.stack(columns, dim=1)


def _tails(count: int, bins: int) -> tuple[Tensor, Tensor]:
    """P(C <= c) and P(C >= c), each (count + 1, K - 1), of the binomial number of values at or below each point."""
    from scipy import stats

    c, p = np.arange(count + 1)[:, None], np.arange(1, bins) / bins
    return torch.from_numpy(stats.binom.cdf(c, count, p)), torch.from_numpy(stats.binom.sf(c - 1, count, p))


def _extremes(below: Tensor, count: int) -> Tensor:
    """``(*C)`` for counts at or below the points ``(*C, K - 1)``: the smallest two-sided pointwise probability."""
    tails = torch.minimum(*_tails(count, below.shape[-1] + 1))
    picked = tails.T.expand(*below.shape[:-1], -1, -1).gather(-1, below.long().unsqueeze(-1)).squeeze(-1)
    return (2 * picked).amin(-1)
