"""Observed values among replicated ones: exchange tests, ranks and their uniformity, correction for multiple tests."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

# Values that are looked up at once, and how close two sums of the same numbers in another order may be called equal.
LOOKUPS, TIE = 2**23, 1e-9


@dataclass(frozen=True)
class ExchangeTest:
    """Tests of the mean and the standard deviation over sequences, for P quantities at once.

    Each field is (2, P), float64, the means first.

    Attributes:
        observed: Of the observed values.
        replicated: Of the replicated ones, averaged over the K replicated sets.
        p: Two-sided p-values; 1 where all values are equal, NaN for standard deviations of fewer than two sequences.
        error: Monte Carlo standard error of p: how much it would change with other replications and rounds.
    """

    observed: Tensor
    replicated: Tensor
    p: Tensor
    error: Tensor


def exchange_test(observed: Tensor, replicated: Tensor, rounds: int, seed: int) -> ExchangeTest:
    """Test whether the set of observed values is like a set of replicated ones.

    If the model is right, a sequence's observed value is exchangeable with its K replicated ones. So the null distribution of
    the mean over sequences, and of the standard deviation, is that of random sets: each takes one of the K + 1 values of
    every sequence at random. Where replications do not depend on the sequence, the test is exact for every K, even if
    lengths and masks differ. Where replications are made from the sequence, pairs are exchangeable but the observed value
    lies nearer to the middle, so p is too large rather than too small. Ties, and the observed set itself, count against a
    finding; the smallest p is 2 / (rounds + 1).

    Args:
        observed: (M, N, P). M is 1, or K where the values depend on draws from the guide; the first draw is tested.
        replicated: (K, N, P). A sequence that is NaN in every draw is left out.
        rounds: R, the number of random sets.
        seed: Of the random sets.
    """
    draws, count, _ = replicated.shape
    pool = torch.cat([observed[:1], replicated])
    defined = ~pool.isnan().any(0)
    numbers = defined.sum(0).double()
    centre = pool.nanmean((0, 1))
    pool = torch.where(defined, pool - centre, torch.zeros_like(pool))
    scale = (pool.square().sum((0, 1)) / (numbers * (draws + 1))).sqrt()
    unit = torch.where(scale == 0, torch.ones_like(scale), scale)
    pool = pool / unit
    table = torch.cat([pool, pool.square()], -1).transpose(0, 1).flatten(0, 1).contiguous()
    generator = torch.Generator().manual_seed(seed)
    start = torch.arange(count) * (draws + 1)
    sums = []
    for rows in torch.arange(rounds).split(max(1, LOOKUPS // count)):
        picked = torch.randint(draws + 1, (len(rows), count), generator=generator)
        sums.append(embedding_bag(start + picked, table, mode="sum"))
    null = _mean_and_spread(torch.cat(sums), numbers)
    found = _mean_and_spread(torch.cat([pool[:1], pool[:1].square()], -1).sum(1), numbers)[0]
    p = _two_sided(null, found)
    # Another set of replications would move the middle of the null by about this much, the observed value by its own noise.
    shift = null.std(0) / draws**0.5
    if len(observed) > 1:
        shift = (shift.square() + (_statistics(observed).std(0) / unit).square()).sqrt()
    moved = ((null >= found - shift).double().mean(0) - (null >= found + shift).double().mean(0)).abs()
    error = (moved.square() + p * (2 - p).clamp(min=0) / rounds).sqrt()
    alike = (scale == 0) & ~p.isnan()
    return ExchangeTest(
        _statistics(observed[:1])[0],
        _statistics(replicated).mean(0),
        p.masked_fill(alike, 1.0),
        torch.where(alike, torch.zeros_like(p), error),
    )


def _statistics(values: Tensor) -> Tensor:
    """(S, 2, P) mean and standard deviation over sequences of ``values`` (S, N, P), those that are NaN left out."""
    mean = values.nanmean(1)
    numbers = (~values.isnan()).sum(1)
    variance = (values - mean.unsqueeze(1)).square().nansum(1) / (numbers - 1)
    return torch.stack([mean, variance.masked_fill(numbers < 2, torch.nan).sqrt()], 1)


def _mean_and_spread(sums: Tensor, numbers: Tensor) -> Tensor:
    """The same from sums (S, 2 P) of values and of their squares over ``numbers`` (P,) sequences."""
    total, squares = sums.chunk(2, -1)
    mean = total / numbers
    # 0 / 0 for a single sequence, which has no spread.
    variance = (squares - total * mean).clamp(min=0) / (numbers - 1)
    return torch.stack([mean, torch.where(numbers > 1, variance, torch.full_like(variance, torch.nan)).sqrt()], 1)


def _two_sided(null: Tensor, found: Tensor) -> Tensor:
    """Twice the smaller tail of ``found`` (2, P) among itself and ``null`` (R, 2, P)."""
    upper = 1 + (null >= found - TIE).double().sum(0)
    lower = 1 + (null <= found + TIE).double().sum(0)
    p = (2 * torch.minimum(upper, lower) / (len(null) + 1)).clamp(max=1)
    return torch.where(found.isnan(), found, p)


def tails(observed: Tensor, replicated: Tensor) -> Tensor:
    """u = (number of replicated values below the observed one + half of those equal to it + 1/2) / (K + 1), (N, P).

    The mid-p estimate of P(T(x') < T(x)) for every sequence, strictly between 0 and 1; NaN where undefined. The two-sided
    posterior predictive p-value is 2 min(u, 1 - u).

    Args:
        observed: (1, N, P), or (K, N, P) where draw k is compared with replication k.
        replicated: (K, N, P).
    """
    below, equal = (replicated < observed).double().sum(0), (replicated == observed).double().sum(0)
    u = (below + equal / 2 + 0.5) / (len(replicated) + 1)
    return u.masked_fill((replicated.isnan() | observed.isnan()).any(0), torch.nan)


def uniformity(observed: Tensor, replicated: Tensor, conservative: bool, rounds: int, seed: int) -> Tensor:
    """p-values (P,) of "the rank of an observed value among its K replicated ones is uniform on 0, ..., K".

    The statistic is that of Kolmogorov and Smirnov, the largest difference between the two distribution functions. Its null
    distribution is simulated from N draws of the discrete uniform, so p is right for any K. Ties are broken at random, which
    keeps ranks uniform.

    Source: Talts et al., "Validating Bayesian Inference Algorithms with Simulation-Based Calibration", 2018, for ranks of
    draws.

    Args:
        observed: As for `tails`.
        replicated: (K, N, P).
        conservative: Replications are made from the sequence itself, so that ranks gather in the middle even if the model is
            right. Then only ranks that are more extreme than uniform count, by the same statistic of min(rank, K - rank),
            one-sided.
        rounds: Simulated sets.
        seed: Of the simulation and of ties.
    """
    rng = np.random.default_rng(seed)
    draws, _, columns = replicated.shape
    below, equal = (replicated < observed).sum(0).numpy(), (replicated == observed).sum(0).numpy()
    ranks = below + rng.integers(0, equal + 1)
    defined = ~(replicated.isnan() | observed.isnan()).any(0).numpy()
    found, nulls = [], {}
    for column in range(columns):
        kept = ranks[defined[:, column], column]
        if len(kept) == 0:
            found.append(torch.nan)
            continue
        if len(kept) not in nulls:
            expected = np.full(draws + 1, 1 / (draws + 1))
            nulls[len(kept)] = _distance(rng.multinomial(len(kept), expected, size=rounds), conservative)
        distance = _distance(np.bincount(kept, minlength=draws + 1)[None], conservative)
        found.append((1 + float((nulls[len(kept)] >= distance - TIE).sum())) / (rounds + 1))
    return torch.tensor(found, dtype=torch.float64)


def _distance(counts: NDArray[np.int64], conservative: bool) -> NDArray[np.float64]:
    """(S,) largest difference of the distribution functions of ranks, from how often each of 0, ..., K came (S, K + 1)."""
    shares = counts / counts.sum(1, keepdims=True) - 1 / counts.shape[1]
    if not conservative:
        return np.asarray(np.abs(shares.cumsum(1)).max(1))
    size = counts.shape[1] // 2
    folded = shares[:, :size] + shares[:, ::-1][:, :size]
    # Between the middle and the end both functions are one.
    return np.maximum(folded.cumsum(1).max(1), 0) if size else np.zeros(len(counts))


def holm(p: Tensor) -> Tensor:
    """Holm's adjusted p-values (M,): calling those at most alpha findings gives a false one with probability at most alpha.

    They are valid however the tests depend on each other. The i-th smallest p of M is multiplied by M - i + 1, and no
    adjusted value is below that of a smaller p.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.predictive_checks.exchange_tests import holm
        >>> holm(torch.tensor([0.01, 0.5, 0.02], dtype=torch.float64))
        tensor([0.0300, 0.5000, 0.0400], dtype=torch.float64)
    """
    order = p.argsort(stable=True)
    factors = torch.arange(len(p), 0, -1, dtype=p.dtype)
    raised = (p[order] * factors).clamp(max=1).cummax(0).values
    return torch.empty_like(p).scatter(0, order, raised)
