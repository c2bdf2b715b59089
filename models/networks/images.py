"""What the networks for images have in common: which frames they take, how often they halve them, residual blocks."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from pyro_dsvae.models.errors import UsageError

MIN_SIDE, MAX_SIDE = 8, 256


def check_image(
    frame_shape: tuple[int, ...], network: str = "", option: Literal["encoder", "decoder"] = "decoder"
) -> None:
    """Raise `UsageError` unless a frame is (C, H, W) with H and W from 8 to 256.

    Args:
        frame_shape: Of the frames.
        network: The name of the network that takes no others, for the message.
        option: What it is.
    """
    if network and len(frame_shape) == 1:
        raise UsageError(f"{network} takes images (C, H, W), and these frames are vectors: take Dense", option)
    if len(frame_shape) != 3 or not all(MIN_SIDE <= side <= MAX_SIDE for side in frame_shape[1:]):
        raise UsageError(
            f"frames of shape {tuple(frame_shape)} fit no network: give vectors (P,) or images (C, H, W), "
            f"H and W from {MIN_SIDE} to {MAX_SIDE}"
        )


def halvings(frame_shape: tuple[int, ...]) -> int:
    """How often an image (C, H, W) is halved, until the shorter side of its map has 4 to 7 pixels."""
    return (min(frame_shape[1:]) // 4).bit_length() - 1


def smallest_map(frame_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the map that grows to an image (C, H, W), or a little more, when it is doubled `halvings` times."""
    height, width = (math.ceil(side / 2 ** halvings(frame_shape)) for side in frame_shape[1:])
    return height, width


def widths(frame_shape: tuple[int, ...], width: int) -> list[int]:
    """Channels of the maps, from the smallest one to the one of half the image: from at most 8 ``width`` to ``width``."""
    return [width * min(2**level, 8) for level in reversed(range(halvings(frame_shape)))]


def cropped(x: Tensor, frame_shape: tuple[int, ...]) -> Tensor:
    """The middle (…, H, W) of larger maps."""
    top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], frame_shape[1:], strict=True))
    return x[..., top : top + frame_shape[1], left : left + frame_shape[2]]


class ResidualBlock(nn.Module):
    """x + W_2 silu(norm(W_1 silu(norm(x)))), with 3x3 convolutions; the identity before training.

    Each map is normalised to mean 0 and variance 1, by itself, so that every frame is treated alone.

    Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

    Args:
        channels: Of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W), of the same shape as x."""
        return x + self.second(silu(group_norm(self.first(silu(group_norm(x, 1))), 1)))
