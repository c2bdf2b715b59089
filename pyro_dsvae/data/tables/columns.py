"""The columns of series: what each holds, by which they are standardised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.names import listed
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import Sequences

# Values at once, in double precision.
CHUNK = 2**24
# Of a column that is rounded to steps of this many standard deviations, single precision holds too little.
COARSE = 0.01


@dataclass(frozen=True)
class ColumnMoments:
    """Mean and standard deviation of each value of a frame, over all observed steps of some sequences.

    Attributes:
        mean: (P,) float64, in stored units; 0 for a column that was never observed.
        sd: (P,) float64, above 0, in stored units; 1 for a column that is constant or was never observed.
        constant: (P,) bool, the column holds one value only.
        unobserved: (P,) bool, the column was never observed.
        coarse: (P,) bool, the column lies so far from zero that single precision rounds it to steps of more than a hundredth
            of its standard deviation.
    """

    mean: Tensor
    sd: Tensor
    constant: Tensor
    unobserved: Tensor
    coarse: Tensor

    @classmethod
    def of(cls, sequences: Sequences) -> "ColumnMoments":
        """Of the stored frames ``(N, T, P)``; what was not observed, or does not exist, does not count."""
        count, mean, square = (torch.zeros(sequences.frames.shape[-1], dtype=torch.float64) for _ in range(3))
        low, high = torch.full_like(count, torch.inf), torch.full_like(count, -torch.inf)
        for values, observed in _chunks(sequences):
            # Deviations from the mean of a chunk, and then of the chunk's mean from that of all before: one look at a file that
            # may be larger than the memory (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983).
            own = observed.sum(0).double()
            centre = values.sum(0) / own.clamp(min=1)
            apart = centre - mean
            count += own
            mean += apart * own / count.clamp(min=1)
            square += apart**2 * own * (count - own) / count.clamp(min=1)
            if observed.all():
                least, most = values.aminmax(dim=0)
                square += values.sub_(centre).square_().sum(0)
            else:
                least = values.masked_fill(~observed, torch.inf).amin(0)
                most = values.masked_fill(~observed, -torch.inf).amax(0)
                square += values.sub_(centre).mul_(observed).square_().sum(0)
            low, high = torch.minimum(low, least), torch.maximum(high, most)
        unobserved, constant = count == 0, low == high
        # The mean of equal values is that value, without rounding.
        mean = torch.where(constant, low, mean)
        sd = torch.where(constant | unobserved, torch.ones_like(mean), (square / count.clamp(min=1)).sqrt())
        farthest = torch.where(unobserved, torch.zeros_like(mean), torch.maximum(low.abs(), high.abs()))
        spacing = torch.from_numpy(np.spacing(farthest.numpy().astype(np.float32)).astype(np.float64))
        return cls(mean, sd, constant, unobserved, ~constant & ~unobserved & (spacing > COARSE * sd))

    def sentences(self, names: Sequence[str] = (), real: Sequence[bool] | None = None) -> list[str]:
        """What is done with the columns, a line for each matter.

        Args:
            names: Of all columns; else they have numbers.
            real: Of each, whether it holds real numbers; None where all do. Others stay as they are.
        """
        kept = torch.zeros_like(self.constant) if real is None else ~torch.tensor(real)
        varying = ~(self.constant | self.unobserved | kept)
        count = int(varying.sum())
        said = []
        if count:
            means, sds = (_range(values[varying]) for values in (self.mean, self.sd))
            said.append(
                f"series are standardised on the training split: {count} {_columns(count)}, mean {means}, standard deviation "
                f"{sds}; frames stay in the units of the data, errors that pool columns are in standard deviations, and "
                "--standardise false fits them as they are"
            )
        for which, words in (
            (kept, "of another kind than real numbers, so not standardised"),
            (self.constant & ~kept, "constant in the training split, so only centred"),
            (self.constant & kept, "constant in the training split"),
            (self.unobserved, "never observed in the training split, so not standardised"),
            (
                self.coarse & ~kept,
                "too far from zero for single precision to hold well: subtract a constant before you save",
            ),
        ):
            if which.any():
                said.append(f"{_named(which, names)} {'is' if which.sum() == 1 else 'are'} {words}")
        return said


def _chunks(sequences: Sequences) -> Iterator[tuple[Tensor, Tensor]]:
    """Values (n, P) float64, zero where not observed, and which were observed; n steps of some sequences.

    Rows are taken by a tensor of positions, so the values are a copy, which may be written to.
    """
    stored: Batch = sequences.stored()
    for rows in sequences.rows.split(max(1, CHUNK // stored.x.shape[1:].numel())):
        part = stored.rows(rows)
        yield part.visible.double().flatten(0, 1), part.observed.flatten(0, 1)


def _columns(count: int) -> str:
    return "column" if count == 1 else "columns"


def _named(which: Tensor, names: Sequence[str]) -> str:
    """ "column 2", "columns 0, 3", "column heart rate", or the first few of many."""
    numbers = which.nonzero().squeeze(1).tolist()
    return f"{_columns(len(numbers))} {listed([names[n] for n in numbers] if names else numbers)}"


def _range(values: Tensor) -> str:
    low, high = (f"{float(v):.3g}" for v in values.aminmax())
    return low if low == high else f"{low} to {high}"
