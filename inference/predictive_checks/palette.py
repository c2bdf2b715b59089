"""The distance of a clip's colours from those of the training data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import CPU
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError

# Cells per channel in which colours are counted and looked up, and how many of them lie between the smallest and largest
# value: noise goes beyond these. Frames that are looked at, rows of distances at once.
CELLS, WITHIN, EXAMPLES, ROWS = 48, 32, 2_000, 4_096


@dataclass(frozen=True)
class Palette:
    """The most frequent colours of some images; called with `Frames` it returns the distance from them.

    Attributes:
        colours: (K, C) in units of the frames, the most frequent first.
        low: (C,) where the cells of each channel start: a quarter of its range below its smallest value.
        width: (C,) size of a cell, a 32nd of the range.
        nearest: (48^C,) int64, the colour that is nearest to the middle of each cell.
    """

    colours: Tensor
    low: Tensor
    width: Tensor
    nearest: Tensor

    @classmethod
    def of(cls, model: DSVAE, training: Sequences, colours: int = 256) -> "Palette":
        """From up to 2,000 frames of training sequences, evenly chosen; each of the ``colours`` is the mean of a cell's pixels.

        Raises:
            UsageError: For frames that are not images of 1 to 3 channels, and where no pixel was observed.
        """
        shape = tuple(training.frames.shape[2:])
        if len(shape) != 3 or shape[0] > 3:
            raise UsageError(f"a palette needs images of 1 to 3 channels, not frames {shape}")
        if colours < 1:
            raise UsageError(f"a palette needs at least 1 colour, not {colours}")
        count = max(1, min(len(training), EXAMPLES // training.frames.shape[1]))
        chosen = torch.linspace(0, len(training) - 1, count).long()
        batch = training.batch(chosen, model.likelihood, CPU)
        # A pixel is known where all its channels are.
        pixels = batch.x.movedim(2, -1)[batch.observed.all(2)]
        if len(pixels) == 0:
            raise UsageError("no pixel of the training data was observed, so there is no palette")
        return cls._of_pixels(pixels, colours)

    @classmethod
    def _of_pixels(cls, pixels: Tensor, colours: int) -> "Palette":
        channels = pixels.shape[-1]
        low, high = pixels.amin(0), pixels.amax(0)
        width = ((high - low) / WITHIN).clamp(min=torch.finfo(pixels.dtype).eps)
        low = low - width * (CELLS - WITHIN) / 2
        cells = _cells(pixels, low, width)
        counts = torch.bincount(cells, minlength=CELLS**channels)
        kept = counts.topk(min(colours, int((counts > 0).sum()))).indices
        sums = torch.zeros(CELLS**channels, channels, dtype=torch.float64).index_add_(0, cells, pixels.double())
        found = (sums[kept] / counts[kept].unsqueeze(-1)).to(pixels.dtype)
        axes = [low[c] + width[c] * (torch.arange(CELLS) + 0.5) for c in range(channels)]
        middles = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        nearest = torch.cat([torch.cdist(rows, found).argmin(1) for rows in middles.split(ROWS)])
        return cls(found, low, width, nearest)

    def __call__(self, frames: Frames) -> Tensor:
        """Mean Euclidean distance from each pixel to the nearest colour, in units of the frames, ``(*B,)``.

        Which colour is nearest is looked up for the pixel's cell; near the border of two colours it may be the other one,
        whose distance differs by less than a cell. So it may for values far outside the range of the training data.
        """
        dtype, device = frames.x.dtype, frames.x.device
        pixels = frames.x.movedim(-3, -1)
        low, width = self.low.to(device, dtype), self.width.to(device, dtype)
        nearest = self.colours.to(device, dtype)[self.nearest.to(device)[_cells(pixels, low, width)]]
        distance = (pixels - nearest).square().sum(-1).sqrt()
        where = frames.observed
        if where is not None:
            where = where.expand(torch.broadcast_shapes(where.shape, frames.x.shape)).all(-3)
        return Frames(distance, 2, where).average(distance)


def palette_distance(model: DSVAE, training: Sequences) -> Discrepancy:
    """Mean distance of the pixels from the nearest of the training data's colours: large for blended and invented colours."""
    return Discrepancy("distance from the palette", Palette.of(model, training), images_only=True)


def _cells(pixels: Tensor, low: Tensor, width: Tensor) -> Tensor:
    """Number of the cell ``(*B,)`` of each pixel ``(*B, C)``; those outside belong to the outermost cell."""
    places = ((pixels - low) / width).floor().clamp(0, CELLS - 1).long()
    cells = places[..., 0]
    for channel in range(1, pixels.shape[-1]):
        cells = cells * CELLS + places[..., channel]
    return cells
