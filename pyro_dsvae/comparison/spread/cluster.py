"""The fits of a comparison done by the workers of a Dask cluster, which share a folder with this process.

The scheduler is told numbers and paths only. Tasks, results and progress are files of the comparison's folder, so a fit whose
worker was lost goes on elsewhere from its last checkpoint.
"""

import asyncio
import json
import logging
import os
import pickle
import shutil
import struct
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro_dsvae.comparison.spread.child import ALIVE, BEGUN, LOOK, SHARED, STOP, TASKS, Outcome, begin, unfit
from pyro_dsvae.comparison.spread.tasks import Work
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.inference.files import replacing
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.output_folder import one_line, writing
from pyro_dsvae.runs.versions import code_version

# Seconds: for a scheduler to answer; for a first worker to come; between two signs of life; for fits to save when stopped.
ANSWER, FIRST_WORKER, BEAT, SAVE = 10.0, 60.0, 5.0, 60.0
# Raised where no scheduler answers: of sockets; of text that is no address; of protocols that are not set up; by servers of
# another kind, whose first bytes are taken for a size.
UNANSWERED = (OSError, ValueError, TypeError, ImportError, struct.error, OverflowError, MemoryError)
# Raised by a client whose scheduler is gone.
GONE = (OSError, CancelledError)
LOSSES = 3  # of a task whose worker died, one after the other, without that it came further


def spread_over_cluster(work: Work, address: str, folder: Path) -> None:
    """Do all tasks on the workers of a Dask scheduler. All results are in their files.

    Each task is a process of its own, which a worker starts. One that is lost or stopped, as where its machine is taken away,
    is given out again. What processes print goes to worker-HOST-PID.log in the folder.

    Args:
        work: The tasks.
        address: Of the scheduler, such as tcp://host:8786.
        folder: Of the comparison, seen by all under the same path.

    Raises:
        UsageError: Where the cluster cannot be used, and for what is wrong with a task, when all others have saved.
        KeyboardInterrupt: Where the user stopped, when all have saved what they had.
    """
    dask = needed("distributed", "scale", "--cluster")
    folder = folder.absolute()
    with _connected(dask, address) as client, _Shared(folder, work) as shared:
        _check_workers(client, address, shared)
        with Bar(f"{len(work.tasks)} fits on {address}") as bar:
            _Handed(dask, client, work, shared).follow(bar)


@contextmanager
def _connected(dask: Any, address: str) -> Iterator[Any]:
    """A client of the scheduler, which says nothing by itself. Raises `UsageError` where there is no scheduler."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        client = _client(dask, address)
        try:
            yield client
        finally:
            with suppress(*GONE):
                client.close(timeout=ANSWER)
    finally:
        logger.setLevel(before)


def _client(dask: Any, address: str) -> Any:
    async def greeted() -> None:
        security = dask.Security().get_connection_args("client")
        comm = await asyncio.wait_for(dask.comm.connect(address, timeout=ANSWER, **security), 1.5 * ANSWER)
        await comm.close()

    try:
        # Of a server of another kind, such as one of web pages, Dask's client would wait for a greeting for ever.
        with ThreadPoolExecutor(1) as pool:  # in a notebook this thread has a loop of its own
            pool.submit(asyncio.run, greeted()).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that versions of Dask differ
            return dask.Client(address, timeout=ANSWER, set_as_default=False)
    except UNANSWERED as error:
        why = "what listens there says nothing" if type(error) is TimeoutError else one_line(error)
        said = "start one with dask scheduler, which prints its address, such as tcp://host:8786"
        raise UsageError(f"no Dask scheduler answers at {address} ({why}); {said}", "cluster") from error


def _gone(folder: Path) -> UsageError:
    return UsageError(
        f"the scheduler is gone; what was done is kept in {folder}: give the same command again", "cluster"
    )


class _Shared:
    """The folder through which processes of other machines hear of this one: that it has begun, lives, and has stopped."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.files, self.token = folder, folder / SHARED, uuid.uuid4().hex
        self.work, self.beats, self.last = work, 0, 0.0

    def __enter__(self) -> "_Shared":
        absolute = [
            replace(task, fit=replace(task.fit, path=task.fit.path.absolute()), evidence=task.evidence.absolute())
            for task in self.work.tasks
        ]
        with writing(self.folder):
            self.files.mkdir(exist_ok=True)
            self.beat()
            self._write(TASKS, pickle.dumps(replace(self.work, tasks=absolute)))
            self._write(BEGUN, json.dumps({"token": self.token, "code": code_version()}).encode())
        return self

    def beat(self) -> None:
        """Say that the comparison lives, where that was not said just now."""
        if time.monotonic() - self.last > BEAT:
            self.last, self.beats = time.monotonic(), self.beats + 1
            self._write(ALIVE, f"{self.token} {self.beats}".encode())

    def stop(self) -> None:
        """Tell all processes to save and end, and workers to take no further task."""
        with suppress(OSError):
            self._write(ALIVE, STOP.encode())

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.files, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.files / name) as part:
            part.write_bytes(content)


def _check_workers(client: Any, address: str, shared: _Shared) -> None:
    """Raises `UsageError` where there are no workers, or one that cannot take a task."""
    limit = time.monotonic() + FIRST_WORKER
    try:
        while not client.nthreads():
            if time.monotonic() > limit:
                said = f"start some, dask worker {address} --nthreads 1, and give the same command again"
                raise UsageError(
                    f"the scheduler at {address} has no workers, {FIRST_WORKER:g} seconds long; {said}", "cluster"
                )
            time.sleep(0.2)
        answers = client.run(unfit, str(shared.folder), shared.token, on_error="return")
    except GONE as error:
        raise _gone(shared.folder) from error
    for worker, answer in answers.items():
        if wrong := _wrong(answer):
            raise UsageError(f"the worker {worker} {wrong}", "cluster")


def _wrong(answer: str | Exception) -> str:
    """What is wrong with a worker, to be said after its name, by what it or Dask answered; empty where nothing is."""
    match answer:
        case ImportError() | AttributeError():  # of the function, which the worker looks for by its name
            return f"cannot import pyro_dsvae ({one_line(answer)}); install the same version on all machines"
        case OSError():
            return f"does not answer ({one_line(answer)}); give the same command again"
        case Exception():
            raise answer
    return answer


class _Handed:
    """The tasks, handed to a scheduler.

    Args:
        dask: The module `distributed`.
        client: Of the scheduler.
        work: The tasks.
        shared: What their processes know of this one by.
    """

    def __init__(self, dask: Any, client: Any, work: Work, shared: _Shared) -> None:
        self.dask, self.client, self.work, self.shared = dask, client, work, shared
        self.saved = [task.saved() for task in work.tasks]
        self.losses = [0] * len(work.tasks)
        self.futures = {number: self._submit(number) for number in range(len(work.tasks))}

    def follow(self, bar: Bar) -> None:
        """Wait until all tasks are done, and hand out again what was lost; where that fails, stop all."""
        done: set[int] = set()
        try:
            while len(done) < len(self.futures):
                self.shared.beat()
                for number, future in self.futures.items():
                    if number not in done and future.done() and self._is_done(number, *self._outcome(future)):
                        done.add(number)
                share, note = self.work.standing(done)
                bar(share, f"{note}; workers: {self._workers()}")
                time.sleep(LOOK)
        except BaseException:
            self.shared.stop()
            limit = time.monotonic() + SAVE
            while time.monotonic() < limit and not all(future.done() for future in self.futures.values()):
                time.sleep(LOOK)
            raise

    def _workers(self) -> int:
        self._check_client()
        try:
            return len(self.client.nthreads())
        except GONE as error:
            raise _gone(self.shared.folder) from error

    def _submit(self, number: int) -> Any:
        self._check_client()
        arguments = (str(self.shared.folder), number, self.shared.token, os.getcwd())
        return self.client.submit(begin, *arguments, pure=False)

    def _check_client(self) -> None:
        if self.client.status in ("closing", "closed"):
            raise _gone(self.shared.folder)

    def _outcome(self, future: Any) -> tuple[Outcome, str]:
        try:
            outcome, said = future.result()
        except self.dask.KilledWorker:  # more often than Dask gives a task out anew by itself
            return "died", "of too little memory perhaps"
        except CancelledError as error:
            raise _gone(self.shared.folder) from error
        except (
            OSError,
            ImportError,
            AttributeError,
        ) as error:  # of a worker's files, or of one that came later with other code
            return "failed", f"a worker failed: {one_line(error)}; give the same command again"
        return outcome, said

    def _is_done(self, number: int, outcome: Outcome, said: str) -> bool:
        """Whether a task is; it is handed out again where its process was lost. Raises `UsageError` where it failed."""
        if outcome == "done":
            return True
        if outcome == "failed":
            raise UsageError(said)
        saved = self.work.tasks[number].saved()
        self.losses[number] = 0 if saved != self.saved[number] else self.losses[number] + 1
        self.saved[number] = saved
        if self.losses[number] >= LOSSES:
            where = f"its process {outcome} {LOSSES} times without having come further"
            raise UsageError(f"{self.work.title(number)}: {where}; {said}. What was done is kept", "cluster")
        self.futures[number] = self._submit(number)
        return False
