"""Which encoder serves which frames."""

from pyro_dsvae.models.encoders.convolutional import Convolutional
from pyro_dsvae.models.encoders.dense import Dense
from pyro_dsvae.models.networks.frames import FrameEncoder


def frame_encoder(frame_shape: tuple[int, ...], feature_size: int, width: int) -> FrameEncoder:
    """A convolutional encoder for images (C, H, W), a dense one for vectors (P,).

    Raises:
        UsageError: Where no network takes frames of this shape.
    """
    if len(frame_shape) == 1:
        return Dense(frame_shape, feature_size, width * 16)
    return Convolutional(frame_shape, feature_size, width)
