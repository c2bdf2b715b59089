"""Forecasts that need no model."""

import torch
from torch import Tensor

BASELINES = ("copy the last frame", "repeat the mean frame", "loop the clip")


def baselines(x: Tensor, observed: Tensor, horizon: int) -> dict[str, Tensor]:
    """Continue clips without a model.

    Args:
        x: Frames, ``(B, t, *frame)``.
        observed: Bool, the same shape.
        horizon: The number of frames to come, H.

    Returns:
        From the name of each baseline to its frames ``(B, H, *frame)``.
    """
    x = torch.where(observed, x, torch.zeros_like(x))
    count = observed.sum(1)
    per_clip = x.flatten(1).sum(1) / observed.flatten(1).sum(1).clamp(min=1)
    per_clip = per_clip[(..., *(None,) * (x.ndim - 2))].expand(x[:, 0].shape)
    mean = torch.where(count > 0, x.sum(1) / count.clamp(min=1), per_clip)
    filled = _filled(_filled(x, observed).flip(1), observed.cumsum(1).flip(1) > 0).flip(1)
    filled = torch.where((count > 0).unsqueeze(1), filled, per_clip.unsqueeze(1))
    ahead = torch.arange(horizon, device=x.device)
    continued = (filled[:, -1:].expand(-1, horizon, *x.shape[2:]), mean.unsqueeze(1).expand(-1, horizon, *x.shape[2:]))
    return dict(zip(BASELINES, (*continued, filled[:, ahead % x.shape[1]]), strict=True))


def _filled(x: Tensor, observed: Tensor) -> Tensor:
    """Every value that is missing as the last observed one before it, where there is one."""
    number = torch.arange(x.shape[1], device=x.device)[(..., *(None,) * (x.ndim - 2))]
    last = torch.where(observed, number, torch.zeros_like(number)).cummax(1).values
    return x.gather(1, last)
