"""The work of a comparison: fit every candidate and measure it, one after the other or spread over several devices."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.queues import Queue
from pathlib import Path

import torch
from rich.console import Console

from pyro_dsvae.comparison.candidates import Candidate, Fit
from pyro_dsvae.comparison.measurement import Evaluation, Measure, evaluate
from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.reading import read_again
from pyro_dsvae.fit import fit
from pyro_dsvae.loading import Run, load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import SIGNALS, Stopped, as_stopped, held_back, listen, listening, raise_stopped
from pyro_dsvae.progress import Bar


@dataclass(frozen=True)
class Task:
    """One fit of a comparison: how it is made, and where what is measured of it is kept.

    Attributes:
        candidate: None for a run that is finished.
    """

    fit: Fit
    candidate: Candidate | None
    evidence: Path
    measure: Measure

    def do(self, data: SequenceData, device: str, title: str) -> tuple[Evaluation, Run]:
        """Fit, where that is not done, and measure what is not measured.

        Raises:
            KeyboardInterrupt: Where the user stopped.
        """
        if self.candidate is not None and not (self.fit.path / "summary.json").is_file():
            self._fit(self.candidate, data, title)
        run = load(self.fit.path, device=device)
        with Bar(f"{title}: evidence and motion") as bar:
            return evaluate(self.fit, run, data, self.measure, self.evidence, bar), run

    def _fit(self, candidate: Candidate, data: SequenceData, title: str) -> None:
        Console(stderr=True, markup=False, emoji=False).print(f"{title}: fitting", highlight=False)
        path = self.fit.path
        # Standard output is for the comparison.
        with contextlib.redirect_stdout(sys.stderr):
            options = replace(candidate.options(), out=path, seed=self.fit.seed, resume=path.exists())
            if isinstance(options.data, InMemory):  # which a configuration does not hold
                options = replace(options, data=options.data.holding(data))
            result = fit(**vars(options))
        if not result.finished:
            raise result.stopped or Stopped()


def spread(todo: Sequence[Task], source: DataSource | None, devices: int, kind: str, logs: Path) -> None:
    """Do all tasks, ``devices`` at a time, in one process per device. All results are in their files.

    Each process takes the next task as soon as it is free. Its output goes to device-N.log in ``logs``. On the CPU the
    processes share the cores evenly.

    Args:
        todo: The tasks.
        source: Of the data; None: those of the first task's run.
        devices: How many processes.
        kind: Of device: "cuda", "cpu" or "mps".
        logs: Folder of the log files.

    Raises:
        UsageError: Where a process dies. An error of a task is raised again when the tasks that had begun are done.
        KeyboardInterrupt: Where the user stopped, when all have saved what they had.
    """
    context = multiprocessing.get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(devices):
        numbers.put(number)
    where = (numbers, devices, kind, source, todo[0].fit.path, logs)
    others = set(multiprocessing.active_children())
    with (
        Bar(f"{len(todo)} fits on {devices} devices") as bar,
        ProcessPoolExecutor(devices, context, _begin, where) as pool,
    ):
        with held_back():  # a new process hears of requests to stop when it can answer them
            futures = [
                pool.submit(_do, task, f"[{n}/{len(todo)}] {task.fit.candidate}, seed {task.fit.seed}")
                for n, task in enumerate(todo, 1)
            ]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                bar(done / len(todo))
        except BrokenProcessPool as error:
            raise UsageError(
                f"a process of the comparison died, of too little memory perhaps; device-N.log in {logs} tells how far it "
                "came. What was done is kept: go on with fewer --devices"
            ) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # SIGTERM, unlike Ctrl-C, has reached this process alone
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Worker:
    """What a process of `spread` keeps between tasks."""

    data: SequenceData
    device: str
    stopped: Stopped | None = None


def _begin(numbers: "Queue[int]", devices: int, kind: str, source: DataSource | None, first: Path, logs: Path) -> None:
    """In a new process, before its first task: take a device, open the log, read the data."""
    listen(_no_more)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_follow, daemon=True).start()
    number = numbers.get()
    if kind == "cuda":
        # Before anything here has touched CUDA: this process sees its own device only.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number) if visible is None else visible.split(",")[number]
    else:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // devices))
    sys.stdout = sys.stderr = (logs / f"device-{number}.log").open("a", buffering=1)
    _Worker.data = load(first, device="cpu").sequences() if source is None else read_again(source)
    _Worker.device = kind


def _do(task: Task, title: str) -> None:
    if _Worker.stopped is not None:  # a task that was handed out before the user stopped
        raise _Worker.stopped
    try:
        with listening(raise_stopped):
            task.do(_Worker.data, _Worker.device, title)
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
