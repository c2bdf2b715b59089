"""Which frame network serves which frames."""

from pyro_dsvae.models.networks.conv import ConvDecoder, ConvEncoder, check_image
from pyro_dsvae.models.networks.dense import DenseDecoder, DenseEncoder
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder


def frame_encoder(frame_shape: tuple[int, ...], feature_size: int, width: int) -> FrameEncoder:
    """A convolutional encoder for images (C, S, S), a dense one for vectors (P,).

    Raises:
        UsageError: Where no network takes frames of this shape.
    """
    if len(frame_shape) == 1:
        return DenseEncoder(frame_shape, feature_size, width * 16)
    check_image(frame_shape)
    return ConvEncoder(frame_shape, feature_size, width)


def frame_decoder(static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int) -> FrameDecoder:
    """The counterpart of `frame_encoder`.

    Args:
        static_size: The dimension F of f.
        latent_size: The dimension D of z_t.
        frame_shape: (C, S, S) or (P,) of the parameters of a frame.
        width: Channels of the finest layer (images) or units / 16 (vectors).
    """
    if len(frame_shape) == 1:
        return DenseDecoder(static_size, latent_size, frame_shape, width * 16)
    check_image(frame_shape)
    return ConvDecoder(static_size, latent_size, frame_shape, width)
