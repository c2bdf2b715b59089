"""What stands beside the values of series for encoders that read gaps: which are missing, and the time since the last frame."""

import torch
from torch import Tensor

from pyro_dsvae.models.errors import UsageError


def gaps_size(frame_shape: tuple[int, ...], encoder: str) -> int:
    """2P + 1, the numbers of a step of series (P,) with what `with_gaps` puts beside them.

    Args:
        frame_shape: Of the frames.
        encoder: The name of who reads them, for the message.

    Raises:
        UsageError: For images.
    """
    if len(frame_shape) != 1:
        raise UsageError(
            f"{encoder} takes vectors (P,), and these frames have the shape {frame_shape}: take Convolutional",
            "encoder",
        )
    return 2 * frame_shape[0] + 1


def with_gaps(x: Tensor, values: Tensor | None, times: Tensor | None) -> Tensor:
    """Series ``(B, T, P)`` with what encoders with ``reads_gaps`` read beside them, (B, T, 2P + 1).

    Args:
        x: The series, 0 where not observed.
        values: Bool, broadcastable to x, which values exist and were observed; None where all were.
        times: (B, T); None for steps one unit apart.
    """
    batch, length, _ = x.shape
    seen = torch.ones_like(x, dtype=torch.bool) if values is None else values.expand(x.shape)
    t = torch.arange(length, device=x.device).expand(batch, length) if times is None else times
    t = t.to(x.dtype)
    # The last frame seen before each; of the first ones none, whose gap is 0.
    last = torch.where(seen.any(-1), t, -torch.inf).cummax(1).values
    last = torch.cat([torch.full_like(t[:, :1], -torch.inf), last[:, :-1]], 1)
    gap = torch.where(last.isinf(), torch.zeros_like(t), t - last)
    return torch.cat([x, (~seen).to(x.dtype), gap.log1p().unsqueeze(-1)], -1)


def windows(x: Tensor, size: int) -> Tensor:
    """Each step of ``x`` (B, T, 2P + 1), as `with_gaps` gives them, behind the ``size`` - 1 before it: (B, T, size, 2P + 1).

    Before the first step everything is missing. No window reaches a later step, so neither the future nor what stands after the
    end of a shorter sequence is in one.
    """
    before = torch.zeros_like(x[:, :1])
    columns = x.shape[-1] // 2
    before[..., columns : 2 * columns] = 1
    return torch.cat([before.expand(-1, size - 1, -1), x], 1).unfold(1, size, 1).transpose(-1, -2)
