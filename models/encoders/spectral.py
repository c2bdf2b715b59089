"""Features of a spectrum by convolutions over frequency."""

from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.networks.frames import FrameEncoder

# Below this a spectrum is not halved further, so that features know where on the axis something is.
SHORTEST = 10
MOST_WIDE = 4  # times the first convolution's channels


class Spectral(FrameEncoder):
    """Convolutions over frequency down to 10 to 19 places, then one linear layer; SiLU throughout.

    Columns are frequencies in order, so that a resonance looks alike wherever it is: each layer learns one shape for all
    places, and a voice with higher resonances is the same shapes moved. The first convolution reads 5 columns, those after it
    4 each, in steps of 2. The linear layer knows the places.

    Source: convolutions over frequency as in Abdel-Hamid et al., "Convolutional neural networks for speech recognition",
    IEEE/ACM Transactions on Audio, Speech, and Language Processing 2014.

    Args:
        frame_shape: (P,) with P of at least 10, supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        width: Channels of the first convolution; the following have twice as many, at most four times.

    Raises:
        UsageError: For frames that are no such vectors.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import Spectral
        >>> Spectral((80,), 7)(torch.rand(8, 5, 80)).shape
        torch.Size([8, 5, 7])
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int = 8) -> None:
        super().__init__(frame_shape, feature_size)
        if len(frame_shape) != 1 or frame_shape[0] < SHORTEST:
            raise UsageError(
                f"encoder Spectral reads vectors of at least {SHORTEST} frequencies, not frames of shape {frame_shape}: take "
                f"{'Dense' if len(frame_shape) == 1 else 'Convolutional'}",
                "encoder",
            )
        check_count("width", width)
        places, channels = frame_shape[0], width
        layers: list[nn.Module] = [nn.Conv1d(1, channels, 5, padding=2), nn.SiLU()]
        while places >= 2 * SHORTEST:
            wider = min(2 * channels, MOST_WIDE * width)
            layers += [nn.Conv1d(channels, wider, 4, stride=2, padding=1), nn.SiLU()]
            places, channels = places // 2, wider
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.Linear(channels * places, feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        return self.project(self.convolutions(x.unsqueeze(1)).flatten(1))
