"""A comparison over a Dask cluster: the same table although workers die, and one line for what is wrong with a cluster."""

import contextlib
import csv
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import psutil
import pytest
from distributed import LocalCluster
from distributed.comm import CommClosedError

from benchmarks import structure
from pyro_dsvae import compare as verb
from pyro_dsvae.comparison.spread import child, cluster
from pyro_dsvae.comparison.spread.tasks import Work
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import Stopped
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.versions import code_version

TWO = "--latent_size=2"
TINY = ["--static_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4", "--device=cpu"]
OPTIONS = [
    *TINY,
    *("--vary=dynamic_prior=RandomWalk,IID", "--seeds=1", "--steps=150", "--sequences=4", "--draws=30"),
    *("--optimisation.evaluations=1", "--optimisation.batch_size=4", "--optimisation.checkpoint_seconds=0.1"),
]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK", 0.1)
    monkeypatch.setattr(child, "ARRIVAL", 0.0)
    monkeypatch.setattr(child, "LOOK", 0.1)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[LocalCluster]:
    """Without workers as yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        made = LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", protocol="tcp")
        yield made
        made.close()


def table(out: Path) -> list[dict[str, str]]:
    with (out / "comparison.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def refused(*options: object) -> str:
    with pytest.raises(UsageError) as said:
        verb.main([str(option) for option in options])
    return str(said.value)


def test_what_is_wrong_with_an_address_is_one_line(
    walks: list[str], scheduler: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*walks, *OPTIONS, TWO, f"--out={tmp_path / 'out'}"]
    monkeypatch.setattr(cluster, "FIRST_WORKER", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "ANSWER", 0.3)
        with server(b"") as mute, server(b"SSH-2.0-OpenSSH_9.2\r\n") as other:
            for wrong in ("nonsense", "http://127.0.0.1:8787", "tls://127.0.0.1:9", mute, other):
                with pytest.raises(UsageError, match=f"no Dask scheduler answers at {wrong}"):
                    cluster._client(distributed, wrong)
        wrong = "tcp://127.0.0.1:9"
        assert f"no Dask scheduler answers at {wrong}" in refused(*options, f"--cluster={wrong}")
    address = scheduler.scheduler_address
    assert f"the scheduler at {address} has no workers" in refused(*options, f"--cluster={address}")
    assert "either --cluster or --devices" in refused(*options, f"--cluster={address}", "--devices=2")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'pyro-dsvae[scale]'" in refused(*options, f"--cluster={address}")
    assert not (tmp_path / "out" / child.SHARED).exists()


@contextlib.contextmanager
def server(words: bytes) -> Iterator[str]:
    """The address of a server that is no scheduler, and says these words to whoever comes."""

    class Talk(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(words)
            while self.request.recv(4096):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_workers_that_cannot_take_tasks_say_why(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert child.unfit(folder, "a").startswith(
        f"does not see {folder}; name a folder with --out that all machines share"
    )
    with cluster._Shared(tmp_path, Work([], None, "cpu")) as shared:
        assert child.unfit(folder, shared.token) == ""
        assert "does not see" in child.unfit(folder, "of another call")
        (tmp_path / child.SHARED / child.BEGUN).write_text(f'{{"token": "{shared.token}", "code": "0.0.1"}}')
        assert child.unfit(folder, shared.token) == (
            f"has pyro_dsvae {code_version()}, this machine 0.0.1; install the same version on all"
        )
        for answer, says in (
            ({"tcp://a:1": "", "tcp://b:1": "does not see /x"}, "the worker tcp://b:1 does not see /x"),
            ({"tcp://a:1": ModuleNotFoundError("No module named 'pyro_dsvae'")}, "a:1 cannot import pyro_dsvae"),
            (
                {"tcp://a:1": CommClosedError("Stream is closed")},
                "a:1 does not answer .Stream is closed.; give the same",
            ),
        ):
            client = SimpleNamespace(nthreads=lambda: {"": 1}, run=lambda *_, answer=answer, **__: answer)
            with pytest.raises(UsageError, match=says):
                cluster._check_workers(client, "", shared)
        shared.stop()
        assert child.begin(folder, 0, shared.token, folder) == ("stopped", "")
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_is_lost_without_coming_further_is_given_up(tmp_path: Path) -> None:
    def result() -> None:
        raise ArithmeticError

    lost = SimpleNamespace(done=lambda: True, result=result)
    client: Any = SimpleNamespace(submit=lambda *_, **__: lost, status="running", nthreads=dict)
    task: Any = SimpleNamespace(saved=tuple, share=lambda: 0.5, fit=SimpleNamespace(candidate="IID", seed=0))
    work = Work([task], None, "cpu")
    with cluster._Shared(tmp_path, Work([], None, "cpu")) as shared:
        handed = cluster._Handed(SimpleNamespace(KilledWorker=ArithmeticError), client, work, shared)
        with pytest.raises(UsageError, match=r"\[1/1\] IID, seed 0: its process died 3 times .*memory perhaps"):
            handed.follow(lambda *_: None)  # type: ignore[arg-type]
    assert work.standing([]) == (0.5, "0 of 1 done, IID seed 0 50%")


def ends(future_raises: Exception, tmp_path: Path) -> str:
    """What is said where a task that was handed out ends with an error of Dask or of the worker."""

    def result() -> None:
        raise future_raises

    client: Any = SimpleNamespace(
        status="running", submit=lambda *_, **__: SimpleNamespace(done=lambda: True, result=result)
    )
    task: Any = SimpleNamespace(saved=tuple)
    with cluster._Shared(tmp_path, Work([], None, "cpu")) as shared, pytest.raises(UsageError) as said:
        cluster._Handed(distributed, client, Work([task], None, "cpu"), shared).follow(lambda *_: None)  # type: ignore[arg-type]
    return str(said.value)


def test_errors_of_workers_are_told_and_those_of_this_code_are_not_hidden(tmp_path: Path) -> None:
    assert "a worker failed: [Errno 28] No space left" in ends(OSError(28, "No space left on device"), tmp_path)
    assert "a worker failed: No module named" in ends(ModuleNotFoundError("No module named 'pyro_dsvae'"), tmp_path)
    with pytest.raises(ZeroDivisionError):
        ends(ZeroDivisionError(), tmp_path)


def test_a_scheduler_that_is_lost_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While tasks wait for workers, and while workers are waited for."""
    monkeypatch.setattr(cluster, "ANSWER", 1.0)
    gone = f"the scheduler is gone; what was done is kept in {tmp_path}: give the same command again"
    task: Any = SimpleNamespace(saved=tuple)
    for handed in (True, False):
        made = LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1", protocol="tcp")
        with (
            cluster._connected(distributed, made.scheduler_address) as client,
            cluster._Shared(tmp_path, Work([], None, "cpu")) as shared,
        ):
            work = Work([task], None, "cpu")
            follow = partial(cluster._Handed(distributed, client, work, shared).follow, lambda *_: None)
            wait = follow if handed else partial(cluster._check_workers, client, "", shared)
            made.close()
            with pytest.raises(UsageError, match=re.escape(gone)):
                wait()
    assert list(tmp_path.iterdir()) == []


def test_the_code_is_known_by_its_files() -> None:
    """Those of models/ and inference/, too, which are links in a checkout."""
    read: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        before = Path.read_bytes
        patch.setattr(Path, "read_bytes", lambda path: read.append(path) or before(path))
        code_version.__wrapped__()
    assert {path.resolve() for path in read} == {module.path.resolve() for module in structure.modules().values()}


def fit_process(run: Path) -> psutil.Process | None:
    """The process that fits it, None where none does."""
    with contextlib.suppress(OSError, IndexError, psutil.NoSuchProcess):
        return psutil.Process(int((run / ".lock").read_text().split()[1]))
    return None


@pytest.mark.parametrize(
    "sizes", [TWO, pytest.param("--vary=latent_size=1,2,3,4,5,6", marks=pytest.mark.slow)], ids=["2 fits", "12 fits"]
)
def test_a_comparison_whose_workers_are_killed_ends_with_the_same_table(
    walks: list[str], scheduler: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: str
) -> None:
    """The worker of one fit, and the one that takes it over. Of twelve fits it is also stopped before, when two have begun."""
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert verb.main([*walks, *OPTIONS, sizes, f"--out={undisturbed}"]) == 0
    scheduler.scale(2)
    command = [*walks, *OPTIONS, sizes, f"--out={out}", f"--cluster={scheduler.scheduler_address}"]
    standing, killed, begun = Work.standing, list[int](), list[Path]()

    def stops(self: Work, done: Collection[int]) -> tuple[float, str]:
        if all(task.share() > 0 for task in self.tasks[:2]):
            begun.extend(task.fit.path for task in self.tasks[:2])
            raise Stopped(signal.SIGTERM)
        return standing(self, done)

    def kills(self: Work, done: Collection[int]) -> tuple[float, str]:
        process = fit_process(self.tasks[0].fit.path)
        if len(killed) < 2 and process is not None and process.pid not in killed:
            killed.append(process.pid)
            process.parent().kill()
        return standing(self, done)

    if sizes != TWO:
        monkeypatch.setattr(Work, "standing", stops)
        assert verb.main(command) == 143
        assert len(begun) == 2
        for run in begun:
            assert not (run / "summary.json").exists()
            assert RunDirectory(run).load("checkpoint.pt")["step"] == RunDirectory(run).metrics()[-1]["step"] > 0
        assert not any(path.name in (".lock", child.SHARED) for path in out.rglob(".*"))
    monkeypatch.setattr(Work, "standing", kills)
    assert verb.main(command) == 0
    assert len(killed) == 2
    assert table(out) == table(undisturbed)
    assert not any(path.name in (".lock", child.SHARED) for path in out.rglob(".*"))


@pytest.mark.slow
def test_the_fits_of_a_comparison_that_is_killed_save_and_end(
    walks: list[str], scheduler: LocalCluster, tmp_path: Path
) -> None:
    """Another call goes on at once: they see that they belong to none that lives."""
    scheduler.scale(2)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pyro_dsvae.compare", *walks, *OPTIONS, TWO, "--steps=100000", f"--out={out}"]
    runs = [out / "runs" / f"{name}-seed0" for name in ("RandomWalk", "IID")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pids: set[int] = set()
    for number in (signal.SIGKILL, signal.SIGTERM):
        running = subprocess.Popen([*command, f"--cluster={scheduler.scheduler_address}"], env=environment)
        while not all((found := fit_process(run)) and found.pid not in pids for run in runs):
            assert running.poll() is None
            time.sleep(0.1)
        pids = {found.pid for run in runs if (found := fit_process(run))}
        running.send_signal(number)
        assert running.wait(60) == (143 if number == signal.SIGTERM else -9)
    assert not any(psutil.pid_exists(pid) for pid in pids)
