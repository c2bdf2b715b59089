"""Fits to series in any unit: every result is in the units of the data, and densities have the log Jacobian.

The oracle is a fit to the same series in other units. Its factors are powers of two, so nothing is rounded: standardised
values, and so the weights after every step, are the same to the bit.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.actions.forecast import forecast
from pyro_dsvae.actions.impute import impute
from pyro_dsvae.actions.sample import sample
from pyro_dsvae.comparison.measurement import Measure, _Stages
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.calibration.intervals import calibration
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.forecasting.log_prob import forecast_log_prob
from pyro_dsvae.inference.forecasting.scores import forecast_scores
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.predictive_checks.discrepancies import applicable
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy
from pyro_dsvae.inference.predictive_checks.draws import predictive_draws
from pyro_dsvae.inference.predictive_checks.values import discrepancy_values
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.laplace import Laplace
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.likelihoods.student_t import StudentT
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior
from pyro_dsvae.runs.directory import RunDirectory
from tests.encoded import small_encoder

N, T, P, F, D = 40, 8, 4, 3, 2
FACTORS = torch.tensor([1.0, 64.0, 2.0**20, 1 / 32])
# Where nothing was observed.
ANYTHING = np.float32(12345)
SEEN = np.random.default_rng(7).random((N, T, P)) < 0.8


def series() -> np.ndarray:
    """Phases that differ between sequences, and noise, in units near one: (N, T, P) float32."""
    rng = np.random.default_rng(0)
    phase, steps = rng.uniform(0, 2 * math.pi, (N, 1, 1)), np.arange(T)[:, None]
    waves = np.sin(phase + steps * np.array([0.3, 0.5, 0.7, 0.9]))
    return (waves + 0.1 * rng.normal(size=waves.shape)).astype(np.float32)


def fitted(folder: Path, frames: np.ndarray, steps: int = 6, **options: Any) -> Run:
    """A small fit; what was not observed holds anything."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "series.npz", frames=np.where(SEEN, frames, ANYTHING), mask=SEEN, split=np.arange(N) % 5 // 2 % 3)
    chosen: dict[str, Any] = {
        "static_prior": StandardNormal,
        "dynamic_prior": partial(LSTM, hidden_size=4),
        "posterior": partial(Posterior, hidden_size=6, feature_size=6),
        "encoder": small_encoder,
        "likelihood": Normal,
    }
    result = fit(
        data=Arrays(str(folder / "series.npz")),
        out=folder / "run",
        steps=steps,
        static_size=F,
        latent_size=D,
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
        **chosen | options,
    )
    return pyro_dsvae.load(result.run)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Fits to the same series in two units."""
    folder = tmp_path_factory.mktemp("pair")
    return fitted(folder / "one", series()), fitted(folder / "other", series() * FACTORS.numpy())


def clips(run: Run) -> tuple[Tensor, Tensor]:
    """Frames and mask of some test sequences."""
    part = run.sequences().part("test")
    assert part.mask is not None
    return part.frames[:3], part.mask[:3]


def in_units_of_the_data(run: Run) -> Iterator[tuple[str, Tensor]]:
    """Results of which every column has the unit of the data."""
    x, mask = clips(run)
    codes = run.encode(x, mask)
    yield "reconstruction", run.reconstruct(x, mask)
    whole = x.where(mask, 0)
    yield "swap", run.swap(whole[:1], whole[1:])
    yield "samples", run.sample(5, seed=1)
    yield "interpolation", run.interpolate(whole[:1], whole[1:2], count=3)
    yield "traversal", run.traverse(codes, dimensions=[0], count=3).frames
    for method in ("amortised", "refined", "langevin"):
        imputed = run.impute(x, mask, draws=4, method=method)  # type: ignore[arg-type]
        yield f"{method} imputation", imputed.mean
        yield f"spread of {method} imputation", imputed.sd
        yield f"draws of {method} imputation", imputed.draws
    future = run.forecast(x, horizon=3, mask=mask, draws=30)
    yield "forecast", future.mean
    yield "futures", future.samples
    yield "interval", torch.stack(future.interval(0.9))
    drawn = predictive_draws(run.sampler(), run.sequences().sequences("test"), draws=3)
    yield "prior predictive draws", drawn.prior.x
    yield "posterior predictive draws", drawn.posterior.x
    yield "data beside predictive draws", drawn.data


def test_every_result_is_in_the_units_of_the_data(pair: tuple[Run, Run]) -> None:
    one, other = pair
    for (name, mine), (_, theirs) in zip(*map(in_units_of_the_data, pair), strict=True):
        finite = ~mine.isnan()
        assert finite.any(), name
        assert torch.equal(finite, ~theirs.isnan()), name
        error = (theirs / FACTORS - mine)[finite].abs().max()
        # Rounding of log densities, which differ by a constant, grows along a chain.
        assert error <= (0.05 if "langevin" in name else 1e-5) * mine[finite].abs().max(), name
    assert torch.equal(one.encode(*clips(one)).z, other.encode(*clips(other)).z)


def test_densities_differ_by_the_log_jacobian(pair: tuple[Run, Run]) -> None:
    """ELBO, evidence and forecasts of log p: by log(factor) for every value that was observed."""
    jacobians, found = [], []
    for run in pair:
        sequences = run.sequences().sequences("test")
        assert sequences.mask is not None
        values = sequences.mask[sequences.rows]
        jacobians = [(values[:, start:] * FACTORS.log()).sum((1, 2)).double() for start in (0, 0, 5)]
        evidence = estimate_evidence(run.sampler(), sequences, draws=30)
        forecasts = forecast_log_prob(run.sampler(), sequences, 5, 30)
        found.append((evidence.log_evidence, evidence.elbo, forecasts.log_prob))
    for mine, theirs, jacobian in zip(*found, jacobians, strict=True):
        torch.testing.assert_close(theirs.double(), mine.double() - jacobian, rtol=0, atol=1e-3)
        assert jacobian.abs().min() > 10


def test_the_reported_elbo_has_the_log_jacobian(pair: tuple[Run, Run]) -> None:
    mask = pair[0].sequences().part("validation").mask
    assert mask is not None
    jacobian = float((mask * FACTORS.log()).sum((1, 2)).mean())
    mine, theirs = (json.loads((run.path / "summary.json").read_text())["validation"]["elbo"] for run in pair)
    assert theirs == pytest.approx(mine - jacobian, abs=1e-2)
    rows = [RunDirectory(run.path).metrics() for run in pair]
    jacobian = float((torch.from_numpy(SEEN) * FACTORS.log()).sum((1, 2)).mean())
    for one, other in zip(*rows, strict=True):
        assert other["kl_dynamic"] == pytest.approx(one["kl_dynamic"], rel=1e-5)
        assert one["elbo"] - other["elbo"] == pytest.approx(jacobian, abs=10)


def rmse(said: str) -> list[float]:
    """Both numbers of the line on errors of imputation."""
    (line,) = [line for line in said.splitlines() if line.startswith("root mean squared error")]
    assert "in standard deviations of each column" in line
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_errors_that_pool_columns_are_in_standard_deviations(
    pair: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The unit of a column decides nothing: not which column counts, nor who wins. Coverage has no unit."""
    mine, theirs = (forecast_scores(run.sampler(), run.sequences().sequences("test"), 5, 30) for run in pair)
    assert mine.unit == theirs.unit == "in standard deviations of each column"
    assert any(mine.unit in sentence for sentence in theirs.sentences())
    for ours, others in ((mine.model, theirs.model), *((e, theirs.baselines[n]) for n, e in mine.baselines.items())):
        torch.testing.assert_close(others.crps, ours.crps, rtol=1e-4, atol=0)
        torch.testing.assert_close(others.mse, ours.mse, rtol=1e-4, atol=0)
    sds = [run.model.standardisation.sd for run in pair if run.model.standardisation is not None]
    assert (sds[1] / sds[0]).amax() > 1e5
    covered = [
        calibration(run.sampler(), run.sequences().sequences("test"), 5, 30).given_latents.values.coverage
        for run in pair
    ]
    assert torch.equal(*covered)
    errors, terms, crps = [], [], []
    for number, run in enumerate(pair):
        impute(run.path, "0:2", draws=5, missing_pixels=0.5, out=tmp_path / f"impute{number}", format="npz")
        errors.append(rmse(capsys.readouterr().out))
        found = evaluate(run.path, split="validation", out=tmp_path / f"evaluation{number}")
        assert "in standard deviations of each column" in (found.path / "evaluation.md").read_text()
        terms.append(found.terms.squared_error)
        measure = Measure(
            split="test", sequences=5, draws=25, given=5, scale=1.0, defensive=0.1, refine=0, annealed=0, seed=0
        )
        stages = _Stages(run, run.sequences(), measure, run.sequences().sequences("test"))
        crps.append(stages.crps(lambda *_, **__: None)["crps"])
    assert errors[1] == pytest.approx(errors[0], abs=2e-4)
    assert terms[1] == pytest.approx(terms[0], rel=1e-4)
    torch.testing.assert_close(*crps, rtol=1e-4, atol=0)


def test_discrepancies_that_pool_columns_see_standard_deviations(pair: tuple[Run, Run]) -> None:
    """All of the built-in ones but the surprise, a log density; one's own sees the data's units."""
    own = Discrepancy("own", lambda frames: frames.x.amax((-1, -2)).double())
    values = []
    for run in pair:
        found, failures = discrepancy_values(
            run.sampler(), run.sequences().sequences("test"), [*applicable((P,)), own], ("frames",), 3
        )
        assert not failures
        values.append(found["frames"])
    for name, mine in values[0].items():
        same = torch.allclose(values[1][name].observed, mine.observed, rtol=1e-3, atol=1e-5, equal_nan=True)
        assert same == (name not in ("own", "surprise")), name


def test_files_of_the_commands_are_in_the_units_of_the_data(pair: tuple[Run, Run], tmp_path: Path) -> None:
    made: list[dict[str, Any]] = []
    for number, run in enumerate(pair):
        found: dict[str, Any] = {}
        for name, folder in {
            "sample": sample(run.path, number=3, out=tmp_path / f"sample{number}", format="npz"),
            "forecast": forecast(run.path, "0:2", given=5, draws=5, out=tmp_path / f"forecast{number}", format="npz"),
            "impute": impute(run.path, "0:2", draws=5, out=tmp_path / f"impute{number}", format="npz"),
        }.items():
            (file,) = folder.glob("*.npz")
            with np.load(file) as arrays:
                found |= {f"{name} {key}": arrays[key] for key in arrays.files if arrays[key].shape[-1:] == (P,)}
        made.append(found)
    assert {"sample frames", "forecast frames", "forecast low", "forecast given", "impute frames"} <= set(made[0])
    for name, values in made[0].items():
        if values.dtype != bool:
            seen = values != ANYTHING
            error = np.abs(made[1][name] / FACTORS.numpy() - values)[seen].max()
            assert error <= 1e-5 * np.abs(values[seen]).max(), name


@pytest.mark.parametrize("likelihood", [Normal, Laplace, StudentT, partial(Normal, scale_kind="predicted")])
def test_every_real_valued_likelihood_learns_in_any_unit(tmp_path: Path, likelihood: Any) -> None:
    """An offset as well: after the same steps the errors in standard deviations are those of units near one."""
    errors = []
    for name, frames in (("one", series()), ("other", series() * FACTORS.numpy() + np.float32([0, 1e3, -1e7, 2]))):
        run = fitted(tmp_path / name, frames, 30, likelihood=likelihood)
        x, mask = clips(run)
        error = ((run.reconstruct(x, mask) - x) * mask).square().mean((0, 1)).sqrt()
        errors.append(error / torch.from_numpy(frames.std((0, 1))))
    torch.testing.assert_close(errors[1], errors[0], rtol=0.05, atol=0)


def test_pseudo_inputs_start_in_standard_deviations(tmp_path: Path) -> None:
    run = fitted(tmp_path, series() * FACTORS.numpy(), 1, static_prior=partial(VampPrior, components=16))
    prior = run.model.static_prior
    assert isinstance(prior, VampPrior)
    assert prior.pseudo_inputs is not None
    assert prior.pseudo_inputs.std((0, 1)).min() > 0.3
    assert prior.pseudo_inputs.std((0, 1)).max() < 2


def test_what_is_said_names_constant_columns_which_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A constant column cannot be divided by its spread: it is centred, and reconstructed as what it is."""
    frames = series()
    frames[..., 2] = 9.9
    run = fitted(tmp_path, frames, 30)
    said = capsys.readouterr().err.splitlines()
    assert sum("standardised on the training split: 3 columns" in line for line in said) == 1
    assert sum(line.startswith("column 2 is constant") for line in said) == 1
    assert (run.reconstruct(*clips(run))[..., 2] - 9.9).abs().max() < 0.2


def test_counts_are_never_standardised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.random.default_rng(0).poisson(20, (N, T, P)).astype(np.float32)
    runs = [fitted(tmp_path / str(on), frames, 3, likelihood=Poisson, standardise=on) for on in (True, False)]
    assert "standardised" not in capsys.readouterr().err
    states = [torch.load(run.path / "best.pt", weights_only=True)["objective"] for run in runs]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert runs[0].model.standardisation is None


def older(path: Path) -> None:
    """Make the run what it was before there was standardisation."""
    config = yaml.safe_load((path / "config.yaml").read_text())
    del config["standardise"]
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("best.pt", "checkpoint.pt"):
        state: dict[str, Any] = torch.load(path / name, weights_only=True)
        for key in [key for key in state["objective"] if "standardisation" in key]:
            del state["objective"][key]
        torch.save(state, path / name)


def resumed(path: Path, to: int) -> Tensor:
    """What the run decodes after it went on to a later step, with all other options its own."""
    options = RunDirectory(path).options()
    fit(
        **{field.name: getattr(options, field.name) for field in fields(options)}
        | {"out": path, "resume": True, "steps": to}
    )
    return pyro_dsvae.load(path, "checkpoint.pt").decode(torch.ones(1, F), torch.ones(1, T, D))


def test_a_run_of_before_opens_as_it_was_fitted_and_goes_on(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    run = fitted(tmp_path / "now", series() * np.float32([1, 2, 0.5, 1]), 4, standardise=False)
    x, mask = clips(run)
    assert run.model.standardisation is not None
    assert torch.equal(run.model.standardisation.sd, torch.ones(P))
    before = tmp_path / "before"
    shutil.copytree(run.path, before)
    older(before)
    opened = pyro_dsvae.load(before)
    assert torch.equal(opened.reconstruct(x, mask), run.reconstruct(x, mask))
    assert not opened.config["standardise"]
    assert torch.equal(resumed(before, 6), resumed(run.path, 6))
    assert not recwarn.list
