"""Guide views: what each half of the guide gets to see of a clip.

f is computed from what a few frames hold, without their order, without where in the frame it is and without left and
right, so it can carry motion, pose and direction only poorly. z is computed from the clip under one random change of colours
and one random smooth warp, so it can carry colours and shapes only poorly. A guide may be any density computed from x and
from noise, so the bound stays a valid ELBO with unit weights: log p(x) >= E_views[ELBO(q_view)]. Without views z takes over
shapes and colours, and where the decoder lets f move things, f the action. Evaluation uses all frames and leaves the clip
as it is.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate


def choose_frames(observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` different random frames of every sequence, in random order.

    observed  (B, T) bool
    Returns their indices (B, K) and whether each is an observed frame (B, K); observed ones come first.
    """
    keys = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0)
    frames = keys.argsort(dim=-1)[:, :count]
    return frames, observed.gather(1, frames)


def mirror(x: Tensor) -> Tensor:
    """Images (B, T, C, S, S), each frame flipped from left to right or not, by chance."""
    flipped = torch.rand(x.shape[:2], device=x.device) < 0.5
    return torch.where(flipped[..., None, None, None], x.flip(-1), x)


def recolour(x: Tensor) -> Tensor:
    """Images (B, T, C, S, S) with their channels mixed by one random C x C matrix per sequence, rows of unit length."""
    mixing = torch.randn(x.shape[0], x.shape[2], x.shape[2], dtype=x.dtype, device=x.device)
    mixing = mixing / mixing.norm(dim=-1, keepdim=True)
    return torch.einsum("bij,btj...->bti...", mixing, x)


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
