"""Discrepancies: each is a number that describes one property of a clip, computed for real and replicated clips alike."""

import math

import torch
from torch import Tensor

from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames

# --- of the frames alone ----------------------------------------------------------------------------------------------


def value_mean(frames: Frames) -> Tensor:
    """Mean of all observed values of a clip: of images, the brightness."""
    return frames.average(frames.x)


def value_spread(frames: Frames) -> Tensor:
    """Standard deviation of the values within a frame, averaged over the frames: of images, the contrast."""
    ndim = frames.frame_ndim
    mean = frames.average(frames.x, ndim)
    centred = frames.x - mean.nan_to_num()[(..., *(None,) * ndim)].to(frames.x.dtype)
    spread = frames.average(centred.square(), ndim).sqrt()
    seen = ~spread.isnan()
    return spread.nan_to_num().sum(-1) / seen.sum(-1)


def largest_value(frames: Frames) -> Tensor:
    """The largest observed value of a clip: clipped or saturated brightness shows here."""
    return _largest(frames, frames.x)


def smallest_value(frames: Frames) -> Tensor:
    """The smallest observed value of a clip."""
    return -_largest(frames, -frames.x)


def motion_energy(frames: Frames) -> Tensor:
    """Mean of |x_{t+1} - x_t| over neighbouring frames, in units of the values per frame."""
    length = frames.x.shape[frames.time_dim]
    step = (frames.at(frames.x, 1, length) - frames.at(frames.x, 0, length - 1)).abs()
    return frames.average(step, where=frames.pairs(1))


def autocorrelation(frames: Frames, lag: int) -> Tensor:
    """Mean of (x_t - m)(x_{t+lag} - m) over mean of (x_t - m)^2, over all values of a clip; m is each value's mean over time.

    0 for a clip in which nothing moves. Short clips bias it downwards, replications as much as the data.
    """
    return _correlation(frames, frames.moving, lag)


def lag_1_autocorrelation(frames: Frames) -> Tensor:
    """`autocorrelation` with lag 1: the similarity of a frame to the previous one, beyond what stays throughout the clip."""
    return autocorrelation(frames, 1)


def lag_2_autocorrelation(frames: Frames) -> Tensor:
    """`autocorrelation` with lag 2."""
    return autocorrelation(frames, 2)


def mean_variation(frames: Frames) -> Tensor:
    """Variance over time of each frame's mean, per channel of an image or value of a vector: what should be static."""
    channel = frames.frame_ndim - 1
    means, where = frames.x, frames.observed
    if channel:
        means = frames.average(frames.x, channel)
        where = None if where is None else ~means.isnan()
    reduced = Frames(means.nan_to_num().double(), 1, where)
    return reduced.average(reduced.moving.square())


def drift(frames: Frames) -> Tensor:
    """Mean squared difference between the mean frames of the first and the second half of a clip.

    A static attribute that changes midway shows here, because the same motion in another place does not. Of sequences of
    different lengths each has its own middle.
    """
    dim, length = frames.time_dim, frames.x.shape[frames.time_dim]
    if frames.observed is None:
        halves = [frames.at(frames.x, *half).mean(dim) for half in ((0, length // 2), (length // 2, length))]
    else:
        seen = frames.observed
        there = seen.flatten(dim + 1).any(-1)[(..., *(None,) * frames.frame_ndim)]
        # Of an odd number of frames that were seen the middle one belongs to the second half.
        first = there.cumsum(dim) <= there.sum(dim, keepdim=True) // 2
        halves = []
        for half in (first & seen, ~first & seen):
            count = half.expand(torch.broadcast_shapes(half.shape, frames.x.shape)).sum(dim)
            halves.append(torch.where(half, frames.x, torch.zeros_like(frames.x)).sum(dim) / count)
    change = (halves[0] - halves[1]).square()
    both = ~change.isnan()
    axes = tuple(range(-frames.frame_ndim, 0))
    return change.nan_to_num().sum(axes, dtype=torch.float64) / both.sum(axes)


def fast_share(frames: Frames) -> Tensor:
    """Share of the variance over time in the upper half of the frequencies, above 1/4 cycle per frame.

    It is computed from the periodogram of each value less its mean over time, summed over all values. What was not observed
    is set to that mean, in replications as in the data. Observation times are ignored. 0 for a clip in which nothing moves.
    """
    power = torch.fft.rfft(frames.moving, dim=frames.time_dim).abs().square()
    length = frames.x.shape[frames.time_dim]
    if length % 2 == 0:
        # Every frequency but the last stands for two, itself and its mirror image.
        half = torch.full((power.shape[frames.time_dim],), 1.0, dtype=power.dtype, device=power.device)
        half[-1] = 0.5
        power = power * half[(..., *(None,) * frames.frame_ndim)]
    spectrum = power.flatten(frames.time_dim + 1).sum(-1, dtype=torch.float64)
    fast = torch.fft.rfftfreq(length, device=power.device) > 0.25
    return _ratio(spectrum[..., fast].sum(-1), spectrum[..., 1:].sum(-1))


def sharpness(frames: Frames) -> Tensor:
    """Mean absolute difference between neighbouring pixels, down and across: blur makes it small. Images only."""
    parts = []
    for dim in (-1, -2):
        size = frames.x.shape[dim]
        where = frames.observed
        if where is not None and where.shape[dim] == size and size > 1:
            where = where.narrow(dim, 1, size - 1) & where.narrow(dim, 0, size - 1)
        if size > 1:
            parts.append(frames.average(frames.x.diff(dim=dim).abs(), where=where))
    if not parts:
        return torch.zeros(frames.x.shape[: frames.time_dim], dtype=torch.float64, device=frames.x.device)
    return torch.stack(parts).mean(0)


# --- of the frames and the latents ------------------------------------------------------------------------------------


def residual_size(frames: Frames) -> Tensor:
    """Mean squared standardised residual: above 1 where the observation scale is too small, below where too large."""
    return frames.average(frames.residuals.square())


def largest_residual(frames: Frames) -> Tensor:
    """The largest standardised residual of a clip, in absolute value: the worst single value."""
    return _largest(frames, frames.residuals.abs())


def residual_autocorrelation(frames: Frames) -> Tensor:
    """Lag-1 correlation of the standardised residuals: motion, or static appearance, that is left in the noise."""
    return _correlation(frames, frames.residuals, 1)


def surprise(frames: Frames) -> Tensor:
    """-log p(x | f, z) per observed value, in nats: the same question for every likelihood."""
    return -frames.average(frames.distribution.log_prob(frames.x))


BUILT_IN: tuple[Discrepancy, ...] = (
    Discrepancy("mean value", value_mean, pooled=True),
    Discrepancy("spread within a frame", value_spread, pooled=True),
    Discrepancy("largest value", largest_value, pooled=True),
    Discrepancy("smallest value", smallest_value, pooled=True),
    Discrepancy("motion energy", motion_energy, pooled=True),
    Discrepancy("lag-1 autocorrelation", lag_1_autocorrelation, pooled=True),
    Discrepancy("lag-2 autocorrelation", lag_2_autocorrelation, pooled=True),
    Discrepancy("share of fast motion", fast_share, pooled=True),
    Discrepancy("variation of the frame mean", mean_variation, pooled=True),
    Discrepancy("drift between halves", drift, pooled=True),
    Discrepancy("sharpness", sharpness, images_only=True),
    Discrepancy("residual size", residual_size, realised=True),
    Discrepancy("largest residual", largest_residual, realised=True),
    Discrepancy("residual autocorrelation", residual_autocorrelation, realised=True),
    Discrepancy("surprise", surprise, realised=True),
)


def applicable(frame_shape: tuple[int, ...]) -> list[Discrepancy]:
    """The built-in discrepancies that are defined for frames of this shape, in their order."""
    return [d for d in BUILT_IN if d.applies(frame_shape)]


# --- helpers ----------------------------------------------------------------------------------------------------------


def _largest(frames: Frames, values: Tensor) -> Tensor:
    """The largest observed value of every clip; NaN where none was observed."""
    if frames.observed is None:
        return values.flatten(frames.time_dim).amax(-1).double()
    low = torch.full_like(values, -math.inf)
    largest = torch.where(frames.observed, values, low).flatten(frames.time_dim).amax(-1).double()
    return largest.masked_fill(largest == -math.inf, math.nan)


def _correlation(frames: Frames, values: Tensor, lag: int) -> Tensor:
    """Mean of value_t value_{t+lag} over mean of value_t^2."""
    length = values.shape[frames.time_dim]
    products = frames.at(values, 0, length - lag) * frames.at(values, min(lag, length), length)
    return _ratio(frames.average(products, where=frames.pairs(lag)), frames.average(values.square()))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part`` / ``whole``; 0 where both are, NaN where either is."""
    return torch.where(whole == 0, part * 0, part / torch.where(whole == 0, torch.ones_like(whole), whole))
