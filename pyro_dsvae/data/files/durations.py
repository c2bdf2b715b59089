"""How often each picture of an animation is shown, in steps of equal length."""

import math
from collections.abc import Sequence

import numpy as np

from pyro_dsvae.models.errors import UsageError

# Viewers show no animation faster than this, so a shorter common step comes of rounding.
SHORTEST_MS = 20
# More than this is a pause, not a clip.
MOST_FRAMES = 10_000


def repeats(durations: Sequence[float]) -> list[int]:
    """How many steps each picture lasts: its duration over the common divisor of all.

    Encoders join pictures that are the same into one that lasts longer: A A A B B C is stored as A, B, C that last 300, 200
    and 100 ms. Durations are stored in 10 ms (GIF) or 1 ms, so that 30 pictures a second last 30, 30 and 40 ms in turn. Where
    the common divisor is under 20 ms, a step of at least that is taken of which all durations are multiples but for rounding.

    Args:
        durations: (n,) of the pictures, ms; those without one last one step.

    Returns:
        (n,) numbers of at least 1.

    Raises:
        UsageError: Where these make more than 10,000 frames.

    Example:
        >>> from pyro_dsvae.data.files.durations import repeats
        >>> repeats([300, 200, 100]), repeats([30, 30, 40]), repeats([70, 30, 100])
        ([3, 2, 1], [1, 1, 1], [2, 1, 3])
    """
    given = [round(duration) for duration in durations]
    known = [duration for duration in given if duration > 0]
    if not known:
        return [1] * len(given)
    step: float = math.gcd(*known)
    if step < SHORTEST_MS:
        step = _rounded_step(known) or step
    counts = [max(1, round(duration / step)) for duration in given]
    if sum(counts) > MOST_FRAMES:
        raise UsageError(
            f"its pictures last {min(known)} to {max(known)} ms, in steps of {step:g} ms {sum(counts):,} frames; save it with "
            "durations that are multiples of one of them"
        )
    return counts


def _rounded_step(durations: Sequence[int]) -> float | None:
    """The step in ms, if there is one, of which all durations are multiples up to the rounding of where they begin and end."""
    unit = 10 if all(duration % 10 == 0 for duration in durations) else 1
    shortest, values = min(durations), np.array(sorted(set(durations)))
    steps = np.arange(max(SHORTEST_MS, shortest - unit), shortest + unit + 0.05, 0.1)
    if not len(steps):
        return None
    off = np.abs(values - np.maximum(1, np.round(values / steps[:, None])) * steps[:, None]).max(1)
    best = int(off.argmin())
    return float(steps[best]) if off[best] < unit else None
