"""What is hidden of clips, so that an imputation can be compared with the truth."""

from dataclasses import dataclass, replace

import torch

from pyro_dsvae.actions.selection import Selection
from pyro_dsvae.data.words import size_in_words
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.runs.run import Run


@dataclass(frozen=True)
class Damage:
    """What is hidden of clips, and how much noise is added; the options of `impute`.

    Attributes:
        missing_frames: Frames to hide, such as "2,5".
        missing_pixels: Share of the values to hide.
        crop: What to leave of every frame, as "x,y,width,height".
        noise: Standard deviation of the noise.
        seed: Of what is hidden and of the noise.
    """

    missing_frames: str | None = None
    missing_pixels: float = 0.0
    crop: str | None = None
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.missing_pixels <= 1:
            raise UsageError(f"--missing-pixels is {self.missing_pixels}; it is a share from 0 to 1")
        if not 0 <= self.noise < float("inf"):
            raise UsageError(f"--noise is {self.noise}; it is a standard deviation, a finite number of at least 0")

    @property
    def nothing(self) -> bool:
        """Whether clips stay as they are."""
        return self.missing_frames is None and self.crop is None and not self.missing_pixels and not self.noise

    def of(self, clips: Selection, run: Run) -> Selection:
        """The clips with less observed.

        Raises:
            UsageError: Where frames or pixels are named that they have not.
        """
        generator = torch.Generator().manual_seed(self.seed)
        shape = clips.batch.x.shape
        kept = clips.batch.observed.clone()
        if self.missing_frames is not None:
            kept[:, _frames(self.missing_frames, shape[1])] = False
        if self.crop is not None:
            rows, columns = _window(self.crop, shape)
            inside = torch.zeros_like(kept)
            inside[..., rows, columns] = True
            kept &= inside
        if self.missing_pixels:
            # A pixel is missing in all its channels.
            each = (*shape[:2], 1, *shape[3:]) if clips.batch.x.ndim == 5 else shape
            kept = kept & (torch.rand(each, generator=generator) >= self.missing_pixels)
        x = clips.batch.x
        if self.noise:
            x = x + self.noise * torch.randn(shape, generator=generator)
            if run.model.likelihood.discrete:
                x = (x.clamp(0, 1) * 255).round() / 255
        return replace(clips, batch=clips.batch._replace(x=torch.where(kept, x, torch.zeros_like(x)), mask=kept))


def _frames(text: str, length: int) -> list[int]:
    try:
        frames = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--missing-frames got {text!r}; it takes frames counted from 0, such as 2,5") from None
    wrong = [frame for frame in frames if not 0 <= frame < length]
    if wrong:
        raise UsageError(f"--missing-frames names frame {wrong[0]}; the clips have frames 0 to {length - 1}")
    return frames


def _window(text: str, shape: torch.Size) -> tuple[slice, slice]:
    if len(shape) != 5:
        raise UsageError("--crop is for images, but the frames of this run are vectors: use --missing-pixels")
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop got {text!r}; it takes x,y,width,height in pixels, such as 8,8,16,16") from None
    rows, columns = shape[3:]
    if not (x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= columns and y + height <= rows):
        raise UsageError(f"--crop {text} does not lie within a frame of {size_in_words(rows, columns)} pixels")
    return slice(y, y + height), slice(x, x + width)
