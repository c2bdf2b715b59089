"""SIGTERM, SIGUSR1 and SIGHUP do what Ctrl-C does: in every command, at every moment, and nothing half-written is left."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from pyro_dsvae import cli, process
from pyro_dsvae import fit as fit_command
from pyro_dsvae.__main__ import VERBS
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.process import SIGNALS, Stopped
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.fit_journal import FitJournal
from pyro_dsvae.runs.output_folder import new_folder

PROJECT = Path(__file__).parents[2]
SAID = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGUSR1: "stopped by SIGUSR1",
    signal.SIGHUP: "stopped by SIGHUP",
}
# A job that is pre-empted has one status, whichever signal its scheduler sends.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGHUP: 129}
SMALL = [
    "--static_size=2",
    "--latent_size=2",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    "--device=cpu",
]


@pytest.fixture(autouse=True)
def _first_request() -> None:
    process._last[0] = -np.inf


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(running: subprocess.Popen[str], *there: Path) -> None:
    """Until one of these files exists."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and running.poll() is None:
        if any(path.exists() for path in there):
            return
        time.sleep(0.01)
    running.kill()
    raise AssertionError(running.communicate())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "vectors.npz"
    noise = np.random.default_rng(0)
    np.savez(path, frames=noise.uniform(size=(40, 6, 3)).astype(np.float32), labels_kind=np.arange(40) % 2)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_dsvae.judges.own.STEPS", 5)
        small = Optimisation(batch_size=4, evaluations=1)
        fit(data=Arrays(str(data)), steps=2, static_size=2, latent_size=2, optimisation=small, device="cpu", out=out)
    return out


# --- a request to stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SAID)
def test_a_signal_is_one_line_and_the_status_that_shells_expect(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verb", "runs/a b"])
    cleaned: list[bool] = []

    def verb(_: Sequence[str]) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(True)
        return 0

    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as ended:
        cli.main(verb)
    assert ended.value.code == STATUS[number]
    again = f"nothing was written; start again with: python -m {__name__} 'runs/a b'"
    assert capsys.readouterr().err == f"{SAID[number]}; {again}\n"
    assert cleaned == [True]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_stop_after_the_results_are_whole_says_where_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To start again would be refused, since they are there."""

    def verb(_: Sequence[str]) -> int:
        with new_folder(tmp_path / "ppc") as folder:
            (folder / "report.html").touch()
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)
        return 0

    with pytest.raises(SystemExit) as ended:
        cli.main(verb, [])
    assert ended.value.code == 143
    assert capsys.readouterr().err == f"stopped by SIGUSR1; {tmp_path / 'ppc'} was written\n"


def test_a_second_interrupt_of_a_fit_says_how_to_go_on_from_its_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr("pyro_dsvae.inference.svi.SVI.run", interrupted)
    options = ["--data=Arrays", f"--data.path={data}", *SMALL, "--steps=3", f"--out={tmp_path / 'a run'}"]
    for more in ([], ["--resume"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(fit_command.main, [*options, *more])
        assert ended.value.code == 130
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"stopped and saved; go on with: python -m pyro_dsvae.fit --out '{tmp_path / 'a run'}' --resume"


def test_a_signal_that_a_destructor_swallows_comes_again() -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)

    def work() -> None:
        with process.stoppable("again"):
            Swallows()
            time.sleep(5)

    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == 143


def test_what_a_process_was_started_to_ignore_stays_ignored() -> None:
    """As with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stoppable("again"):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """Alone and as one of its group, as when a terminal is closed. Only a second Ctrl-C cuts the saving short."""
    journal = FitJournal(RunDirectory(tmp_path), 0, "1 steps", "", shown=False)
    with process.listening(journal.ask_to_stop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert journal.stop()
        process._last[0] = -np.inf
        os.kill(os.getpid(), signal.SIGTERM)
        process._last[0] = -np.inf
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
    assert journal.stopped is not None
    assert journal.stopped.status == 130


@pytest.mark.parametrize(
    ("users", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
    ids=["", "rounds", "policy"],
)
def test_threads_of_a_command_sleep_soon_but_where_the_user_says_how_they_wait(
    users: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they are told before torch, whose runtime reads it once."""
    before = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    monkeypatch.setattr(os, "environ", {**before, **users})
    met = []
    monkeypatch.setattr(process, "import_module", lambda _: met.append(os.environ.get("GOMP_SPINCOUNT")) or MagicMock())
    monkeypatch.setattr(process, "_command", [False])
    process.run_verb("fit", [])
    assert met
    assert set(met) == {expected}


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SAID)
@pytest.mark.parametrize("verb", VERBS)
def test_a_command_answers_while_it_is_still_importing(tmp_path: Path, verb: str, number: signal.Signals) -> None:
    """Here the import of torch takes for ever."""
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(60)")
    more = ["sample", "nowhere"] if verb == "latents" else []
    running = started(f"pyro_dsvae.{verb}", *more, PYTHONPATH=f"{tmp_path}:{PROJECT}")
    wait_until(running, tmp_path / "begun")
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (STATUS[number], "", f"{SAID[number]}\n")


@pytest.mark.parametrize(
    ("arguments", "written", "number"),
    [
        (["ppc"], "ppc", signal.SIGUSR1),
        (["evaluate"], "evaluation", signal.SIGTERM),
        (["latents", "sample", "--augment=20000000"], "latents/sample-001", signal.SIGUSR1),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_stopped_command_leaves_nothing(
    run: Path, arguments: list[str], written: str, number: signal.Signals
) -> None:
    verb, *more = arguments
    before = sorted(run.rglob("*"))
    place = run / written
    action = [more.pop(0)] if verb == "latents" else []
    running = started(f"pyro_dsvae.{verb}", *action, run, *more)
    wait_until(running, place.with_name(f".{place.name}.part"))
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == STATUS[number], err
    again = " ".join(["python -m", f"pyro_dsvae.{verb}", *action, str(run), *more])
    assert err.splitlines()[-1] == f"{SAID[number]}; nothing was written; start again with: {again}"
    assert "Traceback" not in err
    assert "wrote" not in out
    assert [path for path in sorted(run.rglob("*")) if path != run / "latents"] == before


def test_a_fit_whose_terminal_is_closed_is_saved(data: Path, tmp_path: Path) -> None:
    """Then nothing can be printed any more, and the process is told twice."""
    options = [f"--data.path={data}", *SMALL, "--steps=100000", f"--out={tmp_path / 'run'}"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(PROJECT)
        os.execv(sys.executable, [sys.executable, "-m", "pyro_dsvae.fit", "--data=Arrays", *options])
    file = tmp_path / "run" / "metrics.csv"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (file.exists() and len(file.read_text().splitlines()) > 1):
        time.sleep(0.05)
        os.set_blocking(terminal, False)
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 10_000)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert RunDirectory(tmp_path / "run").load("checkpoint.pt")["step"] > 0


# --- the processes of a comparison ------------------------------------------------------------------------------------


def members(group: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(int(folder.name))
    return found


@pytest.fixture
def comparing(data: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A comparison in the midst of two fits at once."""
    options = [f"--data.path={data}", *SMALL, "--steps=100000", "--seeds=1", "--devices=2", f"--out={tmp_path / 'out'}"]
    command = ["pyro_dsvae.compare", "--vary=dynamic_prior=IID,RandomWalk", "--data=Arrays", *options]
    running = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    files = [tmp_path / "out" / "runs" / f"{name}-seed0" / "metrics.csv" for name in ("IID", "RandomWalk")]
    for file in files:
        while not (file.exists() and len(file.read_text().splitlines()) > 1):
            wait_until(running, tmp_path)
            time.sleep(0.05)
    yield running
    for pid in members(running.pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_of_a_comparison_save_and_end_with_it(
    comparing: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    """Of SIGTERM they are told; SIGKILL they notice."""
    comparing.send_signal(number)
    _, err = comparing.communicate(timeout=60)
    limit = time.monotonic() + 60
    while members(comparing.pid) and time.monotonic() < limit:
        time.sleep(0.1)
    assert members(comparing.pid) == []
    if number == signal.SIGTERM:
        assert comparing.returncode == 143, err
        assert err.splitlines()[-1] == (
            f"stopped and saved; go on with: python -m pyro_dsvae.compare --out {tmp_path / 'out'}"
        )
    for name in ("IID", "RandomWalk"):
        saved = RunDirectory(tmp_path / "out" / "runs" / f"{name}-seed0")
        assert saved.load("checkpoint.pt")["step"] == saved.metrics()[-1]["step"] > 0
        assert not (saved.path / ".lock").exists()
    assert "Traceback" not in "".join(log.read_text() for log in (tmp_path / "out").glob("device-*.log"))
