"""A fit that is no better than a density without latents says so; the baseline is SciPy's."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import pyro_dsvae
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.baseline import baseline_log_prob
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.encoded import small_encoder

N, T, P = 30, 6, 3
SPLIT = np.arange(N) % 3
SEEN = np.random.default_rng(3).random((N, T, P)) < 0.8


def fitted(folder: Path, frames: np.ndarray, steps: int = 3, **options: Any) -> Run:
    np.savez(folder / "series.npz", frames=frames.astype(np.float32), mask=SEEN, split=SPLIT)
    result = fit(
        data=Arrays(str(folder / "series.npz")),
        out=folder / "run",
        steps=steps,
        static_size=2,
        latent_size=2,
        device="cpu",
        static_prior=StandardNormal,
        dynamic_prior=IID,
        posterior=partial(Posterior, hidden_size=8, feature_size=8),
        encoder=small_encoder,
        **{"optimisation": Optimisation(batch_size=8, evaluations=1)} | options,
    )
    return pyro_dsvae.load(result.run)


def baseline(run: Run) -> float:
    data = run.sequences()
    found = baseline_log_prob(
        Objective(run.model, run.guide), data.sequences("train"), data.sequences("validation"), torch.device("cpu")
    )
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["normal", "counts", "binary"])
def test_the_baseline_is_the_density_of_values_by_themselves(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    frames, likelihood = {
        "normal": (rng.normal(size=(N, T, P)) * [1, 50, 0.2] + [0, 1e3, -7], Normal),
        "counts": (rng.poisson([1, 5, 20], (N, T, P)), Poisson),
        "binary": (rng.random((N, T, P)) < [0.2, 0.5, 0.9], Bernoulli),
    }[kind]
    run = fitted(tmp_path, np.asarray(frames, dtype=np.float32), likelihood=likelihood)
    train = np.ma.MaskedArray(frames, ~SEEN)[SPLIT == 0].reshape(-1, P)
    mean, sd = np.asarray(train.mean(0), dtype=float), np.asarray(train.std(0), dtype=float)
    p: Any = {"normal": stats.norm(mean, sd), "counts": stats.poisson(mean), "binary": stats.bernoulli(mean)}[kind]
    log_p = p.logpdf(frames) if kind == "normal" else p.logpmf(frames)
    held_out = SPLIT == 1
    assert baseline(run) == pytest.approx((log_p * SEEN)[held_out].sum() / held_out.sum(), rel=1e-4)


def test_a_fit_of_the_wrong_scale_says_that_it_has_not_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns far from unit scale, not standardised: the KL is absurd or the noise too small, and a line says the remedy."""
    frames = np.random.default_rng(0).normal(size=(N, T, P)) * [1, 50, 0.2] + [0, 1e3, -7]
    fitted(tmp_path, frames, standardise=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if "has not learned" in line]
    assert len(lines) == 1
    assert "learning_rate" in lines[0]
    assert "scale" in lines[0]


def test_a_fit_that_has_learned_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = np.random.default_rng(0).normal(size=(N, 1, 1)) * np.ones((1, T, P))
    quick = Optimisation(batch_size=10, learning_rate=0.01, evaluations=2, kl_warmup=0.0)
    fitted(tmp_path, levels + 0.01 * np.random.default_rng(1).normal(size=(N, T, P)), 150, optimisation=quick)
    assert "has not learned" not in capsys.readouterr().err


def test_a_fit_without_a_finite_held_out_elbo_ends_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dict.fromkeys(("elbo", "reconstruction", "kl_static", "kl_dynamic"), math.nan)
    monkeypatch.setattr("pyro_dsvae.inference.svi.held_out_terms", lambda *_, **__: nothing)
    with pytest.raises(
        UsageError, match=r"^no ELBO of the validation split was finite[^\n]*lower learning rate[^\n]*$"
    ):
        fitted(tmp_path, np.random.default_rng(0).normal(size=(N, T, P)))
    assert (tmp_path / "run" / "checkpoint.pt").exists()
