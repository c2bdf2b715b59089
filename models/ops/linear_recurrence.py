"""y_t = a_t y_{t-1} + b_t for all t, without a loop over time.

Odd-even reduction: two neighbouring steps are one step of a recurrence half as long. O(T) work, O(log T) calls, and only
products of neighbouring a, so it is stable wherever the recurrence is.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """y with y_1 = b_1 and y_t = a_t y_{t-1} + b_t.

    Args:
        a: Coefficients; ``a_1`` is not used.
        b: Offsets; broadcasts with ``a`` to ``(*B, T, D)``.

    Returns:
        ``(*B, T, D)``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.ops.linear_recurrence import linear_recurrence
        >>> linear_recurrence(torch.tensor([[0.5]]), torch.ones(4, 1)).squeeze(-1)
        tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    a, b = torch.broadcast_tensors(a, b)
    return _solve(a.movedim(-2, 0), b.movedim(-2, 0), torch.mul, torch.mul).movedim(0, -2)


def matrix_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """y with y_1 = b_1 and y_t = A_t y_{t-1} + b_t.

    Args:
        a: Matrices A, ``(*C, T, D, D)``. ``*C`` broadcasts to ``*B`` without a copy; ``A_1`` is not used.
        b: Offsets, ``(*B, T, D)``.

    Returns:
        ``(*B, T, D)``.
    """
    return _solve(a.movedim(-3, 0), b.movedim(-2, 0), _apply, torch.matmul).movedim(0, -2)


def step_before(values: Tensor) -> Tensor:
    """``(*B, T, D)`` values of the step before, zero at the first."""
    return torch.cat([torch.zeros_like(values[..., :1, :]), values[..., :-1, :]], dim=-2)


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
