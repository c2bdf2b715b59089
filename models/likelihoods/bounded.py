"""Learned positive numbers that stay between two bounds, such as the scale of a likelihood."""

import math

import torch
from torch import Tensor

from pyro_dsvae.models.errors import UsageError

# An Adam step moves every parameter by about the learning rate; sigma has further to go than a weight.
GAIN = 10.0


def check_bounds(part: str, min_scale: float, scale: float, max_scale: float) -> None:
    """Raises `UsageError`, naming the ``part``, unless 0 < min_scale < scale < max_scale < infinity."""
    if not 0 < min_scale < scale < max_scale < math.inf:
        raise UsageError(f"{part} needs 0 < min_scale < scale < max_scale, not {min_scale}, {scale} and {max_scale}")


def logit_between(value: float, low: float, high: float) -> float:
    """The x with low (high / low)^sigmoid(x) = value."""
    share = math.log(value / low) / math.log(high / low)
    return math.log(share / (1 - share))


def between(x: Tensor, low: float, high: float) -> Tensor:
    """low (high / low)^sigmoid(x), elementwise: from ``low`` to ``high``, evenly on the scale of logarithms."""
    return low * (high / low) ** torch.sigmoid(x)
