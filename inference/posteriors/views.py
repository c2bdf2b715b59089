"""Guide views: what each half of the guide gets to see of a clip.

f is computed from the patches of a few frames, without their order and without where in a row they are, and later in a fit
also of clips that the model itself has recombined, so it can carry motion, pose and direction only poorly. z is computed from
the clip under one random change of colours and one random smooth warp, so it can carry colours and shapes only poorly. A
guide may be any density computed from x and from noise, so the bound stays a valid ELBO with unit weights:
log p(x) >= E_views[ELBO(q_view)]. Without views z takes over shapes and colours, and where the decoder lets f move things, f
the action. Evaluation uses all frames and no random view. Anchored inference, where it is asked for, hides from each latent
what belongs to the other one in evaluation, too (`pyro_dsvae.inference.posteriors.anchored`).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

COLOUR_WAVES = 8


def choose_frames(observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` different random frames of every sequence, in random order.

    observed  (B, T) bool
    Returns their indices (B, K) and whether each is an observed frame (B, K); observed ones come first.
    """
    keys = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0)
    frames = keys.argsort(dim=-1)[:, :count]
    return frames, observed.gather(1, frames)


def recolour(x: Tensor) -> Tensor:
    """Images (B, T, C, S, S) under one random smooth map of colours per sequence.

        y_p = A (sin(W x_p + b) - sin b),   W of 8 x C normals of standard deviation 2, b uniform, A of C x 8.

    Black stays black, and every other colour may become any, bright ones as easily as dark ones: mixing the channels
    linearly would leave white trousers the brightest. Nearby colours stay near each other, so shapes stay visible.
    """
    batch, _, channels = x.shape[:3]
    inner = 2 * torch.randn(batch, COLOUR_WAVES, channels, dtype=x.dtype, device=x.device)
    phase = (2 * math.pi) * torch.rand(batch, COLOUR_WAVES, 1, dtype=x.dtype, device=x.device)
    outer = torch.randn(batch, channels, COLOUR_WAVES, dtype=x.dtype, device=x.device) / math.sqrt(COLOUR_WAVES)
    colours = x.transpose(1, 2).flatten(2)
    waves = torch.baddbmm(phase, inner, colours).sin_() - phase.sin()
    return (outer @ waves).view(batch, channels, *x.shape[1:2], *x.shape[3:]).transpose(1, 2)


def warp(x: Tensor, amplitude: float) -> Tensor:
    """Images (B, T, C, S, S) under one random smooth displacement per sequence, the same for all its frames.

    amplitude  standard deviation of the displacement on a 4 x 4 grid of control points, in shares of the image's side
    """
    batch, side = x.shape[0], x.shape[-1]
    control = torch.randn(batch, 2, 4, 4, dtype=x.dtype, device=x.device) * (2 * amplitude)
    displacement = interpolate(control, size=(side, side), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    centres = (torch.arange(side, dtype=x.dtype, device=x.device) * 2 + 1) / side - 1
    places = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1) + displacement
    warped = grid_sample(x.flatten(1, 2), places, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.view_as(x)
