"""The command that compares: what it refuses, that it goes on where it was, and its table from its own values."""

import contextlib
import csv
import inspect
import io
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
import yaml
from PIL import Image

from pyro_dsvae import cli
from pyro_dsvae import compare as verb
from pyro_dsvae.compare import compare
from pyro_dsvae.comparison.candidates import Candidate, Fit, grid
from pyro_dsvae.comparison.comparability import finished
from pyro_dsvae.comparison.measurement import Measure
from pyro_dsvae.comparison.options import ComparisonOptions
from pyro_dsvae.comparison.spread import devices as device_workers
from pyro_dsvae.comparison.spread import tasks
from pyro_dsvae.comparison.spread.tasks import Task, Work
from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.configuration.parts import describe
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.fit import FitResult, fit, fit_watched
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.training.hardware import check_devices
from pyro_dsvae.loading import load
from pyro_dsvae.models.dynamic_priors.gru import GRU
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import Stopped
from pyro_dsvae.runs.output_folder import locked
from tests.commands.refusal import the_error
from tests.decoded import SMALL_DECODER, small_decoder
from tests.pictures import pictures

N, T = 30, 4
SMALL = ["--static_size=2", "--latent_size=2", "--posterior.hidden_size=6", "--posterior.feature_size=6"]
TINY = [*SMALL, *SMALL_DECODER, "--steps=3", "--optimisation.evaluations=1"]
QUICK = ["--draws=30", "--sequences=5", "--split=validation"]
VARY = "--vary=dynamic_prior=RandomWalk,IID"
# Measured by the clock.
TIMED = ("seconds",)


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def path(self) -> Path:
        last = self.out.splitlines()[-1]
        assert last.startswith("wrote: "), self
        return Path(last.removeprefix("wrote: "))


def command(*arguments: object) -> Outcome:
    """The command in this process, as ``python -m pyro_dsvae.compare`` runs it."""
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["compare", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main(verb.main)
    finally:
        sys.argv = argv
    return Outcome(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    outcome = command(*arguments)
    assert outcome.code == 2, outcome
    assert "wrote: " not in outcome.out
    return the_error(outcome.err)


def table(out: Path) -> list[dict[str, str]]:
    """comparison.csv without what depends on the clock."""
    with (out / "comparison.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """A judge that has hardly learned: it is not looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a file of sequences of vectors in [0, 1]."""
    path = tmp_path_factory.mktemp("data") / "vectors.npz"
    noise = np.random.default_rng(0)
    walks = noise.normal(size=(N, T, 3)).cumsum(1)
    np.savez(path, frames=(1 / (1 + np.exp(-walks))).astype(np.float32))
    return ["--data=Arrays", f"--data.path={path}"]


@pytest.fixture(scope="module")
def done(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A comparison that went well."""
    with pictures():
        outcome = command(*data, *TINY, *QUICK, VARY, "--seeds=2", "--out", tmp_path_factory.mktemp("done") / "out")
    assert outcome.code == 0, outcome
    return outcome


@pytest.fixture
def copy(done: Outcome, tmp_path: Path) -> Path:
    """A finished comparison that may be spoilt."""
    return Path(shutil.copytree(done.path, tmp_path / "copy"))


@pytest.fixture
def run(done: Outcome) -> Path:
    """A finished run."""
    return done.path / "runs" / "IID-seed0"


# --- what it leaves behind --------------------------------------------------------------------------------------------


def test_the_folder_is_complete(done: Outcome) -> None:
    out = done.path
    assert {p.name for p in out.iterdir()} == {
        *("config.yaml", "comparison.md", "comparison.csv", "comparison.nc", "summary.json"),
        *("runs", "evidence", "figures"),
    }
    names = {f"{name}-seed{seed}" for name in ("RandomWalk", "IID") for seed in (0, 1)}
    assert {p.name for p in (out / "runs").iterdir()} == names
    assert {p.stem for p in (out / "evidence").iterdir()} == names
    pictures = {p.name for p in (out / "figures").iterdir()}
    assert pictures == {"comparison.png", "k_hat.png", "rate_distortion.png", "motion.png"}
    for picture in (out / "figures").iterdir():
        with Image.open(picture) as image:
            assert image.width >= 500
    summary = json.loads((out / "summary.json").read_text())
    assert {row["candidate"] for row in summary["candidates"]} == {"RandomWalk", "IID"}
    # All candidates share everything but what varies, and the seeds.
    configs = {name: yaml.safe_load((out / "runs" / name / "config.yaml").read_text()) for name in names}
    for name, config in configs.items():
        assert config["seed"] == int(name[-1])
        assert config["dynamic_prior"]["class_path"].endswith(name.partition("-")[0])
    shared = [{k: v for k, v in c.items() if k not in ("seed", "dynamic_prior")} for c in configs.values()]
    assert all(config == shared[0] for config in shared)


def test_terminal_and_markdown_say_the_same(done: Outcome) -> None:
    markdown = (done.path / "comparison.md").read_text()
    summary = json.loads((done.path / "summary.json").read_text())
    (difference,) = summary["differences"]
    for text in (markdown, " ".join(done.out.split())):
        assert difference["sentence"] in text
        assert "nats per sequence" in text
        assert "validation" in text
    assert difference["verdict"] in ("better", "worse", "cannot tell")
    # Vectors of 4 frames that nothing was learned of: a guide of 3 steps is nowhere near the posterior.
    assert "lower bounds" in markdown
    assert "--refine 100" in markdown


def test_the_table_can_be_computed_again_from_the_tree(done: Outcome) -> None:
    """Means, errors, differences, spread, k-hat, rates: by NumPy, from comparison.nc."""
    with xarray.open_datatree(done.path / "comparison.nc", engine="h5netcdf") as tree:
        tree.load()
    names = [str(name) for name in tree["evidence/candidate"].values]
    value = {
        name: tree[name].transpose("candidate", "seed", "sequence").values
        for name in (
            *("evidence/log_evidence", "evidence/k_hat", "forecast/log_probability", "forecast/crps"),
            *("rate_distortion/kl_f", "rate_distortion/kl_z", "rate_distortion/distortion"),
        )
    }
    rows = {row["candidate"]: row for row in table(done.path)}
    evidence = value["evidence/log_evidence"]
    assert evidence.shape == (2, 2, 3)  # a tenth of 30 are for validation
    per_sequence = evidence.mean(1)
    best = int(per_sequence.mean(1).argmax())
    for c, name in enumerate(names):
        gap = per_sequence[c] - per_sequence[best]
        expected = {
            "log_evidence": per_sequence[c].mean(),
            "log_evidence_error": per_sequence[c].std(ddof=1) / 3**0.5,
            "difference": gap.mean(),
            "difference_error": gap.std(ddof=1) / 3**0.5,
            "seed_spread": evidence[c].mean(1).std(ddof=1),
            "k_hat_above": (value["evidence/k_hat"][c] > 0.7).mean(),
            "kl_f": value["rate_distortion/kl_f"][c].mean(),
            "kl_z": value["rate_distortion/kl_z"][c].mean(),
            "distortion": value["rate_distortion/distortion"][c].mean(),
            "forecast": value["forecast/log_probability"][c].mean(),
            "crps": value["forecast/crps"][c].mean(),
            "crps_error": value["forecast/crps"][c].mean(0).std(ddof=1) / 3**0.5,
        }
        for key, number in expected.items():
            assert float(rows[name][key]) == pytest.approx(float(number), rel=1e-9, abs=1e-9), key
    assert list(rows) == sorted(rows, key=lambda name: -float(rows[name]["log_evidence"]))


def test_the_evidence_is_that_of_the_runs(done: Outcome, data: list[str]) -> None:
    with xarray.open_datatree(done.path / "comparison.nc", engine="h5netcdf") as tree:
        kept = tree["evidence/log_evidence"].sel(candidate="IID", seed=1).values.copy()
        sequences = tree["evidence/sequence"].values.copy()
    opened = load(done.path / "runs" / "IID-seed1")
    loaded = opened.sequences()
    assert sequences.tolist() == loaded.rows("validation").tolist()
    found = estimate_evidence(Sampler(opened.model, opened.guide), loaded.sequences("validation"), draws=30, seed=0)
    assert np.array_equal(found.log_evidence.numpy(), kept)


def test_sequences_are_spread_over_the_split() -> None:
    """Evenly, ends included, the same ones on every call."""
    data = SequenceData(torch.rand(100, 2, 1), torch.tensor([0, 2] * 50, dtype=torch.uint8))
    measure = Measure(
        split="test", sequences=6, draws=100, given=1, scale=1.0, defensive=0.0, refine=0, annealed=0, seed=0
    )
    assert measure.rows(data).tolist() == [1, 21, 41, 59, 79, 99]
    assert (
        len(
            Measure(
                split="test", sequences=500, draws=100, given=1, scale=1.0, defensive=0.0, refine=0, annealed=0, seed=0
            ).rows(data)
        )
        == 50
    )


# --- going on ---------------------------------------------------------------------------------------------------------


def test_stopped_twice_and_killed_once_it_ends_with_the_same_table(
    done: Outcome, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a fit, while measuring, and between a fit's last step and its summary."""
    out = tmp_path / "an out"
    arguments = [*data, *TINY, *QUICK, VARY, "--seeds=2", "--out", out, "--resume"]  # as in a job script
    fitted: list[Path] = []
    out.mkdir()
    (out / ".config.yaml.part").write_text("data:")  # of a process that was killed at once

    def once(options: FitOptions, watch: None) -> FitResult:
        assert options.out is not None
        if len(fitted) == 1:
            return FitResult(options.out, False, {}, Stopped(signal.SIGTERM))
        fitted.append(options.out)
        return fit_watched(options, watch)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "fit_watched", once)
        stopped = command(*arguments)
    assert stopped.code == 143, stopped
    assert f"{out} holds no comparison yet, so this one begins it" in stopped.err
    goes_on = f"stopped and saved; go on with: python -m pyro_dsvae.compare --out '{out}'"
    assert stopped.err.splitlines()[-1] == goes_on
    assert stopped.path == out
    assert [p.name for p in fitted] == ["RandomWalk-seed0"]
    assert [p.stem for p in (out / "evidence").iterdir()] == ["RandomWalk-seed0"]

    def stops(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)

    with monkeypatch.context() as patch:
        patch.setattr("pyro_dsvae.comparison.measurement.judge_motion", stops)
        stopped = command("--out", out)  # the options are those of the folder
    assert (stopped.code, stopped.err.splitlines()[-1]) == (143, goes_on)
    kept = torch.load(out / "evidence" / "IID-seed0.pt", weights_only=True)["stages"]
    assert set(kept) == {"evidence", "forecast", "crps", "use"}  # each stage is kept as soon as it is done
    (out / "runs" / "IID-seed0" / "summary.json").unlink()
    (out / "evidence" / "RandomWalk-seed0.pt").write_bytes(b"PK damaged")
    before = (out / "runs" / "RandomWalk-seed0" / "best.pt").stat().st_mtime_ns
    ended = command(*arguments)
    assert ended.code == 0, ended
    assert "holds no comparison" not in ended.err
    assert (out / "runs" / "RandomWalk-seed0" / "best.pt").stat().st_mtime_ns == before
    assert table(out) == table(done.path)


def test_a_finished_comparison_says_it_again_without_work(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked again")

    before = table(copy)
    monkeypatch.setattr(tasks, "fit_watched", never)
    for name in ("estimate_evidence", "paired_forecast", "forecast_errors", "latent_usage", "judge_motion"):
        monkeypatch.setattr(f"pyro_dsvae.comparison.measurement.{name}", never)
    # Runs are found below the folder, wherever it was moved.
    assert command("--out", copy).code == 0
    assert table(copy) == before


def test_a_comparison_that_another_process_works_on_is_left_alone(copy: Path) -> None:
    before = table(copy)
    with locked(copy):
        assert f"{copy} is being written by process {os.getpid()} on " in refused("--out", copy)
    assert table(copy) == before
    assert command("--out", copy).code == 0


def test_what_was_measured_of_other_weights_is_not_used(copy: Path) -> None:
    shutil.copy(copy / "runs" / "IID-seed1" / "best.pt", copy / "runs" / "IID-seed0" / "best.pt")
    assert command("--out", copy).code == 0
    evidence = log_evidence(copy).sel(candidate="IID").values
    assert np.array_equal(evidence[0], evidence[1])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--draws=31"], "was compared with draws = 30, not 31"),
        (["--seeds=1"], "was compared with seeds = 2, not 1"),
        (["--steps=4"], "was compared with steps = 3, not 4"),
        (["--vary=dynamic_prior=RandomWalk,LSTM"], "was compared with vary = "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_other_options_need_another_folder(done: Outcome, data: list[str], more: list[str], says: str) -> None:
    varied = [] if more[0].startswith("--vary") else [VARY]
    assert says in refused(*data, *TINY, *QUICK, *varied, "--seeds=2", *more, "--out", done.path)


def test_more_seeds_are_added_to_a_finished_comparison(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only they are fitted; the table takes them all."""
    fitted: list[str] = []

    def noted(options: FitOptions, watch: None) -> FitResult:
        assert options.out is not None
        fitted.append(options.out.name)
        return fit_watched(options, watch)

    monkeypatch.setattr(tasks, "fit_watched", noted)
    before = log_evidence(copy)
    more = command("--out", copy, "--seeds=3")
    assert more.code == 0, more
    assert f"warning: {copy} has 2 fits of each candidate; 1 more fit is added" in more.err
    assert fitted == ["RandomWalk-seed2", "IID-seed2"]
    after = log_evidence(copy)
    assert after.sizes["seed"] == 3
    assert after.sel(seed=before.seed).equals(before)
    assert "was compared with seeds = 3, not 2" in refused("--out", copy, "--seeds=2")


def log_evidence(out: Path) -> xarray.DataArray:
    """(candidate, seed, sequence), from the file."""
    with xarray.open_datatree(out / "comparison.nc", engine="h5netcdf") as tree:
        return tree["evidence/log_evidence"].transpose("candidate", "seed", "sequence").load()


def test_what_is_no_comparison_is_left_alone(data: list[str], run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, run, tmp_path / "notes.txt"):
        assert "is no comparison" in refused(*data, *TINY, VARY, "--seeds=2", "--out", out)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_refinement_and_annealing_are_in_the_table(done: Outcome, tmp_path: Path) -> None:
    """Both tighten what importance weights say of a guide of three steps: by how much is a column each."""
    runs = [done.path / "runs" / f"{name}-seed0" for name in ("IID", "RandomWalk")]
    out = tmp_path / "out"
    outcome = command(*runs, *QUICK, "--refine=20", "--annealed=1", "--out", out)
    assert outcome.code == 0, outcome
    plain = {row["candidate"]: row for row in table(done.path)}
    assert all(row["gap_closed"] == row["annealed_difference"] == "" for row in plain.values())
    for row in table(out):
        assert float(row["gap_closed"]) > 0.05
        assert math.isfinite(float(row["annealed_difference"]))
        assert 0 < float(row["annealed_error"]) < math.inf
        # The guide was refined, the model is the same: the same evidence, from below, only better.
        assert float(row["log_evidence"]) > float(evidence_of(done.path, row["candidate"])) - 1.0
    for text in (outcome.out, (out / "comparison.md").read_text()):
        assert "gap" in text
        assert "annealed" in text


def evidence_of(out: Path, candidate: str) -> float:
    """Of the fit with seed 0."""
    with xarray.open_datatree(out / "comparison.nc", engine="h5netcdf") as tree:
        return float(tree["evidence/log_evidence"].sel(candidate=candidate, seed=0).mean())


# --- several devices --------------------------------------------------------------------------------------------------


def test_candidates_spread_over_two_processes_give_the_same_figures(
    done: Outcome, data: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = command(*data, *TINY, *QUICK, VARY, "--seeds=1", "--devices=2", "--out", out)
    assert outcome.code == 0, outcome
    logs = [(out / f"device-{number}.log").read_text() for number in (0, 1)]
    fitted = [line for log in logs for line in log.splitlines() if line.endswith("fitting")]
    assert len(set(fitted)) == 2  # every fit once, by one of the two
    assert all("fitting" in log for log in logs)
    assert "fitting" not in outcome.err
    for name in ("RandomWalk-seed0.pt", "IID-seed0.pt"):
        here, there = (torch.load(o / "evidence" / name, weights_only=True)["stages"] for o in (done.path, out))
        for stage in ("evidence", "forecast", "crps"):
            torch.testing.assert_close(there[stage], here[stage])


def test_what_is_wrong_in_one_process_is_told_by_all(data: list[str], tmp_path: Path) -> None:
    """A learning rate that makes the loss infinite is noticed in a fit, in another process."""
    options = [*data, *TINY, *QUICK, VARY, "--seeds=2", "--devices=2", "--optimisation.learning_rate=1e30"]
    outcome = command(*options, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    said = outcome.err.splitlines()[-1]
    assert "became" in said
    assert "checkpoint.pt" in said


def some_work(folder: Path) -> Work:
    """One task, which cannot be done."""
    measure = Measure(
        split="test", sequences=6, draws=100, given=1, scale=1.0, defensive=0.0, refine=0, annealed=0, seed=0
    )
    return Work([Task(Fit("IID", 0, folder), None, folder / "b", measure)], None, "cpu")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_that_dies_is_one_line(tmp_path: Path) -> None:
    """Here it cannot open its log; one that is killed for want of memory ends the same way."""
    with pytest.raises(UsageError, match="a process of the comparison died"):
        device_workers.spread_over_devices(some_work(tmp_path), 1, tmp_path / "missing")


def test_devices_that_are_not_there_are_refused(data: list[str], tmp_path: Path) -> None:
    assert "devices is 0" in refused(*data, *TINY, VARY, "--devices=0", "--out", tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        check_devices(2, torch.device("cuda"))
        with pytest.raises(UsageError, match="devices is 3; this machine has 2"):
            check_devices(3, torch.device("cuda"))


def test_after_a_stop_a_process_takes_no_further_task(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def do(self: Task, data: Any, device: str, title: str) -> None:
        done.append(title)
        raise KeyboardInterrupt

    monkeypatch.setattr(Task, "do", do)
    monkeypatch.setattr(device_workers._Worker, "stopped", None)
    monkeypatch.setattr(device_workers._Worker, "data", None, raising=False)
    monkeypatch.setattr(device_workers._Worker, "work", some_work(Path("a")), raising=False)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            device_workers._do(0)
    assert done == ["[1/1] IID, seed 0"]


# --- finished runs ----------------------------------------------------------------------------------------------------


def test_the_same_model_under_two_names_cannot_be_told_apart(run: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(run, tmp_path / "twin"))
    result = compare(runs=[run, twin], draws=30, out=tmp_path / "out")
    assert {c.name for c in result.comparison.candidates} == {"IID", "twin"}
    (difference,) = result.comparison.differences
    assert difference.verdict == "cannot tell"
    assert difference.mean == 0
    assert "cannot tell" in str(result)
    assert result.comparison.leaders == tuple(c.name for c in result.comparison.candidates)
    page = result._repr_html_()
    assert page.count("<table>") == 3
    assert "twin" in page


def test_runs_that_differ_in_their_seed_only_are_one_candidate(done: Outcome) -> None:
    runs = sorted((done.path / "runs").iterdir())
    fits = finished(runs)
    assert [(one.candidate, one.seed, one.path) for one in fits] == [
        (path.name.partition("-")[0], int(path.name[-1]), path) for path in runs
    ]
    with pytest.raises(UsageError, match="one candidate"):
        finished(runs[:2])


def test_runs_that_cannot_be_compared_are_refused(done: Outcome, run: Path, copy: Path, tmp_path: Path) -> None:
    other = copy / "runs" / "RandomWalk-seed0"
    out = ["--out", tmp_path / "out"]
    assert "at least two runs" in refused(run, *out)
    assert "named twice" in refused(run, other, run, *out)
    assert "holds no run" in refused(run, tmp_path / "nowhere", *out)
    assert "not both" in refused(VARY, run, other, *out)
    assert "--steps has no meaning" in refused("--steps=4", run, other, *out)
    state = torch.load(other / "best.pt", weights_only=True)
    torch.save({**state, "data": "others"}, other / "best.pt")
    assert "different data or splits" in refused(run, other, *out)
    (other / "best.pt").write_bytes((other / "best.pt").read_bytes()[:1000])
    assert "best.pt" in refused(run, other, *out)
    (other / "summary.json").unlink()
    assert "finish it" in refused(run, other, *out)
    assert not (tmp_path / "out").exists()


def test_a_point_has_no_evidence(data: list[str], run: Path, tmp_path: Path) -> None:
    small = [option for option in TINY if not option.startswith("--posterior")]
    assert "Delta is a point" in refused(*data, *small, "--vary=posterior=LSTM,Delta", "--out", tmp_path / "a")
    point = Path(shutil.copytree(run, tmp_path / "point"))
    config = yaml.safe_load((point / "config.yaml").read_text())
    opened = load(run)
    kind = PARTS["posterior"]["Delta"]
    made = build(
        torch.zeros(1, T, 3),
        0,
        2,
        2,
        PARTS["static_prior"]["AutoregressiveMixture"],
        IID,
        kind,
        PARTS["likelihood"]["Normal"],
        small_decoder,
    )
    (point / "config.yaml").write_text(yaml.safe_dump({**config, "posterior": describe(kind)}))
    torch.save({"schema": 1, **opened.state, "objective": made.state_dict()}, point / "best.pt")
    assert "point cannot be compared" in refused(run, point, "--out", tmp_path / "b")


# --- what varies ------------------------------------------------------------------------------------------------------

BASE = FitOptions(data=Arrays("a.npz")).shared()


def names(**vary: Any) -> list[str]:
    return [candidate.name for candidate in grid(BASE, {key.replace("__", "."): v for key, v in vary.items()})[0]]


def test_candidates_are_named_by_what_is_particular_to_them() -> None:
    assert names(dynamic_prior=["LSTM", "IID"]) == ["LSTM", "IID"]
    assert names(dynamic_prior=[LSTM, partial(LSTM, hidden_size=32)]) == ["LSTM", "LSTM(hidden_size=32)"]
    assert names(latent_size=["4", 8]) == ["latent_size=4", "latent_size=8"]
    assert names(dynamic_prior__hidden_size=[32, 64]) == ["hidden_size=32", "hidden_size=64"]
    assert names(dynamic_prior__hidden_size=[32], posterior__hidden_size=[6, 7]) == [
        "dynamic_prior.hidden_size=32+posterior.hidden_size=6",
        "dynamic_prior.hidden_size=32+posterior.hidden_size=7",
    ]
    both = names(dynamic_prior=["LSTM", "Flow"], static_prior=["VampPrior", "Flow"])
    assert both == ["LSTM+VampPrior", "LSTM+Flow", "Flow+VampPrior", "Flow+Flow"]


def test_every_candidate_has_its_own_options_and_shares_the_others() -> None:
    base = {**BASE, "static_size": 5, "dynamic_prior": describe(partial(LSTM, hidden_size=7))}
    vary = {"dynamic_prior.hidden_size": ["16"], "dynamic_prior": [GRU, "LSTM"], "optimisation.batch_size": [8]}
    candidates, written = grid(base, vary)
    assert [c.config["dynamic_prior"] for c in candidates] == [
        describe(partial(kind, hidden_size=16)) for kind in (GRU, LSTM)
    ]
    for candidate in candidates:
        assert candidate.config["static_size"] == 5
        assert candidate.config["optimisation"] == {**BASE["optimisation"], "batch_size": 8}
    assert [c.name for c in candidates] == ["hidden_size=16+GRU+batch_size=8", "hidden_size=16+LSTM+batch_size=8"]
    assert Candidate("LSTM(hidden_size=3)+a/b", {}).folder == "LSTM-hidden_size=3-+a-b"
    assert written["dynamic_prior.hidden_size"] == [16]
    # What is written down makes the same candidates again.
    assert grid(base, written)[0] == candidates


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ("dynamic_prior=LSTM", "at least two candidates"),
        ("dynamic_prior=LSTM,LSMT", "did you mean LSTM?"),
        ("dynamic_priro=LSTM,IID", "did you mean --dynamic_prior?"),
        ("dynamic_prior=LSTM,LSTM", "are the same; name each once"),
        ("dynamic_prior=LSTM,pyro_dsvae.models.dynamic_priors.lstm.LSTM", "are the same"),
        ("dynamic_prior.hiden_size=3,4", "did you mean hidden_size?"),
        ("static_prior.size=3,4", "AutoregressiveMixture has no such option"),
        ("optimisation.batch_size=3,x", "it takes a whole number"),
        ("optimisation.batch_size=3,0", "batch_size is 0"),
        ("seed=0,1", "--seeds says how often"),
        ("data=Sprites,Arrays", "the same data"),
        ("data.seed=1,2", "the same data"),
        ("out=a,b", "own folder"),
        ("dynamic_prior", "KEY=A,B"),
        ("dynamic_prior=", "KEY=A,B"),
        ("dynamic_prior=LSTM,", "empty value"),
        ("likelihood=Normal,Bernoulli", "a density of x (Normal) against a probability of x (Bernoulli)"),
    ],
)
def test_what_cannot_vary_is_said_before_anything_is_fitted(
    data: list[str], tmp_path: Path, vary: str, says: str
) -> None:
    assert says in refused(*data, *SMALL, "--vary", vary, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "a comparison takes --vary"),
        (["--seeds=0", VARY], "seeds is 0"),
        (["--draws=10", VARY], "draws is 10"),
        (["--sequences=1", VARY], "sequences is 1"),
        (["--confidence=95", VARY], "confidence is 95"),
        (["--defensive=0.99", VARY], "defensive is 0.99"),
        (["--steps=0", VARY], "steps is 0"),
        (["--given=4", VARY], "give from 1 to 3"),
        (["--dynamic_prior=IID", VARY], "dynamic_prior varies"),
        (["--latent_size=2", "--vary=latent_size=2,3"], "latent_size varies, so leave out --latent_size"),
        (["--sedes=2", VARY], "did you mean --seeds?"),
        ([VARY, VARY], "given twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(data: list[str], tmp_path: Path, options: list[str], says: str) -> None:
    assert says in refused(*data, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compare_takes_the_options_of_fit() -> None:
    """All but those that are each candidate's own."""
    ours, its = (dict(inspect.signature(function).parameters) for function in (compare, fit))
    assert set(its) - set(ours) == {"compile", "data_on", "profile", "keep_data"}
    for name in set(its) & set(ours) - {"out", "devices", "resume"}:
        assert ours[name] == its[name]
    assert list(BASE) == [name for name in its if name in ours and name not in ("out", "devices", "resume")]


def test_help_says_what_every_option_is() -> None:
    for kind in (FitOptions, ComparisonOptions):
        for each in fields(kind):
            assert each.metadata["said"], each.name
            assert f"    {each.name}: {each.metadata['said']}\n" in str(
                (fit if kind is FitOptions else compare).__doc__
            )
