"""What every likelihood of the frames is."""

from abc import ABC, abstractmethod

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameDecoder


class Likelihood(nn.Module, ABC):
    """p(x_t | f, z_t) for every frame: a decoder network and a family of distributions.

    The first three constructor arguments of every likelihood are ``static_size`` (F), ``latent_size`` (D) and
    ``frame_shape``, supplied by the model; all others are options.
    """

    def __init__(self, decoder: FrameDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.frame_shape = decoder.frame_shape

    @abstractmethod
    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        """One distribution per value for ``f`` (\\*B, F), ``z`` (\\*B, T, D): batch (\\*B, T, \\*frame), event ()."""

    @abstractmethod
    def check(self, frames: Tensor) -> None:
        """Raise `UsageError` in one line where ``frames`` (N, T, \\*frame) leave the support."""

    def prepare(self, frames: Tensor) -> Tensor:
        """Stored frames as the values that the density is over: uint8 as x / 255 in [0, 1], others as they are."""
        if frames.dtype == torch.uint8:
            return frames.to(torch.get_default_dtype()) / 255
        return frames.to(torch.get_default_dtype())
