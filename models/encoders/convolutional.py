"""Convolutions down to a small map: features of an image with its places."""

from torch import Tensor, nn

from pyro_dsvae.models.networks.frames import FrameEncoder
from pyro_dsvae.models.networks.images import ResidualBlock, check_image, halvings


class Convolutional(FrameEncoder):
    """4x4 convolutions of stride 2 down to a map whose shorter side has 4 to 7 pixels, then one linear layer; SiLU throughout.

    Args:
        frame_shape: (C, H, W), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        width: Channels of the first convolution.
        residual: Whether a residual block follows each halving; worth it at 64 pixels and more.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import Convolutional
        >>> Convolutional((3, 24, 32), 7)(torch.rand(8, 5, 3, 24, 32)).shape
        torch.Size([8, 5, 7])
    """

    def __init__(
        self, frame_shape: tuple[int, ...], feature_size: int, width: int = 16, residual: bool = False
    ) -> None:
        super().__init__(frame_shape, feature_size)
        check_image(frame_shape, type(self).__name__, "encoder")
        channels, height, wide = frame_shape
        layers: list[nn.Module] = []
        for level in range(halvings(frame_shape)):
            out = width * min(2**level, 8)
            layers += [nn.Conv2d(channels, out, 4, stride=2, padding=1), nn.SiLU()]
            if residual:
                layers.append(ResidualBlock(out))
            channels, height, wide = out, height // 2, wide // 2
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.Linear(channels * height * wide, feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        return self.project(self.convolutions(x).flatten(1))
