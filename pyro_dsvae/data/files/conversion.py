"""Frames of one size and channel count as those of another."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pyro_dsvae.data.files.layout import CHANNELS
from pyro_dsvae.data.words import size_in_words
from pyro_dsvae.models.errors import UsageError


def fitted(frames: Tensor, frame_shape: tuple[int, ...], resize: bool, path: Path | None) -> Tensor:
    """Convert frames ``(T, *any)`` to ``(T, *frame)``.

    Args:
        frames: Of another size or number of channels.
        frame_shape: The wanted shape.
        resize: Whether they may be changed.
        path: Where they came from, for messages.

    Raises:
        UsageError: Where they would be changed without ``resize``.
    """
    where = "" if path is None else f"{path}: "
    if frames.shape[1:] == frame_shape:
        return frames
    if len(frame_shape) == 1 or frames.ndim != 4 or frame_shape[0] not in CHANNELS:
        raise UsageError(f"{where}frames have shape {tuple(frames.shape[1:])}; those of this run have {frame_shape}")
    channels, size = frame_shape[0], frame_shape[1:]
    found = frames.shape[1]
    if path is not None:
        # What an image file calls its colours says little: greys are stored as colours, colours in palettes.
        if found == 4 and channels != 4:
            frames = _on_black(frames)
        if frames.shape[1] == 1 and channels >= 3:
            frames = frames.expand(-1, 3, -1, -1)
        if frames.shape[1] == 3 and channels == 4:
            frames = torch.cat([frames, torch.full_like(frames[:, :1], 255)], dim=1)
        if frames.shape[1] == 3 and channels == 1 and (frames[:, :1] == frames[:, 1:]).all():
            frames = frames[:, :1]
    if (frames.shape[1] != channels or frames.shape[2:] != size) and not resize:
        raise UsageError(
            f"{where}frames are {size_in_words(*frames.shape[2:])} pixels with {frames.shape[1]} channels; those of this "
            f"run are {size_in_words(*size)} with {channels}: give such clips, or --resize true to convert them"
        )
    return _resized(_channelled(frames, channels), size)


def _on_black(frames: Tensor) -> Tensor:
    """(T, 4, H, W) without its transparency."""
    if frames.dtype == torch.uint8:
        return ((frames[:, :3].int() * frames[:, 3:].int() + 127) // 255).byte()
    return frames[:, :3] * frames[:, 3:]


def _channelled(frames: Tensor, channels: int) -> Tensor:
    found = frames.shape[1]
    if found == channels:
        return frames
    if found == 4:
        frames = _on_black(frames)
    if channels == 1:
        grey = frames.float().mean(1, keepdim=True)
        return grey.round().byte() if frames.dtype == torch.uint8 else grey
    frames = frames[:, :1].expand(-1, 3, -1, -1) if frames.shape[1] not in (3, 4) else frames
    if channels == 4:
        frames = torch.cat([frames, torch.full_like(frames[:, :1], 255 if frames.dtype == torch.uint8 else 1)], dim=1)
    return frames


def _resized(frames: Tensor, size: tuple[int, ...]) -> Tensor:
    if frames.shape[2:] == size:
        return frames
    resized = interpolate(frames.float(), size=size, mode="area")
    return resized.round().byte() if frames.dtype == torch.uint8 else resized
