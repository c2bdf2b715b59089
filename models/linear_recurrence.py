"""y_t = a_t y_{t-1} + b_t for all t, without a loop over time."""

import torch
from torch import Tensor


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """y (\\*B, T, D) with y_1 = b_1 and y_t = a_t y_{t-1} + b_t, for a and b that broadcast to (\\*B, T, D).

    Odd-even reduction: two neighbouring steps are one step of a recurrence half as long. O(T) work, O(log T) calls, and only
    products of neighbouring a, so it is stable wherever the recurrence is. ``a_1`` is not used.
    """
    a, b = torch.broadcast_tensors(a, b)
    length = b.shape[-2]
    if length == 1:
        return b
    half = length // 2
    a_even, a_odd = a[..., 0::2, :], a[..., 1::2, :]
    b_even, b_odd = b[..., 0::2, :], b[..., 1::2, :]
    y_odd = linear_recurrence(a_odd * a_even[..., :half, :], a_odd * b_even[..., :half, :] + b_odd)
    first, later = b_even[..., :1, :], b_even[..., 1:, :]
    y_even = torch.cat([first, a_even[..., 1:, :] * y_odd[..., : later.shape[-2], :] + later], dim=-2)
    pairs = torch.stack([y_even[..., :half, :], y_odd], dim=-2).flatten(-3, -2)
    return pairs if length == 2 * half else torch.cat([pairs, y_even[..., -1:, :]], dim=-2)
