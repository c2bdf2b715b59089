"""Some sequences on a device, in the form that model and guide take."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_dsvae.models.steps import Steps

# Values of a part: 64 MiB in single precision.
PART = 2**24


class Batch(NamedTuple):
    """The arguments of model and guide for B sequences: ``model(*batch)``.

    Attributes:
        x: ``(B, T, *frame)`` in model units, as `Likelihood.to_model_units` returns them.
        mask: (B, T) or ``(B, T, *frame)`` bool, True where observed; None where all is.
        lengths: (B,) int64, sequence i ends after ``lengths[i]`` steps; None where all have T.
        times: (B, T) observation times; None for steps one unit apart.
    """

    x: Tensor
    mask: Tensor | None = None
    lengths: Tensor | None = None
    times: Tensor | None = None

    @property
    def steps(self) -> Steps:
        """The time axis."""
        return Steps(self.x.shape[1], self.lengths, self.times)

    @property
    def frame_ndim(self) -> int:
        """1 for vectors (P,), 3 for images (C, H, W)."""
        return self.x.ndim - 2

    @property
    def observed(self) -> Tensor:
        """``(B, T, *frame)`` bool, True where a value exists and was observed; a view, not to be written to."""
        observed = self.steps.observed(self.mask, self.frame_ndim)
        if observed is None:
            observed = torch.ones((), dtype=torch.bool, device=self.x.device)
        return observed.expand(self.x.shape)

    @property
    def visible(self) -> Tensor:
        """``x`` ``(B, T, *frame)``, zero where not observed, whatever stands there, even a NaN."""
        observed = self.steps.observed(self.mask, self.frame_ndim)
        return self.x if observed is None else torch.where(observed, self.x, torch.zeros_like(self.x))

    def observed_count(self) -> Tensor:
        """(B,) int64, how many values of each sequence were observed."""
        return self.observed.flatten(1).sum(1)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The result of ``change`` for each of the tensors that are there."""
        x, *others = (None if v is None else change(v) for v in self)
        assert x is not None
        return Batch(x, *others)

    def rows(self, rows: Tensor | slice) -> "Batch":
        """Some of the sequences."""
        return self.each(lambda values: values[rows])

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first half of the sequences, and the second."""
        half = len(self.x) // 2
        return self.rows(slice(half)), self.rows(slice(half, None))

    def parts(self) -> Iterator["Batch"]:
        """The same sequences, some at a time: of `PART` values, since all may be a file that is larger than the memory."""
        size = max(1, PART // math.prod(self.x.shape[1:]))
        for start in range(0, len(self.x), size):
            yield self.rows(slice(start, start + size))

    def until(self, stop: int) -> "Batch":
        """The first ``stop`` steps of every sequence, or all of a shorter one."""
        mask, times = (None if v is None else v[:, :stop] for v in (self.mask, self.times))
        lengths = None if self.lengths is None else self.lengths.clamp(max=stop)
        return Batch(self.x[:, :stop], mask, lengths, times)
