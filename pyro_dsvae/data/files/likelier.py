"""Whether an array is likelier to have another layout than it is read in."""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from pyro_dsvae.data.files.layout import CHANNELS, Layout
from pyro_dsvae.data.files.npz import Array

SMOOTH = 0.75
LINES, LONGEST, SEQUENCES = 12, 256, 200
SMALLEST_IMAGE = 16


@dataclass(frozen=True)
class Likelier:
    """Another layout and what speaks for it."""

    layout: Layout
    why: str


class _Array:
    """What sizes and smoothness tell of an array."""

    def __init__(self, values: Array, observed: Array | None) -> None:
        self.values, self.observed, self.shape = values, observed, values.shape
        self._known: dict[int, float] = {}

    def roughness(self, axis: int) -> float:
        """See `roughness`."""
        if axis not in self._known:
            self._known[axis] = roughness(self.values, axis, self.observed)
        return self._known[axis]

    def smoother(self, axis: int, read: int) -> bool:
        """Whether steps are likelier along ``axis`` than along the axis they are read along.

        Along that one neighbours must be hardly more alike than strangers: then less is asked of the other. The line was set
        on sprites, digits, balls, autoregressions and spectra: `tests/data/test_layouts.py`.
        """
        rough = self.roughness(read)
        return self.roughness(axis) < min(0.72 * rough, 1.65 * rough - 0.8)

    def flat_images(self) -> bool:
        """Whether the last axis holds the pixels of square images, one row after the other."""
        sides = [math.isqrt(self.shape[2] // channels) for channels in CHANNELS]
        side = next(
            (s for s, c in zip(sides, CHANNELS, strict=True) if s >= SMALLEST_IMAGE and c * s * s == self.shape[2]), 0
        )
        if not side:
            return False
        some = tuple(
            slice(None, None, -(-size // most)) for size, most in zip(self.shape, (SEQUENCES, LINES), strict=False)
        )
        return roughness(self.values[some].reshape(*self.values[some].shape[:2], -1, side), 2) < SMOOTH

    def square(self, first: int, second: int) -> bool:
        """Whether two axes are the sides of an image."""
        return self.shape[first] == self.shape[second] >= SMALLEST_IMAGE


def likelier(values: Array, read: Layout, observed: Array | None = None, counted: bool = False) -> list[Likelier]:
    """Layouts that sizes and smoothness speak for, against the one that the array is read in, the likeliest first.

    Args:
        values: As the file has them.
        read: Their layout by `Layout.usual`.
        observed: Of the same shape, False where a value says nothing.
        counted: Whether other arrays of the file confirm the number of sequences.
    """
    array = _Array(values, observed)
    found = {2: _numbers, 3: _vectors, 4: _grey, 5: _images}[values.ndim](array, read)
    return [each for each in found if not (counted and each.layout.letters[0] == "T")]


def _numbers(array: _Array, _: Layout) -> list[Likelier]:
    return [Likelier(Layout("TP"), _along(0, 1))] if array.smoother(0, 1) else []


def _vectors(array: _Array, _: Layout) -> list[Likelier]:
    if array.square(1, 2) and all(array.roughness(axis) < SMOOTH for axis in range(3)):
        return [
            Likelier(Layout("THW"), f"neighbours are alike along every axis, and two have {array.shape[1]} elements")
        ]
    found = [(axis, letters) for axis, letters in ((0, "TNP"), (2, "NPT")) if array.smoother(axis, 1)]
    if found and found[-1] == (2, "NPT") and array.flat_images():
        found.pop()
    found.sort(key=lambda each: array.roughness(each[0]))
    return [Likelier(Layout(letters), _along(axis, 1)) for axis, letters in found]


def _grey(array: _Array, _: Layout) -> list[Likelier]:
    shape, found = array.shape, []
    if array.square(1, 2) and shape[3] in CHANNELS:
        found.append(Likelier(Layout("THWC"), f"the last axis has {shape[3]} elements, as channels have"))
    if array.square(2, 3) and (shape[1] == 3 or (shape[1] == 4 and array.roughness(0) < SMOOTH)):
        found.append(Likelier(Layout("TCHW"), f"axis 1 has {shape[1]} elements, as channels have"))
    if array.square(1, 2) and not array.square(2, 3) and shape[3] not in CHANNELS:
        found.append(Likelier(Layout("NHWT"), f"axes 1 and 2 have {shape[1]} elements, as sides of an image have"))
    if array.smoother(0, 1):
        found.append(Likelier(Layout("TNHW"), _along(0, 1)))
    return found


def _images(array: _Array, read: Layout) -> list[Likelier]:
    shape, found = array.shape, []
    if read.letters == "NTCHW" and (shape[1] in CHANNELS or shape[1] == 2 < shape[2] not in CHANNELS):
        colours = shape[1] == 3 and shape[2] in (1, 4)
        if colours or shape[2] not in CHANNELS or (shape[1] == 3 and array.smoother(2, 1)):
            found.append(Likelier(Layout("NCTHW"), f"axis 1 has {shape[1]} elements, as channels have"))
    if array.smoother(0, 1):
        found.append(Likelier(Layout("T" + read.letters.replace("T", "")), _along(0, 1)))
    return found


def _along(axis: int, read: int) -> str:
    return f"values change less from one to the next along axis {axis} than along axis {read}"


def roughness(values: Array, axis: int, observed: Array | None = None) -> float:
    """How unlike neighbours along an axis are: von Neumann's ratio.

        E[(x_{i+1} - x_i)^2] / (2 Var_i x)      1 for independent values, near 0 for a smooth course

    Every place but along axis 0 is standardised over axis 0 first, so that neither offsets nor units of columns count. Some
    lines of the array are looked at.

    Args:
        values: Of any rank.
        axis: Which.
        observed: Of the same shape, False where a value says nothing.

    Source: von Neumann, "Distribution of the Ratio of the Mean Square Successive Difference to the Variance", Annals of
    Mathematical Statistics 12, 1941.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.files.likelier import roughness
        >>> walks = np.random.default_rng(0).normal(size=(50, 40)).cumsum(1)
        >>> bool(roughness(walks, 1) < 0.2 < 0.8 < roughness(walks, 0))
        True
    """
    some = [slice(None, None, -(-size // LINES)) for size in values.shape]
    some[0] = slice(None, None, -(-values.shape[0] // SEQUENCES))
    some[axis] = slice(0, LONGEST)
    x = np.asarray(values[tuple(some)], dtype=np.float64)
    if observed is not None:
        x = np.where(observed[tuple(some)], x, np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # places of which nothing was observed
        scale = np.nanstd(x, 0)
        x = np.where(scale > 1e-9 * np.nanmax(np.abs(x), initial=0.0), (x - np.nanmean(x, 0)) / scale, 0.0 * x)
        steps, spread = np.nanmean(np.diff(x, axis=axis) ** 2), np.nanmean(np.nanvar(x, axis, ddof=1))
    return float(steps / (2 * spread)) if spread > 0 else 1.0
