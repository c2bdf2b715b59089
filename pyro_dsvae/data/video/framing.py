"""The part of a picture that is taken, at the size and in the colours of the frames."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pyro_dsvae.data.files.conversion import fitted
from pyro_dsvae.data.files.npz import Array

Crop = Literal["centre", "random", "face"]
# A head in the middle of a portrait: its height as a share of the picture's shorter side, and the share of what is left that is
# above it.
FACE, ABOVE_FACE = 0.6, 0.4
Box = tuple[int, int, int, int]  # top, left, height, width


def box(size: tuple[int, int], frame: tuple[float, float], crop: Crop, key: str) -> Box:
    """Top, left, height and width of the part that is taken.

    It has the shape of the frames, and is the largest such part, or for a face 0.6 of it.

    Args:
        size: Height and width of the pictures.
        frame: Height and width of the frames; where pixels of the pictures are not square, in those.
        crop: In the middle, at a random place, or where the head is in a portrait.
        key: By which the random place is drawn: one for all pictures of a clip.

    Example:
        >>> from pyro_dsvae.data.video.framing import box
        >>> box((480, 640), (64, 64), "centre", "")
        (0, 80, 480, 480)
    """
    share = FACE if crop == "face" else 1.0
    scale = share * min(size[0] / frame[0], size[1] / frame[1])
    height, width = (max(1, min(round(scale * side), most)) for side, most in zip(frame, size, strict=True))
    free = size[0] - height, size[1] - width
    if crop == "random":
        random = np.random.RandomState(int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]))
        return random.randint(free[0] + 1), random.randint(free[1] + 1), height, width
    return round(free[0] * ABOVE_FACE) if crop == "face" else free[0] // 2, free[1] // 2, height, width


def framed(pixels: Array, taken: Box, shape: tuple[int, int, int], path: Path) -> Array:
    """A frame (C, H, W) of a picture (H', W', C') uint8; each of its pixels is the mean of what it covers.

    Where the sizes are the same nothing is changed. What is transparent is black, and grey is the mean of the colours.
    """
    top, left, height, width = taken
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width].transpose(2, 0, 1))
    return fitted(torch.from_numpy(part)[None], shape, True, path)[0].numpy()
