"""Forecasts: draws of the frames that follow a clip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sampling.resampling import Conditioning, PosteriorDraws, draw_posterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.distributions.point import over_draws, point
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.steps import Steps


@dataclass(frozen=True)
class Forecast:
    """K draws of the H frames after each of B clips.

    Attributes:
        samples: Frames ``(K, B, H, *frame)``, with the noise of the likelihood.
        means: E[x | f, z] of every draw ``(K, B, H, *frame)``: the same futures without noise.
        z: (K, B, H, D), the latents that they are decoded from.
        past: f (K, B, F) and z of the given steps, with diagnostics of the draws.
        nominal: Of each channel or value, whether it holds classes; empty where none does.
    """

    samples: Tensor
    means: Tensor
    z: Tensor
    past: PosteriorDraws
    nominal: tuple[bool, ...] = ()

    @property
    def f(self) -> Tensor:
        """f of the draws, (K, B, F)."""
        return self.past.f

    @property
    def mean(self) -> Tensor:
        """E[x | past] ``(B, H, *frame)``, which has the smallest expected squared error; of classes the most frequent."""
        return over_draws(self.means, self.nominal)

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles ``(Q, B, H, *frame)`` of every value over the samples, by linear interpolation."""
        if not all(0 <= level <= 1 for level in levels):
            raise UsageError(f"levels of quantiles lie from 0 to 1, not {list(levels)}")
        found = np.quantile(
            self.samples.cpu().numpy(), np.asarray(levels, dtype=self.samples.cpu().numpy().dtype), axis=0
        )
        return torch.from_numpy(found).to(self.samples)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds ``(B, H, *frame)``, between which each value lies with this probability."""
        low, high = self.quantiles([(1 - level) / 2, (1 + level) / 2])
        return low, high


def forecast(
    sampler: Sampler,
    batch: Batch,
    horizon: int,
    future_times: Tensor | None = None,
    draws: int = 100,
    seed: int = 0,
    refinement: Refinement | None = None,
    resample: bool = True,
    proposals: int | None = None,
) -> Forecast:
    """Draw the ``horizon`` frames that follow each clip:

        f, z_{1:t} ~ p(f, z_{1:t} | x_{1:t}),    z_{t+1:t+H} ~ p(z_{t+1:t+H} | z_{1:t}, f),    x_s ~ p(x_s | f, z_s)

    The first are draws of the guide, weighted by p(x, f, z) / q(f, z | x) and resampled. This corrects a wrong guide as
    far as its draws allow (`PosteriorDraws`). `Delta` has no density; there the past is its point. Clips without any
    observed value are continued from draws of the prior, which ``past.from_prior`` says.

    Args:
        sampler: Model and guide.
        batch: B clips of t frames on the sampler's device; the forecast of sequence i begins after its last frame.
        horizon: The number of frames to come, H.
        future_times: (B, H) times of the steps to come, only with ``times``; by default each sequence goes on at its last
            interval.
        draws: The number of draws, K.
        seed: Of all noise; the global generators are left as they were.
        refinement: Fit the guide to every clip first (`refine`).
        resample: Whether the guide's draws are weighted.
        proposals: How many draws are weighted, of which K are kept; by default four times K.

    Raises:
        UsageError: For a horizon below 1 and for shapes or times that do not fit.
    """
    _check(batch, horizon, future_times)
    (count, length), model = batch.x.shape[:2], sampler.model
    check_memory(
        f"{draws} draws of {horizon} frames after {count} clips", 2 * draws, count, horizon, *batch.x.shape[2:]
    )
    how = Conditioning(draws, refinement, resample, 4 * draws if proposals is None else proposals)
    paths = sampler.paths_at_once(batch.x.shape[1:])
    work = sampler.work(count * (how.cost + 2 * draws * horizon / length))
    groups = {length: torch.arange(count, device=batch.x.device)}
    if batch.lengths is not None:
        groups = {own: (batch.lengths == own).nonzero().squeeze(-1) for own in batch.lengths.unique().tolist()}
    parts = []
    with sampler.evaluation(seed, gradients=refinement is not None):
        for own, rows in groups.items():
            some = batch.rows(rows).until(own)._replace(lengths=None)
            past = draw_posterior(model, sampler.guide, some._replace(x=some.visible), how, paths, work)
            whole = _times(some.times, None if future_times is None else future_times[rows])
            steps = Steps(own if whole is None else whole.shape[1], times=whole)
            z = model.dynamic_prior(past.f, steps).continue_from(past.z, horizon).sample()
            samples, means = _frames(model, past.f, z, max(1, paths * length // horizon))
            work.did(2 * len(rows) * draws * horizon / length)
            padded = pad(past.z, (0, 0, 0, length - own))
            parts.append(Forecast(samples, means, z, replace(past, z=padded)))
    order = torch.cat(list(groups.values())).argsort()
    samples, means, z = (torch.cat([getattr(p, n) for p in parts], dim=1)[:, order] for n in ("samples", "means", "z"))
    past = PosteriorDraws.joined([part.past for part in parts]).rows(order)
    return Forecast(samples, means, z, past, model.likelihood.nominal_channels)


def check_context(sequences: Sequences, context: int) -> None:
    """Refuse a forecast context that leaves no frame to forecast.

    Raises:
        UsageError: Unless it is from 1 to T - 1.
    """
    length = sequences.length
    if not 1 <= context < length:
        raise UsageError(
            f"a forecast context of {context} of {length} frames leaves nothing to start from or nothing to forecast; "
            f"give from 1 to {length - 1}"
        )


def _check(batch: Batch, horizon: int, future_times: Tensor | None) -> None:
    x, _, lengths, times = batch
    check_count("horizon", horizon)
    if x.ndim < 3 or 0 in x.shape[:2]:
        raise UsageError(f"a forecast needs frames (B, t, *frame), B and t at least 1, not {tuple(x.shape)}")
    if lengths is not None and not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
        raise UsageError(f"lengths lie from 1 to the {x.shape[1]} frames that are there")
    if future_times is None:
        return
    if times is None:
        raise UsageError("future_times continue times: give the times of the given frames, too")
    if future_times.shape != (len(x), horizon):
        raise UsageError(
            f"future_times must be {(len(x), horizon)}, one per frame to come, not {tuple(future_times.shape)}"
        )
    last = times[:, -1:] if lengths is None else times.gather(1, lengths.unsqueeze(-1) - 1)
    if not bool((torch.cat([last, future_times], dim=1).diff(dim=1) > 0).all()):
        raise UsageError("future_times must rise from step to step, and begin after the last of the given times")


def _times(past: Tensor | None, future: Tensor | None) -> Tensor | None:
    return past if past is None or future is None else torch.cat([past, future], dim=1)


def _frames(model: DSVAE, f: Tensor, z: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """Samples and means ``(K, B, H, *frame)``, ``at_once`` paths at a time."""
    samples, means = [], []
    for some_f, some_z in zip(f.flatten(0, 1).split(at_once), z.flatten(0, 1).split(at_once), strict=True):
        frames = model.frames(some_f, some_z)
        samples.append(frames.sample())
        means.append(point(frames))
    return torch.cat(samples).unflatten(0, z.shape[:2]), torch.cat(means).unflatten(0, z.shape[:2])
