"""A fit that is resumed with another budget: what it still does, what it says, and what config.yaml says then."""

import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pyro_dsvae import fit as fit_module
from pyro_dsvae import latents, progress
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import FitResult, fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.gaussian_mixture import GaussianMixture
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.fit_journal import FitJournal
from tests.encoded import small_encoder


def fitted(folder: Path, steps: int = 40, refit: int = 0) -> FitResult:
    frames = np.random.default_rng(0).normal(size=(30, 5, 3)).astype(np.float32)
    np.savez(folder / "clips.npz", frames=frames)
    return fit(
        data=Arrays(str(folder / "clips.npz")),
        steps=steps,
        out=folder / "run",
        static_size=2,
        latent_size=2,
        static_prior=partial(GaussianMixture, components=2),
        dynamic_prior=IID,
        posterior=partial(Posterior, hidden_size=8, feature_size=8),
        encoder=small_encoder,
        optimisation=Optimisation(batch_size=4, evaluations=2, prior_refit_steps=refit),
        device="cpu",
    )


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after 8 steps of 40, before the first evaluation at 20."""
    answers = iter([False] * 7 + [True])
    with monkeypatch.context() as patch:
        patch.setattr(FitJournal, "stop", lambda _: next(answers))
        return fitted(tmp_path).run


def budget(run: Path) -> tuple[int | None, float | None]:
    config = yaml.safe_load((run / "config.yaml").read_text())
    return config["steps"], config["minutes"]


def evaluations(run: Path) -> list[int]:
    return [row["step"] for row in RunDirectory(run).metrics() if row["split"] == "validation"]


@pytest.mark.parametrize("option", ["--steps=5", "--minutes=0.0001"])
def test_a_stopped_fit_whose_budget_is_used_up_keeps_its_last_state(
    stopped: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluations(stopped) == []
    assert fit_module.main([f"--out={stopped}", "--resume", option]) == 0
    assert evaluations(stopped) == [8]
    assert RunDirectory(stopped).load("best.pt")["step"] == RunDirectory(stopped).summary()["validation"]["step"] == 8
    assert "done already: 8 steps; the budget is" in capsys.readouterr().err
    assert budget(stopped) == (8, None)  # what repeats it
    assert fit_module.main([f"--out={stopped}", "--resume"]) == 0
    assert evaluations(stopped) == [8]


@pytest.mark.parametrize("refit", [0, 100])
def test_a_request_to_stop_that_comes_in_the_last_evaluation_is_heard(
    refit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit went on to its report, and a comparison to its next fit. With a refit its evaluation is the last."""
    taken: list[int] = []

    def evaluate(svi: SVI, *arguments: Any) -> dict[str, float]:
        taken.append(svi.step)
        if len(taken) == (4 if refit else 2):  # two on the way, one before the refit and one after it
            signal.raise_signal(signal.SIGTERM)
        return whole(svi, *arguments)

    whole = SVI.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(SVI, "evaluate", evaluate)
        result = fitted(tmp_path, steps=110, refit=refit)
    assert taken[-1] == 110
    assert not result.finished
    assert result.stopped is not None
    assert result.stopped.number == signal.SIGTERM
    assert not (result.run / "summary.json").exists()
    assert fit_module.main([f"--out={result.run}", "--resume"]) == 0
    assert evaluations(result.run)[:2] == [55, 110]
    assert RunDirectory(result.run).summary()["steps"] == 110


def test_a_run_without_an_evaluation_says_how_to_go_on(stopped: Path) -> None:
    with pytest.raises(UsageError) as refused:
        latents.main(["sample", str(stopped)])
    assert "stopped before its first evaluation" in str(refused.value)
    assert f"python -m pyro_dsvae.fit --out {stopped} --resume" in str(refused.value)


def test_the_configuration_has_the_budget_of_the_resumed_fit(stopped: Path) -> None:
    before = yaml.safe_load((stopped / "config.yaml").read_text())
    assert fit_module.main([f"--out={stopped}", "--resume", "--steps=50"]) == 0
    assert evaluations(stopped)[-1] == 50
    assert yaml.safe_load((stopped / "config.yaml").read_text()) == before | {"steps": 50}


def test_a_finished_fit_says_in_one_line_that_nothing_was_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted(tmp_path).run
    capsys.readouterr()
    before = (run / "config.yaml").read_bytes(), (run / "best.pt").read_bytes()
    assert fit_module.main([f"--out={run}", "--resume", "--steps=10"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "done already" in line]
    assert said == ["done already: 40 steps; the budget is 10 steps: nothing was fitted"]
    assert ((run / "config.yaml").read_bytes(), (run / "best.pt").read_bytes()) == before


def test_piped_a_fit_soon_says_how_long_it_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert progress.PATIENCE <= 10 <= progress.INTERVAL
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    fitted(tmp_path, 200)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fitting")]
    assert len(said) == 1  # the next one comes after a minute
    assert re.match(r"fitting 200 steps: (0:00 so far|\d+% of the whole after 0:00, step \d+, .* left)$", said[0])
