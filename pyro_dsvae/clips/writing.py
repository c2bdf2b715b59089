"""Clips and what belongs to them as files that `pyro_dsvae.clips.reading` reads back."""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pyro_dsvae.data.files.layout import CHANNELS
from pyro_dsvae.data.files.pictures import COMMENT
from pyro_dsvae.models.errors import UsageError

Array = NDArray[Any]

FRAME_MS = 150
PALETTE_PIXELS = 250_000


def to_bytes(clip: Tensor) -> Array:
    """A clip (T, C, H, W), uint8 or floating in [0, 1], as (T, H, W, C) uint8 with C = 1, 3 or 4; others become grey."""
    values = clip.detach().cpu()
    if values.dtype != torch.uint8:
        values = (values.double().nan_to_num(0, 0, 0).clamp(0, 1) * 255).round().byte()
    if values.shape[1] not in CHANNELS:
        values = values.float().mean(1, keepdim=True).round().byte()
    return values.permute(0, 2, 3, 1).numpy()


def write_strip(path: Path, clip: Tensor) -> None:
    """One PNG with the frames of a clip (T, C, H, W) side by side, each at its own size; `read_clips` gets the same back."""
    strip = np.concatenate(list(to_bytes(clip)), axis=1)
    Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip).save(path, optimize=True)


def write_gif(path: Path, clip: Tensor, frame_ms: int = FRAME_MS) -> None:
    """An endless animation of a clip (T, C, H, W). The format allows 256 colours, which are chosen for the whole clip."""
    write_animation(path, [Image.fromarray(_colours(frame)) for frame in to_bytes(clip)], frame_ms)


def write_animation(path: Path, pages: Sequence[Image.Image], frame_ms: int = FRAME_MS) -> None:
    """A GIF of pages of one size, in colours chosen for all of them, so that nothing flickers."""
    pixels = [np.asarray(page.convert("RGB")) for page in pages]
    # Pixels are enlarged ones, so some of them tell the colours of all.
    stride = math.isqrt(sum(page.shape[0] * page.shape[1] for page in pixels) // PALETTE_PIXELS) + 1
    some = Image.fromarray(np.concatenate([page[::stride, ::stride] for page in pixels]))
    palette = some.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1)
    first, *others = (page.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for page in pages)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=frame_ms,
        loop=0,
        comment=COMMENT + str(frame_ms).encode(),
    )


def _colours(frame: Array) -> Array:
    return frame[..., 0] if frame.shape[-1] == 1 else frame[..., :3]


def write_npz(path: Path, arrays: Mapping[str, Tensor | Array], about: Mapping[str, Any]) -> None:
    """Arrays in one file, and where they come from as JSON in its zip comment, which readers of arrays pass over."""
    values = {name: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for name, v in arrays.items()}
    np.savez_compressed(path, allow_pickle=False, **values)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = json.dumps(about, default=str).encode()[:65000]


def is_ours(path: Path) -> bool:
    """Whether this project wrote an ``.npz``."""
    try:
        return bool(provenance(path))
    except UsageError:
        return False


def provenance(path: Path) -> dict[str, Any]:
    """Where an ``.npz`` of this project comes from: version, command, run, seed and options.

    Raises:
        UsageError: Where the file does not say.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.comment))
    except (OSError, zipfile.BadZipFile, ValueError, TypeError) as error:
        raise UsageError(f"{path} does not say where it comes from") from error
