"""Predictive checks: in which respects the world of a fitted model differs from that of the data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.predictive_checks.discrepancies import applicable
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy
from pyro_dsvae.inference.predictive_checks.exchange_tests import exchange_test, holm, tails, uniformity
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, USES_CLIP, Level
from pyro_dsvae.inference.predictive_checks.sentences import sentence_of
from pyro_dsvae.inference.predictive_checks.values import Failure, Values, discrepancy_values
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

Statistic = Literal["mean", "spread"]
Key = tuple[str, Level, Statistic]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one discrepancy says at one level.

    Attributes:
        name: Of the discrepancy.
        level: How the replications were made (`replicate`).
        statistic: What of the discrepancy is compared over the sequences: its mean, or its spread (standard deviation).
        observed: The statistic of the data.
        replicated: The same of the replications, averaged over the K replicated sets.
        percent: 100 (replicated - observed) / observed; None where the discrepancy may be negative, as a share of a negative
            number says nothing.
        effect: (replicated - observed) / standard deviation of the discrepancy over the observed sequences; infinite
            where they are all alike and the replications are not.
        severity: |replicated - observed| / root mean square of the discrepancy's standard deviations over the observed
            and over the replicated sequences: the size of the effect, also where one of them hardly varies.
        p: Two-sided p-value of the observed statistic (`exchange_test`).
        p_error: Its Monte Carlo standard error.
        adjusted_p: p for as many checks as were made (`holm`).
        tail: (N,) of every sequence, mid-p estimate of P(T(x') < T(x)) (`tails`).
        uniformity_p: Of the ranks behind ``tail`` (`uniformity`); it is not among the tests that are adjusted for.
        uses_data_twice: Each sequence, or the data the model was fitted to, serves both to make the replications and to
            judge them: p is too large rather than too small, tails gather around 1/2.
        finding: Whether ``adjusted_p`` is at most alpha.
        sentence: All of that in words.
        values: Behind it.
    """

    name: str
    level: Level
    statistic: Statistic
    observed: float
    replicated: float
    percent: float | None
    effect: float
    severity: float
    p: float
    p_error: float
    adjusted_p: float
    tail: Tensor
    uniformity_p: float
    uses_data_twice: bool
    finding: bool
    sentence: str
    values: Values

    @property
    def key(self) -> Key:
        """What tells it from the other checks: name, level and statistic."""
        return self.name, self.level, self.statistic


@dataclass(frozen=True, kw_only=True)
class PredictiveChecks:
    """All checks of a model on N sequences.

    Attributes:
        checks: Findings first, by severity; then the others, by p.
        failures: Discrepancies that raised, returned a wrong shape or what is not finite.
        sequences, draws, rounds, alpha, held_out, seed, noise: As they were given.
    """

    checks: tuple[Check, ...]
    failures: tuple[Failure, ...]
    sequences: int
    draws: int
    rounds: int
    alpha: float
    held_out: bool
    seed: int
    noise: bool

    @property
    def findings(self) -> list[str]:
        """Sentences of the checks that found a difference, the most severe first."""
        return [check.sentence for check in self.checks if check.finding]

    def check(self, name: str, level: Level, statistic: Statistic = "mean") -> Check:
        """One of them.

        Raises:
            UsageError: Where it is not there.
        """
        found = by_key(self).get((name, level, statistic))
        if found is None:
            raise UsageError(f"there is no check of the {statistic} of {name!r} at the level {level!r}")
        return found


def by_key(checks: PredictiveChecks | None) -> dict[Key, Check]:
    """The checks by their `Check.key`; none of None."""
    return {} if checks is None else {check.key: check for check in checks.checks}


def predictive_checks(
    sampler: Sampler,
    sequences: Sequences,
    discrepancies: Sequence[Discrepancy] | None = None,
    levels: Sequence[Level] = LEVELS,
    draws: int = 20,
    rounds: int = 10_000,
    alpha: float = 0.05,
    held_out: bool = True,
    seed: int = 0,
    noise: bool = True,
) -> PredictiveChecks:
    """Compare every discrepancy of ``sequences`` with that of their replications, at every level.

    At each level, the mean of T over the sequences and its standard deviation are compared with those of replicated sets
    (`exchange_test`), and every sequence with its own replications (`tails`, `uniformity`). At the level "population", p is
    uniform if the model is right (for realised discrepancies: and the guide exact). At the other levels, replications are
    made from the sequence they are compared with, and p is conservative. One p-value in twenty is below .05 by chance;
    `holm` corrects for the number of checks.

    p says whether there is a difference; ``effect`` and ``percent`` say whether it matters: with many sequences every
    model is wrong. Sequences are treated as independent; where several are alike, p is too small. A discrepancy that
    fails is named in the result, and the others are computed.

    Sources: Gelman, Meng & Stern, "Posterior predictive assessment of model fitness via realized discrepancies", Statistica
    Sinica 6, 1996; Meng, "Posterior predictive p-values", Annals of Statistics 22, 1994, for their being conservative.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        discrepancies: By default all that are defined for the frames (`applicable`).
        levels: As for `replicate`.
        draws: K, replications of every sequence at every level.
        rounds: Of `exchange_test`; p cannot be below 2 / (rounds + 1), so 120 checks need 10,000.
        alpha: Largest adjusted p that is called a finding.
        held_out: False where the model was fitted to these sequences: then all checks use the data twice.
        seed: Of all noise.
        noise: False: the means E[x | f, z] replace the draws, and realised discrepancies are left out. Then a right model
            fails too, because data have noise and means have none; it is for models whose noise is not meant.

    Raises:
        UsageError: For options that make no check.
    """
    if rounds < 1:
        raise UsageError(f"a test needs at least 1 round, not {rounds}")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    if discrepancies is None:
        discrepancies = applicable(tuple(sequences.frames.shape[2:]))
    values, failures = discrepancy_values(sampler, sequences, discrepancies, levels, draws, seed, noise)
    checks = checks_of(values, rounds, alpha, held_out, seed)
    return PredictiveChecks(
        checks=tuple(checks),
        failures=failures,
        sequences=len(sequences),
        draws=draws,
        rounds=rounds,
        alpha=alpha,
        held_out=held_out,
        seed=seed,
        noise=noise,
    )


def checks_of(
    values: Mapping[Level, Mapping[str, Values]],
    rounds: int = 10_000,
    alpha: float = 0.05,
    held_out: bool = True,
    seed: int = 0,
) -> list[Check]:
    """The checks behind `predictive_checks`, from values that were computed before, in order of severity.

    Args:
        values: From each level and name to the values of a discrepancy.
        rounds: Of `exchange_test`.
        alpha: Largest adjusted p that is called a finding.
        held_out: Whether the model was not fitted to the sequences.
        seed: Of the rounds.
    """
    rows: list[dict[str, Any]] = []
    for level, named in values.items():
        twice = USES_CLIP[level] or not held_out
        for realised in (False, True):
            # All of one shape are tested together.
            group = {n: v for n, v in named.items() if v.realised == realised}
            if group:
                rows += _rows(level, group, twice, rounds, seed)
    adjusted = holm(torch.tensor([row["p"] for row in rows], dtype=torch.float64)).tolist()
    checks = []
    for row, p in zip(rows, adjusted, strict=True):
        finding = p <= alpha
        sentence = sentence_of(row, finding) + ("" if held_out else ", on the data it was fitted to")
        checks.append(Check(**row, adjusted_p=p, finding=finding, sentence=sentence))
    return sorted(checks, key=lambda c: (not c.finding, -c.severity if c.finding else c.p))


def _rows(level: Level, group: Mapping[str, Values], twice: bool, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Everything of a `Check` but what depends on the other checks."""
    observed = torch.stack([v.observed for v in group.values()], -1)
    replicated = torch.stack([v.replicated for v in group.values()], -1)
    test = exchange_test(observed, replicated, rounds, seed)
    # A draw and the replication made with it are a pair where replications come from the clip; else one draw meets all.
    beside = observed if USES_CLIP[level] else observed[:1]
    tail = tails(beside, replicated)
    uniform = uniformity(beside, replicated, twice, min(rounds, 2_000), seed)
    rows = []
    for i, (name, value) in enumerate(group.items()):
        both = torch.cat([value.observed[:1], value.replicated])
        ratio = bool((both[~both.isnan()] >= 0).all())
        spreads = test.observed[1, i], test.replicated[1, i]
        scale = float(torch.stack(spreads).square().mean().sqrt())
        for j, statistic in enumerate(("mean", "spread")):
            p = float(test.p[j, i])
            if math.isnan(p):
                continue
            before, after = float(test.observed[j, i]), float(test.replicated[j, i])
            rows.append(
                {
                    "name": name,
                    "level": level,
                    "statistic": statistic,
                    "observed": before,
                    "replicated": after,
                    "percent": 100 * (after - before) / before if (ratio or j) and before else None,
                    "effect": _over(after - before, float(spreads[0])),
                    "severity": abs(_over(after - before, scale)),
                    "p": p,
                    "p_error": float(test.error[j, i]),
                    "tail": tail[:, i],
                    "uniformity_p": float(uniform[i]),
                    "uses_data_twice": twice,
                    "values": value,
                }
            )
    return rows


def _over(difference: float, scale: float) -> float:
    """Their ratio; a single sequence has no scale."""
    if difference == 0:
        return 0.0
    return math.copysign(math.inf, difference) if scale == 0 or math.isnan(scale) else difference / scale
