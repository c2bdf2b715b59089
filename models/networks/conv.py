"""Convolutional frame networks for square images of 16 to 128 pixels."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, pad, pixel_shuffle, silu

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.ops.precision import full_precision

MIN_SIDE, MAX_SIDE = 16, 128
REGIONS, STEEPNESS = 24, 4.0
# Standard deviation of the steepness of a patch's waves, per channel and for a patch of one colour.
PATCH_WAVES = 6.0


def check_image(frame_shape: tuple[int, ...]) -> None:
    """Raise `UsageError` unless a frame is (C, S, S) with S from 16 to 128."""
    if len(frame_shape) != 3 or frame_shape[1] != frame_shape[2] or not MIN_SIDE <= frame_shape[1] <= MAX_SIDE:
        raise UsageError(
            f"frames of shape {frame_shape} fit no network: give vectors (P,) or square images (C, S, S), "
            f"S from {MIN_SIDE} to {MAX_SIDE}"
        )


def _levels(side: int) -> int:
    """Halvings that bring ``side`` to a map of 4 to 7 pixels."""
    return (side // 4).bit_length() - 1


class ConvEncoder(FrameEncoder):
    """4x4 convolutions of stride 2 down to a map of 4 to 7 pixels, then one linear layer; SiLU throughout.

    Args:
        frame_shape: (C, S, S).
        feature_size: The number of features.
        width: Channels of the first convolution.
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int) -> None:
        super().__init__(frame_shape, feature_size)
        channels, side = frame_shape[:2]
        layers: list[nn.Module] = []
        for level in range(_levels(side)):
            out = width * min(2**level, 8)
            layers += [nn.Conv2d(channels, out, 4, stride=2, padding=1), nn.SiLU()]
            channels, side = out, side // 2
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.Linear(channels * side * side, feature_size), nn.SiLU())

    def encode(self, x: Tensor) -> Tensor:
        return self.project(self.convolutions(x).flatten(1))


class PatchEncoder(FrameEncoder):
    """Which patches an image has, and at what height, but not where else: mean and maximum over all patches of

        h(sin(W x_p + b), y_p),   x_p a patch of a sixteenth of the side, y_p its height from -1 to 1,

    with h two 1x1 convolutions. Patches are encoded one by one. So the features contain the colours and their heights, but
    of the pose only what the amounts of colours reveal. Sines of steep random directions separate colours that differ
    little, which a network without them learns late.

    Sources: Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features Models", ICLR 2019; Sitzmann et al.,
    "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020.

    Args:
        frame_shape: (C, S, S).
        feature_size: The number of features.
        width: Half of the channels of every layer.
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int) -> None:
        super().__init__(frame_shape, feature_size)
        self.patch = max(1, 2 ** (_levels(frame_shape[1]) - 2))
        channels = 2 * width
        self.waves = nn.Conv2d(frame_shape[0], channels, self.patch, stride=self.patch)
        nn.init.normal_(self.waves.weight, 0, PATCH_WAVES / self.patch)
        self.waves.bias = nn.Parameter((2 * torch.rand(channels) - 1) * math.pi)
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, channels, 1), nn.SiLU(), nn.Conv2d(channels, -(-feature_size // 2), 1), nn.SiLU()
        )

    def encode(self, x: Tensor) -> Tensor:
        missing = -x.shape[-1] % self.patch
        waves = self.waves(pad(x, (0, missing, 0, missing))).sin()
        side = waves.shape[-1]
        heights = torch.linspace(-1, 1, side, dtype=waves.dtype, device=x.device).view(-1, 1)
        maps = self.layers(torch.cat([waves, heights.expand(len(waves), 1, side, side)], dim=1))
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return pooled[:, : self.feature_size]


class ConvDecoder(FrameDecoder):
    """z_t divides the frame into ``REGIONS`` soft regions, and f gives each of them its colour.

        x_p = sum_k m_pk(z_t) c_k(f),   m_p a softmax over k at every pixel p,

    with one value per channel in every c_k. So z has no colour and f no place: information about pose in f, or about colour
    in z, cannot reach the picture. Parts of a figure become regions (`benchmarks/results/separation.md`). A shape that only
    some sequences have is a region that in the others has the colour of what is behind it. Without f (F = 0), z_t gives
    regions and colours.

    Linear layers produce a map of 4 to 7 pixels. Transposed 4x4 convolutions double it up to half the frame; each map is
    normalised to mean 0 and variance 1. There a 3x3 convolution gives the logits of the four pixels that a place becomes
    (sub-pixel convolution): further layers at full resolution would cost as much as all others together.

    Source of the product of layout and appearance: Tenenbaum & Freeman, "Separating Style and Content with Bilinear
    Models", Neural Computation 2000.

    Args:
        static_size: The dimension F of f.
        latent_size: The dimension D of z_t.
        frame_shape: (C, S, S) of the parameters of a frame.
        width: Channels of the finest layer.
    """

    def __init__(self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int) -> None:
        super().__init__(frame_shape)
        levels = _levels(frame_shape[1])
        self.base = -(-frame_shape[1] // 2**levels)
        sizes = [width * min(2**level, 8) for level in range(levels - 1, -1, -1)]
        self.layout = nn.Sequential(
            nn.Linear(latent_size, 128), nn.SiLU(), nn.Linear(128, sizes[0] * self.base**2), nn.SiLU()
        )
        self.upsamplings = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(sizes))
        self.regions = nn.Conv2d(sizes[-1], 4 * REGIONS, 3, padding=1)
        self.look = nn.Sequential(
            nn.Linear(static_size or latent_size, 256), nn.SiLU(), nn.Linear(256, frame_shape[0] * REGIONS)
        )

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        batch, length = z.shape[:-2], z.shape[-2]
        maps = self.layout(z).reshape(-1, self.upsamplings[0].in_channels, self.base, self.base)
        for upsample in self.upsamplings:
            maps = silu(group_norm(upsample(maps), 1))
        # Steep, or edges would take most of a fit to become sharp.
        regions = (STEEPNESS * self.regions(maps)).unflatten(1, (REGIONS, 4)).softmax(dim=1)
        look = self.look(f).expand(*batch, -1).unsqueeze(-2) if f.shape[-1] else self.look(z)
        look = look.expand(*batch, length, -1).reshape(-1, self.frame_shape[0], REGIONS)
        x = full_precision(pixel_shuffle((look @ regions.flatten(2)).view(len(maps), -1, *maps.shape[2:]), 2))
        side = self.frame_shape[1]
        crop = (x.shape[-1] - side) // 2
        return x[..., crop : crop + side, crop : crop + side].reshape(*batch, length, *self.frame_shape)
