"""Encoders and decoders of single frames, chosen by the shape of a frame."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class FrameEncoder(nn.Module, ABC):
    """A network from frames (\\*B, \\*frame) to features (\\*B, ``feature_size``)."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int) -> None:
        super().__init__()
        self.frame_shape = frame_shape
        self.feature_size = feature_size

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features (\\*B, feature_size)."""


class FrameDecoder(nn.Module, ABC):
    """A network from the two latents to the parameters of the frames."""

    def __init__(self, frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.frame_shape = frame_shape

    @abstractmethod
    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        """(\\*B, T, \\*frame) for ``f`` (\\*B, F) and ``z`` (\\*B, T, D), float32 or wider."""


def frame_encoder(frame_shape: tuple[int, ...], feature_size: int, width: int) -> FrameEncoder:
    """A convolutional encoder for images (C, S, S), a dense one for vectors (P,).

    Raises `UsageError` where no network takes frames of this shape.
    """
    from pyro_dsvae.models.networks.conv import ConvEncoder, check_image
    from pyro_dsvae.models.networks.dense import DenseEncoder

    if len(frame_shape) == 1:
        return DenseEncoder(frame_shape, feature_size, width * 16)
    check_image(frame_shape)
    return ConvEncoder(frame_shape, feature_size, width)


def frame_decoder(static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int) -> FrameDecoder:
    """The counterpart of `frame_encoder`."""
    from pyro_dsvae.models.networks.conv import ConvDecoder, check_image
    from pyro_dsvae.models.networks.dense import DenseDecoder

    if len(frame_shape) == 1:
        return DenseDecoder(static_size, latent_size, frame_shape, width * 16)
    check_image(frame_shape)
    return ConvDecoder(static_size, latent_size, frame_shape, width)
