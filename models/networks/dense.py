"""Frame networks for vectors: joint positions, spectra, sensor readings."""

import math

import torch
from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.ops.precision import full_precision


class DenseEncoder(FrameEncoder):
    """Two hidden layers of ``units`` with SiLU.

    Args:
        frame_shape: (P,).
        feature_size: The number of features.
        units: Of the hidden layer.
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, units: int) -> None:
        super().__init__(frame_shape, feature_size)
        self.layers = nn.Sequential(
            nn.Linear(math.prod(frame_shape), units), nn.SiLU(), nn.Linear(units, feature_size), nn.SiLU()
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


class DenseDecoder(FrameDecoder):
    """Two hidden layers of ``units`` with SiLU on f and z_t joined.

    Args:
        static_size: The dimension F of f.
        latent_size: The dimension D of z_t.
        frame_shape: (P,) of the parameters of a frame.
        units: Of both hidden layers.
    """

    def __init__(self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], units: int) -> None:
        super().__init__(frame_shape)
        self.layers = nn.Sequential(
            nn.Linear(static_size + latent_size, units),
            nn.SiLU(),
            nn.Linear(units, units),
            nn.SiLU(),
            nn.Linear(units, math.prod(frame_shape)),
        )

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        joined = torch.cat([f.unsqueeze(-2).expand(*z.shape[:-1], -1), z], dim=-1)
        return full_precision(self.layers(joined)).unflatten(-1, self.frame_shape)
