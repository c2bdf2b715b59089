"""Learned positive numbers that stay between two bounds, such as the scale of a likelihood."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_dsvae.models.errors import UsageError

# An Adam step moves every parameter by about the learning rate; sigma has further to go than a weight.
GAIN = 10.0


class BoundedScale(NamedTuple):
    """The map low (high / low)^sigmoid(10 raw) from a parameter without bounds to a number between two.

    It has no parameter of its own: ``raw`` is one of the likelihood's, under the name that checkpoints know.

    Attributes:
        low: The lower bound, above 0.
        high: The upper bound.
    """

    low: float
    high: float

    @classmethod
    def of(cls, part: str, min_scale: float, scale: float, max_scale: float) -> "BoundedScale":
        """The map between two bounds, checked together with where it starts.

        Raises:
            UsageError: Unless 0 < min_scale < scale < max_scale < infinity; it names the ``part``.
        """
        if not 0 < min_scale < scale < max_scale < math.inf:
            raise UsageError(
                f"{part} needs 0 < min_scale < scale < max_scale, not {min_scale}, {scale} and {max_scale}"
            )
        return cls(min_scale, max_scale)

    def raw(self, value: float) -> Tensor:
        """The scalar that the map takes to ``value``."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return torch.tensor(math.log(share / (1 - share)) / GAIN)

    def __call__(self, raw: Tensor, deviation: Tensor | None = None) -> Tensor:
        """low (high / low)^sigmoid(10 raw + deviation), elementwise."""
        logit = GAIN * raw if deviation is None else GAIN * raw + deviation
        return self.low * (self.high / self.low) ** torch.sigmoid(logit)
