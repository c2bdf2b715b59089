"""Ranks of true values among draws: are they uniform, and if not, in what way."""

import math
from dataclasses import dataclass

import torch
from scipy.special import owens_t
from torch import Tensor

from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand, chi_square_p_values, discoveries, histograms

BINS = 20
# No p-value is below one over the number of flips, so more dimensions need more.
FEWEST_FLIPS, FLIPS_PER_DIMENSION, MOST_FLIPS = 999, 200, 19_999
# Of the dimensions that are said to be wrong, the share that may be said so wrongly.
WRONGLY = 0.01
# Dimensions that are flipped at once, which bounds memory.
AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """Ranks of true values among L draws of the guide, per dimension (size,) of f or z; float64 on the CPU.

    Attributes:
        ranks: (N, size) int64 from 0 to L, or (N, T, size) with -1 where a step does not exist.
        p_values: (size,) or (T, size): of uniform ranks, by the ECDF band (`ECDFBand.p_values`).
        chi_square: The same by Pearson's test of 20 bins.
        symmetry: (size,) p-value of a distribution of P(q < true) that is symmetric about 1/2 (VSBC), by flipping
            simulations.
        bias: (size,) how much too high the guide's mean is, in standard deviations of the true value; exact for
            normals.
        width: (size,) standard deviation of q over what it should be; exact for normals, biased or not.
        biased: (size,) bool, asymmetric; `discoveries` at 1 %.
        narrow: (size,) bool, width below 1; `discoveries` at 1 %.
        wide: (size,) bool, width above 1.
    """

    ranks: Tensor
    p_values: Tensor
    chi_square: Tensor
    symmetry: Tensor
    bias: Tensor
    width: Tensor
    biased: Tensor
    narrow: Tensor
    wide: Tensor


def rank_test(ranks: Tensor, draws: int, band: ECDFBand, generator: torch.Generator) -> RankTest:
    """Test the ranks of true values among draws of a guide.

    Args:
        ranks: (N, T, size) int64, -1 where there is none. With T = 1 the result has no dimension of steps.
        draws: L, the number of draws among which the values were ranked.
        band: Of the ECDF of N ranks.
        generator: Of ties and flips.
    """
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
    bias, width, too_wide, error = _bias_and_width(ranks[some_steps].double(), known[some_steps], draws)
    z_score = too_wide / error
    wrong = discoveries(2 * torch.special.ndtr(-z_score.abs()), WRONGLY)
    symmetry = _symmetry(u[some_steps], generator)
    step = 0 if ranks.shape[1] == 1 else slice(None)
    return RankTest(
        ranks=ranks[:, step],
        p_values=p_values[step],
        chi_square=chi_square_p_values(counts)[step],
        symmetry=symmetry,
        bias=bias,
        width=width,
        biased=discoveries(symmetry, WRONGLY),
        narrow=wrong & (z_score < 0),
        wide=wrong & (z_score > 0),
    )


def _bias_and_width(ranks: Tensor, known: Tensor, draws: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bias and width of normal guides from the first two moments of their ranks r (N, T, size) among L draws.

    Of a true value N(0, 1) and draws N(b, s^2), with h = -b / sqrt(1 + s^2) and Owen's T,

        E r / L                   = P(one draw is below)   = Phi(h)
        E r (r - 1) / (L (L - 1)) = P(two draws are below) = Phi(h) - 2 T(h, a),   a^2 = s^2 / (2 + s^2)

    exactly, for any L. So half the difference of the two moments gives a, whatever the bias: it grows with s.

    Returns, each (size,): b; s; by how much that half is above T(h, 1 / sqrt 3), the one of s = 1; and the standard error
    of this. Simulations are independent, their steps are not, so errors are those of means over steps.
    """
    one, two = ranks / draws, ranks * (ranks - 1) / (draws * max(draws - 1, 1))
    one, two = (v.masked_fill(~known, math.nan).nanmean(1) for v in (one, two))
    count = max(len(one), 1)
    edge = 0.5 / (count * draws)
    h = torch.special.ndtri(one.mean(0).clamp(edge, 1 - edge))
    half = ((one - two) / 2).mean(0)
    low, high = torch.zeros_like(h), torch.ones_like(h)
    for _ in range(50):  # bisection: T grows with a
        middle = (low + high) / 2
        below = _owen(h, middle) < half
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    width = (2 * low.square() / (1 - low.square())).sqrt()
    # How both moments of a simulation move the difference, to first order.
    influence = torch.special.ndtr(h / math.sqrt(3)) * one - two / 2
    squares = (influence - influence.mean(0)).square().sum(0)
    error = (squares / (count * max(count - 1, 1))).clamp(min=1e-18).sqrt()
    too_wide = half - _owen(h, torch.full_like(h, 1 / math.sqrt(3)))
    return -h * (1 + width.square()).sqrt(), width, too_wide, error


def _owen(h: Tensor, a: Tensor) -> Tensor:
    return torch.from_numpy(owens_t(h.numpy(), a.numpy()))


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
