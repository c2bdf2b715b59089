"""What every likelihood of the frames is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameDecoder


class Likelihood(nn.Module, ABC):
    """p(x_t | f, z_t) for every frame: a decoder network and a family of distributions.

    The first three constructor arguments of every likelihood are ``static_size`` (F), ``latent_size`` (D) and
    ``frame_shape``, supplied by the model; all others are options.

    discrete   whether log p is a log probability of 8-bit values, so that bits per dimension can be reported
    full_byte  the stored byte that stands for 1: 255 for intensities, 1 for counts
    """

    discrete: ClassVar[bool] = False
    full_byte: ClassVar[int] = 255

    def __init__(self, decoder: FrameDecoder, frame_shape: tuple[int, ...] | None = None) -> None:
        """``frame_shape`` is needed only where the decoder gives several parameters per value."""
        super().__init__()
        self.decoder = decoder
        self.frame_shape = decoder.frame_shape if frame_shape is None else frame_shape

    @abstractmethod
    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        """One distribution per value for ``f`` (\\*B, F), ``z`` (\\*B, T, D): batch (\\*B, T, \\*frame), event ()."""

    @abstractmethod
    def check(self, frames: Tensor) -> None:
        """Raise `UsageError` in one line where ``frames`` (N, T, \\*frame) leave the support."""

    def prepare(self, frames: Tensor) -> Tensor:
        """Stored frames as the values that the density is over: uint8 as x / ``full_byte``, others as they are."""
        if frames.dtype == torch.uint8:
            return frames.to(torch.get_default_dtype()) / self.full_byte
        return frames.to(torch.get_default_dtype())
