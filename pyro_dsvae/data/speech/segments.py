"""Windows of log spectra from one recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.folders.cache import Reader
from pyro_dsvae.data.folders.tree import Source
from pyro_dsvae.data.speech.recordings import Recording, read_recording
from pyro_dsvae.data.speech.spectra import HOP, Spectra
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Segmenting:
    """How a recording becomes windows.

    Attributes:
        spectra: Of its sound.
        window: Frames of a window.
        stride: Frames from one to the next.
        trim: See `read_recording`.
    """

    spectra: Spectra
    window: int
    stride: int
    trim: float | None


@dataclass(frozen=True)
class Segments:
    """An analysed recording.

    Attributes:
        frames: (S, P) float32.
        starts: (n,) the frame at which each window begins.
        recording: Its sound, and what was done to it.
        window: Frames of a window.
    """

    frames: Array
    starts: Sequence[int]
    recording: Recording
    window: int

    @property
    def first(self) -> tuple[int, ...]:
        """(n,) the frame at which each window begins."""
        return tuple(self.starts)

    @property
    def about(self) -> Mapping[str, Any]:
        """What its entry says: what the file was, and what the way back needs."""
        r = self.recording
        return {
            "rate": r.own_rate,
            "channels": r.channels,
            "clipped": r.clipped,
            "gain": r.gain,
            "start": r.start,
            "seconds": len(r.sound) / r.rate,
        }

    def windows(self) -> Iterator[Array]:
        """Each window, (T, P) float32."""
        for start in self.starts:
            yield self.frames[start : start + self.window]


class SegmentReader(Reader):
    """Reads and analyses recordings.

    Args:
        root: The folder that they are below.
        how: How they become windows.
    """

    def __init__(self, root: Path, how: Segmenting) -> None:
        super().__init__(root, "recording", (how.window, how.spectra.size), np.float32)
        self.how = how

    def prepare(self, sources: Sequence[Source]) -> None:
        needed("soundfile", "speech", "a sound file")

    def read(self, source: Source, scratch: BinaryIO) -> Segments:
        how = self.how
        recording = read_recording(self.root / source.name, how.spectra.rate, how.trim)
        frames = how.spectra.of(recording.sound).numpy()
        starts, _ = Windows(how.window, how.stride).cut(np.zeros(1, np.int64), np.array([len(frames)]))
        if len(starts) == 0:
            raise UsageError(
                f"is shorter than a window: {len(frames)} of {how.window} frames, {len(frames) * HOP:.2f} s without silence"
            )
        return Segments(frames, starts.tolist(), recording, how.window)
