"""Two processes that share a fit do what one does."""

import atexit
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.configuration.build import build
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit as fit_from_python
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.distributed import Processes, check_launcher, is_rank_zero
from pyro_dsvae.inference.training.hardware import Hardware, check_devices, device_for
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.shard import shard
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER

SCRIPT = Path(__file__).parents[2] / "examples" / "two_processes.py"
TINY = [
    *SMALL_DECODER,
    *SMALL_ENCODER,
    *("--static_size", "3", "--latent_size", "2", "--device", "cpu"),
    # A point for a guide, and no views: no noise, so that one process and two see the same losses.
    *(
        "--posterior",
        "Delta",
        "--posterior.hidden_size",
        "8",
        "--posterior.feature_size",
        "8",
    ),
    *("--optimisation.batch_size", "4", "--optimisation.evaluations", "2"),
]


def run(*command: str, folder: Path, expected: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    return done


def test_the_tasks_of_a_slurm_job_are_not_taken_for_processes_of_a_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a machine that has srun told to use it."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Hardware(device="cpu").fabric.world_size == 1
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert Hardware(device="cpu").fabric.world_size == 1


def fit(folder: Path, name: str, *options: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    return run("-m", "pyro_dsvae.fit", "--out", name, *options, folder=folder, expected=expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty short sequences, and fits to them by one process and by two."""
    path = tmp_path_factory.mktemp("processes")
    clips = np.random.default_rng(0).normal(size=(30, 4, 5)).astype(np.float32)
    np.savez(path / "clips.npz", frames=clips)
    data = ["--data", "Arrays", "--data.path", "clips.npz"]
    fit(path, "one", *data, *TINY, "--steps", "50")
    done = fit(path, "two", *data, *TINY, "--steps", "50", "--devices", "2")
    assert done.stdout.count("run: ") == 1
    shard(Arrays(str(path / "clips.npz")), out=str(path / "shards"), size=8)
    fit(path, "of-shards", "--data", "Shards", "--data.path", "shards", *TINY, "--steps", "50", "--devices", "2")
    return path


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    state = torch.load(folder / name / "checkpoint.pt", weights_only=True)["objective"]
    return {key: value for key, value in state.items() if value.is_floating_point()}


@pytest.mark.parametrize("name", ["two", "of-shards"])
def test_two_processes_have_the_losses_and_weights_of_one(folder: Path, name: str) -> None:
    """Thirty sequences in batches of four, so that batches lie across the ends of epochs."""
    one, two = rows(folder, "one"), rows(folder, name)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        assert float(b["elbo"]) == pytest.approx(float(a["elbo"]), rel=1e-5), a["step"]
    expected = weights(folder, "one")
    for key, value in weights(folder, name).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_a_fit_by_two_goes_on_with_one_and_back(folder: Path) -> None:
    fit(folder, "two", "--resume", "--devices", "1", "--steps", "75")
    fit(folder, "one", "--resume", "--devices", "2", "--steps", "75")
    assert rows(folder, "two")[-1]["step"] == rows(folder, "one")[-1]["step"] == "75"
    assert pyro_dsvae.load(folder / "one").state["step"] <= 75


def test_what_one_process_cannot_write_ends_all(folder: Path) -> None:
    done = fit(folder, "one", "--data", "Arrays", "--data.path", "clips.npz", *TINY, "--devices", "2", expected=2)
    assert done.stderr.count("error:") == 1
    assert "exists" in done.stderr


def test_a_process_leaves_its_group_before_the_interpreter_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", left.append)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        fabric: Any = SimpleNamespace(global_rank=0, world_size=1)
        Processes(fabric)
        assert not left
        fabric.world_size = 2
        Processes(fabric)
        for leave in (*left, *left):
            leave()
        assert not torch.distributed.is_initialized()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What two processes have after three steps with noise, started by torchrun."""
    run("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(SCRIPT), "out.pt", folder=folder)
    return torch.load(folder / "out.pt", weights_only=True)  # type: ignore[no-any-return]


def test_every_process_has_noise_of_its_own_and_the_same_weights(found: dict[str, Any]) -> None:
    first, second = found["parameters"]
    assert torch.equal(first, second)
    assert not torch.equal(*found["losses"])


def test_held_out_figures_do_not_depend_on_how_many_share_the_work(found: dict[str, Any]) -> None:
    """One process with the weights of two gives their figures."""
    frames = torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(1))
    objective: Objective = build(frames, 0, 3, 2, StandardNormal, LSTM, LSTMPosterior, Normal)
    torch.nn.utils.vector_to_parameters(found["parameters"][0], objective.parameters())
    part = Sequences(frames, None, None, torch.arange(20))
    alone = SVI(objective, part, part, Optimisation(batch_size=4), Budget(3), hardware=Hardware("cpu")).evaluate(part)
    assert alone == pytest.approx(found["evaluated"], rel=1e-6)


def test_an_uneven_last_batch_counts_by_its_sequences() -> None:
    """Eight, eight and four held-out sequences: the first and the last by one process, the others by another."""
    frames = torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(1))
    objective = build(frames, 0, 3, 2, StandardNormal, LSTM, LSTMPosterior, Normal)
    whole = Sequences(frames, None, None, torch.arange(20))

    def terms(rank: int | None) -> dict[str, float]:
        shared: Any = None if rank is None else SimpleNamespace(count=2, rank=rank, all_reduce=lambda values: values)
        return held_out_terms(objective, whole, torch.device("cpu"), 0, batch_size=8, processes=shared)

    first, second = terms(0), terms(1)
    assert {name: first[name] + second[name] for name in first} == pytest.approx(terms(None), rel=1e-6)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_dies_ends_the_fit_which_goes_on_from_what_was_saved(folder: Path) -> None:
    data = ["--data", "Arrays", "--data.path", "clips.npz"]
    options = [*TINY, "--optimisation.checkpoint_seconds", "0", "--steps", "1000000", "--devices", "2"]
    command = [sys.executable, "-m", "pyro_dsvae.fit", "--out", "dies", *data, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    while not ((folder / "dies").exists() and rows(folder, "dies")):
        assert running.poll() is None
        time.sleep(0.1)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert children
    os.kill(int(children[0]), signal.SIGKILL)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 2, err
    assert err.splitlines()[-1] == (
        "error: another process of this fit has ended, of too little memory perhaps, so this one ends, too; what was saved "
        "is kept: go on with --out dies --resume"
    )
    assert "Traceback" not in err
    step = torch.load(folder / "dies" / "checkpoint.pt", weights_only=True)["step"]
    fit(folder, "dies", "--resume", "--devices", "1", "--steps", str(step + 5))
    assert rows(folder, "dies")[-1]["step"] == str(step + 5)


def test_several_devices_are_refused_in_a_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is one process, and cannot be run by others as a script is."""
    monkeypatch.setattr("pyro_dsvae.process._command", [False])
    with pytest.raises(UsageError, match=r"in a notebook fit with !python -m pyro_dsvae.fit --devices 2"):
        fit_from_python(data=Arrays(str(folder / "clips.npz")), device="cpu", devices=2, out=folder / "notebook")
    assert not (folder / "notebook").exists()


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"RANK": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "4"}, True),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2"}, False),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False),  # of --devices 2
    ],
)
def test_a_rank_that_torchrun_has_not_given_is_refused_and_silences_nothing(
    environment: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the pods of a job: each would be a fit of its own that writes the same run."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun has not set") if refused else nullcontext():
        check_launcher()
    assert is_rank_zero() is ("1" not in (environment.get("LOCAL_RANK"), environment.get("RANK")) or refused)


def test_a_batch_that_cannot_be_shared_is_refused(folder: Path) -> None:
    options = [
        "--data",
        "Arrays",
        "--data.path",
        "clips.npz",
        *TINY,
        "--optimisation.batch_size",
        "5",
        "--devices",
        "2",
    ]
    done = fit(folder, "odd", *options, expected=2)
    assert "cannot be shared evenly by 2 devices; take 4 (--optimisation.batch_size)" in done.stderr


@pytest.mark.parametrize(("device", "refused"), [("cpu", False), ("auto", True), ("cuda", True)])
def test_only_gpus_are_counted(device: str, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with one GPU two processes may still share a fit on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="this machine has 1") if refused else nullcontext():
        check_devices(2, device_for(device))
