"""What a fit reports while it runs."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from pyro_dsvae.inference.training.distributed import Processes

# What stands in place of the split where a row of metrics is of the prior's refit, and where that was undone.
REFIT, UNDONE = "prior refit", "prior refit, undone"


class Journal(Protocol):
    """The receiver of a fit's reports."""

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of metrics: step, seconds, split, learning_rate and the `TERMS`."""

    def save(self, state: Mapping[str, Any]) -> None:
        """The state to resume from."""

    def save_best(self, state: Mapping[str, Any]) -> None:
        """The state with the highest held-out ELBO so far."""

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        """Share of the budget used so far, for a progress bar."""

    def stop(self) -> bool:
        """Whether the user has asked to stop after this step; asked once after every step."""


class RankZeroJournal:
    """A journal that all processes of a fit report to, and that only the first one writes.

    Args:
        journal: This process's own.
        processes: All that share the fit.
    """

    def __init__(self, journal: Journal, processes: Processes) -> None:
        self.journal, self.on_rank_zero = journal, processes.on_rank_zero

    def log(self, row: Mapping[str, Any]) -> None:
        """See `Journal.log`."""
        self.on_rank_zero(partial(self.journal.log, row))

    def save(self, state: Mapping[str, Any]) -> None:
        """See `Journal.save`."""
        self.on_rank_zero(partial(self.journal.save, state))

    def save_best(self, state: Mapping[str, Any]) -> None:
        """See `Journal.save_best`."""
        self.on_rank_zero(partial(self.journal.save_best, state))

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        """See `Journal.advance`."""
        self.on_rank_zero(partial(self.journal.advance, progress, seconds, elbo))

    def stop(self) -> bool:
        """Whether this process was asked to stop."""
        return self.journal.stop()
