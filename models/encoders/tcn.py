"""Features of series by 1-D convolutions over time."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from pyro_dsvae.models.encoders.gaps import gaps_size
from pyro_dsvae.models.errors import check_count
from pyro_dsvae.models.networks.frames import FrameEncoder

KERNEL = 3


class TCN(FrameEncoder):
    """A temporal convolutional network: features of step t from steps t - 3^layers + 1 to t.

    It reads what `MaskedDense` reads: values, which of them are missing, and the time since the last frame. Convolutions of
    three steps are stacked, layer l with dilation 3^l, SiLU between them, so that each layer sees three times as far as the
    one below. All are causal: later steps are left to the posterior. What a recurrent layer finds late, the slope and the
    curvature of the last steps, is there from the start.

    Source: Bai, Kolter & Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling", arXiv:1803.01271.

    Args:
        frame_shape: (P,), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        units: Channels of each convolution.
        layers: Convolutions; 2 see 9 steps, 3 see 27.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import TCN
        >>> from pyro_dsvae.models.encoders.gaps import windows, with_gaps
        >>> x, seen = torch.rand(8, 5, 3), torch.rand(8, 5, 3) < 0.7
        >>> encoder = TCN((3,), 7)
        >>> encoder(windows(with_gaps(x * seen, seen, None), encoder.window)).shape
        torch.Size([8, 5, 7])
    """

    reads_gaps: ClassVar[bool] = True

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, units: int = 64, layers: int = 2) -> None:
        check_count("layers", layers)
        size = gaps_size(frame_shape, "TCN")
        super().__init__((KERNEL**layers, size), feature_size)
        self.window = KERNEL**layers
        # In a window a dilated convolution is one that steps: of a lower layer only every third output is read.
        sizes = [size, *(units for _ in range(layers))]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, KERNEL, stride=KERNEL) for inputs, outputs in pairwise(sizes)
        )
        self.activation = nn.SiLU()
        self.features = nn.Linear(units, feature_size)

    def encode(self, x: Tensor) -> Tensor:
        maps = x.transpose(1, 2)
        for convolution in self.convolutions:
            maps = self.activation(convolution(maps))
        return self.activation(self.features(maps.squeeze(-1)))
