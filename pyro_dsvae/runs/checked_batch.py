"""A user's clips, checked, as the arguments of model and guide."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood

# Clips as callers have them.
Values = Tensor | NDArray[Any]


def as_tensor(name: str, values: Values) -> Tensor:
    """An array of NumPy as a tensor, a tensor as it is.

    Raises:
        UsageError: For anything else, and for arrays of what is no number.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        # A copy: arrays that cannot be written, or with strides below 0, have no tensor of their own.
        return torch.from_numpy(np.array(values))
    if not isinstance(values, Tensor):
        found = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
        raise UsageError(f"{name} is {found}; give a tensor or an array of numbers")
    return values


def as_batch(x: Values, mask: Values | None, lengths: Values | None, times: Values | None) -> Batch:
    """Clips and what is known of them as tensors. Raises as `as_tensor`."""
    known = (
        None if values is None else as_tensor(name, values)
        for name, values in (("mask", mask), ("lengths", lengths), ("times", times))
    )
    return Batch(as_tensor("x", x), *known)


def checked_batch(given: Batch, likelihood: Likelihood, device: torch.device) -> Batch:
    """Clips x ``(B, T, *frame)`` of stored frames in model units on ``device``, zero where not observed.

    Raises:
        UsageError: Where shapes, values or times are not those that the likelihood takes.
    """
    x, frame_shape = given.x, tuple(likelihood.frame_shape)
    if x.shape[2:] != frame_shape or x.ndim < 3 or 0 in x.shape[:2]:
        listed = ", ".join(str(size) for size in frame_shape)
        raise UsageError(f"clips have shape {tuple(x.shape)}; those of this run are (B, T, {listed})")
    _check_shapes(*given)
    batch = given.each(lambda values: values.to(device))
    x = batch.visible
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise UsageError("the clips hold values that are not finite; say in mask that they were not observed")
    likelihood.check(x)
    times = None if batch.times is None else since_start(batch.times)
    return Batch(likelihood.to_model_units(x), batch.mask, batch.lengths, times)


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """Raises `UsageError` for any other value."""
    if value not in (names := list(known)):
        raise UsageError(f"{name} is {value!r}; it is one of {', '.join(names)}")


def since_start(times: Values) -> Tensor:
    """Times (B, T) since each clip's first, float32: priors know intervals only, and large times would lose theirs."""
    times = as_tensor("times", times)
    return (times - times[:, :1]).float()


def _check_shapes(x: Tensor, mask: Tensor | None, lengths: Tensor | None, times: Tensor | None) -> None:
    """Raises `UsageError` where what is known of clips x ``(B, T, *frame)`` has another shape than they."""
    clips = tuple(x.shape[:2])
    if mask is not None and (mask.dtype != torch.bool or tuple(mask.shape) not in (clips, tuple(x.shape))):
        raise UsageError(f"mask is {mask.dtype} {tuple(mask.shape)}; it must be bool {clips} or {tuple(x.shape)}")
    if lengths is not None:
        if lengths.shape != clips[:1] or lengths.is_floating_point():
            raise UsageError(f"lengths are {lengths.dtype} {tuple(lengths.shape)}; they must be int64 {clips[:1]}")
        if int(lengths.min()) < 1 or int(lengths.max()) > clips[1]:
            raise UsageError(
                f"lengths run from {int(lengths.min())} to {int(lengths.max())}; they lie in 1..{clips[1]}"
            )
    if times is not None and (tuple(times.shape) != clips or not bool((times.diff(dim=1) > 0).all())):
        raise UsageError(f"times have shape {tuple(times.shape)}; they must be {clips} and increase along each clip")
