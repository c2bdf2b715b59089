"""Batches of sequences that are read and decoded by another process while this one works."""

import atexit
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

# Batches that are ready, or being made, at once.
AHEAD = 4
# What PyTorch calls the process that reads, where it has died.
LOST = "DataLoader worker"


def read_ahead(sequences: Sequences, batches: Iterable[Tensor]) -> Generator[Batch, None, None]:
    """The stored sequences at each of these positions, in this order.

    Sequences that are outside memory are read by a process of their own, some batches ahead; others when they are asked for.

    Args:
        sequences: Of a data set.
        batches: Of each batch, the positions (n,) int64; there may be no end of them.

    Raises:
        UsageError: Where some cannot be read.
    """
    if not sequences.outside_memory:
        yield from map(sequences.read, batches)
        return
    loader: DataLoader[Any] = DataLoader(
        _Reader(sequences),
        batch_size=None,
        sampler=batches,
        num_workers=1,
        collate_fn=_as_it_is,
        prefetch_factor=AHEAD,
        worker_init_fn=_undisturbed,
        # A copy of this process: one that begins anew would run a script again that has no `if __name__ == "__main__"`.
        multiprocessing_context=multiprocessing.get_context("fork") if sys.platform == "linux" else None,
    )
    with warnings.catch_warnings():
        # From Python 3.12 on, of every process with threads. The copy uses none of them, and opens files of its own.
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        found: Iterator[Batch | UsageError] = iter(loader)
    # It ignores SIGTERM, by which Python would end it when this process ends: that would wait for it for ever.
    end = found._shutdown_workers  # type: ignore[attr-defined]
    atexit.register(end)
    try:
        while (batch := _received(found)) is not None:
            if isinstance(batch, UsageError):
                raise batch
            yield batch
    finally:
        atexit.unregister(end)
        end()


def _received(found: Iterator[Batch | UsageError]) -> Batch | UsageError | None:
    """The next batch, or why it cannot be read; None after the last. Raises what `lost_reader` knows."""
    try:
        return next(found, None)
    except (EOFError, ConnectionError, FileNotFoundError) as error:  # a batch that was ready has gone with its process
        raise RuntimeError(f"{LOST} has died") from error


def lost_reader(error: RuntimeError) -> bool:
    """Whether an error is that the process that reads ahead has died, which PyTorch raises wherever this one is."""
    return LOST in str(error)


class _Reader(Dataset[Any]):
    def __init__(self, sequences: Sequences) -> None:
        self.sequences = sequences

    def __getitem__(self, positions: Tensor) -> Batch | UsageError:
        try:
            return self.sequences.read(positions)
        except UsageError as error:  # what is raised here arrives with a traceback in its message
            return error


def _as_it_is(found: Any) -> Any:
    return found


def _undisturbed(_: int) -> None:
    """Requests to stop are for the fit, which ends this process when it has no more use for it."""
    for each in signal.Signals:
        if each.name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
            signal.signal(each, signal.SIG_IGN)
