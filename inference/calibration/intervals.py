"""Calibration of predictive intervals: of frames given their latents, and of forecasts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.calibration.coverage import BINS, Coverage, coverage_of
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.finding import Finding, Severity
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

FEWEST = 8
# Standard errors beyond which a deviation is said, with some tests made at once, and how far it must be off to matter.
SURE, MATTERS, GRAVE = 3.5, 0.03, 0.15
# The generator of tests must not repeat the noise of the estimate, which has the seed itself.
APART = 1_000_003


@dataclass(frozen=True)
class Calibration:
    """Calibration of one kind of prediction.

    Attributes:
        horizon: 0 for frames given their latents, h for forecasts h frames ahead.
        values: Of single values of the frames.
        frame_means: Of the mean over the observed values of a frame. It is off, while single values are right, where errors
            of neighbouring values depend on each other.
    """

    horizon: int
    values: Coverage
    frame_means: Coverage


@dataclass(frozen=True)
class Calibrations:
    """The result of `calibration`.

    Attributes:
        given_latents: Of frames given a draw of their latents.
        forecasts: One per horizon 1, 2, ..., as far as 8 sequences have such frames.
        context: The number of frames that forecasts start from.
        draws: Of every predictive distribution.
        sequences: The number of sequences.
        findings: One per kind of prediction.
    """

    given_latents: Calibration
    forecasts: tuple[Calibration, ...]
    context: int
    draws: int
    sequences: int
    findings: tuple[Finding, ...]


def calibration(
    sampler: Sampler,
    sequences: Sequences,
    context: int | None = None,
    draws: int = 39,
    at_most: int = 200,
    seed: int = 0,
) -> Calibrations:
    """PIT values and coverage of central intervals, for ``sequences`` that are best held out.

    Frames given latents: (f, z) is one draw from q(f, z | x), and the prediction is p(x | f, z). For a right model and
    the exact posterior, x and (f, z) are a joint draw. So u is exactly uniform, although x was used to find (f, z).
    (With the mixture over many draws it would not be: u would gather around 1/2.) A deviation means a wrong likelihood,
    or a guide that is too wide.

    Forecasts: (f, z) is drawn from q given the first ``context`` frames alone, z is continued by its prior, and frames
    are drawn with observation noise. The prediction is the mixture over all draws.

    u = (rank + U) / (S + 1) is the rank of x among S draws, with U uniform on [0, 1]; draws equal to x are put below or
    above at random. It is uniform for any S and for discrete likelihoods, too. An interval of level a holds x where |u
    - 1/2| < a / 2. Values that were not observed, and steps that do not exist, are not counted.

    A Bernoulli likelihood of intensities between 0 and 1 predicts zeros and ones only, and fails.

    Sources: Gneiting, Balabdaoui & Raftery, "Probabilistic forecasts, calibration and sharpness", JRSS B 69, 2007;
    Johnson, "Bayesian model assessment using pivotal quantities", Bayesian Analysis 2, 2007 (one draw of the posterior).

    Args:
        sampler: Model and guide, any posterior, `Delta` included.
        sequences: At least 8.
        context: From 1 to T - 1; by default half of T. Sequences that are not longer are not forecast.
        draws: S, at least 19.
        at_most: Sequences that are used, a random choice.
        seed: Of all noise.

    Raises:
        UsageError: For numbers outside these ranges, and for fewer than 8 sequences.
    """
    length = sequences.frames.shape[1]
    context = max(1, length // 2) if context is None else context
    _check(sequences, context, draws, at_most)
    generator = torch.Generator().manual_seed(seed + APART)
    chosen = torch.randperm(len(sequences), generator=generator)[:at_most].sort().values
    lengths = torch.full((len(sequences),), length)
    if sequences.lengths is not None:
        lengths = sequences.lengths[sequences.rows].cpu()
    longer = chosen[lengths[chosen] > context]
    work = sampler.work(len(chosen) + draws * len(longer))
    own, ahead = [], []
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences.take(chosen)):
            own.append(_given_latents(sampler, batch, draws))
            work.did(len(positions))
        for positions, batch in sampler.chunks(sequences.take(longer), draws) if len(longer) else ():
            ahead.append(_forecast(sampler, batch, context, draws))
            work.did(draws * len(positions))
    forecasts = []
    for horizon in range(1, length - context + 1):
        at = [tuple(u[:, horizon - 1 : horizon] for u in pair) for pair in ahead]
        seen = [~values.flatten(1).isnan().all(1) for values, _ in at]
        if sum(int(s.sum()) for s in seen) < FEWEST:
            break
        forecasts.append(_calibration(horizon, at, generator))
    found = (_calibration(0, own, generator), *forecasts)
    return Calibrations(found[0], tuple(forecasts), context, draws, len(chosen), tuple(_finding(c) for c in found))


def _check(sequences: Sequences, context: int, draws: int, at_most: int) -> None:
    length = sequences.frames.shape[1]
    if length > 1 and not 1 <= context < length:
        raise UsageError(f"forecasts start from 1 to {length - 1} of {length} frames, not {context}")
    if draws < BINS - 1:
        raise UsageError(f"calibration needs at least {BINS - 1} draws, not {draws}")
    if min(len(sequences), at_most) < FEWEST:
        raise UsageError(f"calibration needs at least {FEWEST} sequences, not {min(len(sequences), at_most)}")


# u of values (B, T, *frame) and of frame means (B, T), NaN where nothing was observed.
_Pit = tuple[Tensor, Tensor]


def _given_latents(sampler: Sampler, batch: Batch, draws: int) -> _Pit:
    latents, _ = Proposal(sampler.guide, batch).draw(1)
    predicted = sampler.model.frames(latents.f[0], latents.z[0])
    counter = _Ranks(batch.x, batch.observed)
    for _ in range(draws):
        counter.add(predicted.sample())
    return counter.pit()


def _forecast(sampler: Sampler, batch: Batch, context: int, draws: int) -> _Pit:
    """Of the frames after the first ``context``, for sequences that are longer."""
    latents, _ = Proposal(sampler.guide, batch.until(context)._replace(lengths=None)).draw(draws)
    horizon = batch.x.shape[1] - context
    path = sampler.model.dynamic_prior(latents.f, Steps(batch.x.shape[1], None, batch.times))
    z = path.continue_from(latents.z, horizon).sample()
    observed = batch.observed[:, context:]
    counter = _Ranks(batch.x[:, context:], observed)
    for frames in sampler.model.frames(latents.f, z).sample():
        counter.add(frames)
    return counter.pit()


class _Ranks:
    """Counts the draws below and equal to x ``(B, T, *frame)``, and to the means of its frames."""

    def __init__(self, x: Tensor, observed: Tensor) -> None:
        self.observed = observed
        self.weight = observed.flatten(2).sum(2).clamp(min=1)
        self.true = (x, self._means(x))
        self.below = [torch.zeros_like(t) for t in self.true]
        self.equal = [torch.zeros_like(t) for t in self.true]
        self.draws = 0

    def add(self, draw: Tensor) -> None:
        for i, value in enumerate((draw, self._means(draw))):
            self.below[i] += value < self.true[i]
            self.equal[i] += value == self.true[i]
        self.draws += 1

    def pit(self) -> _Pit:
        u = [
            (below + torch.rand_like(below) * (equal + 1)) / (self.draws + 1)
            for below, equal in zip(self.below, self.equal, strict=True)
        ]
        known = (self.observed, self.observed.flatten(2).any(2))
        values, means = (v.masked_fill(~k, math.nan).cpu() for v, k in zip(u, known, strict=True))
        return values, means

    def _means(self, frames: Tensor) -> Tensor:
        seen = torch.where(self.observed, frames, torch.zeros_like(frames))
        return seen.flatten(2).sum(2) / self.weight


def _calibration(horizon: int, parts: Sequence[tuple[Tensor, ...]], generator: torch.Generator) -> Calibration:
    values, means = (torch.cat([u.flatten(1) for u in part]) for part in zip(*parts, strict=True))
    return Calibration(horizon, coverage_of(values, generator), coverage_of(means, generator))


def _finding(found: Calibration) -> Finding:
    what = "frames given their latents"
    if found.horizon:
        what = f"forecasts {found.horizon} {'frame' if found.horizon == 1 else 'frames'} ahead"
    said, worst = [], 0.0
    for coverage, of in ((found.values, "single values"), (found.frame_means, "a frame's mean")):
        deviation = coverage.coverage - torch.tensor(coverage.levels, dtype=torch.float64)
        matters = (deviation.abs() > MATTERS) & (deviation.abs() > SURE * coverage.coverage_error)
        if matters.any():
            k = int((deviation.abs() * matters).argmax())
            word = "narrow" if deviation[k] < 0 else "wide"
            held, error = (100 * float(v[k]) for v in (coverage.coverage, coverage.coverage_error))
            level = 100 * coverage.levels[k]
            said.append(f"intervals of {of} are too {word} (those of {level:.0f} % hold {held:.0f} ± {error:.1f} %)")
            worst = max(worst, float(deviation[k].abs()))
        bias = coverage.mean - 0.5
        if abs(bias) > max(MATTERS, SURE * coverage.mean_error):
            where = "higher" if bias > 0 else "lower"
            said.append(f"{of}: the truth lies {where} than predicted (mean PIT {coverage.mean:.2f}, right is 0.5)")
            worst = max(worst, abs(bias))
    if not said:
        shares = ", ".join(f"{100 * c:.0f}" for c in found.values.coverage.tolist())
        promised = ", ".join(f"{100 * level:.0f}" for level in found.values.levels)
        return Finding("good", what, f"{what}: intervals of {promised} % hold {shares} % of the values")
    severity: Severity = "serious" if worst > GRAVE and found.horizon else "warning"
    return Finding(severity, what, f"{what}: " + "; ".join(said))
