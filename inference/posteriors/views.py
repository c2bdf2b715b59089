"""Guide views: what each half of the guide gets to see of a clip while it is being trained.

The posterior of f is computed from a few frames without their order, so f can hold no motion; that of z from the clip under
a random change of colours, so z cannot hold them. A guide may be any density computed from x and from noise, so the bound
stays a valid ELBO with unit weights: log p(x) >= E_views[ELBO(q_view)] by Jensen. Without views f takes over the action.
"""

import torch
from torch import Tensor


def choose_frames(observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` different random frames of every sequence, in random order.

    observed  (B, T) bool
    Returns their indices (B, K) and whether each is an observed frame (B, K); observed ones come first.
    """
    keys = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0)
    frames = keys.argsort(dim=-1)[:, :count]
    return frames, observed.gather(1, frames)


def recolour(x: Tensor) -> Tensor:
    """Images (B, T, C, S, S) with their channels mixed by one random C x C matrix per sequence, rows of unit length."""
    mixing = torch.randn(x.shape[0], x.shape[2], x.shape[2], dtype=x.dtype, device=x.device)
    mixing = mixing / mixing.norm(dim=-1, keepdim=True)
    return torch.einsum("bij,btj...->bti...", mixing, x)
