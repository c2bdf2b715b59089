"""What patches an image has, without their places in a row."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pyro_dsvae.models.networks.frames import FrameEncoder
from pyro_dsvae.models.networks.images import check_image, halvings

# Standard deviation of the steepness of a patch's waves, per channel and for a patch of one colour.
PATCH_WAVES = 6.0


class Patches(FrameEncoder):
    """Which patches an image has, and at what height, but not where else: mean and maximum over all patches of

        h(sin(W x_p + b), y_p),   x_p a patch of a sixteenth of the shorter side, y_p its height from -1 to 1,

    with h two 1x1 convolutions. Patches are encoded one by one. So the features contain the colours and their heights, but
    of the pose only what the amounts of colours reveal. Sines of steep random directions separate colours that differ
    little, which a network without them learns late.

    Sources: Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features Models", ICLR 2019; Sitzmann et al.,
    "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020.

    Args:
        frame_shape: (C, H, W), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        width: Half of the channels of every layer.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import Patches
        >>> Patches((3, 24, 32), 7)(torch.rand(8, 5, 3, 24, 32)).shape
        torch.Size([8, 5, 7])
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int = 16) -> None:
        super().__init__(frame_shape, feature_size)
        check_image(frame_shape, type(self).__name__, "encoder")
        self.patch = max(1, 2 ** (halvings(frame_shape) - 2))
        channels = 2 * width
        self.waves = nn.Conv2d(frame_shape[0], channels, self.patch, stride=self.patch)
        nn.init.normal_(self.waves.weight, 0, PATCH_WAVES / self.patch)
        self.waves.bias = nn.Parameter((2 * torch.rand(channels) - 1) * math.pi)
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, channels, 1), nn.SiLU(), nn.Conv2d(channels, -(-feature_size // 2), 1), nn.SiLU()
        )

    def encode(self, x: Tensor) -> Tensor:
        waves = self.waves(pad(x, (0, -x.shape[-1] % self.patch, 0, -x.shape[-2] % self.patch))).sin()
        heights = torch.linspace(-1, 1, waves.shape[-2], dtype=waves.dtype, device=x.device).view(-1, 1)
        maps = self.layers(torch.cat([waves, heights.expand(len(waves), 1, *waves.shape[2:])], dim=1))
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return pooled[:, : self.feature_size]
