"""What every likelihood of the frames is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import FrameDecoder


class Likelihood(nn.Module, ABC):
    """p(x_t | f, z_t) for every frame: a decoder network and a family of distributions.

    The first three constructor arguments of every likelihood are ``static_size`` (F), ``latent_size`` (D) and
    ``frame_shape``, which the model supplies; all others are options.

    Args:
        decoder: From (f, z_t) to the parameters of a frame.
        frame_shape: Needed only where the decoder returns several parameters per value.

    Attributes:
        discrete: Whether log p is a log probability of 8-bit values, so that bits per dimension can be reported.
        real_valued: Whether every real number has a density, so that series can be standardised (`Standardisation`).
        bytes_per_unit: The stored byte that is one model unit: 255 for intensities, 1 for counts.
    """

    discrete: ClassVar[bool] = False
    real_valued: ClassVar[bool] = False
    bytes_per_unit: ClassVar[int] = 255

    def __init__(self, decoder: FrameDecoder, frame_shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.frame_shape = decoder.frame_shape if frame_shape is None else frame_shape

    @abstractmethod
    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        """p(x | f, z), one distribution per value.

        Args:
            f: Static latents, ``(*B, F)``.
            z: Paths, ``(*B, T, D)``.

        Returns:
            A distribution with batch ``(*B, T, *frame)`` and event ().
        """

    @abstractmethod
    def check(self, frames: Tensor) -> None:
        """Refuse frames outside the support.

        Args:
            frames: Stored frames, ``(N, T, *frame)``.

        Raises:
            UsageError: In one line, where a value has no density.
        """

    def to_model_units(self, frames: Tensor) -> Tensor:
        """Stored frames in model units, those of the density: uint8 as x / ``bytes_per_unit``, others unchanged."""
        if frames.dtype == torch.uint8:
            return frames.to(torch.get_default_dtype()) / self.bytes_per_unit
        return frames.to(torch.get_default_dtype())


def check_unit_interval(likelihood: str, frames: Tensor) -> None:
    """Refuse stored frames outside the support [0, 1] of this likelihood.

    Raises:
        UsageError: Where a value lies outside; uint8 frames are divided by 255 and lie inside.
    """
    if frames.dtype == torch.uint8:
        return
    low, high = frames.aminmax()
    if low < 0 or high > 1:
        raise UsageError(
            f"the {likelihood} likelihood needs values in [0, 1], but the frames run from {low:.4g} to {high:.4g}; "
            "rescale them or use a Normal likelihood",
            "likelihood",
        )
