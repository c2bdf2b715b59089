"""Trackers are told what the run's own folder says, and a fit does not depend on them."""

import json
import os
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import pyro_dsvae
from pyro_dsvae.compare import compare
from pyro_dsvae.fit import fit, main
from pyro_dsvae.inference.posteriors import LSTM
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models import dynamic_priors, static_priors
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.trackers import MLflow, TensorBoard, Tracker
from pyro_dsvae.trackers.mlflow import PATIENCE
from pyro_dsvae.trackers.tracking import Tracking
from tests.pictures import pictures

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
FRAMES = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
SMALL: dict[str, Any] = {
    "static_prior": static_priors.StandardNormal,
    "posterior": partial(LSTM, hidden_size=4, feature_size=4),
    "optimisation": Optimisation(evaluations=1),
    "static_size": 2,
    "latent_size": 2,
    "steps": 2,
    "device": "cpu",
}


class Recorder(Tracker):
    """Notes what it is told, a line each."""

    def __init__(self, path: str, fails: bool = False) -> None:
        self.path = path
        self.fails = fails

    def note(self, *what: Any) -> None:
        with Path(self.path).open("a") as file:
            file.write(json.dumps(what) + "\n")

    def begin(self, folder: Path, parameters: Mapping[str, Any], step: int) -> None:
        self.note("begin", folder.name, parameters, step)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if self.fails:
            raise ConnectionError("the server\nis gone")
        self.note("metrics", step, values)

    def figure(self, name: str, picture: Path, step: int) -> None:
        assert picture.is_file()
        self.note("figure", name, step)

    def file(self, path: Path) -> None:
        assert path.is_file()
        self.note("file", path.name)

    def end(self, finished: bool) -> None:
        self.note("end", finished)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes.jsonl"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("clips.npz", frames=FRAMES)


def told(notes: Path, kind: str) -> list[list[Any]]:
    return [each for kind_, *each in map(json.loads, notes.read_text().splitlines()) if kind_ == kind]


def rows(run: Path) -> dict[tuple[int, str], float]:
    """Step and name -> value, of metrics.csv."""
    return {
        (row["step"], f"{row['split']}/{name}"): row[name]
        for row in RunDirectory(run).metrics()
        for name in ("elbo", "reconstruction", "kl_static", "kl_dynamic", "seconds", "learning_rate")
    }


def test_a_tracker_is_told_what_the_run_says_and_again_when_it_goes_on(notes: Path, tmp_path: Path) -> None:
    """One's own, by its dotted path; the run remembers it, and opens without it."""
    name = f"{__name__}.Recorder"
    few = ["--static_size=2", "--latent_size=2", "--posterior.hidden_size=4", "--optimisation.evaluations=1"]
    begin = ["--data=Arrays", "--data.path=clips.npz", *few, "--steps=2", "--device=cpu", "--out=run"]
    assert main([*begin, f"--tracker={name}", f"--tracker.path={notes}"]) == 0
    assert main(["--out=run", "--resume", "--steps=4"]) == 0
    (folder, parameters, first), (_, _, second) = told(notes, "begin")
    assert (folder, first, second) == ("run", 0, 2)
    assert (parameters["latent_size"], parameters["posterior"], parameters["posterior.hidden_size"]) == (2, "LSTM", 4)
    assert parameters["optimisation.evaluations"] == 1
    seen = {(step, key): value for step, values in told(notes, "metrics") for key, value in values.items()}
    assert seen.keys() == rows(tmp_path / "run").keys()
    assert all(seen[at] == pytest.approx(value) for at, value in rows(tmp_path / "run").items())
    assert told(notes, "file") == [["config.yaml"], ["summary.json"]] * 2
    assert told(notes, "end") == [[True], [True]]
    config = tmp_path / "run" / "config.yaml"
    assert name in config.read_text()
    config.write_text(config.read_text().replace(name, "nowhere.to_be_found.Recorder"))
    assert pyro_dsvae.load("run").frame_shape == (3,)


def test_a_comparison_tells_of_each_of_its_fits_and_of_itself(notes: Path) -> None:
    vary = {"dynamic_prior": [dynamic_priors.IID, dynamic_priors.RandomWalk]}
    found = compare(
        data=FRAMES, vary=vary, seeds=1, sequences=2, draws=25, out=Path("out"), tracker=Recorder(str(notes)), **SMALL
    )
    assert [name for name, _, _ in told(notes, "begin")] == ["out", "IID-seed0", "RandomWalk-seed0"]
    *_, (_, values) = told(notes, "metrics")
    assert values == {f"log evidence/{row.candidate}": row.log_evidence for row in found.report.rows}
    assert ["comparison.md"] in told(notes, "file")
    assert told(notes, "end") == [[True]] * 3


def test_a_tracker_that_fails_is_said_once_and_the_fit_goes_on(notes: Path) -> None:
    with pytest.warns(Remark, match="Recorder is told no more, since it failed: ConnectionError: the server is gone"):
        result = fit(data=FRAMES, out=Path("run"), tracker=Recorder(str(notes), fails=True), **SMALL)
    assert result.finished
    assert RunDirectory(result.run).metrics()[-1]["step"] == 2
    assert told(notes, "end") == []


def test_tensorboard_reads_what_the_run_says(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pictures():
        fit(data=FRAMES, out=Path("run"), tracker=TensorBoard(), **SMALL)
    read = EventAccumulator("run/tensorboard").Reload()
    found = {(e.step, tag): e.value for tag in read.Tags()["scalars"] for e in read.Scalars(tag)}
    assert found == pytest.approx(rows(tmp_path / "run"), rel=1e-5)
    assert set(read.Tags()["images"]) == {"training", "reconstruction", "swap", "sample"}


def test_pictures_are_told_at_the_end(notes: Path) -> None:
    """As those of any verb, with the number of steps."""
    (notes.parent / "figures").mkdir()
    for name in ("b.png", "a.png"):
        (notes.parent / "figures" / name).touch()
    with Tracking(Recorder(str(notes)), notes.parent, {}) as tracking:
        tracking.results(notes.parent, ["absent.json"], step=3)
    assert told(notes, "figure") == [["a", 3], ["b", 3]]
    assert told(notes, "file") == []
    assert told(notes, "end") == [[True]]


def test_mlflow_reads_what_the_run_says_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # where a user has a server
    uri = f"file://{tmp_path / 'mlruns'}"
    fit(data=FRAMES, out=Path("run"), tracker=MLflow(uri), **SMALL)
    (tmp_path / "run" / "figures" / "swap.png").touch()
    fit(data=FRAMES, out=Path("run"), resume=True, tracker=MLflow(uri), **SMALL | {"steps": 3})
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pyro_dsvae").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["posterior.hidden_size"] == "4"
    found = {
        (m.step, m.key): m.value for key in run.data.metrics for m in client.get_metric_history(run.info.run_id, key)
    }
    assert found == pytest.approx(rows(tmp_path / "run"))
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"config.yaml", "summary.json", "figures"}


def test_a_server_that_does_not_answer_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_dsvae.trackers.mlflow.PATIENCE", dict.fromkeys(PATIENCE, "1") | {RETRIES: "0"})
    monkeypatch.delenv(RETRIES, raising=False)
    with socket.create_server(("localhost", 0)) as silent:
        uri = f"http://localhost:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UsageError, match=r"^MLflow cannot begin: .*timed out[^\n]*$"):
            fit(data=FRAMES, out=Path("run"), tracker=MLflow(uri), **SMALL)
    assert not Path("run").exists()
    assert time.monotonic() - began < 60
    assert RETRIES not in os.environ


def test_a_tracker_that_cannot_begin_leaves_nothing_behind_and_spoils_nothing(notes: Path) -> None:
    """A new fit and a new comparison take no folder; a run that goes on stays."""
    vary = {"dynamic_prior": [dynamic_priors.IID, dynamic_priors.RandomWalk]}
    nowhere = Recorder(str(notes / "no" / "folder"))
    with pytest.raises(UsageError, match="Recorder cannot begin"):
        compare(data=FRAMES, vary=vary, seeds=1, sequences=2, draws=25, out=Path("out"), tracker=nowhere, **SMALL)
    with pytest.raises(UsageError, match="Recorder cannot begin"):
        fit(data=FRAMES, out=Path("run"), tracker=nowhere, **SMALL)
    assert not Path("out").exists()
    assert not Path("run").exists()
    fit(data=FRAMES, out=Path("run"), **SMALL)
    with pytest.raises(UsageError, match="Recorder cannot begin"):
        fit(data=FRAMES, out=Path("run"), resume=True, tracker=nowhere, **SMALL)
    assert pyro_dsvae.load("run").frame_shape == (3,)


def test_mlflow_is_asked_once_for_the_numbers_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    asked: list[tuple[str, int]] = []
    whole = MlflowClient.log_batch

    def log_batch(client: MlflowClient, run_id: str, **what: Any) -> None:
        asked.extend((kind, len(values)) for kind, values in what.items())
        whole(client, run_id, **what)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    tracker = MLflow(f"file://{tmp_path / 'mlruns'}")
    tracker.begin(tmp_path, {f"option{i}": i for i in range(130)}, 0)
    tracker.metrics(3, {"validation/elbo": -1.0, "validation/kl_static": 2.0})
    assert asked == [("params", 100), ("params", 30), ("metrics", 2)]


@pytest.mark.parametrize(("kind", "package"), [(TensorBoard, "tensorboard"), (MLflow, "mlflow")])
def test_a_package_that_is_missing_is_said_before_the_fit(
    kind: type, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_dsvae.trackers.tracker.find_spec", {package: None}.get)
    with pytest.raises(UsageError, match=f"needs the package {package}"):
        main(["--data=Arrays", "--data.path=clips.npz", "--out=run", f"--tracker={kind.__name__}"])
    assert not Path("run").exists()
