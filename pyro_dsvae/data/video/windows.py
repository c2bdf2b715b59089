"""Windows of equal length from one clip."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.folders.cache import Reader
from pyro_dsvae.data.folders.tree import Source
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.data.video.decoding import Span, decoded, steps
from pyro_dsvae.data.video.framing import Crop, box, framed
from pyro_dsvae.data.video.timing import Integers
from pyro_dsvae.data.words import size_in_words
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Cutting:
    """How a clip becomes windows.

    Attributes:
        window: Steps of a window.
        stride: Steps from one to the next.
        rate: Steps a second; None for the clip's own.
        shape: (C, H, W) of a frame.
        crop: Which part of a picture is taken.
        seed: Of random crops.
    """

    window: int
    stride: int
    rate: float | None
    shape: tuple[int, int, int]
    crop: Crop
    seed: int


@dataclass(frozen=True)
class Clip:
    """A decoded clip, whose pictures lie in a file.

    Attributes:
        pictures: The file: frames (C, H, W) uint8, one after the other.
        index: (S,) the picture that each step shows.
        starts: (n,) the step at which each window begins.
        rate: Steps a second; None where the clip has no times.
        size: Height and width of its pictures.
        cutting: How it was cut.
    """

    pictures: BinaryIO
    index: Integers
    starts: Integers
    rate: float | None
    size: tuple[int, int]
    cutting: Cutting

    @property
    def first(self) -> tuple[int, ...]:
        """(windows,) the step at which each begins."""
        return tuple(self.starts.tolist())

    @property
    def about(self) -> Mapping[str, Any]:
        """What its entry says: steps a second, and height and width of pictures."""
        return {"rate": self.rate, "size": list(self.size)}

    def windows(self) -> Iterator[Array]:
        """Each window, (T, C, H, W) uint8; one at a time is in memory."""
        size = int(np.prod(self.cutting.shape))
        for start in self.starts:
            window = np.empty((self.cutting.window, *self.cutting.shape), np.uint8)
            for frame, picture in zip(window, self.index[start : start + self.cutting.window], strict=True):
                self.pictures.seek(int(picture) * size)
                frame[:] = np.frombuffer(self.pictures.read(size), np.uint8).reshape(self.cutting.shape)
            yield window


class ClipReader(Reader):
    """Decodes clips.

    Args:
        root: The folder that they are below.
        cutting: How they become windows.
    """

    def __init__(self, root: Path, cutting: Cutting) -> None:
        super().__init__(root, "clip", (cutting.window, *cutting.shape), np.uint8)
        self.cutting = cutting

    def prepare(self, sources: Sequence[Source]) -> None:
        if any(source.kind == "video" for source in sources):
            needed("av", "video", "a video file")

    def read(self, source: Source, scratch: BinaryIO) -> Clip:
        return read_clip(self.root, source, self.cutting, scratch)


def read_clip(root: Path, source: Source, cutting: Cutting, pictures: BinaryIO) -> Clip:
    """Decode a clip into a file.

    Args:
        root: The folder that source is below.
        source: The clip.
        cutting: How it becomes windows.
        pictures: A file to write, open for reading, too. What it holds is lost.

    Raises:
        UsageError: Where the clip cannot be read or has no window.
        OSError: Where the file cannot be written.
    """
    path = root / source.name
    pictures.seek(0)
    pictures.truncate()
    spans: list[Span] = []
    size, taken = (0, 0), (0, 0, 0, 0)
    for pixels, span in decoded(path, source.kind):
        if not spans:
            size = pixels.shape[:2]
            _, height, width = cutting.shape
            taken = box(size, (height, width / span.aspect), cutting.crop, f"{cutting.seed} {source.name}")
        elif pixels.shape[:2] != size:
            sizes = f"{size_in_words(*size)}, {size_in_words(*pixels.shape[:2])}"
            raise UsageError(f"holds frames of different sizes ({sizes}); a clip has one size")
        pictures.write(framed(pixels, taken, cutting.shape, path).tobytes())
        spans.append(span)
    index, rate = steps(path, source.kind, spans, cutting.rate)
    starts, _ = Windows(cutting.window, cutting.stride).cut(np.zeros(1, np.int64), np.array([len(index)]))
    if len(starts) == 0:
        raise UsageError(f"is shorter than a window: {len(index)} of {cutting.window} frames")
    return Clip(pictures, index, starts, rate, size, cutting)
