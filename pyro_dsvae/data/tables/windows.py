"""Sequences as stretches of a table's rows: whole entities or windows, none across a border."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.names import listed
from pyro_dsvae.data.tables.rows import Integers, Rows
from pyro_dsvae.models.errors import UsageError, check_count

Short = Literal["refuse", "drop"]


@dataclass(frozen=True)
class Windows:
    """How a stretch of rows becomes sequences.

    Attributes:
        window: Steps of each sequence; None for whole stretches.
        stride: Steps from the beginning of a window to that of the next; None for ``window``.
        short: What becomes of entities that are shorter than a sequence.
    """

    window: int | None = None
    stride: int | None = None
    short: Short = "refuse"

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 2:
            raise UsageError(f"window = {self.window}; it has at least 2 steps", "data.window")
        if self.stride is not None:
            check_count("stride", self.stride)
            if self.window is None:
                raise UsageError(f"stride = {self.stride} is the distance of windows; give their steps", "data.window")

    def cut(self, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
        """Where sequences begin, and how long they are (both (N,)), of stretches that begin and end at these rows."""
        sizes = ends - starts
        if self.window is None:
            kept = sizes >= 2
            return starts[kept], sizes[kept]
        stride = self.stride or self.window
        counts = np.where(sizes >= self.window, (sizes - self.window) // stride + 1, 0)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        found = np.repeat(starts, counts) + stride * (np.arange(counts.sum()) - before)
        return found, np.full(len(found), self.window)

    def long_enough(self, rows: Rows) -> tuple[NDArray[np.bool_], str]:
        """Which rows (n,) are of entities that have enough of them, and which have not, in words.

        Raises:
            UsageError: Where some have not, and these are not dropped.
        """
        needed = self.window or 2
        counts = np.bincount(rows.entity, minlength=len(rows.entities))
        short = np.flatnonzero((counts > 0) & (counts < needed))
        if len(short) == 0:
            return np.ones(len(rows.entity), bool), ""
        shown = short[:8]
        row = rows.number[np.searchsorted(rows.entity, shown[0])] + 1
        names = listed([f"{rows.entities[i]!r} ({counts[i]} row{'s' if counts[i] > 1 else ''})" for i in short])
        what = rows.roles.entity or "the table"
        least = f"a window has {needed} steps" if self.window else "a sequence has at least 2"
        if self.short == "refuse":
            hint = ""
            if len(short) == len(np.unique(rows.entity)) and counts.max() == 1:
                hint = "; a table with a row for each entity and a column for each step is melted first: pandas.melt"
            raise UsageError(
                f"row {row}, column {what!r}: too short is {names}, and {least}; leave out short ones, or drop them{hint}",
                "data.short",
            )
        return ~np.isin(rows.entity, short), f"dropped, since {least}: {what} {names}"


def stretches(rows: Rows, split: NDArray[np.uint8]) -> tuple[Integers, Integers]:
    """Where stretches of rows of one entity, one split and the same dynamic labels begin and end, (K,) each."""
    border = (np.diff(rows.entity) != 0) | (np.diff(split.astype(np.int64)) != 0)
    for label in rows.dynamic.values():
        border |= label[1:] != label[:-1]
    starts = np.r_[0, np.flatnonzero(border) + 1].astype(np.int64)
    return starts, np.r_[starts[1:], len(rows.entity)].astype(np.int64)
