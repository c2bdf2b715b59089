"""Cases that hold every two values of different axes, in place of every combination."""

import itertools
from collections.abc import Sequence
from typing import Any


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows with a value of each axis, so that any two values of two axes meet in a row.

    Greedy, and the same on every call: about as many rows as the two longest axes have pairs, where all combinations are the
    product of all. A fault that needs three certain values at once may be missed; one of a value, or of two, is not.
    """
    places = [range(len(axis)) for axis in axes]
    left = {
        pair
        for (i, one), (j, other) in itertools.combinations(enumerate(places), 2)
        for pair in itertools.product([i], one, [j], other)
    }

    def new(row: tuple[int, ...]) -> set[tuple[int, ...]]:
        met = {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(row), 2)}
        return met & left

    rows = []
    while left:
        rows.append(max(itertools.product(*places), key=lambda row: len(new(row))))
        left -= new(rows[-1])
    return [tuple(axis[at] for axis, at in zip(axes, row, strict=True)) for row in rows]
