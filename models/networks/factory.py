"""Which frame network serves which frames."""

from pyro_dsvae.models.networks.conv import ConvEncoder
from pyro_dsvae.models.networks.dense import DenseEncoder
from pyro_dsvae.models.networks.frames import FrameEncoder


def frame_encoder(frame_shape: tuple[int, ...], feature_size: int, width: int) -> FrameEncoder:
    """A convolutional encoder for images (C, H, W), a dense one for vectors (P,).

    Raises:
        UsageError: Where no network takes frames of this shape.
    """
    if len(frame_shape) == 1:
        return DenseEncoder(frame_shape, feature_size, width * 16)
    return ConvEncoder(frame_shape, feature_size, width)
