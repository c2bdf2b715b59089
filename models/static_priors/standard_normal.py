"""The standard normal prior over the static latent."""

import torch
from pyro.distributions import Normal, TorchDistribution

from pyro_dsvae.models.static_priors.static_prior import StaticPrior


class StandardNormal(StaticPrior):
    """p(f) = N(0, I).

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018.

    Args:
        static_size: F, supplied by the model.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.static_priors import StandardNormal
        >>> StandardNormal(2)().log_prob(torch.zeros(2))  # -log(2 pi)
        tensor(-1.8379)
    """

    loc: torch.Tensor

    def __init__(self, static_size: int) -> None:
        super().__init__(static_size)
        # A buffer, so that the prior follows the model's dtype and device.
        self.register_buffer("loc", torch.zeros(static_size), persistent=False)

    def forward(self) -> TorchDistribution:
        return Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
