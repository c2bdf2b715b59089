"""A normal prior over the static latent with learned location and scale."""

import math

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import nn
from torch.nn.functional import softplus

from pyro_dsvae.models.networks.gaussian_head import MIN_SCALE
from pyro_dsvae.models.static_priors.static_prior import StaticPrior


class DiagonalNormal(StaticPrior):
    """p(f) = N(mu, diag sigma^2), both learned, N(0, I) before training.

    sigma = 10^-3 + softplus(raw); the floor keeps densities finite. Its KL from a normal posterior is exact, as for
    `StandardNormal`. It learns location and scale of the aggregated posterior, so q need not bend towards N(0, I).

    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014, with the prior's moments free.

    Args:
        static_size: F, supplied by the model.

    Example:
        >>> from pyro_dsvae.models.static_priors import DiagonalNormal
        >>> prior = DiagonalNormal(2)
        >>> prior().mean.tolist(), [round(sd, 4) for sd in prior().stddev.tolist()]
        ([0.0, 0.0], [1.0, 1.0])
        >>> prior().rsample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, static_size: int) -> None:
        super().__init__(static_size)
        self.loc = nn.Parameter(torch.zeros(static_size))
        self.raw_scale = nn.Parameter(torch.full((static_size,), math.log(math.expm1(1 - MIN_SCALE))))

    def forward(self) -> TorchDistribution:
        return Normal(self.loc, softplus(self.raw_scale) + MIN_SCALE).to_event(1)
