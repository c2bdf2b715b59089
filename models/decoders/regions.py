"""z lays out regions, f colours them."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from pyro_dsvae.models.decoders.layout import LayoutDecoder
from pyro_dsvae.models.networks.images import cropped
from pyro_dsvae.models.ops.precision import full_precision

REGIONS, STEEPNESS = 24, 4.0


class Regions(LayoutDecoder):
    """z_t divides the frame into ``REGIONS`` soft regions, and f gives each of them its colour.

        x_p = sum_k m_pk(z_t) c_k(f),   m_p a softmax over k at every pixel p,

    with one value per channel in every c_k. So z has no colour and f no place: information about pose in f, or about colour
    in z, cannot reach the picture. Parts of a figure become regions (`benchmarks/results/separation.md`). A shape that only
    some sequences have is a region that in the others has the colour of what is behind it. Without f (F = 0), z_t gives
    regions and colours.

    The maps are those of `LayoutDecoder`. A 3x3 convolution gives the logits of the four pixels that a place of them becomes
    (sub-pixel convolution).

    Source of the product of layout and appearance: Tenenbaum & Freeman, "Separating Style and Content with Bilinear
    Models", Neural Computation 2000.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, H, W) of the parameters of a frame, supplied by the model.
        width: Channels of the finest layer.
        residual: Whether a residual block follows each doubling; worth it at 64 pixels and more.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.decoders import Regions
        >>> Regions(4, 2, (3, 24, 32), width=4)(torch.zeros(8, 4), torch.zeros(8, 5, 2)).shape  # f, z
        torch.Size([8, 5, 3, 24, 32])
    """

    certain: ClassVar[str] = (
        "In swaps the motion stays with z by construction: z lays out the regions of a frame, f colours them, and so the "
        "decoder forbids f to move anything. What is no matter of course is the appearance."
    )

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 16,
        residual: bool = False,
    ) -> None:
        super().__init__(latent_size, frame_shape, width, residual)
        self.regions = nn.Conv2d(self.width, 4 * REGIONS, 3, padding=1)
        self.look = nn.Sequential(
            nn.Linear(static_size or latent_size, 256), nn.SiLU(), nn.Linear(256, frame_shape[0] * REGIONS)
        )

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        batch, length = z.shape[:-2], z.shape[-2]
        maps = self.maps(z)
        # Steep, or edges would take most of a fit to become sharp.
        regions = (STEEPNESS * self.regions(maps)).unflatten(1, (REGIONS, 4)).softmax(dim=1)
        look = self.look(f).expand(*batch, -1).unsqueeze(-2) if f.shape[-1] else self.look(z)
        look = look.expand(*batch, length, -1).reshape(-1, self.frame_shape[0], REGIONS)
        x = full_precision(pixel_shuffle((look @ regions.flatten(2)).view(len(maps), -1, *maps.shape[2:]), 2))
        return cropped(x, self.frame_shape).reshape(*batch, length, *self.frame_shape)
