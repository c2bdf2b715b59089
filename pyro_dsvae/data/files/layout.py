"""What the axes of a user's array are, one letter each."""

from dataclasses import dataclass

import numpy as np

from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.words import in_words
from pyro_dsvae.models.errors import UsageError

CHANNELS = (1, 3, 4)  # of images: grey, colours, colours and opacity
_FRAMES: tuple[set[str], ...] = (set(), {"P"}, {"H", "W"}, {"C", "H", "W"})
_GRAMMAR = (
    "it has one letter for each axis of frames, N (sequences), T (steps), and P (numbers of a vector) or H, W and C (rows, "
    "columns and channels of an image), such as NTP, NCTHW or TNHW, and TP or THWC for one long sequence"
)


@dataclass(frozen=True)
class Layout:
    """The axes of an array, in its order.

    Attributes:
        letters: T; N, unless there is one sequence only; and those of a frame: none for one number, P for a vector, H and W for
            a grey image, and C for one with channels.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.files.layout import Layout
        >>> clips = np.zeros((20, 3, 8, 32, 32))  # N, C, T, H, W
        >>> Layout.parse("NCTHW").arranged(clips).shape
        (20, 8, 3, 32, 32)
    """

    letters: str

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """The layout that a user names. C without H and W is another name of P.

        Raises:
            UsageError: Where it names none.
        """
        letters = text.upper() if "H" in text.upper() else text.upper().replace("C", "P")
        axes = set(letters)
        if len(axes) < len(letters) or "T" not in axes or axes - {"N", "T"} not in _FRAMES:
            raise UsageError(f"layout {text!r} is not understood: {_GRAMMAR}", "data.layout")
        return cls(letters)

    @classmethod
    def usual(cls, shape: tuple[int, ...]) -> "Layout":
        """How an array of this shape is read where nothing is said.

        Raises:
            UsageError: For a rank that is no array of sequences.
        """
        if not 2 <= len(shape) <= 5:
            raise UsageError(
                f"frames have shape {shape}; they must be (N, T), (N, T, P), (N, T, H, W) or (N, T, C, H, W)"
            )
        if len(shape) == 5 and shape[4] in CHANNELS and shape[2] not in CHANNELS:
            return cls("NTHWC")
        return cls(("NT", "NTP", "NTHW", "NTCHW")[len(shape) - 2])

    @classmethod
    def of_alike_sides(cls, shape: tuple[int, ...]) -> "Layout":
        """Of images (N, T, C, H, W) or (N, T, H, W, C), whichever has H and W more alike, then fewer channels."""

        def unlikely(letters: str) -> tuple[float, int]:
            sizes = dict(zip(letters, shape, strict=True))
            short, long = sorted((sizes["H"], sizes["W"]))
            return long / max(short, 1), sizes["C"]

        return cls(min(("NTCHW", "NTHWC"), key=unlikely))

    def arranged(self, values: Array) -> Array:
        """The values as (N, T, P) or (N, T, C, H, W), with N, P or C of size 1 where they are not named.

        Raises:
            UsageError: For values of another rank.
        """
        if values.ndim != len(self.letters):
            raise UsageError(
                f"frames have shape {values.shape}, {values.ndim} axes, and layout {self.letters} names {len(self.letters)}",
                "data.layout",
            )
        return self._ordered(values, "NTCHW" if "H" in self.letters else "NTP", self.letters)

    def of_steps(self, values: Array) -> Array:
        """Values of every step, whose first axes N and T are in the order of the layout, as (N, T, …)."""
        letters = "".join(letter for letter in self.letters if letter in "NT")
        if letters == "TN":
            return values.swapaxes(0, 1) if values.ndim > 1 else values
        return values if letters == "NT" else values[None]

    def in_words(self, shape: tuple[int, ...]) -> str:
        """What an array of this shape is, such as "20 clips of 8 frames of 32 x 32, 3 channels"."""
        n, steps, *frame = self.arranged(np.broadcast_to(np.zeros(()), shape)).shape
        return in_words(n, str(steps), tuple(frame))

    def _ordered(self, values: Array, order: str, letters: str) -> Array:
        values = values.transpose([letters.index(letter) for letter in order if letter in letters])
        return values[tuple(slice(None) if letter in letters else None for letter in order)]
