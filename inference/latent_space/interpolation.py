"""Latents between those of two clips, along the geometry of the priors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.models.distributions.density import from_base, to_base
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.steps import Steps

Part = Literal["f", "z", "both"]
PARTS = ("f", "z", "both")

SPHERICAL = "on a great circle in the prior's noise space"
STRAIGHT = "on a straight line, since this prior has no known noise space"
HELD = "as in the first clip throughout"
# Below this sine of an angle two directions are the same, or opposite, and there is no one great circle through both.
PARALLEL = 1e-4


@dataclass(frozen=True)
class Interpolation:
    """S latents from the first clip (share 0) to the second (share 1), for B pairs of clips.

    Attributes:
        f: (S, B, F). ``f[0]`` and ``f[-1]`` are those of the clips, bit for bit, unless f is held.
        z: (S, B, T, D), likewise.
        shares: (S,) from 0 to 1.
        geometry: From "f" and "z" to the path that was taken: `SPHERICAL`, `STRAIGHT` or `HELD`.
    """

    f: Tensor
    z: Tensor
    shares: Tensor
    geometry: Mapping[str, str]


@torch.no_grad()
def interpolate(
    model: DSVAE, first: Latents, second: Latents, count: int = 9, part: Part = "both", times: Tensor | None = None
) -> Interpolation:
    """Interpolate ``count`` latents between those of two clips.

    Every prior is a map g of standard normal noise (`to_base`): a normal by location and scale, a flow by its base, a mixture
    by its quantiles, a path by its one-step conditionals, whose noise are the standardised innovations. A latent is moved in
    this noise along a great circle, with a norm that changes linearly (`slerp`), and mapped back by g. A straight line would
    pass nearer to the origin than draws do, and between two components of a mixture through a region without probability. A
    path that consists of interpolated innovations moves as the prior's paths do.

    A mixture whose components are not normal (`VampPrior` under the `Flow` posterior) has no known base space. Its latents
    are interpolated on a straight line, and ``geometry`` says so.

    Sources: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; White, "Sampling generative networks",
    arXiv 1609.04468, 2016.

    Args:
        model: p(f) p(z).
        first: f (B, F) and z (B, T, D) of the first clips.
        second: Of the second clips, of the same length.
        count: How many, S.
        part: f, z or both. What is not interpolated is that of the first clip. For z alone, priors that depend on f see both
            paths with the f of the first.
        times: (B, T) observation times of both, as in `DSVAE.forward`.

    Raises:
        UsageError: For clips of different lengths and for fewer than two points.
    """
    if part not in PARTS:
        raise UsageError(f"an interpolation goes along {', '.join(PARTS)}, not {part!r}")
    if count < 2:
        raise UsageError(f"an interpolation needs both ends, so count is at least 2, not {count}")
    check_count("count", count)
    check_memory(f"an interpolation of {count} clips", count, len(first.z[0]), *model.likelihood.frame_shape)
    if first.f.shape != second.f.shape or first.z.shape != second.z.shape:
        raise UsageError(
            f"both clips need latents of one shape, but z is {tuple(first.z.shape)} and {tuple(second.z.shape)}; "
            "cut the longer clip"
        )
    shares = torch.linspace(0, 1, count, dtype=first.z.dtype, device=first.z.device)
    f, z = (v.expand(count, *v.shape) for v in first)
    geometry = {"f": HELD, "z": HELD}
    if part != "z":
        f, geometry["f"] = _static(model, first.f, second.f, shares)
    if part != "f":
        seen = (first.f, first.f if part == "z" else second.f)
        z, geometry["z"] = _dynamic(model, (first.z, second.z), seen, f, shares, times)
    return Interpolation(f, z, shares, geometry)


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """Interpolate on the sphere: the direction at even speed on the great circle, the norm linearly from |a| to |b|.

    The line is straight where the two have one direction, or none, or opposite ones, which no single great circle joins.

    Args:
        a: ``(*B, n)``.
        b: ``(*B, n)``.
        shares: (S,) from 0 to 1.

    Returns:
        ``(S, *B, n)``.
    """
    share = shares[(..., *(None,) * a.ndim)]
    straight = a + share * (b - a)
    norms = [v.norm(dim=-1, keepdim=True) for v in (a, b)]
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = (v / n.clamp(min=tiny) for v, n in zip((a, b), norms, strict=True))
    # Both of these are exact where the arc cosine of the product is not.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    direction = ((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b
    curved = direction / sine.clamp(min=PARALLEL) * (norms[0] + share * (norms[1] - norms[0]))
    turns = (sine > PARALLEL) & (norms[0] > 0) & (norms[1] > 0)
    return torch.where(turns, curved, straight)


def _static(model: DSVAE, a: Tensor, b: Tensor, shares: Tensor) -> tuple[Tensor, str]:
    prior = model.static_prior()
    try:
        between = slerp(to_base(prior, a), to_base(prior, b), shares)
        return _with_ends(from_base(prior, between), a, b), SPHERICAL
    except NotImplementedError:
        return _with_ends(_straight(a, b, shares), a, b), STRAIGHT


def _dynamic(
    model: DSVAE,
    ends: tuple[Tensor, Tensor],
    seen: tuple[Tensor, Tensor],
    f: Tensor,
    shares: Tensor,
    times: Tensor | None,
) -> tuple[Tensor, str]:
    steps = Steps(ends[0].shape[-2], times=times)
    try:
        # The noise of a whole path is one normal vector.
        a, b = (to_base(model.dynamic_prior(own, steps), z).flatten(-2) for own, z in zip(seen, ends, strict=True))
        between = slerp(a, b, shares).unflatten(-1, ends[0].shape[-2:])
        return _with_ends(from_base(model.dynamic_prior(f, steps), between), *ends), SPHERICAL
    except NotImplementedError:
        return _with_ends(_straight(*ends, shares), *ends), STRAIGHT


def _straight(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    return torch.lerp(a, b, shares[(..., *(None,) * a.ndim)])


def _with_ends(values: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """There and back through the noise, ends would be off by rounding."""
    return torch.cat([a.unsqueeze(0), values[1:-1], b.unsqueeze(0)])
