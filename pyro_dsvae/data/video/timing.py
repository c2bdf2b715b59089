"""Which picture of a clip each step shows: time on a regular grid."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.files.durations import repeats
from pyro_dsvae.models.errors import UsageError

Integers = NDArray[np.int64]
# Containers round times to this many seconds.
ROUNDING = 0.002
# By this share of a step the pictures of a steady camera come early or late.
JITTER = 0.25


def at_rate(starts: Sequence[float], end: float, rate: float) -> Integers:
    """The picture that is shown at each time k / rate, k = 0, 1, …, before the end.

    Args:
        starts: (n,) when each picture begins, in seconds, ascending.
        end: When the last one ends.
        rate: Steps a second.

    Returns:
        (S,) indices of pictures.

    Example:
        >>> from pyro_dsvae.data.video.timing import at_rate
        >>> at_rate([0.0, 0.1, 0.4, 0.5], end=0.55, rate=10).tolist()
        [0, 1, 1, 1, 2, 3]
    """
    off = min(ROUNDING, 0.25 / rate)
    steps = max(1, math.ceil((end - starts[0] - off) * rate))
    times = starts[0] + np.arange(steps) / rate
    return (np.searchsorted(np.asarray(starts), times + off, side="right") - 1).astype(np.int64)


def at_own_rate(starts: Sequence[float], end: float) -> Integers:
    """Each picture for as many steps as it lasts.

    A step is the median duration, if all are multiples of it up to a jitter of a quarter: then a picture that lasts one step is
    shown once, whatever its time says exactly. Else it is the common divisor of all durations (`repeats`). Where that makes
    more than four steps of a picture, times are irregular, and the grid is that of the mean duration.

    Args:
        starts: (n,) when each picture begins, in seconds, ascending.
        end: When the last one ends.

    Returns:
        (S,) indices of pictures, each at least once where the times are regular.

    Example:
        >>> from pyro_dsvae.data.video.timing import at_own_rate
        >>> at_own_rate([0.0, 0.033, 0.067, 0.133], end=0.167).tolist()
        [0, 1, 2, 2, 3]
    """
    durations = np.diff([*starts, end])
    counts = np.round(durations / (np.median(durations) or 1)).astype(np.int64)
    off = np.abs(durations / (np.median(durations) or 1) - counts)
    if (counts < 1).any() or (off > JITTER).any():
        try:
            counts = np.asarray(repeats(list(1000 * durations)), dtype=np.int64)
        except UsageError:
            return at_rate(starts, end, 1 / float(durations.mean()))
        if counts.sum() > 4 * len(counts):
            return at_rate(starts, end, 1 / float(durations.mean()))
    return np.repeat(np.arange(len(counts)), counts)
