"""Features of vectors: joint positions, spectra, sensor readings."""

import math

from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameEncoder


class Dense(FrameEncoder):
    """Two hidden layers of ``units`` with SiLU.

    Args:
        frame_shape: (P,), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        units: Of the hidden layer.
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, units: int = 256) -> None:
        super().__init__(frame_shape, feature_size)
        self.layers = nn.Sequential(
            nn.Linear(math.prod(frame_shape), units), nn.SiLU(), nn.Linear(units, feature_size), nn.SiLU()
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
