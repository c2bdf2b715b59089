"""Gaussian frames with a learned, bounded scale."""

import math

import torch
from pyro.distributions import Normal as NormalDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import frame_decoder

# An Adam step moves every parameter by about the learning rate; sigma has further to go than a weight.
GAIN = 10.0


class Normal(Likelihood):
    """p(x | f, z) = prod over values of N(x; mu(f, z), sigma^2), one sigma for all values, learned within bounds.

    sigma = min_scale (max_scale / min_scale)^sigmoid(10 raw). Without the lower bound the density of exactly repeated pixels
    grows without limit and the KL terms stop to matter; without the upper one an early sigma can swallow the data.

    width      channels of the decoder's finest layer (images) or units / 16 (vectors)
    scale      sigma before training, in units of the frames
    min_scale  lower bound of sigma
    max_scale  upper bound of sigma
    """

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 16,
        scale: float = 0.1,
        min_scale: float = 0.05,
        max_scale: float = 1.0,
    ) -> None:
        if not 0 < min_scale < scale < max_scale < math.inf:
            raise UsageError(
                f"Normal needs 0 < min_scale < scale < max_scale, not {min_scale}, {scale} and {max_scale}"
            )
        super().__init__(frame_decoder(static_size, latent_size, frame_shape, width))
        self.min_scale = min_scale
        self.max_scale = max_scale
        share = math.log(scale / min_scale) / math.log(max_scale / min_scale)
        self.raw_scale = nn.Parameter(torch.tensor(math.log(share / (1 - share)) / GAIN))

    @property
    def scale(self) -> Tensor:
        """sigma, a scalar."""
        return self.min_scale * (self.max_scale / self.min_scale) ** torch.sigmoid(GAIN * self.raw_scale)

    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        return NormalDistribution(self.decoder(f, z), self.scale)

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
