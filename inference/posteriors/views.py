"""Guide views: what each half of the guide gets to see of a clip.

f is computed from what a few frames hold, without their order, without where in the frame it is and without left and
right, so it can carry motion, pose and direction only poorly. z is computed from the clip under one random change of colours
and one random smooth warp, so it can carry colours and shapes only poorly. A guide may be any density computed from x and
from noise, so the bound stays a valid ELBO with unit weights: log p(x) >= E_views[ELBO(q_view)]. Without views f takes over
the action. Evaluation uses all frames and leaves the clip as it is.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

MISTAKEN = 0.15


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


def mistaken(count: int, progress: float, device: torch.device) -> Tensor | None:
    """Rows (count,) to infer f from: early in the fit some sequences get that of another; None where each has its own.

    Whatever both latents could carry goes to the one that learns it first, and the direction a figure looks in is as easy to
    see for f as for z. A share of sequences, falling from a half to none over the first `MISTAKEN` of the fit, gets f from
    a neighbour in the batch: what z can tell is then better taken from z, and what only f can tell still comes from f.
    A density of f computed from other frames is a density all the same, so the bound stays a bound, a looser one for a while.
    """
    share = 0.5 * max(0.0, 1 - progress / MISTAKEN)
    if share == 0:
        return None
    rows = torch.arange(count, device=device)
    return torch.where(torch.rand(count, device=device) < share, rows.roll(1), rows)


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
