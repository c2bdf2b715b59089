"""Changed copies of clips that keep appearance or motion: positive pairs for contrastive terms."""

import torch
from torch import Tensor

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.views.images import recolour

# Standard deviation of the blur, in shares of the image's shorter side: none to one pixel of 32.
WEAKEST, STRONGEST = 1 / 320, 1 / 32


def content_view(clip: GuideInput) -> GuideInput:
    """The frames of every sequence in a random order: the appearance stays, the motion changes.

    Steps that do not exist stay at the end. Observation times stay in place, frames move.
    """
    keys = torch.rand(clip.observed.shape, device=clip.x.device)
    valid = clip.steps.valid
    if valid is not None:
        keys = keys.masked_fill(~valid, 2.0)
    order = keys.argsort(dim=1)
    rows = torch.arange(len(order), device=order.device).unsqueeze(1)
    return GuideInput(clip.x[rows, order], clip.observed.gather(1, order), clip.steps)


def motion_view(clip: GuideInput) -> GuideInput:
    """Images under one random change of colours and one random blur per sequence: the motion stays, the appearance changes.

    Args:
        clip: Frames (B, T, C, H, W).
    """
    share = WEAKEST + (STRONGEST - WEAKEST) * torch.rand(len(clip.x), dtype=clip.x.dtype, device=clip.x.device)
    return GuideInput(blur(recolour(clip.x), share * min(clip.x.shape[-2:])), clip.observed, clip.steps)


def blur(x: Tensor, scale: Tensor) -> Tensor:
    """Images (B, T, C, H, W) blurred by a normal kernel of standard deviation ``scale`` (B,), in pixels.

    The weights are normalised over the pixels inside the image, so a constant image stays constant up to its border.
    """
    along_rows, along_columns = (_kernel(size, scale) for size in x.shape[-2:])
    return along_rows @ x @ along_columns.mT


def _kernel(size: int, scale: Tensor) -> Tensor:
    """(B, 1, 1, size, size), the weights of every pixel of a line in each of them."""
    places = torch.arange(size, dtype=scale.dtype, device=scale.device)
    distance = (places.unsqueeze(1) - places) / scale[:, None, None]
    return (-0.5 * distance.square()).softmax(dim=-1)[:, None, None]
