"""The pictures of a clip, one after the other, with their times."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.files.pictures import images_in, pictures, steps_shown
from pyro_dsvae.data.folders.tree import Kind
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.video.timing import Integers, at_own_rate, at_rate
from pyro_dsvae.models.errors import UsageError

# Of the duration that a container claims, the share that may be missing where it does not count its frames.
MISSING = 0.1
UNREADABLE = "is no video that can be read, or is cut short"


class Span(NamedTuple):
    """When a picture is shown first, and how long, in seconds, 0 where its file does not say; and how wide its pixels are."""

    start: float
    lasts: float
    aspect: float = 1.0


def decoded(path: Path, kind: Kind) -> Iterator[tuple[Array, Span]]:
    """The pictures of a clip as a viewer shows them, upright, each (H, W, C) uint8, and their times.

    C is 1 for greys, 3 for colours, and 4 where something is transparent.

    Raises:
        UsageError: Where the file cannot be read, is cut short or holds no pictures.
    """
    try:
        if kind == "video":
            yield from _of_video(path)
            return
        start = 0.0
        for file in images_in(path) if kind == "frames" else [path]:
            for pixels, ms in pictures(file):
                yield _plain(pixels), Span(start, ms / 1000)
                start += ms / 1000
                if kind == "frames":
                    break
    except UsageError as error:
        raise UsageError(str(error).removeprefix(str(path)).lstrip("/\\: ")) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}") from None


def steps(path: Path, kind: Kind, spans: list[Span], rate: float | None) -> tuple[Integers, float | None]:
    """Which picture each step of a clip shows.

    Args:
        path: Of the clip.
        kind: What it is.
        spans: Of its pictures.
        rate: Steps a second; None for the clip's own.

    Returns:
        (S,) indices of pictures, and the steps a second, None where the clip has no times.
    """
    end = spans[-1].start + spans[-1].lasts
    starts = [span.start for span in spans]
    if kind == "frames" or end <= starts[-1]:
        return np.arange(len(spans)), None
    if rate is not None:
        return at_rate(starts, end, rate), rate
    if kind == "animation":
        index = np.repeat(np.arange(len(spans)), steps_shown(path, [1000 * span.lasts for span in spans]))
    else:
        index = at_own_rate(starts, end)
    return index, len(index) / (end - starts[0])


def _of_video(path: Path) -> Iterator[tuple[Array, Span]]:
    av = needed("av", "video", "a video file")
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                # Half of an index may be read as one of nothing.
                sound = container.streams.audio
                raise UsageError("holds sound only" if sound else f"{UNREADABLE} (it names no pictures)")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from _of_stream(container, stream)
    except av.FFmpegError as error:
        what = str(getattr(error, "strerror", "") or error)
        raise UsageError(f"{UNREADABLE} ({what})") from None


def _of_stream(container: Any, stream: Any) -> Iterator[tuple[Array, Span]]:
    """The pictures of a stream. Each waits for the next, which tells how long it lasts."""
    usual = 1 / float(stream.average_rate or stream.guessed_rate or 25)
    wide, aspect = float(stream.sample_aspect_ratio or 1), 1.0
    waiting: tuple[Array, float, float] | None = None
    count, first = 0, 0.0
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise UsageError(f"is damaged at frame {count}")
        before = -usual if waiting is None else waiting[1]
        start = before + usual if frame.pts is None else float(frame.pts * frame.time_base)
        first = start if count == 0 else first
        count += 1
        if waiting is not None and start > before:  # of two pictures at one time the later is seen
            yield waiting[0], Span(before, start - before, aspect)
        lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual
        aspect = 1 / wide if round(frame.rotation / 90) % 2 else wide
        waiting = _upright(frame), max(start, before), lasts
    if waiting is None:
        raise UsageError("holds no pictures")
    pixels, start, lasts = waiting
    _check_whole(container, stream, count, start + lasts - first, usual)
    yield pixels, Span(start, lasts, aspect)


def _check_whole(container: Any, stream: Any, count: int, found: float, usual: float) -> None:
    """Raises `UsageError` for a file of which the end is missing, which many formats show by too few pictures only."""
    whole = container.duration / 1e6 if container.duration else 0.0
    claimed = _seconds(stream.metadata.get("DURATION", "")) or (whole if len(container.streams) == 1 else 0.0)
    missing = MISSING * claimed
    if stream.frames:
        # What an edit list hides is in the stream's duration and count, and not in the container's.
        own = float(stream.duration * stream.time_base) if stream.duration else 0.0
        claimed, missing = (min(own, whole), 0.0) if count < stream.frames else (0.0, 0.0)
    if found < claimed - missing - 1.5 * usual:
        raise UsageError(f"is cut short: it holds {found:.2f} of its {claimed:.2f} seconds")


def _seconds(clock: str) -> float:
    """Of "00:01:02.5"; 0 for what is no time."""
    try:
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


def _upright(frame: Any) -> Array:
    """(H, W, C) uint8 of a decoded frame, turned as its file says."""
    names = [component for component in frame.format.components if component.is_alpha]
    grey = len(frame.format.components) == 1 and frame.format.name.startswith("gray")
    pixels: Array = frame.to_ndarray(format="gray" if grey else "rgba" if names else "rgb24")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    # Degrees against the clock, as np.rot90 counts.
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels


def _plain(pixels: Array) -> Array:
    """Of (H, W, 4), the colours alone where nothing is transparent."""
    return pixels[..., :3] if (pixels[..., 3] == 255).all() else pixels
