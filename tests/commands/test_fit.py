"""The fit command, end to end: what it leaves, what it refuses, how it is stopped, killed and resumed."""

import contextlib
import errno
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pyro_dsvae
from pyro_dsvae import cli, fit
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import TERMS, Objective
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.runs.directory import COLUMNS, RunDirectory
from pyro_dsvae.runs.output_folder import locked
from tests.commands.refusal import the_error
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER
from tests.pictures import pictures

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "tests" / "examples" / "my_priors.py"
N, T = 20, 5
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--dynamic_prior.hidden_size=4",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    *SMALL_ENCODER,
    *SMALL_DECODER,
    "--optimisation.batch_size=4",
    "--device=cpu",
]
TINY = [*SMALL, "--steps=6", "--optimisation.evaluations=2"]
# Long enough to be stopped or killed on its way.
LONG = [*SMALL, "--steps=120", "--optimisation.evaluations=4", "--optimisation.checkpoint_seconds=0.2"]

BROKEN = """
import torch
from pyro.distributions import Normal

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.distributions.path import PathDistribution


class NaNLater(DynamicPrior):
    def __init__(self, latent_size, step):
        super().__init__(latent_size)
        self.step, self.seen = step, 0
        self.loc = torch.nn.Parameter(torch.zeros(latent_size))

    def forward(self, f, steps):
        self.seen += self.training
        return Path(self.loc * (float("nan") if self.training and self.seen >= self.step else 1.0), f, steps)


class NaNAt30(NaNLater):
    def __init__(self, latent_size):
        super().__init__(latent_size, 30)


class Path(PathDistribution):
    def __init__(self, loc, f, steps):
        self.loc = loc
        super().__init__(f.shape[:-1], steps, len(loc))

    def conditionals(self, z):
        return Normal(self.loc.expand_as(z), torch.ones_like(z)).to_event(1)

    def rsample(self, sample_shape=torch.Size()):
        return self.loc + torch.randn(self.shape(sample_shape))

    def continue_from(self, z_past, horizon):
        raise NotImplementedError
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def run(self) -> Path:
        """The run directory that the last line names."""
        last = self.out.splitlines()[-1]
        assert last.startswith("run: "), self
        return Path(last.removeprefix("run: "))


def command(*arguments: object) -> Outcome:
    """The command in this process, as ``python -m pyro_dsvae.fit`` runs it."""
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["fit", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main(fit.main)
    finally:
        sys.argv = argv
    return Outcome(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def started(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pyro_dsvae.fit", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def wait_for_steps(process: subprocess.Popen[str], run: Path) -> None:
    """Until the fit, new or resumed, has written a row of metrics."""
    limit = time.monotonic() + 90
    file = run / "metrics.csv"
    before = file.stat().st_mtime_ns if file.exists() else 0
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime_ns != before and len(file.read_text().splitlines()) > 1:
                return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no metrics: {finished(process)}")


def refused(outcome: Outcome) -> str:
    """The one line of a refusal."""
    assert outcome.code == 2, outcome
    assert "run: " not in outcome.out
    return the_error(outcome.err)


def weights(run: Path, name: str = "checkpoint.pt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / name, weights_only=True)["objective"]
    return state


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunDirectory(run).metrics()]


def assert_same_run(one: Path, other: Path, *, stopped: bool = False) -> None:
    """To the last bit: both checkpoints, all metrics, the held-out figures.

    stopped  Ctrl-C adds a row of training metrics where it came and shortens the next mean; held-out rows are the same
    """
    for name in ("checkpoint.pt", "best.pt"):
        a, b = weights(one, name), weights(other, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    kept = ("validation",) if stopped else ("train", "validation")
    assert [r for r in rows(one) if r["split"] in kept] == [r for r in rows(other) if r["split"] in kept]
    first, second = (json.loads((run / "summary.json").read_text()) for run in (one, other))
    assert first["validation"] == second["validation"]
    assert first["steps"] == second["steps"]


def vectors(path: Path, **changed: Any) -> Path:
    """A file with N labelled or unlabelled sequences of vectors."""
    noise = np.random.default_rng(0)
    frames = noise.normal(size=(N, T, 3)).cumsum(1).astype(np.float32)
    np.savez(path, **{"frames": frames, **changed})
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes that are started here: the bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vectors(tmp_path_factory.mktemp("data") / "vectors.npz")


@pytest.fixture(scope="module")
def options(data: Path) -> list[str]:
    return ["--data=Arrays", f"--data.path={data}"]


@pytest.fixture(scope="module")
def done(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A fit that went well."""
    with pictures():
        outcome = command(*options, *TINY, "--out", tmp_path_factory.mktemp("done") / "run")
    assert outcome.code == 0, outcome
    return outcome


@pytest.fixture(scope="module")
def uninterrupted(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that those that were stopped or killed must end as."""
    outcome = command(*options, *LONG, "--out", tmp_path_factory.mktemp("long") / "run")
    assert outcome.code == 0, outcome
    return outcome.run


@pytest.fixture
def copy(done: Outcome, tmp_path: Path) -> Path:
    """A finished run that may be spoilt."""
    return Path(shutil.copytree(done.run, tmp_path / "copy"))


def test_run_directory_is_complete(done: Outcome) -> None:
    run = done.run
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    pictures = {f"figures/{name}.png" for name in ("training", "reconstruction", "swap", "sample")}
    assert names == {"config.yaml", "checkpoint.pt", "best.pt", "metrics.csv", "summary.json"} | pictures
    assert (run / "metrics.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    for row in rows(run):
        assert row["elbo"] == pytest.approx(row["reconstruction"] - row["kl_static"] - row["kl_dynamic"], rel=1e-4)
    assert [row["step"] for row in rows(run) if row["split"] == "validation"] == [
        3,
        6,
    ]  # too short for a refit of the prior
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["validation"]) == {*TERMS, "step"}
    assert "test" not in summary
    assert summary["steps"] == 6
    assert summary["threads"] == 1
    assert {"device", "versions", "seconds", "sequences_per_second"} <= set(summary)
    assert "judge" not in summary  # no labels, no judge


def test_progress_goes_to_standard_error_one_line_per_evaluation(done: Outcome) -> None:
    assert "nats per sequence" in done.out
    understood, model, standardised, *others = done.err.splitlines()
    assert understood.startswith("data: ")
    assert model.startswith("model: decoder Dense")
    assert "series are standardised" in standardised
    assert [line.partition(":")[0] for line in others] == ["step 3", "step 6", "this fit has not learned"]


def test_config_repeats_the_run_to_the_same_bits(done: Outcome, tmp_path: Path) -> None:
    outcome = command("--config", done.run / "config.yaml", "--out", tmp_path / "again")
    assert outcome.code == 0, outcome
    assert_same_run(done.run, outcome.run)
    before, after = (yaml.safe_load((run / "config.yaml").read_text()) for run in (done.run, outcome.run))
    before.pop("out", None)
    after.pop("out", None)
    assert before == after


def test_config_alone_repeats_the_run_in_a_folder_of_its_own(
    done: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command("--config", done.run / "config.yaml")
    assert outcome.code == 0, outcome
    assert outcome.run == Path("runs/arrays-001")


def test_function_returns_what_the_command_wrote(data: Path, done: Outcome, tmp_path: Path) -> None:
    """The same fit from Python: same bits, typed result."""
    config = yaml.safe_load((done.run / "config.yaml").read_text())
    parser = cli.parser_for(fit.fit, None)
    given = cli.instantiate(parser, cli.parse(parser, ["--config", str(done.run / "config.yaml")]))
    arguments = {name: getattr(given, name) for name in config if name != "out"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        result = fit.fit(**arguments, out=tmp_path / "run")
    assert result.finished
    assert result.summary == json.loads((result.run / "summary.json").read_text())
    assert_same_run(done.run, result.run)


def test_resuming_a_finished_run_reports_again(copy: Path, done: Outcome) -> None:
    (copy / "summary.json").unlink()
    outcome = command("--out", copy, "--resume")
    assert outcome.code == 0, outcome
    assert outcome.run == copy
    assert_same_run(done.run, copy)


def test_loaded_run_reproduces_the_held_out_figures(done: Outcome) -> None:
    run = pyro_dsvae.load(done.run)
    sequences = run.data.load()

    def part(split: Split) -> Sequences:
        return Sequences(sequences.frames, sequences.mask, sequences.lengths, sequences.rows(split))

    objective = Objective(run.model, run.guide)
    svi = SVI(
        objective, part("train"), part("validation"), Optimisation(), Budget(1), run.config["seed"], Hardware("cpu")
    )
    expected = json.loads((done.run / "summary.json").read_text())["validation"]
    assert svi.evaluate(svi.validation) | {"step": 6} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(4,), (1, 16, 16)], ids=["vectors", "images"])
@pytest.mark.parametrize("start", [0.5, 0.99], ids=["a prior that was trained", "a prior that never was"])
def test_a_loaded_run_has_the_elbo_that_was_reported_to_the_last_bit(
    tmp_path: Path, start: float, shape: tuple[int, ...]
) -> None:
    path = vectors(tmp_path / "clips.npz", frames=np.random.default_rng(1).random((N, T, *shape)).astype(np.float32))
    prior = ["--static_prior=Flow", f"--optimisation.prior_start={start}", "--optimisation.prior_refit_steps=0"]
    outcome = command("--data=Arrays", f"--data.path={path}", *TINY, *prior, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome
    run = pyro_dsvae.load(outcome.run)
    assert run.model.static_prior.frozen == (start == 0.99)
    data, device = run.sequences(), torch.device("cpu")
    summary = json.loads((outcome.run / "summary.json").read_text())
    objective = Objective(run.model, run.guide)
    reported = summary["validation"]
    assert reported["elbo"] == run.state["best"]
    assert held_out_terms(objective, data.sequences("validation"), device, 0) | {"step": reported["step"]} == reported


def test_images_with_labels_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1)
    who = np.arange(N) % 2
    frames = noise.random((N, T, 16, 16)).astype(np.float32) / 2 + who[:, None, None, None] / 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pyro_dsvae.judges.own.STEPS", 4)
    labels = {"labels_who": who, "role_who": "static", "labels_way": 1 - who, "role_way": "dynamic"}
    path = vectors(tmp_path / "images.npz", frames=frames, **labels)
    outcome = command(
        "--data=Arrays", f"--data.path={path}", *TINY, "--likelihood=Bernoulli", "--out", tmp_path / "run"
    )
    assert outcome.code == 0, outcome
    judge = json.loads((outcome.run / "summary.json").read_text())["judge"]
    assert set(judge["accuracy"]) == {"who", "way"}
    assert "who" in outcome.out
    assert "the decoder forbids f to move anything" in outcome.out


def test_half_precision_stays_finite(options: list[str], tmp_path: Path) -> None:
    outcome = command(*options, *TINY, "--precision=bf16", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome
    assert all(np.isfinite(row["elbo"]) for row in rows(outcome.run))
    floats = [values for values in weights(outcome.run).values() if values.is_floating_point()]
    assert floats
    assert all(values.dtype == torch.float32 for values in floats)


def test_own_prior_by_dotted_path(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    request.addfinalizer(lambda: sys.modules.pop("my_priors", None))
    tiny = [option for option in TINY if not option.startswith("--dynamic_prior")]
    own = ["--dynamic_prior=my_priors.Damped", "--dynamic_prior.memory=0.5"]
    outcome = command(*options, *tiny, *own, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome
    config = yaml.safe_load((outcome.run / "config.yaml").read_text())
    assert config["dynamic_prior"] == {"class_path": "my_priors.Damped", "init_args": {"memory": 0.5}}
    assert json.loads((outcome.run / "summary.json").read_text())["kl_estimators"]["z"] == "closed form"
    assert type(pyro_dsvae.load(outcome.run).model.dynamic_prior).__name__ == "Damped"
    wrong = command(*options, *tiny, "--dynamic_prior=my_priors.Damped", "--dynamic_prior.memo=1", "--out=none")
    assert "did you mean memory?" in refused(wrong)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"frames": np.zeros((N,), np.float32)}, "shape"),
        ({"frames": np.zeros((N, T, 1, 1, 16, 16), np.float32)}, "shape"),
        ({"frames": np.zeros((N, T, 3), np.complex64)}, "complex64"),
        ({"frames": np.full((N, T, 3), np.nan, np.float32)}, "nothing was observed of sequences 0, 1, 2"),
        ({"frames": np.full((N, T, 3), np.inf, np.float32)}, "not finite in sequences 0, 1, 2"),
        ({"frames": np.zeros((N, 1, 3), np.float32)}, "T = 1"),
        ({"frames": np.zeros((N, 0, 3), np.float32)}, "(20, 0, 3); every axis"),
        ({"frames": np.zeros((0, T, 3), np.float32)}, "(0, 5, 3); every axis"),
        ({"split": np.zeros(N, np.uint8)}, "split is empty"),
        ({"split": np.repeat(["train", "test"], N // 2)}, "validation split is empty"),
        ({"frames": np.zeros((N, T, 1, 7, 20), np.float32)}, "(1, 7, 20)"),
        ({"frames": np.zeros((N, T, 1, 16, 257), np.uint8)}, "(1, 16, 257)"),
        ({"frames": np.array([{}], dtype=object)}, "pickled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unfit_data_are_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    path = vectors(tmp_path / "clips.npz", **changed)
    line = refused(command("--data=Arrays", f"--data.path={path}", *TINY, "--out", tmp_path / "run"))
    assert says in line
    assert os.listdir(tmp_path) == ["clips.npz"]


@pytest.mark.parametrize("low", [-0.5, 1.5])
def test_values_outside_the_support_are_refused(tmp_path: Path, low: float) -> None:
    path = vectors(tmp_path / "clips.npz", frames=np.full((N, T, 3), low, np.float32))
    line = refused(
        command("--data=Arrays", f"--data.path={path}", *TINY, "--likelihood=Bernoulli", "--out", tmp_path / "run")
    )
    assert f"{low:g}" in line
    assert line.endswith("use a Normal likelihood (--likelihood)")
    assert os.listdir(tmp_path) == ["clips.npz"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dynamic_prior=LSTn"], "did you mean LSTM?"),
        (["--posterior=Factorized"], "did you mean Factorised?"),
        (["--likelihood=Bernouli"], "did you mean Bernoulli?"),
        (["--decoder=Region"], "did you mean Regions?"),
        (["--decoder=null", "--decoder.width=8"], "need its name, --decoder NAME"),
        (["--dynamic_prior=nowhere.Prior"], "no module named 'nowhere'"),
        (["--dynamic_prior=pyro_dsvae.models.steps.Steps"], "is no DynamicPrior"),
        (["--stepz=3"], "did you mean --steps?"),
        (["--dynamic_prior.hidden_sise=3"], "did you mean hidden_size?"),
        (["--optimisation.batchsize=3"], "did you mean batch_size?"),
        (["--steps=many"], "--steps got 'many'"),
        (["--steps=0"], "steps is 0"),
        (["--minutes=-1"], "minutes is -1"),
        (["--optimisation.learning_rate=0"], "learning_rate is 0"),
        (["--optimisation.kl_warmup=2"], "kl_warmup is 2"),
        (["--device=gpu"], "auto, cpu, cuda"),
        (["--precision=16"], "32, bf16"),
        (["--static_size=-1"], "static_size is -1"),
        (["--latent_size=0"], "latent_size is 0"),
        (["--likelihood.min_scale=2"], "Normal needs 0 < min_scale"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: value[0].removeprefix("--") if isinstance(value, list) else "",
)
def test_wrong_options_are_refused(options: list[str], tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in refused(command(*options, *TINY, *arguments, "--out", tmp_path / "run"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "option",
    [
        "posterior.hidden_size",
        "posterior.feature_size",
        "encoder.width",
        "decoder.width",
        "dynamic_prior.hidden_size",
    ],
)
@pytest.mark.parametrize("size", [0, -1])
def test_impossible_sizes_are_refused(options: list[str], tmp_path: Path, option: str, size: int) -> None:
    refused(command(*options, *TINY, f"--{option}={size}", "--out", tmp_path / "run"))
    assert os.listdir(tmp_path) == []


OWN_DECODER = """
import torch
from torch import Tensor, nn

from pyro_dsvae.models.decoders import FrameDecoder


class Product(FrameDecoder):
    def __init__(
        self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], units: int = 8, signed: bool = True
    ) -> None:
        super().__init__(frame_shape)
        self.gain = nn.Linear(static_size, frame_shape[0])
        self.course = nn.Sequential(nn.Linear(latent_size, units), nn.SiLU(), nn.Linear(units, frame_shape[0]))
        self.signed = signed

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        gain = self.gain(f).unsqueeze(-2)
        return (gain if self.signed else gain.exp()) * self.course(z)
"""


def test_a_decoder_in_a_file_of_ones_own(data: Path, tmp_path: Path) -> None:
    """From the command line, outside the project: fitted, written into config.yaml with its options, opened, used."""
    (tmp_path / "my_networks.py").write_text(OWN_DECODER)
    small = [option for option in TINY if "decoder" not in option]

    def outside(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    def fitted(*arguments: str) -> subprocess.CompletedProcess[str]:
        return outside("-m", "pyro_dsvae.fit", "--data=Arrays", f"--data.path={data}", *small, *arguments)

    own = ["--decoder=my_networks.Product", "--decoder.units=5", "--likelihood.scale_kind=predicted", "--out=run"]
    done = fitted(*own)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["decoder"] == {"class_path": "my_networks.Product", "init_args": {"units": 5, "signed": True}}
    state = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["objective"]
    assert state["model.decoder.course.0.weight"].shape == (5, 2)
    assert state["model.decoder.gain.weight"].shape == (2 * 3, 3)  # a location and a scale for each of three values
    opened = outside("-c", "import pyro_dsvae; print(type(pyro_dsvae.load('run').model.decoder).__module__)")
    assert opened.stdout.strip() == "my_networks", opened.stderr
    wrong = fitted("--decoder=my_networks.Produkt")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(
        "error: unknown decoder 'my_networks.Produkt': module 'my_networks' has no attribute"
    )
    assert re.search(r"it is one of .*Regions", wrong.stderr)


def test_missing_file_is_refused_with_the_nearest(data: Path, tmp_path: Path) -> None:
    near = command("--data=Arrays", f"--data.path={data.with_name('vector.npz')}", *TINY, "--out", tmp_path / "run")
    assert "did you mean vectors.npz?" in refused(near)


def test_existing_run_is_not_overwritten(options: list[str], copy: Path) -> None:
    before = (copy / "checkpoint.pt").read_bytes()
    assert f"--out {copy} --resume" in refused(command(*options, *TINY, "--out", copy))
    assert (copy / "checkpoint.pt").read_bytes() == before


def test_resume_needs_a_run(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "holds no run" in refused(command(*options, "--out", tmp_path, "--resume"))
    assert "--out" in refused(command(*options, "--resume"))
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_to_resume_where_nothing_is_yet_is_to_begin(options: list[str], copy: Path) -> None:
    """So that one job script can be submitted again and again; a line says it, for the path may be mistyped."""
    out = copy.with_name("cpoy")
    out.mkdir()
    script = [*options, *TINY, "--out", out, "--resume"]
    begun = command(*script)
    assert begun.code == 0, begun
    assert f"{out} holds no run yet (did you mean {copy.name}?), so this fit begins it" in begun.err.splitlines()
    again = command(*script)
    assert again.code == 0, again
    assert "holds no run" not in again.err
    assert "nothing was fitted" in again.err


def test_resume_refuses_other_parts_and_data(copy: Path, tmp_path: Path) -> None:
    other = vectors(tmp_path / "other.npz", frames=np.ones((N, T, 3), np.float32))
    assert "IID" in refused(command("--out", copy, "--resume", "--dynamic_prior=IID"))
    assert "hidden_size=8" in refused(command("--out", copy, "--resume", "--dynamic_prior.hidden_size=8"))
    assert "seed" in refused(command("--out", copy, "--resume", "--seed=1"))
    assert "other.npz" in refused(command("--out", copy, "--resume", f"--data.path={other}"))


def test_resume_refuses_a_file_whose_content_changed(tmp_path: Path, options: list[str]) -> None:
    path = vectors(tmp_path / "mine.npz")
    arguments = ["--data=Arrays", f"--data.path={path}", *TINY, "--out", tmp_path / "run"]
    assert command(*arguments).code == 0
    vectors(path, frames=np.ones((N, T, 3), np.float32))
    assert "other data" in refused(command("--out", tmp_path / "run", "--resume"))


class Malicious:
    """Pickles as a call that creates a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "text", "torch pickle", "plain pickle", "missing", "schema", "shapes"]
)
def test_spoilt_checkpoints_are_refused(copy: Path, tmp_path: Path, kind: str) -> None:
    file, ran = copy / "checkpoint.pt", tmp_path / "ran"
    state = torch.load(file, weights_only=True)
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("no checkpoint")
    elif kind == "torch pickle":
        torch.save({**state, "code": Malicious(ran)}, file)
    elif kind == "plain pickle":
        file.write_bytes(pickle.dumps(Malicious(ran)))
    elif kind == "missing":
        file.unlink()
    elif kind == "schema":
        torch.save({**state, "schema": 99}, file)
    else:
        torch.save({**state, "objective": {}}, file)
    assert "checkpoint.pt" in refused(command("--out", copy, "--resume"))
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["broken", "empty", "list"])
def test_spoilt_config_is_refused(copy: Path, kind: str) -> None:
    (copy / "config.yaml").write_text({"broken": "a: [1\n", "empty": "", "list": "- 1\n"}[kind])
    assert "config.yaml" in refused(command("--out", copy, "--resume"))


def test_folder_that_cannot_be_written_is_refused(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refused(command(*options, *TINY, "--out", tmp_path / "file" / "run"))
    assert "exists" in refused(command(*options, *TINY, "--out", tmp_path / "file"))
    assert os.listdir(tmp_path) == ["file"]


def full_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The disk is full after so many files."""
    calls = iter(range(count))
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_full_disk_at_the_start_leaves_nothing(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    full_after(monkeypatch, count)
    assert "No space left" in refused(command(*options, *TINY, "--out", tmp_path / "run"))
    assert os.listdir(tmp_path) == []


def test_full_disk_in_the_middle_leaves_the_last_checkpoint(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Outcome
) -> None:
    with monkeypatch.context() as patch:
        full_after(patch, 4)
        outcome = command(*options, *TINY, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in outcome.err
    assert command("--out", tmp_path / "run", "--resume").code == 0
    assert_same_run(done.run, tmp_path / "run")


def test_non_finite_loss_stops_with_step_and_term(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_prior.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    own = [option for option in SMALL if not option.startswith("--dynamic_prior")]
    outcome = command(
        *options,
        *own,
        "--dynamic_prior=broken_prior.NaNAt30",
        "--steps=60",
        "--optimisation.evaluations=1",
        "--optimisation.checkpoint_seconds=0",
        "--out",
        tmp_path / "run",
    )
    line = refused(outcome)
    assert "kl_dynamic became nan at step 30;" in line
    assert str(tmp_path / "run" / "checkpoint.pt") in line
    state = RunDirectory.open(tmp_path / "run").load("checkpoint.pt")
    assert state["step"] == 25
    assert all(torch.isfinite(values).all() for values in state["objective"].values())


def test_huge_learning_rate_is_reported_in_one_line(options: list[str], tmp_path: Path) -> None:
    outcome = command(*options, *SMALL, "--steps=60", "--optimisation.learning_rate=1e30", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert " at step " in outcome.err.splitlines()[-1]
    assert "learning_rate" in outcome.err.splitlines()[-1]
    RunDirectory.open(tmp_path / "run").load("checkpoint.pt")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    options: list[str], tmp_path: Path, uninterrupted: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = started(*options, *LONG, "--out", run)
    wait_for_steps(process, run)
    process.send_signal(number)
    outcome = finished(process)
    assert outcome.code == (130 if number == signal.SIGINT else 143), outcome
    assert os.listdir(tmp_path) == ["run"]
    assert not any(path.name.startswith(".") for path in run.rglob("*"))
    assert f"python -m pyro_dsvae.fit --out {run} --resume" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert outcome.run == run
    assert 0 < RunDirectory.open(run).load("checkpoint.pt")["step"] < 120
    resumed = command("--out", run, "--resume")
    assert resumed.code == 0, resumed
    assert_same_run(uninterrupted, run, stopped=True)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder but locks, with what it holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_run_that_another_process_fits_is_left_alone(copy: Path) -> None:
    before = contents(copy)
    with locked(copy):
        said = refused(command("--out", copy, "--resume", "--steps=9"))
        assert f"{copy} is being written by process {os.getpid()} on " in said
        assert contents(copy) == before
    assert command("--out", copy, "--resume", "--steps=9").code == 0
    assert rows(copy)[-1]["step"] == 9


def assert_survives_kills(options: list[str], run: Path, uninterrupted: Path, kills: int) -> None:
    arguments = [*options, *LONG, "--out", run, "--resume"]  # as in a job script, the first time, too
    for _ in range(kills):
        process = started(*arguments)
        wait_for_steps(process, run)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        finished(process)
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "checkpoint.pt", "metrics.csv"}
    resumed = command(*arguments)
    assert resumed.code == 0, resumed
    assert_same_run(uninterrupted, run)


def test_killed_run_ends_as_if_it_had_not_been(options: list[str], tmp_path: Path, uninterrupted: Path) -> None:
    assert_survives_kills(options, tmp_path / "run", uninterrupted, 1)


@pytest.mark.slow
def test_run_killed_three_times_ends_as_if_it_had_not_been(
    options: list[str], tmp_path: Path, uninterrupted: Path
) -> None:
    assert_survives_kills(options, tmp_path / "run", uninterrupted, 3)
