"""Posterior means and decoding, for any guide."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_dsvae.inference.handlers import LocalParameters, Means
from pyro_dsvae.models.distributions.point import point
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.steps import Steps


@torch.no_grad()
def posterior_means(
    guide: Callable[..., Any],
    x: Tensor,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    times: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The guide's means: f (B, F), and z (B, T, D) given the mean of f.

    Args:
        guide: Any posterior, or any Pyro program over "f" and "z".
        x: Frames in model units, ``(B, T, *frame)``.
        mask: As in `DSVAE.forward`.
        lengths: As in `DSVAE.forward`.
        times: As in `DSVAE.forward`.
    """
    with LocalParameters():
        f, z = Means()(guide)(x, mask, lengths, times)
    return f, z


@torch.no_grad()
def decode(model: DSVAE, f: Tensor, z: Tensor) -> Tensor:
    """Mean frames E[x | f, z] ``(*B, T, *frame)`` for f ``(*B, F)`` and z ``(*B, T, D)``; of classes the most probable one."""
    return point(model.frames(f, z))


@torch.no_grad()
def sample_latents(model: DSVAE, count: int, steps: Steps) -> tuple[Tensor, Tensor]:
    """Draws from the prior: f (count, F) and z (count, T, D)."""
    f = model.static_prior().expand([count]).sample()
    return f, model.dynamic_prior(f, steps).sample()
