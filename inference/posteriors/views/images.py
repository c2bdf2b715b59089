"""What guide views do to images."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

COLOUR_WAVES = 8


def recolour(x: Tensor) -> Tensor:
    """Images under one random smooth map of colours per sequence.

        y_p = A (sin(W x_p + b) - sin b),   W of 8 x C normals of standard deviation 2, b uniform, A of C x 8.

    Black stays black. Every other colour may become any other, and bright ones may become dark: a linear mixture of the
    channels would leave white trousers the brightest. Similar colours stay similar, so shapes remain visible.

    Args:
        x: Images, (B, T, C, H, W).
    """
    batch, _, channels = x.shape[:3]
    inner = 2 * torch.randn(batch, COLOUR_WAVES, channels, dtype=x.dtype, device=x.device)
    phase = (2 * math.pi) * torch.rand(batch, COLOUR_WAVES, 1, dtype=x.dtype, device=x.device)
    outer = torch.randn(batch, channels, COLOUR_WAVES, dtype=x.dtype, device=x.device) / math.sqrt(COLOUR_WAVES)
    colours = x.transpose(1, 2).flatten(2)
    waves = torch.baddbmm(phase, inner, colours).sin_() - phase.sin()
    return (outer @ waves).view(batch, channels, *x.shape[1:2], *x.shape[3:]).transpose(1, 2)


def ground_colours(x: Tensor) -> Tensor:
    """The colour of the ground of every frame, (B, T, C): the median of each channel over its pixels.

    It is that colour where one colour covers most of the frame. Each frame is taken by itself, since a filter must not look
    ahead.

    Args:
        x: Images, (B, T, C, H, W).
    """
    # A third of the pixels: as good a median as all of them.
    return x.flatten(3)[..., ::3].median(dim=-1).values


def above_ground(x: Tensor) -> Tensor:
    """Images (B, T, C, H, W) less their `ground_colours`."""
    return x - ground_colours(x)[..., None, None]


def centred(x: Tensor) -> Tensor:
    """Images moved so that what stands out from zero has its centre of mass in the middle of the frame.

        y_p = x_{p + m},   m = sum_p |x_p|^2 p / sum_p |x_p|^2,

    with places p from the middle of the frame, read between pixels, and zero beyond the frame. Where a figure is, is lost,
    frame by frame. An image of zeros stays as it is.

    Args:
        x: Images `above_ground`, (B, T, C, H, W).
    """
    mass = x.square().mean(2)
    rows, columns = (_places(side, x) for side in x.shape[-2:])
    total = mass.sum((-2, -1)).clamp(min=torch.finfo(x.dtype).tiny)
    middle = torch.stack([(mass.sum(-2) * columns).sum(-1), (mass.sum(-1) * rows).sum(-1)], dim=-1) / total.unsqueeze(
        -1
    )
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1) + middle[..., None, None, :]
    moved = grid_sample(x.flatten(0, 1), places.flatten(0, 1), mode="bilinear", align_corners=False)
    return moved.view_as(x)


def turn_colours(x: Tensor) -> Tensor:
    """Images relative to the ground, whose colours are turned by one random map per sequence.

        y_p = exp(0.4 n) (u_p + 0.35 s |u_p|),   u_p = Q x_p,

    with Q a random rotation or reflection of the channels, n a standard normal, s one per channel. The ground, zero, stays,
    and every contrast with it keeps about its size: what is seen stays easy to see. Which colour it has, and whether it is
    brighter or darker than the ground, is lost. One channel: contrast is turned over or not.

    Args:
        x: Images `above_ground`, (B, T, C, H, W).
    """
    batch, channels = x.shape[0], x.shape[2]
    noise = torch.randn(batch, channels, channels + 2, dtype=x.dtype, device=x.device)
    q, r = torch.linalg.qr(noise[:, :, :channels])
    # The signs of the columns of Q are those of the algorithm; with those of R taken out, Q is uniform (Mezzadri 2007).
    turned = (q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)) @ x.transpose(1, 2).flatten(2)
    skew, size = noise[:, :, channels:-1], noise[:, :1, -1:]
    turned = (0.4 * size).exp() * (turned + 0.35 * skew * turned.abs())
    return turned.view(batch, channels, x.shape[1], *x.shape[3:]).transpose(1, 2)


def warp(x: Tensor, amplitude: float) -> Tensor:
    """Images under one random smooth displacement per sequence, the same for all its frames.

    Args:
        x: Images, (B, T, C, H, W).
        amplitude: Standard deviation of the displacement on a 4 x 4 grid of control points, as a share of height and width.
    """
    batch, (height, width) = x.shape[0], x.shape[-2:]
    control = torch.randn(batch, 2, 4, 4, dtype=x.dtype, device=x.device) * (2 * amplitude)
    displacement = interpolate(control, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    rows, columns = (_places(side, x) for side in (height, width))
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1) + displacement
    warped = grid_sample(x.flatten(1, 2), places, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.view_as(x)


def _places(side: int, like: Tensor) -> Tensor:
    """The middles of so many pixels side by side, between the edges -1 and 1."""
    return (torch.arange(side, dtype=like.dtype, device=like.device) * 2 + 1) / side - 1
