"""The fits of a comparison done by processes of this machine, one per device."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from pathlib import Path

import torch

from pyro_dsvae.comparison.spread.tasks import Work
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import SIGNALS, Stopped, as_stopped, held_back, listen, listening, raise_stopped
from pyro_dsvae.progress import Bar

LOOK = 1.0  # seconds between two looks at how far the fits are


def spread_over_devices(work: Work, devices: int, folder: Path) -> None:
    """Do all tasks, ``devices`` at a time, in one process per device. All results are in their files.

    Each process takes the next task as soon as it is free. Its output goes to device-N.log in the folder. On the CPU the
    processes share the cores evenly.

    Args:
        work: The tasks.
        devices: How many processes.
        folder: Of the comparison.

    Raises:
        UsageError: Where a process dies. An error of a task is raised again when the tasks that had begun are done.
        KeyboardInterrupt: Where the user stopped, when all have saved what they had.
    """
    context = multiprocessing.get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(devices):
        numbers.put(number)
    where = (numbers, devices, work, folder)
    others = set(multiprocessing.active_children())
    with (
        Bar(f"{len(work.tasks)} fits on {devices} devices") as bar,
        ProcessPoolExecutor(devices, context, _begin, where) as pool,
    ):
        with held_back():  # a new process hears of requests to stop when it can answer them
            futures = {pool.submit(_do, number): number for number in range(len(work.tasks))}
        done: set[int] = set()
        try:
            while len(done) < len(futures):
                for future in wait([f for f in futures if futures[f] not in done], LOOK, FIRST_COMPLETED).done:
                    future.result()
                    done.add(futures[future])
                bar(*work.standing(done))
        except BrokenProcessPool as error:
            raise UsageError(
                f"a process of the comparison died, of too little memory perhaps; device-N.log in {folder} tells how far it "
                "came. What was done is kept: go on with fewer --devices"
            ) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # SIGTERM, unlike Ctrl-C, has reached this process alone
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Worker:
    """What a process of `spread_over_devices` keeps between tasks."""

    work: Work
    data: SequenceData
    stopped: Stopped | None = None


def _begin(numbers: "Queue[int]", devices: int, work: Work, folder: Path) -> None:
    """In a new process, before its first task: take a device, open the log, read the data."""
    listen(_no_more)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_follow, daemon=True).start()
    number = numbers.get()
    if work.device == "cuda":
        # Before anything here has touched CUDA: this process sees its own device only.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number) if visible is None else visible.split(",")[number]
    else:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // devices))
    sys.stdout = sys.stderr = (folder / f"device-{number}.log").open("a", buffering=1)
    _Worker.work, _Worker.data = work, work.data()


def _do(number: int) -> None:
    if _Worker.stopped is not None:  # a task that was handed out before the user stopped
        raise _Worker.stopped
    try:
        with listening(raise_stopped):
            work = _Worker.work
            work.tasks[number].do(_Worker.data, work.device, work.title(number))
    except KeyboardInterrupt as error:
        _no_more(as_stopped(error).number)
        raise


def _no_more(number: int) -> None:
    """Take no further task; and where the comparison itself has died, so that there will be none, end."""
    _Worker.stopped = Stopped(number)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(_Worker.stopped.status)


def _follow() -> None:
    """When the comparison has died (of SIGKILL it cannot tell its processes), stop as it would have asked to."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
