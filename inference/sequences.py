"""Some sequences of a data set, stored once."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import PART, Batch
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.models.errors import Remark
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.steps import Steps


@dataclass(frozen=True)
class Sequences:
    """Some rows of a data set, without a copy of them.

    Attributes:
        frames: ``(M, T, *frame)`` of all M sequences of the data set, as they are stored.
        mask: Of all M sequences, as in `Batch`.
        lengths: Of all M sequences, as in `Batch`.
        rows: (N,) int64, the sequences that belong to this part, in this order.
        times: Of all M sequences, as in `Batch`.
        recordings: (M,) int64, which recording each is a window of; None where that is not known.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.sequences import Sequences
        >>> sequences = Sequences.of(torch.rand(6, 10, 3))  # 6 sequences of 10 steps
        >>> part = sequences.take(torch.tensor([0, 2, 4])).until(5)
        >>> len(part), part.length
        (3, 5)
    """

    frames: Tensor
    mask: Tensor | None
    lengths: Tensor | None
    rows: Tensor
    times: Tensor | None = None
    recordings: Tensor | None = None

    @classmethod
    def of(
        cls, frames: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> "Sequences":
        """All of these sequences."""
        return cls(frames, mask, lengths, torch.arange(len(frames)), times)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def length(self) -> int:
        """T, the number of frames of the longest sequence of the data set."""
        return self.frames.shape[1]

    def shared_recordings(self) -> Tensor | None:
        """(N,) int64, which recording each of this part is a window of; None where no two are of one, or all are.

        What all have in common would leave f nothing to say.

        How many are alone in their recording is a `Remark`.
        """
        if self.recordings is None:
            return None
        own = self.recordings[self.rows.cpu()]
        _, which, counts = own.unique(return_inverse=True, return_counts=True)
        alone = int((counts[which] == 1).sum())
        if alone == len(own) or len(counts) == 1:
            return None
        if alone:
            said = f"{alone:,} of {len(own):,} training sequences are the only window of their recording"
            warnings.warn(Remark(f"{said}, so f of these is inferred from themselves"), stacklevel=2)
        return own

    def take(self, positions: Tensor) -> "Sequences":
        """Those at these positions of ``rows``: (n,) int64, or (N,) bool."""
        return replace(self, rows=self.rows[positions.to(self.rows.device)])

    def until(self, stop: int) -> "Sequences":
        """The first ``stop`` steps of every sequence, or all of a shorter one."""
        return self._of(self.stored().until(stop))

    def batch(self, positions: Tensor, likelihood: Likelihood, device: torch.device) -> Batch:
        """The sequences at these positions of ``rows``, on ``device``, in the units of the model."""
        return placed(self.read(positions), likelihood, device)

    def read(self, positions: Tensor) -> Batch:
        """The sequences at these positions of ``rows``, as they are stored."""
        rows = self.rows[positions]
        return self.stored().each(lambda values: values[rows.to(values.device, non_blocking=True)])

    @property
    def outside_memory(self) -> bool:
        """Whether they are read, and decoded, when they are taken."""
        return any(isinstance(values, Stored) for values in self.stored())

    def observed_count(self, steps: slice = slice(None)) -> Tensor:
        """(N,) int64 on the CPU, how many values were observed at some of the steps."""
        frame_shape = self.frames.shape[2:]
        counts = []
        for rows in self.rows.split(max(1, PART // math.prod(self.frames.shape[1:]))):
            mask, lengths = (None if v is None else v[rows] for v in (self.mask, self.lengths))
            observed = Steps(self.length, lengths).observed(mask, len(frame_shape))
            if observed is None:
                observed = torch.ones(len(rows), self.length, *(1 for _ in frame_shape), dtype=torch.bool)
            # Whole frames are told by one flag each.
            values = math.prod(frame_shape) // math.prod(observed.shape[2:])
            counts.append(values * observed[:, steps].flatten(1).sum(1).cpu())
        return torch.cat(counts)

    def stored(self) -> Batch:
        """The whole data set, with the frames as they are stored."""
        return Batch(self.frames, self.mask, self.lengths, self.times)

    def elsewhere(self, move: Callable[[Tensor], Tensor]) -> "Sequences":
        """The same part of the data set, stored where ``move`` puts it."""
        return self._of(self.stored().each(move))

    def _of(self, stored: Batch) -> "Sequences":
        frames, mask, lengths, times = stored
        return replace(self, frames=frames, mask=mask, lengths=lengths, times=times)


def evenly_spaced(count: int, most: int) -> Tensor:
    """Positions (n,) int64 of n = min(count, most) of ``count`` things at equal distances, with the first and the last."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def placed(batch: Batch, likelihood: Likelihood, device: torch.device) -> Batch:
    """Sequences as they are stored on ``device``, in the units of the model."""
    taken = batch.each(lambda values: _moved(values, device))
    return taken._replace(x=likelihood.to_model_units(taken.x))


def _moved(values: Tensor, device: torch.device) -> Tensor:
    """The values on ``device``. Nothing waits: from memory that is not pinned a copy to a GPU would."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
