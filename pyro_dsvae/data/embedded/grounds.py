"""What is behind the characters: grey, a colour of every clip's own, or a texture that moves."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ground = Literal["black", "grey", "colour", "texture"]
Floats = NDArray[np.floating]

GREY = 128.0
SEED = 20180716
WAVES = 4
CYCLES = 3  # at most, along each side of the frame
DRIFT = 0.06  # at most, in sides of the frame per frame


@dataclass(frozen=True)
class Grounds:
    r"""The grounds of N clips: a colour of each clip's own, and plane waves that drift over it.

    .. math:: g_{tc}(u) = b_c + \sum_k a_{kc} \cos(2 \pi (w_k \cdot (u - t v) + \phi_{kc}))

    u is the place in sides of the frame and t the number of the frame. All that stands here is drawn anew for every clip,
    so that a ground tells nothing of who is before it and what they do.

    Attributes:
        base: (N, 3) b, the mean colour, 0 to 255.
        waves: (N, K, 2) w, whole cycles per side along x and y.
        amplitude: (N, K, 3) a, of red, green and blue.
        phase: (N, K, 3) φ, in cycles.
        drift: (N, 2) v, in sides of the frame per frame.
    """

    base: Floats
    waves: Floats
    amplitude: Floats
    phase: Floats
    drift: Floats

    @classmethod
    def draw(cls, kind: Literal["grey", "colour", "texture"], clips: int) -> "Grounds":
        """The grounds of this kind, the same on every call."""
        random = np.random.RandomState(SEED)  # its stream is the same in every NumPy
        count = WAVES if kind == "texture" else 0
        # Base and amplitudes of a texture stay within 0 to 255 together.
        low, high = {"grey": (GREY, GREY), "colour": (0, 255), "texture": (88, 168)}[kind]
        return cls(
            random.uniform(low, high, (clips, 3)).astype(np.float32),
            random.randint(-CYCLES, CYCLES + 1, (clips, count, 2)).astype(np.float32),
            random.uniform(0, low / WAVES, (clips, count, 3)).astype(np.float32),
            random.uniform(0, 1, (clips, count, 3)).astype(np.float32),
            random.uniform(-DRIFT, DRIFT, (clips, 2)).astype(np.float32),
        )

    def at(self, rows: NDArray[np.integer], frame: int, size: int) -> Floats:
        """What is behind these n clips in one frame: (n, 3, size, size), or (n, 3, 1, 1) where it is one colour."""
        found = self.base[rows, :, None, None]
        middle = (np.arange(size, dtype=np.float32) + 0.5) / size
        for k in range(self.waves.shape[1]):
            along, down = (
                self.waves[rows, k, axis, None] * (middle - frame * self.drift[rows, axis, None]) for axis in (0, 1)
            )
            cycles = (along[:, None, :] + down[:, :, None])[:, None] + self.phase[rows, k, :, None, None]
            found = found + self.amplitude[rows, k, :, None, None] * np.cos(2 * np.pi * cycles)
        return found
