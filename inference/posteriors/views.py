"""Guide views: the part of a clip that each half of the guide sees in training. They have one name for both halves.

turn      z is inferred from frames less the colour of their ground, after all colours were turned (`turn_colours`) and the
          frames warped a little (`warp`). So z can hardly encode colours, or small shapes. f is inferred from patches and
          parts of three random frames, from the whole clip in order, and from the colour of the ground. It assumes that one
          colour covers most of a frame, and that colours belong to what stays.
recolour  z is inferred from the clip after a random smooth map of its colours that keeps black (`recolour`), and `warp`. f is
          inferred from patches of two pixels of three random frames, without the order of the frames and without the place
          of a patch in its row. So f can hardly encode motion, pose or direction, nor the shape of anything. It assumes a
          black ground, and that colours say all of what stays.
none      Both are inferred from the clip. Nothing is assumed. z takes over shapes and colours where it learns them first, and
          f takes over what moves where the decoder lets it.

With views, later in a fit, f is also inferred from clips that the model has recombined.

A guide may be any density that is computed from x and from noise. So the bound remains an ELBO with unit weights:
log p(x) >= E_views[ELBO(q_view)]. Evaluation uses all frames and no random view. Anchored inference, where it is asked
for, also hides from each latent in evaluation what belongs to the other (`pyro_dsvae.inference.posteriors.anchored`).
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from pyro_dsvae.models.errors import UsageError

COLOUR_WAVES = 8
Views = Literal["none", "recolour", "turn"]


def chosen_views(views: Views | bool | None, frame_shape: tuple[int, ...]) -> Views:
    """The name of guide views: by default "recolour" for images and "none" for vectors.

    Raises:
        UsageError: For another name, or for views of vectors.
    """
    if views is None:
        return "recolour" if len(frame_shape) == 3 else "none"
    # Until version 0.2 there was one kind, which was on or off.
    name: Views = ("recolour" if views else "none") if isinstance(views, bool) else views
    if name not in get_args(Views):
        raise UsageError(f"guide views are one of {', '.join(get_args(Views))}, not {views}", "posterior")
    if name != "none" and len(frame_shape) != 3:
        raise UsageError(
            f"the guide views {name} are of images; take none for frames of shape {frame_shape}", "posterior"
        )
    return name


def choose_frames(observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose ``count`` different random frames of every sequence, in random order.

    Args:
        observed: (B, T) bool.
        count: How many, K.

    Returns:
        Indices (B, K), and (B, K) bool, whether each is an observed frame; observed frames come first.
    """
    keys = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0)
    frames = keys.argsort(dim=-1)[:, :count]
    return frames, observed.gather(1, frames)


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
    rows, columns = (
        (torch.arange(size, dtype=x.dtype, device=x.device) * 2 + 1) / size - 1 for size in (height, width)
    )
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1) + displacement
    warped = grid_sample(x.flatten(1, 2), places, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.view_as(x)
