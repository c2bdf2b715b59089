"""Sums that must not be rounded to half precision."""

import torch
from torch import Tensor


def own_precision() -> torch.autocast:
    """A context in which everything runs in the precision of its tensors: autocast off, on whichever device it is on."""
    return torch.autocast(
        next((kind for kind in ("cuda", "mps") if torch.is_autocast_enabled(kind)), "cpu"), enabled=False
    )


def full_precision(values: Tensor) -> Tensor:
    """Half-precision outputs of autocast networks as float32; float32 and float64 as they are."""
    return values.float() if values.itemsize < 4 else values
