"""Which candidate explains held-out sequences best, by how much, and with which certainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from scipy.special import stdtrit
from torch import Tensor

from pyro_dsvae.inference.model_comparison.difference import NATS, Difference, Interval
from pyro_dsvae.inference.model_comparison.stacking import stacking_weights
from pyro_dsvae.models.errors import UsageError

# With fewer seeds of a candidate degrees of freedom are too uncertain to be estimated.
SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Results of one candidate, in nats per sequence.

    Attributes:
        name: Of the candidate.
        mean: Mean log evidence over seeds and sequences.
        data_error: Its standard error over sequences, for these fits (seed means).
        seed_spread: Standard deviation over seeds of a fit's mean; None with one seed. Not part of ``data_error``.
        seeds: S, the number of fits.
        monte_carlo_error: Standard error of ``mean`` by finite draws. The values already scatter by it, so it is part of
            ``data_error``.
        monte_carlo_bias: By how much finite draws lower ``mean`` below the evidence: half the mean squared Monte Carlo
            error.
        difference: ``mean`` minus that of the best candidate, at most 0.
        difference_error: Its standard error over sequences, paired by sequence.
        weight: Stacking weight (`stacking_weights`).
        unreliable: Share of sequences with k-hat above .7; None where not known.
    """

    name: str
    mean: float
    data_error: float
    seed_spread: float | None
    seeds: int
    monte_carlo_error: float
    monte_carlo_bias: float
    difference: float
    difference_error: float
    weight: float
    unreliable: float | None


@dataclass(frozen=True)
class Comparison:
    """All candidates, the largest mean first, and the differences of all pairs, in this order.

    The order is that of the means. Only the differences say whether one candidate is better than another.
    """

    candidates: tuple[Candidate, ...]
    differences: tuple[Difference, ...]
    sequences: int
    confidence: float

    def between(self, first: str, second: str) -> Difference:
        """``first`` minus ``second``.

        Raises:
            UsageError: For names that were not compared.
        """
        for difference in self.differences:
            if (difference.first, difference.second) == (first, second):
                return difference
            if (difference.first, difference.second) == (second, first):
                return difference.reversed()
        names = ", ".join(c.name for c in self.candidates)
        raise UsageError(f"{first} and {second} are not a pair of what was compared: {names}")

    @property
    def leaders(self) -> tuple[str, ...]:
        """The candidates than which no other was found to be better. One of them is the best; no more can be said."""
        # The first of a pair has the larger mean, so it is never the worse one.
        beaten = {d.second for d in self.differences if d.verdict == "better"}
        return tuple(c.name for c in self.candidates if c.name not in beaten)


def compare_evidence(
    log_evidence: Mapping[str, Tensor],
    monte_carlo_error: Mapping[str, Tensor],
    confidence: float = 0.95,
    unreliable: Mapping[str, float] | None = None,
    unit: str = NATS,
) -> Comparison:
    """Compare candidates by the log evidence (S, N) of S fits each on the same N held-out sequences.

    The question is about new sequences and, with two seeds or more, new fits. With d_i the difference of two candidates'
    seed means at sequence i, its mean has the variance

        V = var(d) / N  +  sum over both of var(fit's mean) / S  -  sum over both of residual / (S N)

    The first term holds what sequences (paired) and draws do, the second what seeds do, and both hold what a sequence does
    in one fit only, so it is taken out once. V is never below either term, nor the first below the Monte Carlo variance.
    Intervals are Student's, with the degrees of freedom of Satterthwaite. Few fits that happen to be alike would make those
    too many. So with fewer than five fits of either candidate every term has a quantile of its own (Banerjee): such an
    interval covers whatever the true spreads are, and is wide. `benchmarks/results/seed_coverage.md` measures both. Intervals
    are widened by the bias of finite draws where it differs between the two. They hold jointly (Bonferroni over all pairs,
    since that makes intervals, which Holm's steps do not) for the values that are compared here, so verdicts never give an
    order that the errors do not support. Values like forecast log densities can be compared in the same way.

    Sources: Vehtari, Gelman & Gabry, "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
    Statistics and Computing 27, 2017 (paired differences); Satterthwaite, "An approximate distribution of estimates of
    variance components", Biometrics Bulletin 2, 1946; Banerjee, "Approximate confidence interval for linear functions of
    means of k populations when the population variances are not equal", Sankhya 22, 1960.

    Args:
        log_evidence: Name -> (S, N) nats per sequence, the same sequences in the same order; S may differ.
        monte_carlo_error: Name -> (S, N) their standard errors; zero for exact values.
        confidence: That all intervals hold.
        unreliable: Name -> share of sequences with k-hat above .7.
        unit: Of values other than log evidence, for the verdicts in words.

    Raises:
        UsageError: Where shapes or names do not fit, values are not finite, or there are fewer than two sequences.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}")
    if not log_evidence:
        raise UsageError("nothing to compare: give the evidence of at least one candidate")
    shares: Mapping[str, float | None] = dict.fromkeys(log_evidence) if unreliable is None else unreliable
    for given in (monte_carlo_error, shares):
        if set(given) != set(log_evidence):
            raise UsageError(
                f"evidence is given for {', '.join(log_evidence)}, but errors or k-hat for {', '.join(given)}"
            )
    fits = [_Fits.of(name, log_evidence[name], monte_carlo_error[name], shares[name]) for name in log_evidence]
    counts = {len(f.values) for f in fits}
    if len(counts) > 1:
        raise UsageError(f"candidates must be compared on the same sequences, not on {sorted(counts)} of them")
    # Python's sort is stable: candidates that are alike stay in the order in which they were given.
    fits.sort(key=lambda f: -f.mean)
    pairs = list(combinations(fits, 2))
    differences = tuple(_difference(a, b, confidence, len(pairs), unit) for a, b in pairs)
    weights = stacking_weights(torch.stack([f.mixture for f in fits])).tolist()
    candidates = tuple(f.candidate(fits[0], weight) for f, weight in zip(fits, weights, strict=True))
    return Comparison(candidates, differences, counts.pop(), confidence)


@dataclass(frozen=True, kw_only=True)
class _Fits:
    """Moments of one candidate: values (N,) and mixture (N,) are the mean and the log mean density over its S fits.

    Attributes:
        seed: Variance of the mean over seeds, None with one seed.
        residual: The part of it, and of the variance over sequences, that a sequence has in one fit only.
    """

    name: str
    seeds: int
    values: Tensor
    mixture: Tensor
    mean: float
    seed: float | None
    residual: float
    monte_carlo: float
    bias: float
    unreliable: float | None

    @classmethod
    def of(cls, name: str, log_evidence: Tensor, error: Tensor, unreliable: float | None) -> "_Fits":
        if log_evidence.ndim != 2 or log_evidence.shape[0] < 1 or log_evidence.shape[1] < 2:
            raise UsageError(
                f"the evidence of {name} must be (seeds, sequences) with at least two sequences, "
                f"not {tuple(log_evidence.shape)}"
            )
        if error.shape != log_evidence.shape:
            raise UsageError(
                f"the Monte Carlo errors of {name} must be {tuple(log_evidence.shape)}, as its evidence is, "
                f"not {tuple(error.shape)}"
            )
        x, error = log_evidence.detach().double().cpu(), error.detach().double().cpu()
        if not x.isfinite().all() or not error.isfinite().all() or (error < 0).any():
            raise UsageError(
                f"the evidence of {name} must be finite, and its Monte Carlo errors finite and not negative"
            )
        S, N = x.shape
        values, means = x.mean(0), x.mean(1)
        seed, residual = None, 0.0
        if S > 1:
            seed = float(means.var()) / S
            rest = x - values - means[:, None] + means.mean()
            residual = float(rest.square().sum()) / ((S - 1) * (N - 1)) / (S * N)
        return cls(
            name=name,
            seeds=S,
            values=values,
            mixture=x.logsumexp(0) - math.log(S),
            mean=float(means.mean()),
            seed=seed,
            residual=residual,
            monte_carlo=float(error.square().sum()) / (S * N) ** 2,
            bias=float(error.square().mean()) / 2,
            unreliable=unreliable,
        )

    def candidate(self, best: "_Fits", weight: float) -> Candidate:
        return Candidate(
            name=self.name,
            mean=self.mean,
            data_error=math.sqrt(_variance_of_mean(self.values)),
            seed_spread=None if self.seed is None else math.sqrt(self.seed * self.seeds),
            seeds=self.seeds,
            monte_carlo_error=math.sqrt(self.monte_carlo),
            monte_carlo_bias=self.bias,
            difference=float((self.values - best.values).mean()) + 0.0,
            difference_error=math.sqrt(_variance_of_mean(self.values - best.values)),
            weight=weight,
            unreliable=self.unreliable,
        )


def _difference(a: _Fits, b: _Fits, confidence: float, pairs: int, unit: str) -> Difference:
    d = a.values - b.values
    mean, bias = float(d.mean()) + 0.0, a.bias - b.bias
    paired, monte_carlo = _variance_of_mean(d), a.monte_carlo + b.monte_carlo
    data = max(paired, monte_carlo)
    data_degrees = degrees = float(len(d) - 1)
    quantile = 1 - (1 - confidence) / (2 * pairs)
    fits_half = half = float(stdtrit(degrees, quantile)) * math.sqrt(data)
    total, seed = data, None
    if a.seed is not None and b.seed is not None:
        seed = a.seed + b.seed
        total = max(data + seed - a.residual - b.residual, data, seed)
        of_seeds = ((a.seed, a.seeds - 1), (b.seed, b.seeds - 1))
        if total > 0:
            # As shares of the total, so that small variances do not underflow.
            terms = ((data, degrees), *of_seeds)
            degrees = 1 / sum((variance / total) ** 2 / freedom for variance, freedom in terms)
        half = float(stdtrit(degrees, quantile)) * math.sqrt(total)
        if min(a.seeds, b.seeds) < SEEDS:
            terms = ((total - seed, data_degrees), *of_seeds)
            half = math.sqrt(sum(float(stdtrit(freedom, quantile)) ** 2 * variance for variance, freedom in terms))

    def interval(half: float) -> Interval:
        return mean - half + min(bias, 0.0), mean + half + max(bias, 0.0)

    return Difference(
        first=a.name,
        second=b.name,
        mean=mean,
        data_error=math.sqrt(paired),
        seed_error=None if seed is None else math.sqrt(seed),
        monte_carlo_error=math.sqrt(monte_carlo),
        bias=bias,
        standard_error=math.sqrt(total),
        degrees=degrees,
        interval=interval(half),
        fits_interval=interval(fits_half),
        confidence=confidence,
        pairs=pairs,
        unreliable=(a.unreliable, b.unreliable),
        unit=unit,
    )


def _variance_of_mean(values: Tensor) -> float:
    return float(values.var()) / len(values)
