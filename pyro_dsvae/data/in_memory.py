"""Sequences that a caller from Python gave, and of which a run keeps a fingerprint, or a copy."""

from pathlib import Path

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.memory.conversion import as_sequences
from pyro_dsvae.data.memory.copy import read_copy
from pyro_dsvae.models.errors import UsageError


class InMemory(DataSource):
    """Sequences in memory: what `fit(data=…)` makes of arrays, tensors, frames and `SequenceData`.

    They cannot be written into config.yaml. It says what they were, and the name of the copy, where the run keeps one.

    Args:
        kind: What the data were.
        copy: A file that `pyro_dsvae.fit` wrote for ``keep_data=True``; None where there is none.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.in_memory import InMemory
        >>> InMemory.of(np.zeros((20, 5, 3))).load().frames.shape
        torch.Size([20, 5, 3])
    """

    def __init__(self, kind: str = "data", copy: Path | None = None) -> None:
        self.kind = kind
        self.copy = None if copy is None else Path(copy)
        self._given: SequenceData | None = None

    @classmethod
    def of(cls, value: object) -> "InMemory":
        """What a caller has, of a kind that `as_sequences` takes. Raises `UsageError` for anything else."""
        return cls(type(value).__name__).holding(as_sequences(value))

    def kept_as(self, name: str) -> "InMemory":
        """The same with a copy of this name."""
        other = InMemory(self.kind, Path(name))
        return other if self._given is None else other.holding(self._given)

    def holding(self, data: SequenceData) -> "InMemory":
        """The same with these sequences."""
        other = InMemory(self.kind, self.copy)
        other._given = data
        return other

    @property
    def holds(self) -> bool:
        """Whether the sequences are here."""
        return self._given is not None

    def load(self) -> SequenceData:
        """The sequences.

        Raises:
            UsageError: Where they were given to another process, and no copy was kept.
        """
        if self._given is not None:
            return self._given
        if self.copy is not None:
            return read_copy(self.copy)
        raise UsageError(
            f"the data were in memory, a {self.kind}, and no copy was kept: give them again, pyro_dsvae.load(RUN, data=…) or "
            "fit(data=…, out=RUN, resume=True), or fit with keep_data=True"
        )


def copy_name(fingerprint: str) -> str:
    """The name of a run's copy of its data, which no other data have."""
    return f"data-{fingerprint[:16]}.pt"
