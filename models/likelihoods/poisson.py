"""Counts: spikes, photons, events per bin."""

import math
from typing import ClassVar

import torch
from pyro.distributions import Poisson as PoissonDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import softplus

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood

# A rate of zero makes a single stray count impossible.
MIN_RATE = 1e-4


class Poisson(Likelihood):
    """log P(x | f, z) = sum over values of x log r - r - log x!, with r = 10^-4 + scale softplus(decoder(f, z)).

    Counts may be stored as bytes, other integers or floats. Bytes are not divided by 255.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        scale: A typical count: networks reach numbers near one more easily than near a hundred.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Poisson
        >>> likelihood = Poisson(frame_shape=(3,), scale=10.0)
        >>> likelihood.to_model_units(torch.tensor([0, 7], dtype=torch.uint8))
        tensor([0., 7.])
        >>> likelihood(torch.zeros(8, 5, 3)).sample().shape
        torch.Size([8, 5, 3])
    """

    bytes_per_unit: ClassVar[int] = 1

    def __init__(self, frame_shape: tuple[int, ...], scale: float = 1.0) -> None:
        if not 0 < scale < math.inf:
            raise UsageError(f"Poisson needs 0 < scale, not {scale}")
        super().__init__(frame_shape)
        self.scale = scale

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return PoissonDistribution(self.scale * softplus(decoded) + MIN_RATE)

    def check(self, frames: Tensor) -> None:
        if frames.dtype == torch.uint8:
            return
        bad = frames[(frames < 0) | (frames != frames.round())]
        if len(bad):
            raise UsageError(
                f"the Poisson likelihood needs counts 0, 1, 2, …, but the frames hold {bad[0].item():.4g}; "
                "store counts as they are or use a Normal likelihood",
                "likelihood",
            )
