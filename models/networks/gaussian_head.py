"""From features to the location and scale of a diagonal normal."""

import math

from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_dsvae.models.ops.precision import full_precision

MIN_SCALE = 1e-3


class GaussianHead(nn.Module):
    """Two linear maps: location, and scale = 10^-3 + softplus(raw), both float32 whatever the networks run in.

    There is no activation on the location: a rectified mean could not be negative, an error found in published code. The
    floor keeps densities finite.

    Args:
        input_size: H, the number of features.
        size: The dimension of the normal.
        initial_scale: The scale before training, up to the random initial weights.
    """

    def __init__(self, input_size: int, size: int, initial_scale: float = 0.7) -> None:
        super().__init__()
        self.loc = nn.Linear(input_size, size)
        self.raw_scale = nn.Linear(input_size, size)
        nn.init.constant_(self.raw_scale.bias, math.log(math.expm1(initial_scale)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale ``(*B, size)`` for ``features`` ``(*B, input_size)``."""
        return full_precision(self.loc(features)), softplus(full_precision(self.raw_scale(features))) + MIN_SCALE
