"""Sequences cut into windows, none of which crosses the border of a sequence or a split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.tables.splits import By, Splits
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.models.errors import UsageError

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Windows of n sequences.

    Attributes:
        sequence: (M,) of which sequence each window is.
        start: (M,) its first step.
        window: How many steps it has.
        split: (M,) uint8; None where that of its sequence is to be taken.
    """

    sequence: Integers
    start: Integers
    window: int
    split: NDArray[np.uint8] | None

    def steps(self, values: Array) -> Array:
        """Values of every step, (n, T, …), as those of the windows, (M, window, …)."""
        return values[self.sequence[:, None], self.start[:, None] + np.arange(self.window)]

    def sequences(self, values: Array) -> Array:
        """Values of every sequence, (n, …), as those of the windows, (M, …)."""
        return values[self.sequence] if values.ndim else values


def cut(sizes: Integers, windows: Windows, by: By, splits: Splits) -> Cut:
    """Cut sequences of these lengths (n,).

    Args:
        sizes: Steps of each sequence.
        windows: How long windows are, and how far apart.
        by: "entity": a window has the split of its sequence; "time": the earliest steps of each sequence are for training,
            the next for validation, the latest for the test.
        splits: The fractions.

    Raises:
        UsageError: Where no window fits.
    """
    assert windows.window is not None
    ends = sizes.astype(np.int64)[:, None]
    if by == "time":
        shares = np.array([1 - splits.validation - splits.test, 1 - splits.test])
        ends = np.concatenate([np.round(ends * shares).astype(np.int64), ends], axis=1)
    begins = np.concatenate([np.zeros((len(sizes), 1), np.int64), ends[:, :-1]], axis=1)
    # Each stretch counts from a number of its own, so that its windows tell which it is.
    room = np.arange(begins.size) * (int(sizes.max()) + 1)
    starts, _ = windows.cut(room, room + (ends - begins).ravel())
    stretch = starts // (int(sizes.max()) + 1)
    if len(starts) == 0:
        count = "the sequence has" if len(sizes) == 1 else f"none of the {len(sizes):,} sequences has"
        few = f"{int(sizes.max())} steps" if len(sizes) == 1 else f"more than {int(sizes.max())} steps"
        apart = " in a part of its time" if by == "time" and int(sizes.max()) >= windows.window else ""
        raise UsageError(
            f"no window of {windows.window} steps fits{apart}: {count} {few}; take shorter ones, or name the axes, TP for one "
            "long sequence",
            "data.window",
            "data.layout",
        )
    sequence, part = np.divmod(stretch, begins.shape[1])
    split = part.astype(np.uint8) if by == "time" else None
    return Cut(sequence, starts - room[stretch] + begins.ravel()[stretch], windows.window, split)
