"""Guide views: the part of a clip that each half of the guide sees in training.

f is inferred from patches of a few frames, without the order of the frames and without the place of a patch in its row.
Later in a fit, it is also inferred from clips that the model has recombined. So f can hardly encode motion, pose or
direction. z is inferred from the clip after one random change of its colours and one random smooth warp. So z can hardly
encode colours or shapes. Without views, z takes over shapes and colours; and f takes over the action, where the decoder
lets f move things.

A guide may be any density that is computed from x and from noise. So the bound remains an ELBO with unit weights:
log p(x) >= E_views[ELBO(q_view)]. Evaluation uses all frames and no random view. Anchored inference, where it is asked
for, also hides from each latent in evaluation what belongs to the other (`pyro_dsvae.inference.posteriors.anchored`).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

COLOUR_WAVES = 8


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
