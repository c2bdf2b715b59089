"""The pictures of an image file, still or animated, one after the other."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from pyro_dsvae.data.files.durations import repeats
from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.models.errors import UsageError

IMAGE_SUFFIXES = (".png", ".gif", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# The format joins frames that are the same into one that lasts longer; this says how long each lasted.
COMMENT = b"pyro_dsvae frame_ms="
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombWarning)


def pictures(path: Path) -> Iterator[tuple[Array, float]]:
    """Each picture of an image file, (H, W, 4) uint8, and how long it is shown in ms, 0 where the file does not say.

    Raises:
        UsageError: Where the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            # What viewers show that cannot play an APNG.
            hidden = image.info.get("default_image", False) and getattr(image, "n_frames", 1) > 1
            for i, frame in enumerate(ImageSequence.Iterator(image)):
                pixels = _rgba(frame)
                if i or not hidden:
                    yield pixels, float(frame.info.get("duration", 0))  # known once the frame is loaded
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path} is refused: it claims more pixels than an image should have") from error
    except _UNREADABLE as error:
        what = str(error).partition("\n")[0][:120] or type(error).__name__
        raise UsageError(f"{path} is no image that can be read, or is cut short ({what})") from error


def steps_shown(path: Path, durations: Sequence[float]) -> list[int]:
    """For how many steps each picture of an image file is shown: as its writer said, or by `repeats`.

    Raises:
        UsageError: Where the durations make too many steps.
    """
    unit = frame_unit(path)
    if unit is not None:
        return [max(1, round(duration / unit)) for duration in durations]
    try:
        return repeats(durations) if len(durations) > 1 else [1]
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def frame_unit(path: Path) -> int | None:
    """How long each frame lasts in ms, where this project wrote the file; else None."""
    with Image.open(path) as image:
        comment = image.info.get("comment", b"")
    return int(comment[len(COMMENT) :]) if isinstance(comment, bytes) and comment.startswith(COMMENT) else None


def is_animated(path: Path) -> bool:
    """Whether an image file holds more than one picture; False for what is no image."""
    try:
        with Image.open(path) as image:
            return bool(getattr(image, "is_animated", False))
    except (*_UNREADABLE, Image.DecompressionBombError):
        return False


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names."""
    return sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda file: natural_order(file.name),
    )


def natural_order(name: str) -> list[tuple[int, str]]:
    """By what names are sorted so that frame 2 comes before frame 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _rgba(image: Image.Image) -> Array:
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) + 128) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    return np.asarray(image.convert("RGBA"))
