"""Forecasts compared with the frames that came, and with forecasts that need no model."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from pyro.ops.stats import crps_empirical
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.forecasting.baselines import BASELINES, baselines
from pyro_dsvae.inference.forecasting.forecast import Forecast, check_context, forecast
from pyro_dsvae.inference.forecasting.log_prob import ForecastScore, forecast_log_prob
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.standardisation import IN_SD, column_sd

# Differences within this many standard errors of zero decide nothing.
SURE = 2.0


@dataclass(frozen=True)
class Errors:
    """Errors of one forecaster, float64 on the CPU; NaN where nothing is scored.

    They are in units of the frames, of standardised series in standard deviations of each column (squared for ``mse``).

    Attributes:
        mse: (N,) mean squared error of the point forecast over all observed values to come.
        crps: (N,) mean over the same values of the continuous ranked probability score, E|x - X| - E|X - X'| / 2. For a
            forecast without spread it is the absolute error.
        mse_by_step: (N, H), the same for every step.
        crps_by_step: (N, H), the same for every step.
    """

    mse: Tensor
    crps: Tensor
    mse_by_step: Tensor
    crps_by_step: Tensor


@dataclass(frozen=True)
class Comparison:
    """The model against one baseline over the same sequences.

    Attributes:
        metric: "mse" or "crps": for both, less is better.
        baseline: One of `BASELINES`.
        ours, theirs: Means over sequences.
        difference: Ours - theirs, and its standard error over sequences, which are paired.
    """

    metric: str
    baseline: str
    ours: float
    theirs: float
    difference: float
    standard_error: float

    @property
    def verdict(self) -> str:
        """beats, loses to or does not differ from, by two standard errors."""
        if self.difference < -SURE * self.standard_error:
            return "beats"
        return "loses to" if self.difference > SURE * self.standard_error else "does not differ from"

    def __str__(self) -> str:
        return (
            f'the forecast {self.verdict} "{self.baseline}" in {self.metric.upper()}: {self.ours:.4g} against '
            f"{self.theirs:.4g}, difference {self.difference:+.3g} ± {self.standard_error:.2g}"
        )


@dataclass(frozen=True)
class ForecastScores:
    """Forecasts of frames context + 1 to T of N sequences.

    Attributes:
        context, horizon: Number of frames that forecasts start from, and of those to come.
        scored: (N,) bool, False where no value to come, or none of those given, was observed.
        log_prob: log p(x_{context+1:T} | x_{1:context}) by evidences (`forecast_log_prob`), in nats.
        model: Errors of the model's forecast: mean for the MSE, samples for the CRPS.
        baselines: Those of `BASELINES`.
        unit: That of all errors (squared for ``mse``).
    """

    context: int
    horizon: int
    scored: Tensor
    log_prob: ForecastScore
    model: Errors
    baselines: Mapping[str, Errors]
    unit: str = "in units of the frames"

    def comparisons(self) -> tuple[Comparison, ...]:
        """Against every baseline, first by MSE, then by CRPS; none where fewer than two sequences are scored."""
        if int(self.scored.sum()) < 2:
            return ()
        return tuple(
            _compared(metric, name, getattr(self.model, metric)[self.scored], getattr(errors, metric)[self.scored])
            for metric in ("mse", "crps")
            for name, errors in self.baselines.items()
        )

    def sentences(self) -> tuple[str, ...]:
        """The result in words: how much was scored, whether the log probability is reliable, and how the forecast
        compares.
        """
        count = int(self.scored.sum())
        frames = f"{self.horizon} frames from {self.context}"
        said = [f"{frames}, {count} of {len(self.scored)} sequences scored; the others have nothing given or to come"]
        if count == len(self.scored):
            said = [f"{frames}, {count} sequences"]
        share = self.log_prob.unreliable_share
        if share > 0:
            said.append(f"the log probability is not to be trusted for {share:.0%} of the sequences: k-hat is above .7")
        comparisons = self.comparisons()
        if not comparisons:
            return (*said, "fewer than two sequences are scored: nothing can be said of baselines")
        if self.unit == IN_SD:
            said.append(f"errors are {IN_SD}, in MSE squared")
        for metric in ("mse", "crps"):
            behind = [c.baseline for c in comparisons if c.metric == metric and c.difference > 0]
            if behind:
                names = ", ".join(f'"{name}"' for name in behind)
                said.append(f"in {metric.upper()} the forecast is not better than what needs no model: {names}")
        return (*said, *map(str, comparisons))


def forecast_scores(
    sampler: Sampler,
    sequences: Sequences,
    context: int,
    draws: int = 100,
    seed: int = 0,
) -> ForecastScores:
    """Forecast the frames after the first ``context`` of each sequence, and compare them with those that came.

    All observed values are scored, also in sequences that end sooner and in frames that are partly missing. Baselines
    fill a missing value from the frame before (or else after) it, and a place that was never observed with the clip's
    mean. The CRPS is `pyro.ops.stats.crps_empirical` over K samples. It is too high by E|X - X'| / 2K, to the model's
    disadvantage. The standard errors are over sequences, of paired differences.

    Source: Gneiting & Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        context: From 1 to T - 1.
        draws: The number of draws, K.
        seed: Of all noise.

    Raises:
        UsageError: Where ``context`` leaves nothing.
    """
    check_context(sequences, context)
    horizon = sequences.length - context
    scored = _scored(sequences, context)
    count = max(1, int(scored.sum()))
    share = len(sequences) / (len(sequences) + count)
    sd = column_sd(sampler.model.standardisation)
    log_prob = forecast_log_prob(sampler.part(0.0, share), sequences, context, draws, seed)
    work = sampler.part(share, 1.0).work(count)
    sums = {name: torch.zeros(len(sequences), horizon, 3, dtype=torch.float64) for name in ("model", *BASELINES)}
    for part in _parts(sampler, sequences, scored, context, draws, seed + 2):
        sums["model"][part.positions] = _errors(part.drawn.mean, part.drawn.samples, part.truth, part.seen, sd)
        for name, frames in baselines(part.past, part.seen_past, horizon).items():
            sums[name][part.positions] = _errors(frames, frames.unsqueeze(0), part.truth, part.seen, sd)
        work.did(len(part.positions))
    errors = {name: _averaged(parts) for name, parts in sums.items()}
    simple = {name: errors[name] for name in BASELINES}
    unit = ForecastScores.unit if sd is None else IN_SD
    return ForecastScores(context, horizon, scored, log_prob, errors["model"], simple, unit)


def forecast_errors(
    sampler: Sampler,
    sequences: Sequences,
    context: int,
    draws: int = 25,
    seed: int = 0,
    sd: Tensor | None = None,
) -> Errors:
    """The errors alone of `forecast_scores`, which are cheap: no log probabilities, no baselines.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        context: From 1 to T - 1.
        draws: The number of draws, K.
        seed: Of all noise.
        sd: (P,), what errors of each column are divided by, the same for all models that are compared; by default the
            standard deviations by which the model standardises.

    Raises:
        UsageError: Where ``context`` leaves nothing.
    """
    check_context(sequences, context)
    sd = column_sd(sampler.model.standardisation) if sd is None else sd
    scored = _scored(sequences, context)
    work = sampler.work(float(max(1, int(scored.sum()))))
    sums = torch.zeros(len(sequences), sequences.length - context, 3, dtype=torch.float64)
    for part in _parts(sampler, sequences, scored, context, draws, seed):
        sums[part.positions] = _errors(part.drawn.mean, part.drawn.samples, part.truth, part.seen, sd)
        work.did(len(part.positions))
    return _averaged(sums)


@dataclass(frozen=True)
class _Part:
    """Some sequences: their frames and observed values, ``(B, t, *frame)`` given and ``(B, H, *frame)`` to come, and
    forecasts.
    """

    positions: Tensor
    past: Tensor
    seen_past: Tensor
    truth: Tensor
    seen: Tensor
    drawn: Forecast


def _parts(
    sampler: Sampler, sequences: Sequences, scored: Tensor, context: int, draws: int, seed: int
) -> Iterator[_Part]:
    """All sequences that are ``scored``, as many at a time as memory allows."""
    positions, later = scored.nonzero().squeeze(-1), slice(context, None)
    quiet, horizon = replace(sampler, progress=None), sequences.length - context
    chunks = sampler.chunks(sequences.take(positions), draws) if len(positions) else ()
    for number, (some, batch) in enumerate(chunks):
        past = batch.until(context)
        times = None if batch.times is None else batch.times[:, later]
        # All of these are longer than what is given.
        drawn = forecast(quiet, past._replace(lengths=None), horizon, times, draws, seed + number)
        yield _Part(positions[some], past.x, past.observed, batch.visible[:, later], batch.observed[:, later], drawn)


def _scored(sequences: Sequences, context: int) -> Tensor:
    """(N,) bool, which have observed values both among the frames given and among those to come."""
    return (sequences.observed_count(slice(context, None)) > 0) & (sequences.observed_count(slice(context)) > 0)


def _errors(point: Tensor, samples: Tensor, truth: Tensor, seen: Tensor, sd: Tensor | None) -> Tensor:
    """(B, H, 3) sums over each frame of squared error and CRPS, and how many values they are sums of."""
    if sd is not None:
        sd = sd.to(truth)
        point, samples, truth = point / sd, samples / sd, truth / sd
    each = ((point - truth).square(), crps_empirical(samples, truth), torch.ones_like(truth))
    kept = (torch.where(seen, v, torch.zeros_like(v)).double().flatten(2).sum(2) for v in each)
    return torch.stack(list(kept), dim=-1).cpu()


def _averaged(sums: Tensor) -> Errors:
    # Nothing over nothing is NaN, as it should be.
    by_step = sums[..., :2] / sums[..., 2:]
    whole = sums.sum(1)
    whole = whole[..., :2] / whole[..., 2:]
    return Errors(whole[..., 0], whole[..., 1], by_step[..., 0], by_step[..., 1])


def _compared(metric: str, baseline: str, ours: Tensor, theirs: Tensor) -> Comparison:
    difference = ours - theirs
    error = float(difference.std()) / math.sqrt(len(difference))
    return Comparison(metric, baseline, float(ours.mean()), float(theirs.mean()), float(difference.mean()), error)
