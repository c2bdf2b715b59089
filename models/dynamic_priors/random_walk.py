"""Brownian motion, observed at the times of the steps."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

MIN_SCALE = 1e-4


class RandomWalk(DynamicPrior):
    """z_1 ~ N(0, start_scale^2 I), z_t = z_{t-1} + N(0, scale^2 dt_t): a path that drifts and is drawn back to no mean.

    Both scales are learned, one per dimension, as 10^-4 + softplus(raw). dt_t is the time since the previous step, 1 where
    the data have no observation times.

    Source: Blei & Lafferty, "Dynamic Topic Models", ICML 2006, for the walk as a prior of latents.

    Args:
        latent_size: D, supplied by the model.
        scale: Initial standard deviation of the change over one unit of time.
        start_scale: Initial standard deviation of z_1.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import RandomWalk
        >>> from pyro_dsvae.models.steps import Steps
        >>> prior = RandomWalk(1, scale=0.5)
        >>> one, four = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 4.0]])  # the same step after 1 and 4 units of time
        >>> for times in (one, four):
        ...     step = prior(torch.zeros(1, 3), Steps(2, times=times)).conditionals(torch.zeros(1, 2, 1))
        ...     print(f"{step.base_dist.scale[0, 1].item():.2f}")
        0.50
        1.00
    """

    continuous_time: ClassVar[bool] = True

    def __init__(self, latent_size: int, scale: float = 0.3, start_scale: float = 1.0) -> None:
        super().__init__(latent_size)
        for name, value in (("scale", scale), ("start_scale", start_scale)):
            if not MIN_SCALE < value < math.inf:
                raise UsageError(f"RandomWalk needs a finite {name} above {MIN_SCALE:g}, not {value}")
        self.raw_scale = nn.Parameter(torch.full((latent_size,), inverse_softplus(scale - MIN_SCALE)))
        self.raw_start_scale = nn.Parameter(torch.full((latent_size,), inverse_softplus(start_scale - MIN_SCALE)))

    @property
    def scale(self) -> Tensor:
        """(D,) standard deviation of the change over one unit of time."""
        return softplus(self.raw_scale) + MIN_SCALE

    @property
    def start_scale(self) -> Tensor:
        """(D,) standard deviation of z_1."""
        return softplus(self.raw_start_scale) + MIN_SCALE

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        a, b, s = self._later(steps)
        start = self.start_scale.expand(*s.shape[:-2], 1, -1)
        s = torch.cat([start, s.expand(*s.shape[:-2], steps.length, -1)[..., 1:, :]], dim=-2)
        return DiagonalChain(f.shape[:-1], Transitions(a, b, s), steps, self._later)

    def _later(self, steps: Steps) -> Transitions:
        """The transitions of steps that have one before them, scales (B, T, D), or (1, D) where all are alike."""
        intervals = steps.intervals
        scale = self.scale.unsqueeze(0)
        if intervals is not None:
            scale = scale * intervals.to(scale.dtype).sqrt().unsqueeze(-1)
        return Transitions(torch.ones_like(self.scale), torch.zeros_like(self.scale), scale)


def inverse_softplus(value: float) -> float:
    """x with log(1 + exp(x)) = value > 0, also where exp(value) is infinite."""
    return value + math.log(-math.expm1(-value))
