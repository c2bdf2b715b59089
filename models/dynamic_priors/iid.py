"""No dynamics at all: the negative control."""

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.path_distribution import PathDistribution
from pyro_dsvae.models.steps import Steps


class IID(DynamicPrior):
    """p(z_1:T) = prod_t N(z_t; 0, I): every step on its own, as in a VAE of single frames.

    It is here as a control: a model that explains motion must beat it, and its generated motion must fail.
    """

    def forward(self, f: Tensor, steps: Steps) -> "IIDPath":
        return IIDPath(f.new_zeros(()), f.shape[:-1], steps, self.latent_size)


class IIDPath(PathDistribution):
    """The path distribution of `IID`; ``zero`` () carries dtype and device."""

    def __init__(self, zero: Tensor, batch_shape: torch.Size, steps: Steps, latent_size: int) -> None:
        self.zero = zero
        super().__init__(batch_shape, steps, latent_size)

    def conditionals(self, z: Tensor) -> TorchDistribution:
        return Normal(torch.zeros_like(z), torch.ones_like(z)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return torch.randn(self.shape(sample_shape), dtype=self.zero.dtype, device=self.zero.device)

    def continue_from(self, z_past: Tensor, horizon: int) -> "IIDPath":
        return IIDPath(self.zero, z_past.shape[:-2], Steps(horizon), z_past.shape[-1])
