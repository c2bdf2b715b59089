"""Moving digits: scikit-learn's 1,797 handwritten digits, one or two to a clip, that bounce about in a box."""

from importlib import import_module
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, Label, Quantity, SequenceData
from pyro_dsvae.models.errors import UsageError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

IMAGES, SIDE, LEVELS = 1797, 8, 16
# Of the images. The writers are mixed, so a random part is as good as any.
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
SPLIT_SEED = 20180715
# Height of a digit, in heights of the frame.
SIZES = {"small": 10 / 32, "medium": 12 / 32, "large": 14 / 32}
COLOURS = {
    "red": (1.0, 0.15, 0.15),
    "yellow": (1.0, 1.0, 0.15),
    "green": (0.15, 1.0, 0.15),
    "cyan": (0.15, 1.0, 1.0),
    "blue": (0.25, 0.35, 1.0),
    "magenta": (1.0, 0.2, 1.0),
}
# The centre of mass keeps this distance from every side, in heights of the frame. Ink of the largest digit reaches up
# to .31 from it, and a digit knows nothing of the box, so that f and z are independent.
MARGIN = 5 / 16
CROWDED = (
    5 / 7
)  # two digits are smaller by this factor, and so is the margin, so that they are not always one upon the other
SPEEDS = (0.5 / 32, 2.0 / 32)  # per frame, in heights of the frame
_AT_ONCE = 512


class MovingDigits(DataSource):
    """Handwritten digits that bounce about, (clips, length, 1 or 3, size, size) uint8 on black, deterministic by seed.

    A digit is one of scikit-learn's 1,797 images of 8 x 8 pixels. 80 % of these images are for training, 10 % for
    validation and 10 % for test, whatever the seed; the clips are divided likewise, so the images of test clips are in no
    other clip. A digit is enlarged by bilinear interpolation and placed between pixels: every pixel is the mean over its
    area. Its centre of mass goes straight on at a constant speed, and is reflected at the sides of a box that is the same
    for all digits. Who is drawn and how it moves are independent.

    Labels (static): ``digit``, ``size`` and with colour ``colour``. Quantities (dynamic, per frame): ``position``, the
    centre of mass (x, y) in pixels from the upper left corner of the frame, and ``velocity`` in pixels per frame. With two
    digits the names end in ``_1`` for the lower digit and ``_2`` for the higher one; every value is the brighter of both.

    Args:
        size: Height and width of a frame in pixels, 24 to 128.
        length: Number of frames, 2 or more.
        digits: One or two of them; two are of different kinds, and smaller.
        colour: Whether each digit has one of six colours; else they are white, in one channel.
        clips: Number of clips in all, 100 or more.
        seed: Of the choice of images and of all movements.

    Example:
        >>> from pyro_dsvae import MovingDigits
        >>> data = MovingDigits(clips=100).load()
        >>> data.frames.shape, data.quantities["position"].values.shape
        (torch.Size([100, 12, 1, 32, 32]), torch.Size([100, 12, 2]))
        >>> sorted(data.labels)
        ['digit', 'size']
    """

    def __init__(
        self,
        size: int = 32,
        length: int = 12,
        digits: Literal[1, 2] = 1,
        colour: bool = False,
        clips: int = 10_000,
        seed: int = 0,
    ) -> None:
        if size not in range(24, 129):
            raise UsageError(f"size is {size}; digits are drawn in frames 24 to 128 pixels high and wide")
        if length < 2:
            raise UsageError(f"length is {length}; a clip needs at least 2 frames")
        if digits not in (1, 2):
            raise UsageError(f"digits is {digits}; a clip shows 1 or 2 of them")
        if clips < 100:
            raise UsageError(f"clips is {clips}; take at least 100, so that 10 are for validation and 10 for test")
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed = {seed}; it must lie in 0..{2**32 - 1}")
        self.size = size
        self.length = length
        self.digits = digits
        self.colour = colour
        self.clips = clips
        self.seed = seed

    def load(self) -> SequenceData:
        """Draw all clips; the same on every call."""
        pictures, kinds = _handwritten()
        random = np.random.RandomState(self.seed)  # its stream is the same in every NumPy
        split = self._split()
        shown = self._kinds(split, random)
        actors = [self._actor(kinds, split, shown[:, i], random) for i in range(self.digits)]
        frames = torch.from_numpy(self._frames(pictures, actors))
        labels: dict[str, Label] = {}
        quantities: dict[str, Quantity] = {}
        for i, actor in enumerate(actors):
            end = f"_{i + 1}" if self.digits > 1 else ""
            labels[f"digit{end}"] = _label(shown[:, i], tuple(str(kind) for kind in range(10)))
            labels[f"size{end}"] = _label(actor.size, tuple(SIZES))
            if self.colour:
                labels[f"colour{end}"] = _label(actor.colour, tuple(COLOURS))
            quantities[f"position{end}"] = Quantity(_floats(actor.position), ("x", "y"), "pixels")
            quantities[f"velocity{end}"] = Quantity(_floats(actor.velocity), ("x", "y"), "pixels per frame")
        return SequenceData(frames, torch.from_numpy(split), labels=labels, quantities=quantities)

    @property
    def _enlarged(self) -> float:
        return 1.0 if self.digits == 1 else CROWDED

    def _split(self) -> NDArray[np.uint8]:
        """(clips,): in the order of the splits."""
        counts = [round(self.clips * SHARES[name]) for name in SPLITS[1:]]
        return np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [self.clips - sum(counts), *counts])

    def _kinds(self, split: NDArray[np.uint8], random: np.random.RandomState) -> Integers:
        """(clips, digits): which digits are shown, ascending; all equally often within a split, up to one."""
        choices = [(i,) for i in range(10)] if self.digits == 1 else [(i, j) for j in range(10) for i in range(j)]
        shown = np.empty((len(split), self.digits), np.int64)
        for part in range(len(SPLITS)):
            rows = (split == part).nonzero()[0]
            shown[random.permutation(rows)] = np.array(choices)[np.arange(len(rows)) % len(choices)]
        return shown

    def _actor(
        self, kinds: Integers, split: NDArray[np.uint8], shown: Integers, random: np.random.RandomState
    ) -> "_Actor":
        """One digit of every clip: its image, its size and colour, and its path."""
        image, images = np.empty(len(shown), np.int64), image_split().numpy()
        for part in range(len(SPLITS)):
            for kind in range(10):
                rows = ((split == part) & (shown == kind)).nonzero()[0]
                image[rows] = random.choice(((images == part) & (kinds == kind)).nonzero()[0], len(rows))
        size, colour = (random.randint(len(classes), size=len(shown)) for classes in (SIZES, COLOURS))
        angle = random.uniform(0, 2 * np.pi, len(shown))
        speed = random.uniform(*SPEEDS, len(shown))
        margin = MARGIN * self._enlarged
        start = random.uniform(margin, 1 - margin, (len(shown), 2))
        step = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        position, velocity = _bounced(start, step, self.length, margin)
        return _Actor(image, size, colour, position * self.size, velocity * self.size)

    def _frames(self, pictures: Floats, actors: list["_Actor"]) -> NDArray[np.uint8]:
        """(clips, length, 1 or 3, size, size)."""
        shape = (self.clips, self.length, 3 if self.colour else 1, self.size, self.size)
        frames = np.zeros(shape, np.uint8)
        for first in range(0, self.clips, _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            for actor in actors:
                scale = np.array(list(SIZES.values()))[actor.size[rows]] * self._enlarged * self.size / SIDE
                grey = rendered(pictures[actor.image[rows]], actor.position[rows], scale, self.size)[:, :, None]
                tone = np.array(list(COLOURS.values()))[actor.colour[rows]] if self.colour else np.ones((len(grey), 1))
                drawn = (255 * grey * tone[:, None, :, None, None] + 0.5).astype(np.uint8)
                np.maximum(frames[rows], drawn, out=frames[rows])
        return frames


class _Actor(NamedTuple):
    """One digit of each of N clips: image, size and colour (N,), position and velocity (N, T, 2) in pixels."""

    image: Integers
    size: Integers
    colour: Integers
    position: Floats
    velocity: Floats


def image_split() -> Tensor:
    """(1797,) uint8, index into `SPLITS` of every image of `load_digits`; the same whatever the seed of the clips."""
    order = np.random.RandomState(SPLIT_SEED).permutation(IMAGES)
    ends = np.cumsum([round(IMAGES * SHARES[name]) for name in SPLITS[:-1]])
    split = np.empty(IMAGES, np.uint8)
    split[order] = np.searchsorted(ends, np.arange(IMAGES), side="right")
    return torch.from_numpy(split)


def rendered(pictures: Floats, position: Floats, scale: Floats, size: int) -> Floats:
    """Pictures enlarged and placed between pixels: the mean of the bilinear interpolation over the area of each pixel.

    Args:
        pictures: (N, K, K) values, 0 outside.
        position: (N, T, 2) where the centre of mass (x, y) goes, in pixels from the upper left corner.
        scale: (N,) pixels of the frame per pixel of the picture.
        size: Height and width of the frame.

    Returns:
        (N, T, size, size).
    """
    side = pictures.shape[-1]
    middle = np.arange(side) + 0.5
    mass = pictures.sum((1, 2))
    centre = np.stack([pictures.sum(1) @ middle, pictures.sum(2) @ middle], 1) / mass[:, None]
    # (N, T, 2, size + 1, side): from the middle of each of the picture's pixels to each border, in the picture's pixels.
    border = (np.arange(size + 1) - position[..., None]) / scale[:, None, None, None] + centre[:, None, :, None]
    far = np.clip(border[..., None] - middle, -1, 1)
    area = far - far * np.abs(far) / 2  # the integral of the tent 1 - |far|
    across, down = np.moveaxis(np.diff(area, axis=-2) * scale[:, None, None, None, None], 2, 0)
    drawn: Floats = down @ pictures[:, None] @ across.swapaxes(-1, -2)
    return drawn


def _bounced(start: Floats, step: Floats, length: int, margin: float) -> tuple[Floats, Floats]:
    """Position and velocity (N, T, 2) of points that start inside the box, (N, 2), and move by ``step`` (N, 2) per frame.

    The box leaves a ``margin`` at every side of the unit square. A reflected path is the straight path, folded: a triangle wave
    of the distance from the near side of the box.
    """
    low, wide = margin, 1 - 2 * margin
    straight = (start - low)[:, None] + step[:, None] * np.arange(length)[:, None]
    phase = straight % (2 * wide)
    back = phase > wide
    return low + np.where(back, 2 * wide - phase, phase), np.where(back, -1, 1) * step[:, None]


def _handwritten() -> tuple[Floats, Integers]:
    """scikit-learn's digits: values (1797, 8, 8) in 0..1, and which digit each is (1797,)."""
    try:
        load_digits = import_module("sklearn.datasets").load_digits
    except ImportError:
        raise UsageError(
            "MovingDigits needs the digits of scikit-learn; install it with: pip install 'pyro-dsvae[evaluate]'"
        ) from None
    found = load_digits()
    return found.images / LEVELS, found.target.astype(np.int64)


def _label(values: Integers, classes: tuple[str, ...]) -> Label:
    return Label(torch.from_numpy(values.astype(np.int64)), classes, "static")


def _floats(values: Floats) -> Tensor:
    return torch.from_numpy(values).float()
