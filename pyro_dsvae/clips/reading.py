"""Clips in a user's own files: .npz, video, GIF, PNG strip, or a folder of frames."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyro_dsvae.clips.films import Film, kind_of, read_film
from pyro_dsvae.clips.writing import is_ours
from pyro_dsvae.data.files.conversion import fitted
from pyro_dsvae.data.files.layout import CHANNELS, Layout
from pyro_dsvae.data.files.npz import Array, as_frames, as_mask, as_values, frames_in, read_arrays
from pyro_dsvae.data.files.pictures import IMAGE_SUFFIXES, frame_unit, images_in, pictures, steps_shown
from pyro_dsvae.data.video.windows import Cutting
from pyro_dsvae.data.words import numbered_sequences, size_in_words
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.images import MIN_SIDE


@dataclass(frozen=True)
class Reading:
    """How the data of a run were read, and so other files are.

    Attributes:
        frame_shape: (C, H, W) or (P,): a frame of the run.
        layout: The order of axes that was named for arrays.
        cutting: How the clips of a `VideoFolder` became frames.
        root: The folder of that.
    """

    frame_shape: tuple[int, ...]
    layout: Layout | None = None
    cutting: Cutting | None = None
    root: Path | None = None


def read_with_film(path: Path, how: Reading, resize: bool = False) -> tuple[Sequences, Film | None]:
    """The clips in a file as `read_clips` has them, and the `Film` of one whose file says when its pictures are shown.

    A video is brought to the run's frames as `VideoFolder` does it where the run's data are one, and so are animations and
    folders of frames. Elsewhere a video is taken whole.

    Raises:
        UsageError: As `read_clips`.
    """
    shape = how.frame_shape
    kind = kind_of(path) if len(shape) == 3 and path.exists() else None
    if kind is None or (kind != "video" and how.cutting is None):
        return read_clips(path, shape, resize, how.layout), None
    frames, film = read_film(path, kind, shape, resize, how.cutting, how.root)
    clips = Sequences.of(frames[None])
    _check(path, clips)
    return clips, film


def read_clips(
    path: Path, frame_shape: tuple[int, ...], resize: bool = False, layout: Layout | None = None
) -> Sequences:
    """The clips in a file, or in a folder with one image per frame (in the order of their names).

    An ``.npz`` holds ``frames`` ``(T, *frame)`` or ``(n, T, *frame)``, images channel-first or channel-last, or in the
    ``layout`` of the run's data, and where known ``mask``, ``lengths`` and ``times``; other arrays in it are ignored. Without
    a mask NaN means that nothing was measured. An animated image holds one clip, in which each picture is repeated for as
    long as it lasts (`repeats`). Any other image is a strip of frames from left to right, as wide for their height as those
    of the run, or square. Palettes are resolved, 16 bit become 8, and what is transparent becomes black, unless the run's
    frames have an alpha channel themselves.

    Args:
        path: A file or a folder.
        frame_shape: (C, H, W) or (P,): a frame of the run.
        resize: Bring images of another size to (H, W), each pixel the mean of what it covers, and colours to the run's
            channels.
        layout: The order of axes that was named for the run's data. A file in which this project wrote frames has its own.

    Returns:
        All n clips of the file: frames ``(n, T, *frame)`` uint8 or float32, as the file has them, times (n, T) float64.

    Raises:
        UsageError: Where the path cannot be read as clips, they have another size or channel count, or hold fewer than
            two frames.
    """
    if not path.exists():
        raise UsageError(
            f"{path}: no such file or folder; a clip is an index, an .npz, a video, a GIF, a PNG strip or a folder"
        )
    if path.is_file() and path.suffix.lower() in (".npz", ".npy"):
        clips = _from_arrays(path, frame_shape, resize, layout)
    elif len(frame_shape) != 3:
        what = "a folder" if path.is_dir() else f"a {path.suffix.lower() or 'file without an ending'}"
        raise UsageError(
            f"{path} is {what}, and the frames of this run are vectors {frame_shape}: give an .npz, or a file of the kind "
            "that the run was fitted to"
        )
    else:
        clips = Sequences.of(fitted(_pictures(path, frame_shape), frame_shape, resize, path)[None])
    _check(path, clips)
    return clips


def _check(path: Path, clips: Sequences) -> None:
    """Raises `UsageError` for clips of fewer than two frames."""
    if clips.length < 2:
        raise UsageError(f"{path} holds a clip of {clips.length} frame; a clip to condition on needs at least 2")
    if clips.lengths is not None:
        wrong = (clips.lengths < 2) | (clips.lengths > clips.length)
        if wrong.any():
            raise UsageError(
                f"{path}: lengths run from {int(clips.lengths.min())} to {int(clips.lengths.max())}; a clip to condition on "
                f"needs at least 2 frames, and here has at most {clips.length}: see {numbered_sequences(wrong)}"
            )


def _pictures(path: Path, frame_shape: tuple[int, ...]) -> Tensor:
    """(T, C, H, W) uint8 with C = 1 for greys, 3 for colours, 4 where something is transparent."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        frames = _folder(path) if path.is_dir() else _image(path, frame_shape)
    if len({frame.shape for frame in frames}) > 1:
        sizes = sorted({size_in_words(*frame.shape[:2]) for frame in frames})
        raise UsageError(f"{path} holds frames of different sizes ({', '.join(sizes[:3])}); a clip has one size")
    values = np.stack(frames)
    if (values[..., 3] == 255).all():
        values = values[..., :1] if (values[..., :1] == values[..., 1:3]).all() else values[..., :3]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def _folder(path: Path) -> list[Array]:
    files = images_in(path)
    if not files:
        raise UsageError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}); a folder of frames has one per frame")
    return [frame for file in files for frame in _opened(file)[0][:1]]


def _image(path: Path, frame_shape: tuple[int, ...]) -> list[Array]:
    """The pictures of an animation, or those of a strip, which are as wide for their height as the run's frames, or square."""
    frames, animated = _opened(path)
    if animated:
        return frames
    if path.suffix.lower() == ".gif":
        raise UsageError(
            f"{path} holds one picture; a clip is a GIF of at least 2, or a PNG strip of frames side by side"
        )
    (strip,) = frames
    height, width = strip.shape[:2]
    side, left = divmod(height * frame_shape[2], frame_shape[1])
    if left or not side or width % side:
        if width % height:
            shaped = size_in_words(*frame_shape[1:])
            raise UsageError(
                f"{path} is {size_in_words(height, width)} pixels; a strip is a row of frames as those of this run, {shaped}, "
                f"so its width is a multiple of {side if side and not left else height}"
            )
        side = height
    return list(np.split(strip, width // side, axis=1))


def _opened(path: Path) -> tuple[list[Array], bool]:
    """The frames of an image file, each (H, W, 4) uint8, and whether it is animated."""
    found = list(pictures(path))
    counts = steps_shown(path, [lasts for _, lasts in found])
    return _repeated([frame for frame, _ in found], counts), len(found) > 1 or frame_unit(path) is not None


def _repeated(frames: list[Array], counts: list[int]) -> list[Array]:
    return [frame for frame, n in zip(frames, counts, strict=True) for _ in range(n)]


def _from_arrays(path: Path, frame_shape: tuple[int, ...], resize: bool, layout: Layout | None) -> Sequences:
    try:
        arrays = read_arrays(path)
        name = frames_in(arrays)
        if layout is not None and not is_ours(path):
            arrays = _reordered(arrays, name, layout)
        series = len(frame_shape) == 1  # integers are measurements; of images they may be bytes or not
        raw = as_values(name, arrays[name], str(path)) if series else as_frames(name, arrays[name])
        if "mask" not in arrays and raw.dtype.kind == "f" and np.isnan(raw).any():
            arrays = {**arrays, "mask": ~np.isnan(raw)}
        values = torch.from_numpy(np.ascontiguousarray(raw))
        frames = _arranged(values, frame_shape)
        if not series and raw.ndim == 3 and min(raw.shape[1:]) < MIN_SIDE <= min(frame_shape[1:]):
            raise UsageError(
                f"{name} have shape {raw.shape}, that of vectors (N, T, P); a clip of this run is images (T, "
                f"{_listed(frame_shape)})"
            )
        if frames.ndim <= len(frame_shape):
            what = "one frame; a clip to condition on needs at least 2" if frames.shape == frame_shape else "no clip"
            raise UsageError(
                f"{name} have shape {raw.shape}, {what}; a clip of this run is (T, {_listed(frame_shape)})"
            )
        sizes = frames.shape[: frames.ndim - len(frame_shape)]
        frames = fitted(frames.flatten(0, -1 - len(frame_shape)), frame_shape, resize, None)
        n, length = int(np.prod(sizes[:-1])), sizes[-1]
        return Sequences.of(
            frames.unflatten(0, (n, length)),
            None if "mask" not in arrays else _mask(arrays["mask"], tuple(raw.shape), frame_shape, (n, length)),
            None if "lengths" not in arrays else _of_clips(arrays, "lengths", "iu", (n,)).long(),
            None if "times" not in arrays else _of_clips(arrays, "times", "iuf", (n, length)).double(),
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _reordered(arrays: Mapping[str, Array], name: str, layout: Layout) -> dict[str, Array]:
    """Arrays whose axes are in the order of a layout, or of one clip in that order without N, in the usual order."""
    raw, mask = arrays[name], arrays.get("mask")
    letters = layout.letters if raw.ndim == len(layout.letters) else layout.letters.replace("N", "")
    if raw.ndim != len(letters):
        return dict(arrays)
    order = Layout(letters)
    found = {**arrays, name: order.arranged(raw)}
    if mask is not None:
        found["mask"] = order.arranged(mask) if mask.shape == raw.shape else order.of_steps(mask)
    if "times" in arrays:
        found["times"] = order.of_steps(arrays["times"])
    return found


def _arranged(values: Tensor, frame_shape: tuple[int, ...]) -> Tensor:
    """``(*any, *frame)``, whatever the size of an image: channel-first, and one channel where none is named."""
    if len(frame_shape) == 1:
        plain = frame_shape == (1,) and (values.ndim < 2 or values.shape[-1] != 1)
        return values[..., None] if plain else values
    channels, side = frame_shape[0], frame_shape[1:]
    if values.ndim >= 4 and values.shape[-3:] == frame_shape:
        return values
    if channels == 1 and (values.shape[-2:] == side or values.ndim < 4):
        return values.unsqueeze(-3)
    if values.ndim >= 4 and values.shape[-1] in {*CHANNELS, channels} and values.shape[-3] not in {*CHANNELS, channels}:
        return values.movedim(-1, -3)
    return values.unsqueeze(-3) if values.ndim == 3 and values.shape[0] not in CHANNELS else values


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in sizes)


def _mask(mask: Array, raw: tuple[int, ...], frame_shape: tuple[int, ...], clips: tuple[int, int]) -> Tensor:
    """(n, T) or ``(n, T, *frame)`` bool."""
    values = torch.from_numpy(np.ascontiguousarray(as_mask(mask)))
    if mask.shape == raw and mask.size != np.prod(clips):
        whole = _arranged(values, frame_shape)
        if whole.shape[-len(frame_shape) :] != frame_shape:
            raise UsageError("a mask of values does not go with --resize; give a mask of whole frames")
        return whole.reshape(*clips, *frame_shape)
    if mask.size != np.prod(clips):
        raise UsageError(
            f"mask has shape {mask.shape}; it must be {clips}, one value per frame, or {raw}, one per value"
        )
    return values.reshape(clips)


def _of_clips(arrays: Mapping[str, Array], name: str, kinds: str, shape: tuple[int, ...]) -> Tensor:
    values = arrays[name]
    if values.dtype.kind not in kinds or values.size != np.prod(shape):
        raise UsageError(f"{name} are {values.dtype} {values.shape}; they must be numbers of shape {shape}")
    return torch.from_numpy(values.reshape(shape))
