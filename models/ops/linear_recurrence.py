"""y_t = a_t y_{t-1} + b_t for all t, without a loop over time.

Odd-even reduction: two neighbouring steps are one step of a recurrence half as long. O(T) work, O(log T) calls, and only
products of neighbouring a, so it is stable wherever the recurrence is.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """y (\\*B, T, D) with y_1 = b_1 and y_t = a_t y_{t-1} + b_t, for a and b that broadcast to (\\*B, T, D).

    ``a_1`` is not used.
    """
    a, b = torch.broadcast_tensors(a, b)
    return _solve(a.movedim(-2, 0), b.movedim(-2, 0), torch.mul, torch.mul).movedim(0, -2)


def matrix_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """y (\\*B, T, D) with y_1 = b_1 and y_t = A_t y_{t-1} + b_t, for ``b`` (\\*B, T, D) and matrices ``a`` (\\*C, T, D, D).

    \\*C broadcasts to \\*B without being copied; ``A_1`` is not used.
    """
    return _solve(a.movedim(-3, 0), b.movedim(-2, 0), _apply, torch.matmul).movedim(0, -2)


def _apply(a: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("t...ij,t...j->t...i", a, y)


def _solve(
    a: Tensor, b: Tensor, apply: Callable[[Tensor, Tensor], Tensor], compose: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The recurrence along the first dimension; ``apply`` is a to y, ``compose`` a later a after an earlier one."""
    length = len(b)
    if length == 1:
        return b
    half = length // 2
    a_even, a_odd, b_even, b_odd = a[0::2], a[1::2], b[0::2], b[1::2]
    odd = _solve(compose(a_odd, a_even[:half]), apply(a_odd, b_even[:half]) + b_odd, apply, compose)
    even = b_even[:1]
    if length > 2:
        even = torch.cat([even, apply(a_even[1:], odd[: len(b_even) - 1]) + b_even[1:]])
    pairs = torch.stack([even[:half], odd], dim=1).flatten(0, 1)
    return pairs if length == 2 * half else torch.cat([pairs, even[half:]])
