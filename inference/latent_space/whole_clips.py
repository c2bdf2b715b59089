"""The codes of clips that are longer than those that a model was fitted to, from windows of that length."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_space.encoding import Codes, encode
from pyro_dsvae.models.errors import UsageError

PRIOR_DRAWS = 4096  # that tell mean and scale of a prior which has neither in closed form
NARROWEST = 1e-3  # scale of a posterior in scales of the prior; a point has this one


def encode_whole(sampler: Sampler, batch: Batch, window: int, seed: int = 0) -> Codes:
    """Codes of clips of any length, from a guide that was trained on clips of at most ``window`` steps.

    A clip of at most that length is encoded as it is. A longer one is cut twice. The posteriors of f of disjoint parts are
    multiplied (`pooled`): every frame counts once. Then z is inferred, given that f, in windows that overlap by half or more.
    Where windows overlap, z is their mean, with weights that fall linearly towards the ends of each window, so that no seam is
    left.

    Args:
        sampler: Model and guide.
        batch: B clips, on the sampler's device.
        window: The most steps that the guide sees at once, at least 2.
        seed: Of draws, where a prior or posterior has no moments in closed form.

    Returns:
        Codes without draws.

    Example:
        >>> import pyro_dsvae
        >>> from pyro_dsvae.inference.latent_space.whole_clips import encode_whole
        >>> run = pyro_dsvae.load("runs/clips")  # fitted to clips of 6 frames
        >>> film = run.sequences().part("test").frames.flatten(0, 1)[None]
        >>> encode_whole(run.sampler(), run.batch(film), run.length).z.shape
        torch.Size([1, 24, 2])
    """
    if window < 2:
        raise UsageError(f"a window has {window} step; it has at least 2")
    length = batch.x.shape[1]
    if length <= window:
        return encode(sampler, batch, seed=seed)
    with sampler.evaluation(seed):
        prior = moments_of(sampler.model.static_prior())
    own = [length] * len(batch.x) if batch.lengths is None else batch.lengths.tolist()
    parts = []
    for i, steps in enumerate(own):
        clip = batch.rows(slice(i, i + 1)).until(steps)._replace(lengths=None)
        codes = encode(sampler, clip, seed=seed) if steps <= window else _of_long(sampler, clip, window, prior, seed)
        parts.append(_padded(codes, length))
    return replace(Codes.joined(parts), lengths=batch.lengths)


def pooled(loc: Tensor, scale: Tensor, prior_loc: Tensor, prior_scale: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and scale of f given all parts of a clip, from those given each part.

    Parts x_1, ..., x_n that are independent given f have

        p(f | x_1, ..., x_n)  ∝  p(f) prod_i p(x_i | f)  ∝  p(f) prod_i p(f | x_i) / p(f),

    the product of the parts' posteriors without n - 1 surplus factors p(f). Of normals the precisions and the products of
    precision and mean add up:

        1 / s^2 = 1 / s_0^2 + sum_i (1 / s_i^2 - 1 / s_0^2),     m / s^2 = m_0 / s_0^2 + sum_i (m_i / s_i^2 - m_0 / s_0^2).

    It is exact where z of different parts are independent and both prior and posteriors are normals with independent
    dimensions. A prior of another kind counts by its mean and scale. A part whose posterior is wider than the prior says
    nothing of that dimension.

    Args:
        loc: (n, F), means of f given each part.
        scale: (n, F), its standard deviations.
        prior_loc: (F,).
        prior_scale: (F,).

    Returns:
        (F,) and (F,).

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.latent_space.whole_clips import pooled
        >>> # One number seen twice with noise of variance 1, f ~ N(0, 1): given each 1, f is N(.5, 1/2).
        >>> loc, scale = pooled(torch.full((2, 1), 0.5), torch.full((2, 1), 0.5**0.5), torch.zeros(1), torch.ones(1))
        >>> round(loc.item(), 4), round(scale.item() ** 2, 4)
        (0.6667, 0.3333)
    """
    loc, scale = loc.double(), scale.double()
    prior_loc, prior_scale = prior_loc.to(loc), prior_scale.to(loc)
    known = prior_scale**-2
    precision = scale.clamp(min=NARROWEST * prior_scale) ** -2
    gained = (precision - known).clamp(min=0)
    told = torch.where(gained > 0, precision * loc - known * prior_loc, torch.zeros_like(loc))
    total = known + gained.sum(0)
    return (known * prior_loc + told.sum(0)) / total, total**-0.5


def moments_of(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, of draws where they have no closed form."""
    try:
        return distribution.mean, distribution.stddev
    except NotImplementedError:
        draws = distribution.sample(torch.Size([PRIOR_DRAWS]))
        return draws.mean(0), draws.std(0)


def window_starts(length: int, window: int) -> list[int]:
    """Where windows begin that cover ``length`` steps and overlap by half or more, the first at 0 and the last at the end.

    Example:
        >>> from pyro_dsvae.inference.latent_space.whole_clips import window_starts
        >>> window_starts(20, 8)
        [0, 4, 8, 12]
    """
    last = length - window
    count = -(-last // max(1, window // 2)) + 1
    return [round(i * last / max(1, count - 1)) for i in range(count)]


def _of_long(sampler: Sampler, clip: Batch, window: int, prior: tuple[Tensor, Tensor], seed: int) -> Codes:
    length = clip.x.shape[1]
    count = -(-length // window)
    cuts = [round(i * length / count) for i in range(count + 1)]
    lengths = torch.tensor([b - a for a, b in itertools.pairwise(cuts)], device=clip.x.device)
    tiles = _stacked(clip, cuts[:-1], int(lengths.max()))._replace(lengths=lengths)
    seen = encode(sampler, tiles, seed=seed)
    # A part in which nothing was observed says nothing of f, whatever the guide makes of it.
    told = tiles.observed.flatten(1).any(1).to(seen.f.device)
    f, f_scale = (v.to(seen.f)[None] for v in pooled(seen.f[told], seen.f_scale[told], *prior))
    starts = window_starts(length, window)
    # A guide draws f before z: here f is known.
    known = replace(sampler, guide=partial(_given, sampler.guide, f))
    with sampler.evaluation(seed):  # `known` does not reach the guide's own mode
        paths = encode(known, _stacked(clip, starts, window), seed=seed)
    z, z_scale = (_blended(values, starts, length)[None] for values in (paths.z, paths.z_scale))
    return Codes(f, f_scale, z, z_scale, f.new_zeros(0, *f.shape), z.new_zeros(0, *z.shape))


def _given(guide: Callable[..., object], f: Tensor, x: Tensor, *others: Tensor | None) -> object:
    return poutine.condition(guide, data={"f": f.expand(len(x), -1)})(x, *others)


def _stacked(clip: Batch, starts: list[int], window: int) -> Batch:
    """(n, window, …): windows of one clip (1, T, …), with times since the first step of each; steps beyond the end are zero."""
    steps = torch.tensor(starts, device=clip.x.device)[:, None] + torch.arange(window, device=clip.x.device)
    inside = steps.clamp(max=clip.x.shape[1] - 1)
    x, mask, _, times = clip
    if times is not None:
        # Steps that do not exist come one unit apart.
        times = times[0][inside] + (steps - inside)
        times = times - times[:, :1]
    return Batch(x[0][inside], None if mask is None else mask[0][inside], None, times)


def _blended(paths: Tensor, starts: list[int], length: int) -> Tensor:
    """(T, D) of windows (n, W, D): at each step their mean, weighted by the distance from the nearer end of a window."""
    window = paths.shape[1]
    up = torch.arange(window, dtype=paths.dtype, device=paths.device) + 0.5
    weight = torch.minimum(up, up.flip(0)).unsqueeze(-1)
    total, sums = paths.new_zeros(length, 1), paths.new_zeros(length, paths.shape[-1])
    for start, path in zip(starts, paths, strict=True):
        sums[start : start + window] += weight * path
        total[start : start + window] += weight
    return sums / total


def _padded(codes: Codes, length: int) -> Codes:
    more = length - codes.z.shape[1]
    pad = torch.nn.functional.pad
    z, z_scale, z_draws = (pad(v, (0, 0, 0, more)) for v in (codes.z, codes.z_scale, codes.z_draws))
    return replace(codes, z=z, z_scale=z_scale, z_draws=z_draws)
