"""Networks applied to very many frames, a part at a time, so that their memory is bounded."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# The activations of the frame networks take about 65 bytes for every value of an image, and those of dense networks as
# much per unit: 2^26 values are about 4 GiB.
CHUNK_VALUES = 2**26
MIN_VALUES = 512


def frames_at_once(frame_shape: tuple[int, ...]) -> int:
    """How many frames of this shape a network may take at once."""
    return max(1, CHUNK_VALUES // max(MIN_VALUES, math.prod(frame_shape)))


def in_chunks(network: Callable[[Tensor], Tensor], values: Tensor, size: int, dim: int) -> Tensor:
    """``network(values)``, computed for at most ``size`` indices along ``dim`` at a time.

    The network must treat these indices separately and draw no random numbers. With several parts, no part keeps its
    activations: they are computed again for the gradient. A step then takes one more forward pass of the network and the
    memory of one part.

    Args:
        network: From values to results of the same size along ``dim``.
        values: Its input.
        size: Indices at a time.
        dim: Along which.
    """
    if values.shape[dim] <= size:
        return network(values)
    parts = values.split(size, dim)
    if not torch.is_grad_enabled():
        return torch.cat([network(part) for part in parts], dim)
    kept = [checkpoint(network, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat(kept, dim)
