"""Standardised series: densities, samples and evidence in the data's own units, against what is known exactly."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Laplace, Normal, StudentT, TorchDistribution
from scipy import stats
from scipy.stats import multivariate_normal

from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal
from pyro_dsvae.models.standardisation import Standardisation
from tests.encoded import small_encoder
from tests.inference.test_linear_gaussian import EXACT, KINDS, Data, P, T, exact_guide, linear_gaussian_dsvae

MEAN, SD = torch.tensor([100.0, -0.3, 5000.0]).double(), torch.tensor([1.0, 0.02, 300.0]).double()


def units() -> Standardisation:
    made = Standardisation((3,)).double()
    made.set(MEAN, SD)
    return made


@pytest.mark.parametrize(
    ("u", "expected"),
    [
        (Normal(0.4, 0.3), stats.norm(MEAN + 0.4 * SD, 0.3 * SD)),
        (SharedScaleNormal(torch.tensor(0.4), torch.tensor(0.3)), stats.norm(MEAN + 0.4 * SD, 0.3 * SD)),
        (Laplace(0.4, 0.3), stats.laplace(MEAN + 0.4 * SD, 0.3 * SD)),
        (StudentT(5.0, 0.4, 0.3), stats.t(5.0, MEAN + 0.4 * SD, 0.3 * SD)),
    ],
    ids=["Normal", "SharedScaleNormal", "Laplace", "StudentT"],
)
def test_a_density_in_the_units_of_the_data(u: TorchDistribution, expected: stats.rv_continuous) -> None:
    """Log densities, mean, variance and draws against SciPy's, with location and scale in those units."""
    pyro.set_rng_seed(0)
    p = units().invert(u.expand([5, 3]))
    x = MEAN + SD * torch.linspace(-2, 2, 15, dtype=torch.float64).view(5, 3)
    logpdf = torch.from_numpy(expected.logpdf(x.numpy()))
    torch.testing.assert_close(p.log_prob(x), logpdf, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(p.to_event(1).log_prob(x), logpdf.sum(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(p.expand([2, 5, 3]).log_prob(x)[1], logpdf, rtol=1e-6, atol=1e-6)
    seen = x > MEAN
    torch.testing.assert_close(p.mask(seen).log_prob(x), logpdf * seen, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(p.mean, torch.from_numpy(expected.mean()).expand(5, 3), rtol=1e-6, atol=0)
    torch.testing.assert_close(p.variance, torch.from_numpy(expected.var()).expand(5, 3), rtol=1e-6, atol=0)
    for column, draws in enumerate(p.sample(torch.Size([400])).flatten(0, 1).T):
        one = type(expected.dist)(), [float(np.broadcast_to(a, 3)[column]) for a in expected.args]
        assert stats.kstest(draws.numpy(), lambda v, one=one: one[0].cdf(v, *one[1])).pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_is_that_of_the_data_in_their_own_units(kind: str) -> None:
    """At the exact posterior every draw of the ELBO is log p(x), a multivariate normal with means and scales of the data."""
    pyro.set_rng_seed(0)
    data, model, made = Data(kind), linear_gaussian_dsvae(), units()
    model.standardisation = made
    x = MEAN + SD * data.x
    terms = SequenceELBO().terms(model, exact_guide(data), x, data.mask, data.lengths)
    for b, (sequence, observed) in enumerate(data.sequences):
        length, seen = len(sequence), observed.reshape(-1).astype(bool)
        scales = np.tile(SD.numpy(), length)[seen]
        matrix = scales[:, None] * EXACT.emission(length)[seen]
        covariance = matrix @ EXACT.prior_covariance(length) @ matrix.T + np.diag(EXACT.r * scales**2)
        values = x[b, :length].reshape(-1).numpy()[seen]
        normal = multivariate_normal(np.tile(MEAN.numpy(), length)[seen], covariance) if seen.any() else None
        expected = 0.0 if normal is None else float(normal.logpdf(values))
        assert terms.elbo[b].item() == pytest.approx(expected, abs=1e-6)
        # In other words: that of the standardised values, less the log Jacobian of what was observed.
        jacobian = float(np.log(scales).sum())
        assert terms.elbo[b].item() == pytest.approx(data.evidence[b].item() - jacobian, abs=1e-6)


def test_a_guide_sees_standard_deviations_from_the_mean_and_the_mean_where_nothing_was_observed() -> None:
    guide = LSTM((P,), 2, 2, small_encoder, hidden_size=4, feature_size=4).double()
    x = MEAN + SD * torch.randn(2, T, P, dtype=torch.float64)
    mask = torch.rand(2, T, P) < 0.5
    torch.testing.assert_close(guide.see(x).x, x)
    guide.standardisation = units()
    seen = guide.see(torch.where(mask, x, torch.full_like(x, math.nan)), mask)
    torch.testing.assert_close(seen.x, torch.where(mask, (x - MEAN) / SD, 0.0))
    f, z = guide.eval().static(seen).mean, guide.dynamic(seen, guide.static(seen).mean).mean
    torch.manual_seed(0)
    with pyro.poutine.trace() as trace:
        guide(x, mask)
    torch.testing.assert_close(trace.trace.nodes["f"]["fn"].mean, f)
    assert z.shape == (2, T, 2)


def test_what_was_saved_before_has_mean_zero_and_unit_scale() -> None:
    made = units()
    made.load_state_dict({})
    assert torch.equal(made.mean, torch.zeros(3).double())
    assert torch.equal(made.sd, torch.ones(3).double())
    made.load_state_dict(units().state_dict())
    assert torch.equal(made.mean, MEAN)
