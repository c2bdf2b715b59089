"""Traversals: one latent dimension takes several values, all others stay those of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.models.distributions.point import point
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

# Shares of the distribution below the first and the last value of f, and how far z is moved either way.
OUTER = 0.02
DEVIATIONS = 2.0
PRIOR_DRAWS = 10_000


@dataclass(frozen=True)
class Traversal:
    """V values of each of n dimensions, from low to high.

    Attributes:
        dimensions: (n,) int64, which they are, in the order asked for.
        values: (n, V) of f: the value that the dimension takes; of z: what is added to it at every step.
        f: (n, V, F).
        z: (n, V, T, D).
        frames: ``(n, V, T, *frame)`` E[x | f, z].
    """

    dimensions: Tensor
    values: Tensor
    f: Tensor
    z: Tensor
    frames: Tensor


@torch.no_grad()
def traverse_static(
    model: DSVAE,
    f: Tensor,
    z: Tensor,
    reference: Tensor | None = None,
    dimensions: Sequence[int] | Tensor | None = None,
    count: int = 7,
) -> Traversal:
    """Vary one dimension of f at a time, in a clip with latents ``f`` (F,) and ``z`` (T, D).

    The values are quantiles, at V evenly spaced shares from .02 to .98, of the same dimension of ``reference``: values that
    occur.

    Args:
        model: p(f) p(x | f, z).
        f: Of the clip.
        z: Of the clip.
        reference: (N, F), such as the posterior means or draws of many clips; None: 10,000 draws from p(f), with noise from
            the global generator.
        dimensions: Which, in the wanted order, such as that of their information; by default all, in their own order.
        count: How many, V.

    Raises:
        UsageError: For dimensions that do not exist and for fewer than two values.
    """
    _check(f, z)
    chosen = _chosen(dimensions, f.shape[0], count, "f")
    check_memory(f"a traversal of {count} values", len(chosen), count, len(z), *model.likelihood.frame_shape)
    if reference is None:
        reference = model.static_prior().expand([PRIOR_DRAWS]).sample()
    if reference.ndim != 2 or reference.shape[1] != f.shape[0] or len(reference) == 0:
        raise UsageError(f"the reference of f must be (N, {f.shape[0]}), N at least 1, not {tuple(reference.shape)}")
    levels = torch.linspace(OUTER, 1 - OUTER, count, dtype=f.dtype)
    columns = reference[:, chosen.to(reference.device)].cpu().to(f.dtype)
    values = torch.quantile(columns, levels, dim=0).T.to(f)
    moved = f.repeat(len(chosen), count, 1)
    rows = torch.arange(len(chosen), device=f.device)
    moved[rows, :, chosen] = values
    return _decoded(model, chosen, values, moved, z.expand(len(chosen), count, *z.shape))


@torch.no_grad()
def traverse_dynamic(
    model: DSVAE,
    f: Tensor,
    z: Tensor,
    reference: Tensor | None = None,
    dimensions: Sequence[int] | Tensor | None = None,
    count: int = 7,
) -> Traversal:
    """Vary one dimension of z at a time, in a clip with latents ``f`` (F,) and ``z`` (T, D): the same shift at all steps.

    The shifts are evenly spaced from -2 to 2 standard deviations of that dimension over all clips and steps of
    ``reference``. So the motion stays, and its level changes.

    Args:
        model: p(z) p(x | f, z).
        f: Of the clip.
        z: Of the clip.
        reference: (N, T', D), such as posterior means; None: 1,000 paths from p(z | f), with noise from the global
            generator.
        dimensions: As for `traverse_static`.
        count: How many, V.

    Raises:
        UsageError: For dimensions that do not exist and for fewer than two values.
    """
    _check(f, z)
    chosen = _chosen(dimensions, z.shape[-1], count, "z")
    check_memory(f"a traversal of {count} values", len(chosen), count, len(z), *model.likelihood.frame_shape)
    if reference is None:
        reference = model.dynamic_prior(f.expand(PRIOR_DRAWS // 10, -1), Steps(len(z))).sample()
    if reference.ndim != 3 or reference.shape[-1] != z.shape[-1] or reference.shape[:2].numel() < 2:
        raise UsageError(f"the reference of z must be (N, T, {z.shape[-1]}), not {tuple(reference.shape)}")
    spread = reference.flatten(0, 1).std(0).to(z)
    values = spread[chosen].unsqueeze(-1) * torch.linspace(-DEVIATIONS, DEVIATIONS, count).to(z)
    moved = z.repeat(len(chosen), count, 1, 1)
    rows = torch.arange(len(chosen), device=z.device)
    moved[rows, :, :, chosen] += values.unsqueeze(-1)
    return _decoded(model, chosen, values, f.expand(len(chosen), count, -1), moved)


def check_dimensions(part: str, dimensions: Sequence[int], size: int) -> None:
    """Refuse dimensions that a latent has not.

    Args:
        part: "f" or "z".
        dimensions: Which.
        size: How many the latent has.

    Raises:
        UsageError: Unless all are from 0 to ``size`` - 1.
    """
    if not size:
        raise UsageError("this model has no static part (static_size is 0); traverse the dynamic latents")
    if not all(0 <= each < size for each in dimensions):
        raise UsageError(f"{part} has dimensions 0 to {size - 1}, so there is none to traverse in {list(dimensions)}")


def _check(f: Tensor, z: Tensor) -> None:
    if f.ndim != 1 or z.ndim != 2:
        raise UsageError(
            f"a traversal starts from one clip, f (F,) and z (T, D), not {tuple(f.shape)} and {tuple(z.shape)}"
        )


def _chosen(dimensions: Sequence[int] | Tensor | None, size: int, count: int, part: str) -> Tensor:
    if count < 2:
        raise UsageError(f"a traversal needs at least 2 values of a dimension, not {count}")
    chosen = torch.arange(size) if dimensions is None else torch.as_tensor(dimensions, dtype=torch.int64).cpu()
    check_dimensions(part, chosen.tolist(), size)
    return chosen


def _decoded(model: DSVAE, chosen: Tensor, values: Tensor, f: Tensor, z: Tensor) -> Traversal:
    # One dimension at a time bounds memory.
    frames = [point(model.frames(*pair)) for pair in zip(f, z, strict=True)]
    return Traversal(chosen, values, f, z, torch.stack(frames))
