"""Clips as files, for tests of those who read them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]


def noise(count: int, height: int = 12, width: int = 16, seed: int = 0) -> Frames:
    """(count, height, width, 3) uint8."""
    return np.random.RandomState(seed).randint(0, 256, (count, height, width, 3)).astype(np.uint8)


def squares(count: int, height: int = 48, width: int = 64) -> Frames:
    """A square that moves over a grey ground, which lossy codecs keep well."""
    frames = np.full((count, height, width, 3), 90, np.uint8)
    for t, frame in enumerate(frames):
        frame[8:24, t : t + 16] = 220
    return frames


def write_video(
    path: Path,
    frames: Frames,
    rate: int = 25,
    starts_ms: Sequence[int] | None = None,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    options: dict[str, str] | None = None,
    source: str = "rgb24",
    aspect: int = 1,
) -> None:
    """A file of these frames (T, H, W, C); by default lossless, and of one rate."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        base = Fraction(1, 1000) if starts_ms else Fraction(1, rate)
        stream.codec_context.time_base = base
        for i, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, source).reformat(format=pixels)
            frame.pts, frame.time_base = starts_ms[i] if starts_ms else i, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    """A file with a second of silence."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16_000)
        for i in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, 1024 * i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_animation(path: Path, frames: Frames, ms: int | list[int], **options: Any) -> None:
    """A GIF, APNG or WebP, by its name. Frames of a GIF have at most 256 colours each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=ms, **options)


def greys(count: int, height: int = 12, width: int = 16) -> Frames:
    """Frames of one grey each, 20, 21, …, which every format keeps."""
    return np.broadcast_to(np.arange(20, 20 + count)[:, None, None, None], (count, height, width, 3)).astype(np.uint8)


def write_pictures(folder: Path, frames: Frames) -> None:
    """A folder with a PNG for each frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"img_{i}.png")
