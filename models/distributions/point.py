"""The one value that stands for a distribution of frames."""

from collections.abc import Sequence
from functools import singledispatch

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor


@singledispatch
def point(p: TorchDistribution) -> Tensor:
    """The mean of every value; of classes, whose numbers have no mean, the most probable.

    A distribution that holds classes answers beside its class, as `CategoricalDistribution` does.

    Args:
        p: Of frames, batch ``(*B, T, *frame)`` and event ().

    Returns:
        ``(*B, T, *frame)``.
    """
    return p.mean


def over_draws(points: Tensor, nominal: Sequence[bool]) -> Tensor:
    """The mean of points over draws; of channels that hold classes the most frequent one.

    Args:
        points: ``(K, B, T, *frame)``.
        nominal: Of each channel of an image or each value of a vector, whether it holds classes; empty where none does.

    Returns:
        ``(B, T, *frame)``.
    """
    mean = points.mean(0)
    if not any(nominal):
        return mean
    classes = torch.tensor(list(nominal), device=points.device).view(-1, *(1,) * (points.ndim - 4))
    return torch.where(classes, points.mode(0).values, mean)
