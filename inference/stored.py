"""Values of many sequences that are read, and decoded, when some of them are taken."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from pyro_dsvae.models.errors import UsageError

# Bytes that are read at once where something other than some of the sequences is asked for.
AT_ONCE = 1 << 30


class Source(Protocol):
    """Where the values of N sequences are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, T, …)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the values."""

    @property
    def fingerprint(self) -> str:
        """Two sources hold the same exactly when this is the same."""

    def read(self, rows: Tensor) -> Tensor:
        """The values ``(n, T, …)`` of the sequences ``rows`` (n,) int64, in this order."""


class Stored(Tensor):
    """A tensor ``(N, T, …)`` that is not in memory.

    ``x[rows]`` reads these sequences and is a tensor in memory. ``x[a:b]`` and ``x[:, :stop]`` read nothing. Any other
    operation reads all of it, where that takes at most 1 GiB.

    Args:
        source: Where the values are.
        first: The first of its sequences.
        count: How many; None for all that follow.
        stop: How many of their steps; None for all.

    Raises:
        UsageError: By operations that would read more than 1 GiB.
    """

    source: Source
    first: int
    stop: int

    # An operation meets this class below autograd, which has nothing to do here.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, source: Source, first: int = 0, count: int | None = None, stop: int | None = None) -> "Stored":
        n, steps, *others = source.shape
        size = (n - first if count is None else count, steps if stop is None else stop, *others)
        made: Stored = Tensor._make_wrapper_subclass(cls, size, dtype=source.dtype)
        made.source, made.first, made.stop = source, first, size[1]
        return made

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return type(self), (self.source, self.first, len(self), self.stop)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Stored({tuple(self.shape)}, {self.dtype})"

    def read(self, rows: Tensor) -> Tensor:
        """The values of the sequences ``rows``: (n,) int64, of which negative ones count from the end, or (N,) bool."""
        rows = rows.cpu()
        rows = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows.long()
        if len(rows) and not -len(self) <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"rows run from {int(rows.min())} to {int(rows.max())}, of {len(self)} sequences")
        return self.source.read(self.first + rows % max(1, len(self)))[:, : self.stop]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        aten, of, more = torch.ops.aten, args[0], args[1:]
        if isinstance(of, cls):
            if function is aten.index.Tensor and len(more[0]) == 1:
                return of.read(more[0][0])
            if function is aten.select.int and more[0] == 0:
                return of.read(torch.tensor([more[1]]))[0]
            if function is aten.slice.Tensor and (sliced := of._sliced(*more)) is not None:
                return sliced
        whole = torch.utils._pytree.tree_map_only(cls, cls._whole, (args, dict(kwargs or {})))
        return function(*whole[0], **whole[1])

    def _sliced(
        self, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> "Stored | None":
        """The slice, where it is one of whole sequences, or of their first steps."""
        start, stop, step = slice(start, stop, step).indices(self.shape[axis])
        if step != 1 or axis > 1 or (axis == 1 and start > 0):
            return None
        if axis == 1:
            return Stored(self.source, self.first, len(self), stop)
        return Stored(self.source, self.first + start, max(0, stop - start), self.stop)

    def _whole(self) -> Tensor:
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > AT_ONCE:
            raise UsageError(
                f"{len(self):,} sequences take {size / 2**30:,.1f} GiB at once, and are kept outside memory: take some of them"
            )
        return self.read(torch.arange(len(self)))
