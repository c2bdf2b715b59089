"""Features of series with gaps: values, which of them are missing, and the time since the last."""

from typing import ClassVar

from torch import Tensor, nn

from pyro_dsvae.models.encoders.gaps import gaps_size
from pyro_dsvae.models.networks.frames import FrameEncoder


class MaskedDense(FrameEncoder):
    """`Dense` on (x_t, m_t, log(1 + dt_t)): the values, a 1 for each that is missing, and the time since the last frame seen.

    Without m_t a missing value looks like the mean of its column, and without dt_t irregular steps look regular.

    Source: Che et al., "Recurrent Neural Networks for Multivariate Time Series with Missing Values", Scientific Reports 8,
    2018 (masks and time intervals as inputs).

    Args:
        frame_shape: (P,), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        units: Of the hidden layer.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import MaskedDense
        >>> values, missing, gap = torch.rand(8, 5, 3), torch.zeros(8, 5, 3), torch.ones(8, 5, 1)
        >>> MaskedDense((3,), 7)(torch.cat([values, missing, gap], -1)).shape
        torch.Size([8, 5, 7])
    """

    reads_gaps: ClassVar[bool] = True

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, units: int = 256) -> None:
        size = gaps_size(frame_shape, "MaskedDense")
        super().__init__((size,), feature_size)
        self.layers = nn.Sequential(nn.Linear(size, units), nn.SiLU(), nn.Linear(units, feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x)
