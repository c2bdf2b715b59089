"""A user's clips, checked, as the arguments of model and guide."""

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood


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


def since_start(times: Tensor) -> Tensor:
    """Times (B, T) since each clip's first, float32: priors know intervals only, and large times would lose theirs."""
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
