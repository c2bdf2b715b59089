"""Cartoon faces that smile, speak, frown and blink while their heads turn, nod and tilt, drawn by the project itself."""

from typing import get_args

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, Label, Quantity, SequenceData
from pyro_dsvae.data.embedded.grounds import Ground, Grounds
from pyro_dsvae.data.faces.drawing import draw_faces
from pyro_dsvae.data.faces.identities import ATTRIBUTES, Identities
from pyro_dsvae.data.faces.movement import EXPRESSIONS, FEATURES, HEAD, MOTIONS, Movement
from pyro_dsvae.models.errors import UsageError

CLIPS_PER_IDENTITY = 3
# Of the identities.
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_AT_ONCE = 128


class CartoonFaces(DataSource):
    """Faces of people who do not exist, (clips, length, 3, size, size) uint8, deterministic by seed.

    A clip shows an identity, an expression and a movement of the head, drawn independently. Every identity is in three clips,
    all in the same part: 80 % of the identities are for training, 10 % for validation and 10 % for test. So a face of the test
    clips is in no other clip.

    Labels (static): the attributes ``shape``, ``skin``, ``hair``, ``hair colour``, ``eyes``, ``glasses``, ``shirt``. Identities
    of the same attributes differ, too: in the width of the head, the size and distance of the eyes, nose and mouth. Labels
    (dynamic): ``expression`` and ``motion``. Quantities (dynamic, per frame): ``head``, its yaw, pitch and roll in degrees, and
    ``features``, how much mouth, eyes and brows are moved.

    Args:
        size: Height and width of a frame in pixels, 32 to 128.
        length: Number of frames, 4 or more.
        clips: Number of clips in all, a multiple of 3, 60 or more.
        ground: What is behind the faces. grey; black; colour, one for every clip; texture, a pattern of every clip's own that
            drifts. Labels say nothing of it.
        seed: Of identities and movements.

    Example:
        >>> from pyro_dsvae import CartoonFaces
        >>> data = CartoonFaces(size=32, clips=60).load()
        >>> data.frames.shape, data.labels["expression"].classes
        (torch.Size([60, 12, 3, 32, 32]), ('smile', 'surprise', 'anger', 'sadness', 'blink', 'talk'))
    """

    def __init__(
        self, size: int = 64, length: int = 12, clips: int = 3_000, ground: Ground = "grey", seed: int = 0
    ) -> None:
        if size not in range(32, 129):
            raise UsageError(f"size is {size}; faces are drawn 32 to 128 pixels high and wide")
        if length < 4:
            raise UsageError(f"length is {length}; an expression takes at least 4 frames")
        if clips < 20 * CLIPS_PER_IDENTITY or clips % CLIPS_PER_IDENTITY:
            raise UsageError(
                f"clips is {clips}; every face is in {CLIPS_PER_IDENTITY} of them: take a multiple, 60 or more"
            )
        if ground not in get_args(Ground):
            raise UsageError(f"ground is {ground!r}; it is one of {', '.join(get_args(Ground))}")
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed = {seed}; it must lie in 0..{2**32 - 1}")
        self.size = size
        self.length = length
        self.clips = clips
        self.ground: Ground = ground
        self.seed = seed

    def load(self) -> SequenceData:
        """Draw all clips; the same on every call."""
        random = np.random.RandomState(self.seed)  # its stream is the same in every NumPy
        count = self.clips // CLIPS_PER_IDENTITY
        identities = Identities.draw(count, random).of(np.repeat(np.arange(count), CLIPS_PER_IDENTITY))
        expression, motion = (random.randint(len(classes), size=self.clips) for classes in (EXPRESSIONS, MOTIONS))
        movement = Movement.draw(expression, motion, self.length, random)
        labels = {
            "expression": Label(torch.from_numpy(expression), tuple(EXPRESSIONS), "dynamic"),
            "motion": Label(torch.from_numpy(motion), tuple(MOTIONS), "dynamic"),
        }
        for name, classes in ATTRIBUTES.items():
            labels[name] = Label(torch.from_numpy(identities.attributes[name]), classes, "static")
        quantities = {
            "head": Quantity(torch.from_numpy(movement.head), HEAD, "degrees"),
            "features": Quantity(torch.from_numpy(movement.features), FEATURES, "shares of the apex"),
        }
        ends = np.cumsum([round(count * SHARES[name]) for name in SPLITS[:-1]])
        split = np.searchsorted(ends, np.arange(self.clips) // CLIPS_PER_IDENTITY, side="right").astype(np.uint8)
        return SequenceData(
            self._frames(identities, movement),
            torch.from_numpy(split),
            labels=labels,
            quantities=quantities,
            recordings=torch.arange(self.clips) // CLIPS_PER_IDENTITY,
        )

    def _frames(self, identities: Identities, movement: Movement) -> Tensor:
        frames = torch.empty(self.clips, self.length, 3, self.size, self.size, dtype=torch.uint8)
        grounds = None if self.ground == "black" else Grounds.draw(self.ground, self.clips)
        for rows in np.array_split(np.arange(self.clips), -(-self.clips // _AT_ONCE)):
            who, how = identities.of(rows), movement.of(rows)
            for t in range(self.length):
                behind = (
                    torch.zeros(1, 3, 1, 1) if grounds is None else torch.from_numpy(grounds.at(rows, t, self.size))
                )
                frames[rows[0] : rows[-1] + 1, t] = draw_faces(who, how, t, behind, self.size)
        return frames
