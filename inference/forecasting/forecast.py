"""What comes after a clip: draws of further frames, and the log probability of those that came."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pyro_dsvae.inference.batch import Clips
from pyro_dsvae.inference.estimation import Guide, Work, evaluation, paths_at_once
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sampling.resampling import Conditioning, PosteriorDraws, draw_posterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps


@dataclass(frozen=True)
class Forecast:
    """K draws of the H frames after each of B clips.

    samples  (K, B, H, \\*frame) frames, with the noise of the likelihood
    means    (K, B, H, \\*frame) E[x | f, z] of every draw: the same futures without noise
    z        (K, B, H, D) the latents they are decoded from
    past     f (K, B, F) and z of the given steps, with diagnostics: how far the draws can be trusted
    """

    samples: Tensor
    means: Tensor
    z: Tensor
    past: PosteriorDraws

    @property
    def f(self) -> Tensor:
        """(K, B, F)"""
        return self.past.f

    @property
    def mean(self) -> Tensor:
        """(B, H, \\*frame) E[x | past]: of all forecasts that with the smallest expected squared error."""
        return self.means.mean(0)

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """(Q, B, H, \\*frame) of every value on its own, over the samples, by linear interpolation between neighbours."""
        if not all(0 <= level <= 1 for level in levels):
            raise UsageError(f"levels of quantiles lie from 0 to 1, not {list(levels)}")
        found = np.quantile(
            self.samples.cpu().numpy(), np.asarray(levels, dtype=self.samples.cpu().numpy().dtype), axis=0
        )
        return torch.from_numpy(found).to(self.samples)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (B, H, \\*frame), between which each value lies with this probability."""
        low, high = self.quantiles([(1 - level) / 2, (1 + level) / 2])
        return low, high


def forecast(
    model: DSVAE,
    guide: Guide,
    x: Tensor,
    horizon: int,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    times: Tensor | None = None,
    future_times: Tensor | None = None,
    draws: int = 100,
    seed: int = 0,
    refinement: Refinement | None = None,
    resample: bool = True,
    progress: Callable[[float], None] | None = None,
    proposals: int | None = None,
    frames_at_once: int | None = None,
) -> Forecast:
    """Draws of the ``horizon`` frames that follow each clip:

        f, z_{1:t} ~ p(f, z_{1:t} | x_{1:t}),    z_{t+1:t+H} ~ p(z_{t+1:t+H} | z_{1:t}, f),    x_s ~ p(x_s | f, z_s)

    The first by the guide, its draws weighed by p(x, f, z) / q(f, z | x) and resampled, so that a wrong guide is put right as
    far as its draws allow (`PosteriorDraws`). With `Delta`, which has no density, the past is its point.

    x             (B, t, \\*frame) frames as `Likelihood.prepare` gives them; those of sequence i that count are its first
                  ``lengths[i]``, and its forecast begins after them
    horizon       H
    mask, lengths, times  as in `DSVAE.forward`
    future_times  (B, H), only with ``times``: of the steps to come; otherwise they go on at a sequence's last interval
    draws         K
    seed          of all noise; the global generators are left as they were
    refinement    fit the guide to every clip first (`refine`)
    resample      whether the guide's draws are weighed
    progress      told the share of the work that is done
    proposals     how many are weighed for K to be kept, by default four times K
    frames_at_once  frames decoded at once, which bounds memory; by default 4 million numbers' worth

    Raises `UsageError` for a horizon below 1 and for shapes or times that do not fit. Clips without any observed value are
    continued from draws of the prior, which ``past.from_prior`` says.
    """
    _check(x, horizon, lengths, times, future_times)
    how = Conditioning(draws, refinement, resample, 4 * draws if proposals is None else proposals)
    paths = paths_at_once(Sequences(x, mask, lengths, torch.arange(len(x)), times), frames_at_once)
    work = Work(progress, len(x) * (how.cost + 2 * draws * horizon / x.shape[1]))
    groups = [torch.arange(len(x), device=x.device)]
    if lengths is not None:
        groups = [(lengths == length).nonzero().squeeze(-1) for length in lengths.unique()]
    parts = []
    with evaluation(model, guide, seed, x.device, gradients=refinement is not None):
        for rows in groups:
            length = x.shape[1] if lengths is None else int(lengths[rows[0]])
            own_mask, own_times = (None if v is None else v[rows, :length] for v in (mask, times))
            clips = Clips(_seen(x[rows, :length], own_mask), own_mask, None, own_times)
            past = draw_posterior(model, guide, clips, how, paths, work)
            whole = _times(own_times, None if future_times is None else future_times[rows])
            steps = Steps(length if whole is None else whole.shape[1], times=whole)
            z = model.dynamic_prior(past.f, steps).continue_from(past.z, horizon).sample()
            samples, means = _frames(model, past.f, z, max(1, paths * x.shape[1] // horizon))
            work.did(2 * len(rows) * draws * horizon / x.shape[1])
            padded = pad(past.z, (0, 0, 0, x.shape[1] - length))
            parts.append(Forecast(samples, means, z, replace(past, z=padded)))
    order = torch.cat(groups).argsort()
    samples, means, z = (torch.cat([getattr(p, n) for p in parts], dim=1)[:, order] for n in ("samples", "means", "z"))
    return Forecast(samples, means, z, PosteriorDraws.joined([part.past for part in parts]).rows(order))


def check_given(sequences: Sequences, given: int) -> None:
    """Raises `UsageError` where T leaves nothing to give or nothing to foretell."""
    length = sequences.frames.shape[1]
    if not 1 <= given < length:
        raise UsageError(
            f"a forecast needs at least one frame given and one to foretell, not {given} given of {length}; "
            f"give from 1 to {length - 1}"
        )


def observed_count(sequences: Sequences, steps: slice) -> Tensor:
    """(N,) int64, how many values were observed at some of the steps."""
    rows, (length, *frame_shape) = sequences.rows, sequences.frames.shape[1:]
    mask, lengths = (None if v is None else v[rows] for v in (sequences.mask, sequences.lengths))
    observed = Steps(length, lengths).observed(mask, len(frame_shape))
    if observed is None:
        observed = torch.ones(len(rows), length, *(1 for _ in frame_shape), dtype=torch.bool)
    # Whole frames are told by one flag each.
    values = math.prod(frame_shape) // math.prod(observed.shape[2:])
    return values * observed[:, steps].flatten(1).sum(1).cpu()


def beginning(sequences: Sequences, count: int) -> Sequences:
    """The first ``count`` steps of every sequence, or all of a shorter one."""
    mask, times = (None if v is None else v[:, :count] for v in (sequences.mask, sequences.times))
    lengths = None if sequences.lengths is None else sequences.lengths.clamp(max=count)
    return Sequences(sequences.frames[:, :count], mask, lengths, sequences.rows, times)


def _check(x: Tensor, horizon: int, lengths: Tensor | None, times: Tensor | None, future_times: Tensor | None) -> None:
    if horizon < 1:
        raise UsageError(f"a forecast needs a horizon of at least 1 frame, not {horizon}")
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


def _seen(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero where not observed: not even a NaN there may be met again."""
    observed = Steps(x.shape[1]).observed(mask, x.ndim - 2)
    return x if observed is None else torch.where(observed, x, torch.zeros_like(x))


def _times(past: Tensor | None, future: Tensor | None) -> Tensor | None:
    return past if past is None or future is None else torch.cat([past, future], dim=1)


def _frames(model: DSVAE, f: Tensor, z: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """Samples and means (K, B, H, \\*frame), ``at_once`` paths at a time."""
    samples, means = [], []
    for some_f, some_z in zip(f.flatten(0, 1).split(at_once), z.flatten(0, 1).split(at_once), strict=True):
        frames = model.likelihood(some_f, some_z)
        samples.append(frames.sample())
        means.append(frames.mean)
    return torch.cat(samples).unflatten(0, z.shape[:2]), torch.cat(means).unflatten(0, z.shape[:2])
