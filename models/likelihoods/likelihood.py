"""What every likelihood of the frames is."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError

Value = TypeVar("Value", int, bool)


class Likelihood(nn.Module, ABC):
    """p(x_t | f, z_t) for every frame: the family of distributions around what a decoder says of (f, z_t).

    The first constructor argument of every likelihood is ``frame_shape``, which the model supplies; all others are options.

    Args:
        frame_shape: (C, H, W) or (P,).

    Attributes:
        parameters_per_value: How many numbers the decoder has to give for each value of a frame; a tuple where that differs
            from channel to channel.
        discrete: Whether log p is a log probability of 8-bit values, so that bits per dimension can be reported.
        real_valued: Whether every real number has a density, so that series can be standardised (`Standardisation`); a tuple
            where that differs from channel to channel.
        nominal: Whether values are classes, numbers without order; a tuple where that differs from channel to channel.
        bytes_per_unit: The stored byte that is one model unit: 255 for intensities, 1 for counts.
    """

    discrete: ClassVar[bool] = False
    bytes_per_unit: ClassVar[int] = 255

    real_valued: bool | tuple[bool, ...] = False
    nominal: bool | tuple[bool, ...] = False
    parameters_per_value: int | tuple[int, ...] = 1

    def __init__(self, frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.frame_shape = frame_shape

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of what the decoder gives for a frame: that of a frame, with K times as many channels or values."""
        return (sum(self.channel_parameters), *self.frame_shape[1:])

    @property
    def channel_parameters(self) -> tuple[int, ...]:
        """``parameters_per_value`` of each channel of an image, or each value of a vector."""
        return _of_each(self.parameters_per_value, self.frame_shape[0])

    @property
    def real_channels(self) -> tuple[bool, ...]:
        """``real_valued`` of each channel of an image, or each value of a vector."""
        return _of_each(self.real_valued, self.frame_shape[0])

    @property
    def nominal_channels(self) -> tuple[bool, ...]:
        """``nominal`` of each channel of an image, or each value of a vector."""
        return _of_each(self.nominal, self.frame_shape[0])

    @abstractmethod
    def forward(self, decoded: Tensor) -> TorchDistribution:
        """p(x | f, z), one distribution per value.

        Args:
            decoded: What the decoder gives for (f, z), ``(*B, T, *parameter_shape)``.

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


def _of_each(value: Value | tuple[Value, ...], channels: int) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,) * channels


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
