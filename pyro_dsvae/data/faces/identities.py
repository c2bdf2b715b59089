"""Who is drawn: the attributes of a face, those that are named and those that are measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Colour = tuple[int, int, int]

# Exponent of the outline, and how much narrower the jaw is than the brow.
SHAPES: dict[str, tuple[float, float]] = {
    "round": (2.0, 0.02),
    "oval": (2.2, 0.14),
    "square": (3.4, 0.03),
    "heart": (2.3, 0.3),
}
SKINS: dict[str, Colour] = {
    "pale": (252, 222, 202),
    "tan": (228, 178, 132),
    "brown": (165, 110, 74),
    "dark": (98, 62, 44),
    "green": (150, 200, 120),
}
# How far down the hair of the brow reaches, how much it slants, whether it is curly, and hair behind the head: its half
# width and how far down it reaches, in half heights of a head.
HAIRS: dict[str, tuple[float, float, float, float, float]] = {
    "bald": (-2.0, 0.0, 0.0, 0.0, 0.0),
    "short": (-0.5, 0.0, 0.0, 0.0, 0.0),
    "fringe": (-0.22, 0.0, 0.0, 1.12, 0.3),
    "parted": (-0.48, 0.42, 0.0, 0.0, 0.0),
    "curly": (-0.42, 0.0, 1.0, 1.32, 0.35),
    "long": (-0.5, 0.12, 0.0, 1.18, 1.3),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (36, 30, 34),
    "brown": (104, 62, 32),
    "red": (190, 74, 32),
    "blond": (238, 200, 96),
    "white": (236, 236, 240),
    "blue": (64, 96, 214),
}
EYES: dict[str, Colour] = {
    "brown": (96, 54, 24),
    "blue": (54, 120, 220),
    "green": (40, 150, 70),
    "violet": (150, 60, 190),
}
# Exponent of the rims: a circle or nearly a square.
GLASSES: dict[str, float] = {"none": 0.0, "round": 2.0, "square": 6.0}
SHIRTS: dict[str, Colour] = {
    "red": (206, 48, 52),
    "yellow": (240, 196, 40),
    "teal": (20, 150, 150),
    "navy": (40, 54, 120),
    "white": (240, 240, 240),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": tuple(SHAPES),
    "skin": tuple(SKINS),
    "hair": tuple(HAIRS),
    "hair colour": tuple(HAIR_COLOURS),
    "eyes": tuple(EYES),
    "glasses": tuple(GLASSES),
    "shirt": tuple(SHIRTS),
}
# Smallest and largest value, in half heights of a head. They differ between identities of the same attributes.
MEASURES: dict[str, tuple[float, float]] = {
    "width": (0.78, 0.92),
    "eye distance": (0.32, 0.42),
    "eye size": (0.15, 0.2),
    "nose": (0.06, 0.11),
    "mouth width": (0.28, 0.42),
}


@dataclass(frozen=True)
class Identities:
    """N identities; every attribute and measure is drawn independently of all others.

    Attributes:
        attributes: By name of `ATTRIBUTES`, (N,) the number of the class. Where there is no hair, its colour is that of
            the brows.
        measures: By name of `MEASURES`, (N,).
    """

    attributes: dict[str, NDArray[np.int64]]
    measures: dict[str, Floats]

    @classmethod
    def draw(cls, count: int, random: np.random.RandomState) -> "Identities":
        """``count`` identities."""
        return cls(
            {name: random.randint(len(classes), size=count) for name, classes in ATTRIBUTES.items()},
            {name: random.uniform(*ends, count).astype(np.float32) for name, ends in MEASURES.items()},
        )

    def of(self, rows: NDArray[np.integer]) -> "Identities":
        """These identities, in this order."""
        return Identities(
            {name: values[rows] for name, values in self.attributes.items()},
            {name: values[rows] for name, values in self.measures.items()},
        )
