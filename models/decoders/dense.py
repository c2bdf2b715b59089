"""Vectors from f and z_t joined: joint positions, spectra, sensor readings."""

import math

import torch
from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.ops.precision import full_precision


class Dense(FrameDecoder):
    """Two hidden layers of ``units`` with SiLU on f and z_t joined.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (P,) of the parameters of a frame, supplied by the model.
        units: Of both hidden layers.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.decoders import Dense
        >>> Dense(4, 2, (3,))(torch.zeros(8, 4), torch.zeros(8, 5, 2)).shape  # f, z
        torch.Size([8, 5, 3])
    """

    def __init__(self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], units: int = 256) -> None:
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
