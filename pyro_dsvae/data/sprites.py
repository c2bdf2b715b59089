"""The embedded data set: 1296 little role-playing characters in nine animated actions, drawn by this module.

Four attributes say who is drawn (`PALETTES`), six variants each, different in shape as well as in colour; the action
says what they do. Every variant is drawn once per pose, on transparent layers, and the characters are composed of them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, Label, SequenceData
from pyro_dsvae.data.embedded.grounds import Ground, Grounds
from pyro_dsvae.data.embedded.parts import (
    PALETTES,
    Layer,
    hair_back,
    hair_front,
    head,
    shirt,
    side_ear,
    skin_arm,
    skin_leg,
    sleeve,
    trouser_leg,
    waist,
)
from pyro_dsvae.data.embedded.pixel_art import FRAMES, MOTIONS, Floats, Limb, Pose, over, pose, stack
from pyro_dsvae.models.errors import UsageError

DIRECTIONS = ("front", "left", "right")
VARIANTS = 6
CHARACTERS = VARIANTS**4
TRAINING, VALIDATION = 1000, 100
SPLIT_SEED = 20180715


# --- composition ------------------------------------------------------------------------------------------------------

Painter = Callable[[Layer], None]


def _variants(size: int, attribute: str, painter: Painter, at: Pose) -> Floats:
    """(6, 4, size, size): the same layer for every variant of an attribute."""
    drawn = []
    for variant, palette in enumerate(PALETTES[attribute].values()):
        layer = Layer(size, variant, palette, at)
        painter(layer)
        drawn.append(layer.pixels())
    return np.stack(drawn)


def _compose(size: int, at: Pose, covers: bool = False) -> Iterator[NDArray[np.uint8]]:
    """For each skin (216, 3, size, size): all its characters in one pose, on black, in the order of their number.

    With ``covers`` there is a fourth channel, from 0, where the ground is seen, to 255. The colours are weighted by it.
    From bottom to top: back hair, far arm, legs, torso, head, hair, near arms. Alpha-over is associative, so what lies
    below and what lies above the legs is composed first, without trousers: only two steps are left for all characters.
    """

    def layer(attribute: str, painter: Painter) -> Floats:
        axes = {"skin": (1, 2), "trousers": (1, 2), "top": (0, 2), "hair": (0, 1)}[attribute]
        return np.expand_dims(_variants(size, attribute, painter, at), axes)

    def arm(limb: Limb) -> list[Floats]:
        return [layer("skin", partial(skin_arm, limb=limb)), layer("top", partial(sleeve, limb=limb))]

    near, far = (arm(limb) for limb in at.arms)
    # Seen from the side the far arm is behind the body; seen from the front both are before it.
    behind, before = (far, near) if at.side else ([], far + near)
    body = [layer("top", shirt), layer("skin", head), layer("hair", hair_front), layer("skin", side_ear)]
    above = stack([*body, *before])
    below = np.broadcast_to(stack([layer("hair", hair_back), *behind]), above.shape)
    bare_near, bare_far = (layer("skin", partial(skin_leg, limb=limb)) for limb in at.legs)
    clad_near, clad_far = (layer("trousers", partial(trouser_leg, limb=limb)) for limb in at.legs)
    belt = layer("trousers", waist)
    for skin in range(VARIANTS):
        # (6, 1, 1, 4, size, size), trousers first, against (6, 6, 4, size, size) for top and hair.
        dressed = stack([bare_far[skin], clad_far, bare_near[skin], clad_near, belt])
        # The rows above the legs are the same for all trousers.
        start = int(dressed.any((0, 1, 2, 3, 5)).argmax())
        upper = over(above[skin, ..., :start, :], below[skin, ..., :start, :])
        lower = over(above[skin, ..., start:, :], over(dressed[..., start:, :], below[skin, ..., start:, :]))
        halves = [np.broadcast_to(upper, (VARIANTS, *upper.shape)), lower]
        picture = np.concatenate([_bytes(half[..., :3, :, :]) for half in halves], axis=-2)
        if covers:
            cover = np.concatenate([_bytes(255 * half[..., 3:, :, :]) for half in halves], axis=-2)
            picture = np.concatenate([picture, cover], axis=1)
        yield picture


def _bytes(picture: Floats) -> NDArray[np.uint8]:
    """(216, channels, rows, size) from (6, 6, 6, channels, rows, size)."""
    return (picture + 0.5).astype(np.uint8).reshape(-1, *picture.shape[-3:])


def _on(ground: Floats, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours weighted by their cover, and the cover, (n, 4, size, size), over a ground: (n, 3, size, size)."""
    seen = ground * ((255 - picture[:, 3:]) / np.float32(255))
    return np.minimum(picture[:, :3] + seen + 0.5, 255).astype(np.uint8)


def _frames(size: int, grounds: Grounds | None) -> Tensor:
    """(11664, 8, 3, size, size) uint8, on black where there are no grounds."""
    frames = torch.empty(CHARACTERS, len(MOTIONS), len(DIRECTIONS), FRAMES, 3, size, size, dtype=torch.uint8)
    per_skin = CHARACTERS // VARIANTS
    for m, motion in enumerate(MOTIONS):
        for f in range(FRAMES):
            for side in (False, True):
                for skin, picture in enumerate(_compose(size, pose(motion, f, side), grounds is not None)):
                    characters = np.arange(skin * per_skin, (skin + 1) * per_skin)
                    views = [(1, picture), (2, picture[..., ::-1])] if side else [(0, picture)]
                    for d, view in views:
                        clips = (characters * len(MOTIONS) + m) * len(DIRECTIONS) + d
                        seen = view.copy() if grounds is None else _on(grounds.at(clips, f, size), view)
                        frames[characters[0] : characters[-1] + 1, m, d, f] = torch.from_numpy(seen)
    return frames.flatten(1, 2).flatten(0, 1)


def _split() -> Tensor:
    """(1296,) uint8: the part of every character, from one permutation of NumPy's legacy generator, `SPLIT_SEED`.

    Its first 1000 characters are for training, the last 100 of these held out for validation; the rest is for test.
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(CHARACTERS)
    part = torch.full((CHARACTERS,), SPLITS.index("test"), dtype=torch.uint8)
    part[order[: TRAINING - VALIDATION]] = SPLITS.index("train")
    part[order[TRAINING - VALIDATION : TRAINING]] = SPLITS.index("validation")
    return part


class Sprites(DataSource):
    """Little role-playing characters, (11664, 8, 3, size, size) uint8, drawn by the project itself.

    Sequence ``character * 9 + action`` with ``character = skin * 216 + trousers * 36 + top * 6 + hair``. Actions are
    walk, cast and slash, each seen from the front, the left and the right. 900 characters are for training, 100 for
    validation and 296 for test; a character is in one part only, with all its actions.

    Args:
        size: Height and width of a frame in pixels, 32 to 64.
        ground: What is behind the characters. black; grey, the same in all clips; colour, one for every clip; texture, a
            pattern of every clip's own that drifts. Labels say nothing of it.

    Example:
        >>> from pyro_dsvae import Sprites
        >>> Sprites(size=32).load().frames.shape  # doctest: +SKIP
        torch.Size([11664, 8, 3, 32, 32])
        >>> Sprites(size=16)
        Traceback (most recent call last):
        ...
        pyro_dsvae.models.errors.UsageError: size is 16; sprites are drawn 32 to 64 pixels high and wide
    """

    def __init__(self, size: int = 32, ground: Ground = "black") -> None:
        if size not in range(32, 65):
            raise UsageError(f"size is {size}; sprites are drawn 32 to 64 pixels high and wide")
        if ground not in get_args(Ground):
            raise UsageError(f"ground is {ground!r}; it is one of {', '.join(get_args(Ground))}")
        self.size = size
        self.ground: Ground = ground

    def load(self) -> SequenceData:
        """Draw all sequences; the same on every call."""
        actions = tuple(f"{motion} {direction}" for motion in MOTIONS for direction in DIRECTIONS)
        character = torch.arange(CHARACTERS).repeat_interleave(len(actions))
        labels = {"action": Label(torch.arange(len(actions)).repeat(CHARACTERS), actions, "dynamic")}
        for place, (name, palettes) in enumerate(PALETTES.items()):
            values = character // VARIANTS ** (len(PALETTES) - 1 - place) % VARIANTS
            labels[name] = Label(values, tuple(palettes), "static")
        grounds = None if self.ground == "black" else Grounds.draw(self.ground, len(character))
        return SequenceData(_frames(self.size, grounds), _split()[character], labels=labels)
