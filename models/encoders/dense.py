"""Features of vectors, and of images as vectors."""

import math

from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameEncoder


class Dense(FrameEncoder):
    """A hidden layer of ``units``, and a layer of features, both with SiLU.

    Args:
        frame_shape: (P,) or (C, H, W), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        units: Of the hidden layer.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import Dense
        >>> Dense((3,), 7)(torch.rand(8, 5, 3)).shape
        torch.Size([8, 5, 7])
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, units: int = 256) -> None:
        super().__init__(frame_shape, feature_size)
        self.layers = nn.Sequential(
            nn.Linear(math.prod(frame_shape), units), nn.SiLU(), nn.Linear(units, feature_size), nn.SiLU()
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
