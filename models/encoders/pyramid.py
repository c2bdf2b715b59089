"""What an image shows at several scales, without places."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from pyro_dsvae.models.networks.frames import FrameEncoder
from pyro_dsvae.models.networks.images import check_image, widths


class Pyramid(FrameEncoder):
    """What an image shows at several scales, but not where: mean and maximum over all places of every map of a stack of

        4x4 convolutions of stride 2, SiLU,

    down to a map of 4 to 7 pixels. A place of the first map sees 4 pixels, one of the third 22. So a shape has the same
    features wherever it is, except near the border.

    Source: Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features Models", ICLR 2019, here with growing patches.

    Args:
        frame_shape: (C, H, W), supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        width: Channels of the first convolution.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.encoders import Pyramid
        >>> Pyramid((3, 24, 32), 7)(torch.rand(8, 5, 3, 24, 32)).shape
        torch.Size([8, 5, 7])
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int = 16) -> None:
        super().__init__(frame_shape, feature_size)
        check_image(frame_shape, type(self).__name__, "encoder")
        sizes = [frame_shape[0], *reversed(widths(frame_shape, width))]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(sizes))
        self.project = nn.Sequential(nn.Linear(2 * sum(sizes[1:]), feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        pooled = []
        for convolution in self.convolutions:
            x = silu(convolution(x))
            pooled += [x.mean((2, 3)), x.amax((2, 3))]
        return self.project(torch.cat(pooled, dim=1))
