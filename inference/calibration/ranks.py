"""Ranks of true values among draws: are they uniform, and if not, in what way."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand, chi_square_p_values, discoveries, histograms

BINS = 20
# No p-value is below one over the number of flips, so more dimensions need more.
FEWEST_FLIPS, FLIPS_PER_DIMENSION, MOST_FLIPS = 999, 200, 19_999
# Of the dimensions that are said to be wrong, the share that may be said so wrongly.
WRONGLY = 0.01
# Dimensions that are flipped at once, which bounds memory.
AT_ONCE = 32


@dataclass(frozen=True)
class RankTest:
    """Ranks of true values among L draws of the guide, per dimension (size,) of f or z; float64 on the CPU.

    ranks       (N, size) int64 from 0 to L, or (N, T, size) with -1 where a step does not exist
    p_values    (size,) or (T, size): of uniform ranks, by the ECDF band (`ECDFBand.p_values`)
    chi_square  the same by Pearson's test of 20 bins
    symmetry    (size,) p-value of a distribution of P(q < true) that is symmetric about 1/2 (VSBC), by flipping simulations
    centre      (size,) mean of P(q < true) - 1/2: above 0 the guide's values are too low
    width       (size,) standard deviation of q over what it should be, as far as dispersion of the ranks tells: exact for
                normals without bias, and for all others right on which side of 1 it is
    biased      (size,) bool, asymmetric; `discoveries` at 1 %
    narrow      (size,) bool, ranks too far from the middle; `discoveries` at 1 %
    wide        (size,) bool, ranks too near the middle
    """

    ranks: Tensor
    p_values: Tensor
    chi_square: Tensor
    symmetry: Tensor
    centre: Tensor
    width: Tensor
    biased: Tensor
    narrow: Tensor
    wide: Tensor


def rank_test(ranks: Tensor, draws: int, band: ECDFBand, generator: torch.Generator) -> RankTest:
    """For ranks (N, T, size), -1 where there is none; with T = 1 the dimension of steps is left out of the result."""
    known = ranks >= 0
    u = ((ranks + 0.5) / (draws + 1)).double().masked_fill(~known, math.nan)
    counts = histograms(u, BINS)
    bands = {int(n): band if n == band.count else ECDFBand.of(int(n), BINS) for n in counts.sum(-1).unique() if n}
    p_values = torch.ones(counts.shape[:-1], dtype=torch.float64)
    for n, each in bands.items():
        some = counts.sum(-1) == n
        p_values[some] = each.p_values(counts[some])
    exists = known.any(-1).sum(1) if ranks.shape[-1] else torch.ones(len(ranks))
    some_steps = exists > 0
    centred = (u - 0.5)[some_steps]
    # Means over the steps of a simulation: simulations are independent, steps are not.
    first, second = centred.nanmean(1), centred.square().nanmean(1)
    places = (torch.arange(draws + 1, dtype=torch.float64) + 0.5) / (draws + 1) - 0.5
    uniform = places.square().mean()
    dispersion = second.mean(0)
    # Single ranks have a known variance where they are uniform; how much steps of a simulation share is estimated.
    single = (centred.square() - dispersion).square().nanmean((0, 1))
    spread = (second - dispersion).square().mean(0)
    shared = (spread / single.clamp(min=1e-12)).clamp(max=1).where(single > 1e-6, torch.ones_like(single))
    error = (places.square().var(correction=0) * shared / len(second)).clamp(min=1e-12).sqrt()
    z_score = (dispersion - uniform) / error
    wrong = discoveries(torch.special.erfc(z_score.abs() / math.sqrt(2)), WRONGLY)
    symmetry = _symmetry(u[some_steps], generator)
    step = 0 if ranks.shape[1] == 1 else slice(None)
    return RankTest(
        ranks[:, step],
        p_values[step],
        chi_square_p_values(counts)[step],
        symmetry,
        first.mean(0),
        _width(dispersion + (1 / 12 - uniform)),
        discoveries(symmetry, WRONGLY),
        wrong & (z_score > 0),
        wrong & (z_score < 0),
    )


def _width(dispersion: Tensor) -> Tensor:
    """s from Var Phi(e / s) = arcsin(1 / (1 + s^2)) / 2 pi with a standard normal e."""
    return (1 / torch.sin(2 * math.pi * dispersion.clamp(1e-6, 0.25)) - 1).clamp(min=0).sqrt()


def _symmetry(u: Tensor, generator: torch.Generator) -> Tensor:
    """(size,) p-values of u (N, T, size) against 1 - u: the largest distance of the two ECDFs, flipping whole simulations."""
    count, size = len(u), u.shape[-1]
    weight = (~u.isnan()).double() / (~u.isnan()).sum(1, keepdim=True).clamp(min=1)
    index = (u.nan_to_num(0.0) * BINS).long().clamp(0, BINS - 1)
    shares = torch.zeros(count, BINS, size, dtype=torch.float64).scatter_add_(1, index, weight)
    # Bin k of u is bin K - 1 - k of 1 - u, so a flip of a simulation changes the sign of its difference.
    distance = (shares - shares.flip(1)).cumsum(1)[:, : BINS // 2]
    flips = min(max(FEWEST_FLIPS, FLIPS_PER_DIMENSION * size), MOST_FLIPS)
    signs = 2.0 * torch.randint(0, 2, (flips, count), generator=generator).double() - 1
    signs = torch.cat([torch.ones(1, count, dtype=torch.float64), signs])
    reached = [torch.zeros(0)]
    for some in distance.split(AT_ONCE, dim=2) if size else ():
        largest = (signs @ some.flatten(1)).abs().unflatten(1, (BINS // 2, -1)).amax(1)
        # Equal up to rounding counts as equal.
        reached.append((largest[1:] >= largest[0] - 1e-9).sum(0))
    return (1 + torch.cat(reached)).double() / (1 + flips)
