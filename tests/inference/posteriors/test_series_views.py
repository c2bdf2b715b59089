"""Guide views of series: what z sees of a series, and a fit with them."""

from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.inference.posteriors.views import Rescale
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.static_priors import StandardNormal

T, P = 7, 3


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def test_a_series_is_rescaled_alike_at_all_steps_and_each_in_its_own_way() -> None:
    """y = a + exp(b) x with a ~ N(0, level^2) and b ~ N(0, scale^2), one of each for every series and column."""
    x, seen = torch.randn(4_000, T, P).double(), torch.ones(4_000, T, dtype=torch.bool)
    y = Rescale(level=2.0, scale=0.3).dynamic_view(x, seen, training=True)
    slope = (y[:, 1] - y[:, 0]) / (x[:, 1] - x[:, 0])
    a = y[:, 0] - slope * x[:, 0]
    torch.testing.assert_close(y, a.unsqueeze(1) + slope.unsqueeze(1) * x, rtol=1e-5, atol=1e-5)
    for found, sd in ((a, 2.0), (slope.log(), 0.3)):
        assert found.mean(0).abs().max() < 4 * sd / 4_000**0.5
        torch.testing.assert_close(found.std(0), torch.full((P,), sd).double(), rtol=0.05, atol=0)
        assert np.abs(np.corrcoef(found.T.numpy())[np.triu_indices(P, 1)]).max() < 0.08


def test_in_evaluation_z_sees_the_series() -> None:
    x = torch.randn(2, T, P)
    assert torch.equal(Rescale().dynamic_view(x, torch.ones(2, T, dtype=torch.bool), training=False), x)


def test_level_and_scale_that_nothing_changes_are_those_of_the_series() -> None:
    x = torch.randn(2, T, P)
    assert torch.equal(Rescale(0.0, 0.0).dynamic_view(x, torch.ones(2, T, dtype=torch.bool), training=True), x)


def test_a_fit_with_them_recombines_and_keeps_an_anchor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Series with gaps and of different lengths, in units far from one."""
    rng = np.random.default_rng(0)
    frames, seen = 1e4 * rng.normal(size=(20, T, P)).astype(np.float32), rng.random((20, T, P)) < 0.7
    seen[:, 0] = True
    lengths = rng.integers(3, T + 1, 20)
    np.savez(tmp_path / "series.npz", frames=frames, mask=seen, lengths=lengths, split=np.arange(20) % 5 // 2 % 3)
    result = fit(
        data=Arrays(str(tmp_path / "series.npz")),
        out=tmp_path / "run",
        steps=8,
        static_size=3,
        latent_size=2,
        device="cpu",
        static_prior=StandardNormal,
        dynamic_prior=partial(LSTM, hidden_size=4),
        posterior=partial(Posterior, hidden_size=4, feature_size=4, views="rescale"),
        optimisation=Optimisation(batch_size=4, evaluations=1),
    )
    assert "assume that the level and the scale of each column belong to what stays" in capsys.readouterr().out
    run, part = pyro_dsvae.load(result.run), pyro_dsvae.load(result.run).sequences().part("test")
    for anchored in (False, True):
        codes = run.encode(part.frames, part.mask, part.lengths, anchored=anchored)
        assert torch.isfinite(codes.f).all()
        assert torch.isfinite(codes.z).all()
