"""The processes that share a fit, one per device: how batches are divided, and how the processes agree."""

import atexit
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pyro_dsvae.models.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Value = TypeVar("Value")


def launched() -> tuple[int, int] | None:
    """Devices per node and nodes where ``torchrun`` has started this process; None elsewhere."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def is_rank_zero() -> bool:
    """Whether this process is the only one, or the one that writes; known before the processes have met, too."""
    if dist.is_initialized():
        return dist.get_rank() == 0
    # Of torchrun, of Lightning Fabric. A RANK that another has set, say for the tasks of a job, is none of a fit.
    return os.environ.get("LOCAL_RANK" if launched() is None else "RANK", "0") == "0"


def check_launcher() -> None:
    """Check that whatever numbered this process is what starts the processes of a fit.

    Raises:
        UsageError: Where it is one of several that know nothing of each other, and would write the same run.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if launched() is None and "RANK" in os.environ and (rank, size) != ("0", "1"):
        raise UsageError(
            f"RANK is {rank} and WORLD_SIZE {size} in the environment, and torchrun has not set them: start the processes of a "
            "fit with torchrun, or unset RANK for a fit by one"
        )


def lost_process(error: RuntimeError) -> bool:
    """Whether an error is that another process of a fit has ended, which the next exchange with it finds."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error)


class Processes:
    """All processes of a fit, seen from one of them.

    They communicate through a group of their own on the CPU, so that agreeing on when to stop does not wait for a GPU. With
    one process every method is trivial.

    Args:
        fabric: The launched engine.

    Attributes:
        rank: Of this process, 0 for the first, which alone writes.
        count: The number of processes.
    """

    def __init__(self, fabric: "Fabric") -> None:
        self.rank, self.count = fabric.global_rank, fabric.world_size
        self.group = None
        if self.count > 1:
            self.group = dist.new_group(backend="gloo")
            atexit.register(_leave)

    def shard(self, rows: Tensor) -> Tensor:
        """This process's part of a joint batch: every ``count``-th of its rows."""
        return rows[self.rank :: self.count]

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over processes of a tensor on the CPU."""
        if self.group is None:
            return values
        values = values.clone()
        dist.all_reduce(values, group=self.group)
        return values

    def broadcast(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any process was asked to stop."""
        if self.group is None:
            return seconds, stop
        said = self.all_reduce(
            torch.tensor([seconds if self.rank == 0 else 0.0, float(stop)], dtype=torch.float64)
        ).tolist()
        return said[0], said[1] > 0

    def on_rank_zero(self, work: Callable[[], Value]) -> Value | None:
        """Let the first process do ``work`` while the others wait.

        Where it fails with a `UsageError`, all processes end: the others silently, with the status of a user's error.

        Returns:
            What ``work`` returns; None in the other processes.
        """
        if self.group is None:
            return work()
        result, error = None, None
        if self.rank == 0:
            try:
                result = work()
            except UsageError as caught:
                error = caught
        failed = bool(self.all_reduce(torch.tensor([float(error is not None)])))
        if error is not None:
            raise error
        if failed:
            raise SystemExit(2)
        return result


def _leave() -> None:
    """Threads of a gloo group that outlive the interpreter abort the process now and then, when all its work is done."""
    if dist.is_initialized():
        dist.destroy_process_group()
