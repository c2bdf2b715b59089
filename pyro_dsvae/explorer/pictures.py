"""Clips of images as HTML that moves: one PNG with all frames side by side, of which the page shows one at a time.

Which one, all clips of a page are told by the CSS variable ``--frame``. So they move together, and without the server.
"""

import base64
import html
import io

import numpy as np
from PIL import Image
from torch import Tensor

from pyro_dsvae.clips.writing import to_bytes

SIDE = 160  # pixels on the screen, about: two beside each other in a narrow window


def strip(clip: Tensor) -> bytes:
    """The frames of a clip (T, C, H, W) side by side, as a PNG."""
    pixels = np.concatenate(list(to_bytes(clip)), axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def moving(clip: Tensor, caption: str, alternative: str) -> str:
    """The HTML of a clip (T, C, H, W).

    Args:
        clip: uint8, or floating in [0, 1].
        caption: The line above it.
        alternative: What is seen: the line below it, and what is read to those who do not see it.
    """
    count, _, height, width = clip.shape
    scale = max(1, round(SIDE / max(height, width)))
    w, h = width * scale, height * scale
    data = base64.b64encode(strip(clip)).decode()
    style = (
        f"width:{w}px;height:{h}px;image-rendering:pixelated;border:1px solid #d0d7de;"
        f"background:url(data:image/png;base64,{data}) 0 0 / {count * w}px {h}px no-repeat;"
        f"background-position-x:calc(min(var(--frame, 0), {count - 1}) * -{w}px)"
    )
    name, said = html.escape(caption), html.escape(alternative)
    return (
        f'<figure style="margin:0"><figcaption>{name}</figcaption>'
        f'<div class="clip" role="img" data-frames="{count}" aria-label="{name}: {said}" style="{style}"></div>'
        f'<div aria-hidden="true" style="color:#57606a;font-size:85%;max-width:{max(w, SIDE)}px">{said}</div></figure>'
    )
