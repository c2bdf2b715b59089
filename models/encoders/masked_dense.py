"""Features of series with gaps: values, which of them are missing, and the time since the last."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError
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
        if len(frame_shape) != 1:
            raise UsageError(
                f"MaskedDense takes vectors (P,), and these frames have the shape {frame_shape}: take Convolutional",
                "encoder",
            )
        size = 2 * frame_shape[0] + 1
        super().__init__((size,), feature_size)
        self.layers = nn.Sequential(nn.Linear(size, units), nn.SiLU(), nn.Linear(units, feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x)


def with_gaps(x: Tensor, values: Tensor | None, times: Tensor | None) -> Tensor:
    """Series ``(B, T, P)`` with what `MaskedDense` reads beside them, ``(B, T, 2P + 1)``.

    Args:
        x: The series, 0 where not observed.
        values: Bool, broadcastable to x, which values exist and were observed; None where all were.
        times: (B, T); None for steps one unit apart.
    """
    batch, length, _ = x.shape
    seen = torch.ones_like(x, dtype=torch.bool) if values is None else values.expand(x.shape)
    t = torch.arange(length, device=x.device).expand(batch, length) if times is None else times
    t = t.to(x.dtype)
    # The last frame seen before each; of the first ones none, whose gap is 0.
    last = torch.where(seen.any(-1), t, -torch.inf).cummax(1).values
    last = torch.cat([torch.full_like(t[:, :1], -torch.inf), last[:, :-1]], 1)
    gap = torch.where(last.isinf(), torch.zeros_like(t), t - last)
    return torch.cat([x, (~seen).to(x.dtype), gap.log1p().unsqueeze(-1)], -1)
