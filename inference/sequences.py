"""Sequences as tensors, and batches of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Stored frames (B, T, \\*frame); mask, lengths and times as in `DSVAE.forward`."""

    frames: Tensor
    mask: Tensor | None = None
    lengths: Tensor | None = None
    times: Tensor | None = None


@dataclass(frozen=True)
class Sequences:
    """Some rows of a data set, without a copy of them.

    frames, mask, lengths, times  of all sequences, as in `Batch`
    rows                          (N,) int64: the sequences that belong to this part
    """

    frames: Tensor
    mask: Tensor | None
    lengths: Tensor | None
    rows: Tensor
    times: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Tensor, device: torch.device) -> Batch:
        """The sequences at these positions of ``rows``, on ``device``."""
        rows = self.rows[positions]
        frames, *others = (None if v is None else _taken(v, rows, device) for v in self.stored())
        assert frames is not None
        return Batch(frames, *others)

    def stored(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Frames, mask, lengths and times of the whole data set."""
        return self.frames, self.mask, self.lengths, self.times

    def elsewhere(self, move: Callable[[Tensor | None], Tensor | None]) -> "Sequences":
        """The same part of the data set, stored where ``move`` puts it."""
        frames, mask, lengths, times = (move(v) for v in self.stored())
        assert frames is not None
        return Sequences(frames, mask, lengths, self.rows, times)


def _taken(values: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """``values[rows]`` on ``device``. Nothing waits: from memory that is not pinned a copy to a GPU would."""
    taken = values[rows.to(values.device, non_blocking=True)]
    if device.type == "cuda" and taken.device.type == "cpu":
        taken = taken.pin_memory()
    return taken.to(device, non_blocking=True)
