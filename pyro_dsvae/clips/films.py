"""Films: clips whose files say when each picture is shown. They are read as `VideoFolder` reads them, and written as mp4."""

import heapq
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.clips.writing import Array, to_bytes
from pyro_dsvae.data.files.conversion import fitted
from pyro_dsvae.data.files.pictures import frame_unit, is_animated
from pyro_dsvae.data.folders.tree import Kind
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.video.decoding import Span, decoded, steps
from pyro_dsvae.data.video.framing import box, framed
from pyro_dsvae.data.video.sources import VIDEO_SUFFIXES
from pyro_dsvae.data.video.windows import Cutting
from pyro_dsvae.data.words import size_in_words
from pyro_dsvae.models.errors import UsageError

# Players blur what is smaller, and colours are stored for squares of 2 x 2 pixels: so an even number of those makes one.
SHOWN = 256
COMMENT = "pyro_dsvae pixel="
QUALITY = "14"  # of x264: 0 is lossless, 23 its default
# What players take in mp4. Other sound is encoded anew.
SOUNDS = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
PRIMING = 0.1  # seconds of sound before the first frame, from which a decoder starts


@dataclass(frozen=True)
class Film:
    """What the file of a clip says beside its frames.

    Attributes:
        path: The file.
        rate: Frames a second; None where the file has no times.
        start: When the first frame is shown, in seconds.
    """

    path: Path
    rate: float | None
    start: float


def is_video(path: Path) -> bool:
    """Whether the name of a file is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def kind_of(path: Path) -> Kind | None:
    """What a clip is, if it is one that `VideoFolder` would find."""
    if path.is_dir():
        return "frames"
    if is_video(path):
        return "video"
    return "animation" if is_animated(path) else None


def read_film(
    path: Path,
    kind: Kind,
    frame_shape: tuple[int, ...],
    resize: bool = False,
    cutting: Cutting | None = None,
    root: Path | None = None,
) -> tuple[Tensor, Film]:
    """All frames (T, C, H, W) uint8 of a clip, one for each step of its time.

    Only frames are in memory, and no picture but one. What this project wrote holds frames already, so it is taken whole.

    Args:
        path: The clip.
        kind: What it is.
        frame_shape: (C, H, W) of a frame.
        resize: Whether pictures of another size may be changed, where there is no ``cutting``.
        cutting: How the clips of a `VideoFolder` become frames; these do likewise.
        root: That folder. Its own clips are cut at the place where they were cut for the fit, also at random ones.

    Raises:
        UsageError: Where it cannot be read, or its pictures have another size.
    """
    frames: list[Tensor] = []
    spans: list[Span] = []
    name = None if root is None else _name_below(root, path)
    pixel = written_pixel(path) if kind == "video" and name is None else 1
    whole = name is None and (pixel > 1 or (kind == "animation" and frame_unit(path) is not None))
    size, taken = (0, 0), None
    try:
        for picture, span in decoded(path, kind):
            pixels = _reduced(picture, pixel)
            if not spans:
                size = pixels.shape[:2]
                if cutting is not None:
                    frame = cutting.shape[1], cutting.shape[2] / span.aspect
                    key = f"{cutting.seed} {name or path.name}"
                    taken = box(size, frame, "centre" if whole else cutting.crop, key)
            elif pixels.shape[:2] != size:
                sizes = f"{size_in_words(*size)}, {size_in_words(*pixels.shape[:2])}"
                raise UsageError(f"holds frames of different sizes ({sizes}); a clip has one size")
            if cutting is None or taken is None:
                pixels = pixels.transpose(2, 0, 1).copy()
                frames.append(fitted(torch.from_numpy(pixels)[None], frame_shape, resize, path)[0])
            else:
                frames.append(torch.from_numpy(framed(pixels, taken, cutting.shape, path)))
            spans.append(span)
        if not spans:
            raise UsageError("holds no image; a folder of frames has one for each frame")
    except UsageError as error:
        raise UsageError(f"{path} {str(error).removeprefix(f'{path}: ')}") from None
    index, rate = steps(path, kind, spans, None if cutting is None else cutting.rate)
    return torch.stack(frames)[torch.from_numpy(index)], Film(path, rate, spans[0].start)


def _name_below(root: Path, path: Path) -> str | None:
    """What a `VideoFolder` calls a clip in its folder; None for clips from elsewhere."""
    for real in (os.path.abspath, os.path.realpath):  # a folder may be reached by a link, or hold one
        folder, clip = Path(real(root)), Path(real(path))
        if clip.is_relative_to(folder):
            return clip.relative_to(folder).as_posix()
    return None


def written_pixel(path: Path) -> int:
    """How many pixels of a video along each side are one of a clip: more than one where this project wrote it."""
    av = needed("av", "video", "a video file")
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            comment = container.metadata.get("comment", "")
    except av.FFmpegError:  # which decoding tells
        return 1
    side = comment.removeprefix(COMMENT)
    return int(side) if comment.startswith(COMMENT) and side.isdecimal() else 1


def _reduced(picture: Array, pixel: int) -> Array:
    if pixel == 1:
        return picture
    height, width = (side // pixel for side in picture.shape[:2])
    squares = picture[: height * pixel, : width * pixel].reshape(height, pixel, width, pixel, -1)
    return (squares.mean((1, 3)) + 0.5).astype(np.uint8)


def write_film(path: Path, clip: Tensor, rate: float, sound: Film | None = None) -> None:
    """An mp4 of a clip (T, C, H, W), each pixel as a square, with the sound of the film that gave its motion.

    The sound is copied as it is where players take its codec in mp4, and is encoded as AAC elsewhere. It ends with the clip.

    Args:
        path: The file to write.
        clip: uint8, or floating in [0, 1].
        rate: Frames a second.
        sound: The film; None for no sound.

    Raises:
        UsageError: Where PyAV is missing.
    """
    frames = to_bytes(clip)
    pixel = 2 * max(1, round(SHOWN / (2 * max(frames.shape[1:3]))))
    pictures = (np.repeat(np.repeat(frame[..., :3], pixel, 0), pixel, 1) for frame in frames)
    size = frames.shape[1] * pixel, frames.shape[2] * pixel
    write_pictures(path, pictures, size, rate, sound, len(frames) / rate, f"{COMMENT}{pixel}")


def write_pictures(
    path: Path,
    pictures: Iterator[Array],
    size: tuple[int, int],
    rate: float,
    sound: Film | None = None,
    seconds: float = 0.0,
    comment: str = "",
) -> None:
    """An mp4 of pictures (H, W, 1 or 3) uint8 of one even size (H, W). Raises as `write_film`."""
    av = needed("av", "video", "an mp4 file")
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = comment
        exact = Fraction(rate).limit_denominator(10_000)
        codec, options = "libx264", {"crf": QUALITY}
        if codec not in av.codecs_available:  # FFmpeg without the parts under the GPL
            codec, options = "mpeg4", {"qscale": "2"}
        stream: Any = container.add_stream(codec, rate=exact, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        heard = None if sound is None else _heard(av, container, sound, seconds)
        shown = _shown(av, stream, pictures)
        for _, packet in heapq.merge(shown, heard() if heard else (), key=lambda timed: timed[0]):
            container.mux(packet)


def _shown(av: Any, stream: Any, pictures: Iterator[Array]) -> Iterator[tuple[float, Any]]:
    """The packets of pictures, each with its time."""
    for picture in pictures:
        colours = np.ascontiguousarray(picture.repeat(3, 2) if picture.shape[2] == 1 else picture)
        yield from _timed(stream.encode(av.VideoFrame.from_ndarray(colours, "rgb24")))
    yield from _timed(stream.encode())


def _timed(packets: Any) -> Iterator[tuple[float, Any]]:
    return ((float(packet.dts * packet.time_base), packet) for packet in packets)


def _heard(av: Any, container: Any, film: Film, seconds: float) -> Callable[[], Iterator[tuple[float, Any]]] | None:
    """A stream for the sound of a film, and what gives its packets; None where the film has no sound."""
    if not is_video(film.path):
        return None
    with av.open(str(film.path), metadata_errors="ignore") as source:
        if not source.streams.audio:
            return None
        copied = source.streams.audio[0].codec_context.name in SOUNDS
        if copied:
            stream = container.add_stream_from_template(source.streams.audio[0])
        else:
            stream = container.add_stream("aac", rate=source.streams.audio[0].rate)

    def packets() -> Iterator[tuple[float, Any]]:
        with av.open(str(film.path), metadata_errors="ignore") as source:
            own = source.streams.audio[0]
            for item in source.demux(own) if copied else source.decode(own):
                if item.pts is None:
                    continue
                begins = float(item.pts * item.time_base) - film.start
                if begins < (-PRIMING if copied else 0):
                    continue
                if begins >= seconds:
                    break
                early = round(film.start / item.time_base)
                item.pts -= early
                if not copied:
                    yield from _timed(stream.encode(item))
                    continue
                item.dts = item.pts if item.dts is None else item.dts - early
                item.stream = stream
                yield float(item.dts * item.time_base), item
            if not copied:
                yield from _timed(stream.encode())

    return packets
