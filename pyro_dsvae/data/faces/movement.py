"""What faces do: the course of an expression, and the movement of the head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# At its apex: how much the mouth is curved (1 a broad smile, -1 its reverse), how wide it is open, how narrow it is, how wide
# the eyes are open (1 as at rest), how high the brows are, and how far their inner ends are down.
EXPRESSIONS: dict[str, tuple[float, float, float, float, float, float]] = {
    "smile": (1.0, 0.25, 0.0, 0.85, 0.15, 0.0),
    "surprise": (0.0, 1.0, 0.45, 1.35, 1.0, -0.1),
    "anger": (-0.5, 0.0, 0.1, 0.7, -0.5, 1.0),
    "sadness": (-1.0, 0.0, 0.1, 0.7, 0.2, -1.0),
    "blink": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "talk": (0.1, 0.75, 0.2, 1.0, 0.05, 0.0),
}
REST = (0.1, 0.0, 0.0, 1.0, 0.0, 0.0)
FEATURES = ("mouth curve", "mouth opening", "mouth narrowness", "eye opening", "brow height", "brow tilt")
# Yaw, pitch and roll of the head at the ends of each movement, in degrees.
MOTIONS: dict[str, tuple[float, float, float]] = {
    "still": (0.0, 0.0, 0.0),
    "turn": (32.0, 0.0, 0.0),
    "nod": (0.0, 17.0, 0.0),
    "tilt": (0.0, 0.0, 16.0),
}
HEAD = ("yaw", "pitch", "roll")
BLINKS, SYLLABLES = 2.0, 3.0  # in a clip
SWINGS = (0.8, 1.3)  # cycles of a movement in a clip, from and to


@dataclass(frozen=True)
class Movement:
    """How N faces move over T frames.

    Attributes:
        head: (N, T, 3) `HEAD`, in degrees.
        features: (N, T, 6) `FEATURES`, between those at rest and those of the apex.
    """

    head: Floats
    features: Floats

    @classmethod
    def draw(
        cls,
        expression: NDArray[np.integer],
        motion: NDArray[np.integer],
        length: int,
        random: np.random.RandomState,
    ) -> "Movement":
        """Movements of these classes, each with a start, a strength, a pace and a direction of its own.

        An expression rises from rest to its apex and falls again. A blink does so twice, and speech
        opens the mouth three times. A movement swings like a sine.

        Args:
            expression: (N,) in the order of `EXPRESSIONS`.
            motion: (N,) in the order of `MOTIONS`.
            length: T.
            random: The source of chance.
        """
        count = len(expression)
        time = np.arange(length) / max(length - 1, 1)
        names = list(EXPRESSIONS)
        apex = random.uniform(0.35, 0.65, (count, 1))
        width = random.uniform(0.3, 0.45, (count, 1))
        once = _bump((time - apex) / width)
        again = np.select(
            [expression == names.index("blink"), expression == names.index("talk")],
            [BLINKS, SYLLABLES],
            0.0,
        )[:, None]
        phase = random.uniform(0, 1, (count, 1))
        repeated = _bump(((time * np.maximum(again, 1) + phase + 0.5) % 1 - 0.5) / 0.5)
        strength = random.uniform(0.8, 1.0, (count, 1)) * np.where(again > 0, repeated, once)
        rest, ends = np.array(REST), np.array(list(EXPRESSIONS.values()))[expression]
        features = rest + strength[..., None] * (ends - rest)[:, None]
        swing = random.uniform(*SWINGS, (count, 1)) * random.choice([-1, 1], (count, 1))
        angle = np.sin(2 * np.pi * (swing * time + random.uniform(0, 1, (count, 1))))
        size = random.uniform(0.8, 1.0, (count, 1))
        head = (size * angle)[..., None] * np.array(list(MOTIONS.values()))[motion][:, None]
        return cls(head.astype(np.float32), features.astype(np.float32))

    def of(self, rows: NDArray[np.integer]) -> "Movement":
        """These movements, in this order."""
        return Movement(self.head[rows], self.features[rows])


def _bump(u: NDArray[np.floating]) -> NDArray[np.floating]:
    """(1 + cos πu) / 2 between -1 and 1, and 0 outside."""
    return np.where(np.abs(u) < 1, 0.5 + 0.5 * np.cos(np.pi * u), 0.0)
