"""How often predictions hold: PIT values of many sequences, summarised with errors over sequences."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand, histograms

LEVELS = (0.5, 0.8, 0.95)
BINS = 20


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """PIT values u = P(prediction < x) of many x, uniform where the predictions are calibrated; float64 on the CPU.

    Values of one sequence depend on each other, so every error here is over sequences.

    Attributes:
        levels: Of the central intervals.
        coverage: (3,) share of the values inside the interval of each level.
        coverage_error: (3,) its standard error.
        histogram: (20,) share of the values with u in each of 20 bins; 1/20 where calibrated.
        histogram_error: (20,) its standard error.
        mean: Mean of u; above 1/2, values lie higher than predicted.
        mean_error: Its standard error.
        one: (n,) u of one value at random of each sequence: these are independent.
        band: Of the ECDF of ``one``.
        p_value: Of uniform ``one``, by the band.
        values: Number of values.
    """

    levels: tuple[float, ...]
    coverage: Tensor
    coverage_error: Tensor
    histogram: Tensor
    histogram_error: Tensor
    mean: float
    mean_error: float
    one: Tensor
    band: ECDFBand
    p_value: float
    values: int


def coverage_of(u: Tensor, generator: torch.Generator) -> Coverage:
    """For u (n, m) of n independent sequences, NaN where there is no value."""
    u = u[~u.isnan().all(1)]
    known = ~u.isnan()
    counts = known.sum(1).double()
    u = u.double()
    off = (u - 0.5).abs()
    inside = torch.stack([(off < level / 2).sum(1) for level in LEVELS], dim=1)
    in_bins = histograms(u.T, BINS)
    coverage, coverage_error = _share(inside, counts)
    share, share_error = _share(in_bins, counts)
    mean, mean_error = _share(u.nansum(1, keepdim=True), counts)
    place = torch.rand(u.shape, generator=generator).masked_fill(~known, -1).argmax(1)
    one = u.gather(1, place.unsqueeze(1)).squeeze(1)
    band = ECDFBand.of(len(one), BINS)
    p_value = float(band.p_values(histograms(one, BINS)))
    return Coverage(
        levels=LEVELS,
        coverage=coverage,
        coverage_error=coverage_error,
        histogram=share,
        histogram_error=share_error,
        mean=float(mean),
        mean_error=float(mean_error),
        one=one,
        band=band,
        p_value=p_value,
        values=int(counts.sum()),
    )


def _share(totals: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """sum totals / sum counts for totals (n, k) of n sequences with counts (n,), and its standard error over sequences."""
    n, whole = len(counts), counts.sum()
    share = totals.double().sum(0) / whole
    residual = totals.double() - share * counts.unsqueeze(1)
    return share, (n / max(n - 1, 1) * residual.square().sum(0)).sqrt() / whole
