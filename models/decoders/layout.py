"""The maps that z_t lays out, which several decoders paint."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.networks.images import ResidualBlock, check_image, smallest_map, widths


class LayoutDecoder(FrameDecoder):
    """A decoder whose z_t becomes maps of half the frame, without f.

    Linear layers produce a map of 4 to 7 pixels in height or width. Transposed 4x4 convolutions double it up to half the
    frame; each map is normalised to mean 0 and variance 1. Further layers at full resolution would cost as much as all
    others together.

    Args:
        latent_size: The dimension D of z_t.
        frame_shape: (C, H, W) of the parameters of a frame.
        width: Channels of the finest map.
        residual: Whether a residual block follows each doubling.

    Attributes:
        width: Channels of the finest map.
    """

    def __init__(self, latent_size: int, frame_shape: tuple[int, ...], width: int, residual: bool) -> None:
        super().__init__(frame_shape)
        check_image(frame_shape, type(self).__name__, "decoder")
        sizes = widths(frame_shape, width)
        self.width = sizes[-1]
        self.base = (sizes[0], *smallest_map(frame_shape))
        self.layout = nn.Sequential(
            nn.Linear(latent_size, 128),
            nn.SiLU(),
            nn.Linear(128, self.base[0] * self.base[1] * self.base[2]),
            nn.SiLU(),
        )
        self.upsamplings = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(sizes))
        self.blocks = nn.ModuleList(ResidualBlock(size) if residual else nn.Identity() for size in sizes[1:])

    def maps(self, z: Tensor) -> Tensor:
        """The finest maps (N, width, h, w) of the N frames of z ``(*B, T, D)``; 2h and 2w cover the frame."""
        maps = self.layout(z).reshape(-1, *self.base)
        for upsample, block in zip(self.upsamplings, self.blocks, strict=True):
            maps = block(silu(group_norm(upsample(maps), 1)))
        return maps
