"""Clips as a page shows them, back as pixels."""

import base64
import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(text: str) -> NDArray[np.uint8]:
    """(T, H, W, C) of the HTML of a clip."""
    (data,) = re.findall(r"data:image/png;base64,([\w+/=]+)", text)
    (count,) = re.findall(r'data-frames="(\d+)"', text)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    image = image[..., None] if image.ndim == 2 else image
    return np.stack(np.split(image, int(count), axis=1))
