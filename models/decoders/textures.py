"""f paints regions and draws textures, z lays out the regions and places and bends the textures."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, pixel_shuffle

from pyro_dsvae.models.decoders.layout import LayoutDecoder
from pyro_dsvae.models.decoders.regions import STEEPNESS
from pyro_dsvae.models.networks.images import cropped
from pyro_dsvae.models.ops.precision import full_precision, own_precision

# Sides of a texture, and from which to which multiple of the frame's half side its placement starts.
TEXTURE, WIDEST, NARROWEST = 16, 1.0, 2.5
# A texture ends this steeply at its border, and starts nearly transparent.
BORDER, TRANSPARENT = 40.0, 2.0


class Textures(LayoutDecoder):
    """z_t lays out regions that f paints, and places and bends textures that f draws.

        x_p = w_p0(z_t) sum_k m_pk(z_t) c_k(f) + sum_j w_pj t_j(f; g_pj(z_t)).

    The first sum is the picture of `Regions`: m a softmax over regions at every pixel p, c_k one colour each. Over it lie
    the textures: t_j is an image of 16 x 16 pixels, decoded from f once per sequence, and read at the place

        g_pj(z_t) = A_j(z_t) p + b_j(z_t) + d_p(z_t),

    an affine placement of its own and a smooth displacement that all share. The weights w_p are a softmax over how much in
    front the painted picture is, which z_t says, and how opaque each texture is there: its fourth channel, plus a number
    of z_t. So f carries colours and shapes, and z_t where they are: f is the same in every frame and cannot make anything
    move, and z_t has no colour. z_t can draw a shape as the border of a region, but has to pay for it in every frame.

    Without f (F = 0) everything is decoded from z_t.

    Sources: Shu et al., "Deforming Autoencoders", ECCV 2018; Smirnov et al., "MarioNette", NeurIPS 2021; for the first sum
    see `Regions`.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, H, W) of the parameters of a frame, supplied by the model.
        width: Channels of the finest map; the maps that textures are drawn from have four times as many.
        residual: Whether a residual block follows each doubling of the maps; worth it at 64 pixels and more.
        regions: The number of regions.
        textures: The number of textures.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.decoders import Textures
        >>> decoder = Textures(static_size=4, latent_size=2, frame_shape=(3, 32, 32))
        >>> decoder(torch.randn(8, 4), torch.randn(8, 5, 2)).shape
        torch.Size([8, 5, 3, 32, 32])
    """

    zoom: Tensor

    certain: ClassVar[str] = (
        "In swaps only z makes anything move, by construction: what f draws is the same in every frame. Where a figure looks, "
        "which never changes within a clip, can come from either."
    )

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 16,
        residual: bool = False,
        regions: int = 24,
        textures: int = 4,
    ) -> None:
        super().__init__(latent_size, frame_shape, width, residual)
        self.region_count, self.texture_count, channels = regions, textures, frame_shape[0]
        self.regions = nn.Conv2d(self.width, 4 * regions, 3, padding=1)
        # How much in front the painted picture is, for four pixels, and the displacement.
        self.depth = nn.Conv2d(self.width, 4 + 2, 3, padding=1)
        appearance = static_size or latent_size
        self.colours = nn.Sequential(nn.Linear(appearance, 256), nn.SiLU(), nn.Linear(256, regions * channels))
        drawn = 4 * width
        self.texture_maps = nn.Sequential(
            nn.Linear(appearance, 256), nn.SiLU(), nn.Linear(256, drawn * (TEXTURE // 4) ** 2), nn.SiLU()
        )
        self.texture_layers = nn.Sequential(
            nn.ConvTranspose2d(drawn, drawn, 4, stride=2, padding=1),
            nn.GroupNorm(1, drawn, affine=False),
            nn.SiLU(),
            nn.ConvTranspose2d(drawn, textures * (channels + 1), 4, stride=2, padding=1),
        )
        placement = nn.Linear(128, 7 * textures)
        self.placement = nn.Sequential(nn.Linear(latent_size, 128), nn.SiLU(), placement)
        with torch.no_grad():
            # Textures start in the middle, unbent: where they go is learnt from there.
            for parameters, scale in ((placement.parameters(), 1e-2), (self.depth.parameters(), 1e-3)):
                for parameter in parameters:
                    parameter.normal_(0, scale)
        self.register_buffer("zoom", torch.linspace(WIDEST, NARROWEST, textures).view(-1, 1, 1), persistent=False)

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        batch = z.shape[:-1]
        appearance = f.unsqueeze(-2) if f.shape[-1] else z
        maps = self.maps(z)
        painted = self._painted(maps, self.colours(appearance).expand(*batch, -1))
        front, displacement = full_precision(self.depth(maps)).split([4, 2], dim=1)
        front = cropped(pixel_shuffle(front, 2), self.frame_shape)
        with own_precision():
            images, opacity = self._textures(full_precision(appearance), full_precision(z), displacement.tanh())
            weights = torch.cat([front, opacity], dim=1).softmax(dim=1)
            x = weights[:, :1] * painted + (weights[:, 1:, None] * images).sum(dim=1)
        return x.view(*batch, *self.frame_shape)

    def _painted(self, maps: Tensor, colours: Tensor) -> Tensor:
        """The picture of the regions (N, C, H, W), of their colours (…, regions C)."""
        # Steep, or edges would take most of a fit to become sharp. Channels last, since a softmax over neighbours in memory
        # is several times faster.
        logits = self.regions((STEEPNESS * maps).contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        count, height, width, _ = logits.shape
        layout = logits.reshape(count, -1, self.region_count).softmax(dim=-1)
        painted = full_precision(layout @ colours.reshape(count, self.region_count, self.frame_shape[0]))
        # Each place of the map becomes four pixels.
        corners = painted.view(count, height, width, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
        return cropped(corners.reshape(count, -1, 2 * height, 2 * width), self.frame_shape)

    def _textures(self, appearance: Tensor, z: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (N, K, C, H, W) and logits of opacity (N, K, H, W) of every texture at every pixel."""
        count, (channels, height, width) = self.texture_count, self.frame_shape
        side = TEXTURE // 4
        drawn = self.texture_layers(self.texture_maps(appearance).unflatten(-1, (-1, side, side)).flatten(0, -4))
        drawn = drawn.view(*appearance.shape[:-1], count, channels + 1, TEXTURE, TEXTURE)
        drawn = drawn.expand(*z.shape[:-1], *drawn.shape[-4:]).reshape(-1, channels + 1, TEXTURE, TEXTURE)
        placement = self.placement(z).view(-1, count, 7)
        linear = self.zoom * torch.eye(2, dtype=z.dtype, device=z.device) + placement[..., :4].unflatten(-1, (2, 2))
        shift = 2 * placement[..., 4:6].tanh().unsqueeze(-2)
        bend = interpolate(displacement, scale_factor=2, mode="bilinear", align_corners=False)
        bend = cropped(bend, self.frame_shape)
        # A p + b of a grid of points is what its columns give plus what its rows give.
        columns, rows = (self._centres(n, z) * linear[..., i].unsqueeze(-2) for i, n in ((0, width), (1, height)))
        places = (rows + shift).unsqueeze(-2) + columns.unsqueeze(-3) + bend.permute(0, 2, 3, 1).unsqueeze(1)
        read = grid_sample(
            drawn, places.flatten(0, 1), mode="bilinear", padding_mode="border", align_corners=False
        ).view(-1, count, channels + 1, height, width)
        outside = (places.abs().amax(-1) - 1).clamp(min=0)
        opacity = STEEPNESS * read[:, :, channels] + placement[..., 6, None, None] - TRANSPARENT - BORDER * outside
        return read[:, :, :channels], opacity

    @staticmethod
    def _centres(count: int, like: Tensor) -> Tensor:
        """The centres of pixels side by side, (count, 1), between the edges -1 and 1."""
        return ((torch.arange(count, dtype=like.dtype, device=like.device) * 2 + 1) / count - 1).unsqueeze(-1)
