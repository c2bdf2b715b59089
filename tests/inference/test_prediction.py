"""Posterior means, decoded frames and draws from the prior; the model as a generator."""

from collections.abc import Iterator
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive
from torch import Tensor

from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.prediction import decode, posterior_means, sample_latents
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.decoded import decoded_by
from tests.encoded import small_encoder
from tests.oracles import LSTMPosterior, LSTMPrior

B, T, F, D = 3, 5, 4, 2
IMAGE, VECTOR = (3, 16, 16), (6,)


@pytest.fixture(autouse=True)
def empty_param_store() -> Iterator[None]:
    """Each test starts and ends with an empty global parameter store."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


def dsvae(frame_shape: tuple[int, ...] = VECTOR, prior: Any = LSTMPrior, likelihood: Any = Normal) -> DSVAE:
    return DSVAE(StandardNormal(F), prior(D), *decoded_by(likelihood, F, D, frame_shape, width=2))


def posterior(kind: Any, frame_shape: tuple[int, ...]) -> Any:
    return kind(frame_shape, F, D, small_encoder, hidden_size=5, feature_size=6).eval()


# --- posterior means --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", [LSTMPosterior, Factorised])
@pytest.mark.parametrize("ragged", [False, True])
def test_posterior_means_are_the_locations_of_the_guide(kind: Any, frame_shape: tuple[int, ...], ragged: bool) -> None:
    """f is the mean of q(f), and z the mean of q(z | f) at that f; by tracing the guide with f given."""
    guide = posterior(kind, frame_shape)
    x = torch.rand(B, T, *frame_shape)
    mask = torch.rand(B, T) < 0.7 if ragged else None
    lengths = torch.tensor([5, 2, 4]) if ragged else None
    f, z = posterior_means(guide, x, mask, lengths)
    assert f.shape == (B, F)
    assert z.shape == (B, T, D)
    assert not f.requires_grad
    assert not z.requires_grad

    loc = poutine.trace(guide).get_trace(x, mask, lengths).nodes["f"]["fn"].mean
    torch.testing.assert_close(f, loc)
    given_f = poutine.trace(poutine.condition(guide, data={"f": loc})).get_trace(x, mask, lengths)
    torch.testing.assert_close(z, given_f.nodes["z"]["fn"].mean)


def test_posterior_means_draw_nothing() -> None:
    guide, x = posterior(LSTMPosterior, VECTOR), torch.rand(B, T, *VECTOR)
    state = torch.get_rng_state()
    first, second = posterior_means(guide, x), posterior_means(guide, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_posterior_means_leave_no_parameters_behind() -> None:
    posterior_means(posterior(LSTMPosterior, VECTOR), torch.rand(B, T, *VECTOR))
    assert len(pyro.get_param_store()) == 0


def test_posterior_means_are_those_of_the_guide_that_was_given() -> None:
    """Two guides with the same parameter names, one of them trained through Pyro's store, do not mix."""
    x = torch.rand(B, T, *VECTOR)
    first, second = posterior(LSTMPosterior, VECTOR), posterior(LSTMPosterior, VECTOR)
    expected = posterior_means(second, x)
    pyro.clear_param_store()
    SVI(dsvae(), first, pyro.optim.Adam({"lr": 1e-2}), SequenceELBO()).step(x)
    actual = posterior_means(second, x)
    pyro.clear_param_store()
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert not torch.equal(posterior_means(first, x)[0], expected[0])


# --- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", [Normal, Bernoulli])
@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
def test_decode_gives_mean_frames(frame_shape: tuple[int, ...], likelihood: Any) -> None:
    model = dsvae(frame_shape, likelihood=likelihood)
    f, z = torch.randn(2, B, F), torch.randn(2, B, T, D)
    frames = decode(model, f, z)
    assert frames.shape == (2, B, T, *frame_shape)
    assert not frames.requires_grad
    raw = model.decoder(f, z)
    torch.testing.assert_close(frames, raw.detach() if likelihood is Normal else raw.sigmoid().detach())
    torch.testing.assert_close(frames[1], decode(model, f[1], z[1]))


def test_decode_is_the_mean_of_the_site_x() -> None:
    model = dsvae()
    trace = poutine.trace(model).get_trace(shape=(B, T))
    f, z = trace.nodes["f"]["value"], trace.nodes["z"]["value"]
    torch.testing.assert_close(decode(model, f, z), trace.nodes["x"]["fn"].mean.detach())


# --- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [LSTMPrior, IID])
def test_sample_latents(prior: Any) -> None:
    model = dsvae(prior=prior)
    f, z = sample_latents(model, 7, Steps(9))
    assert f.shape == (7, F)
    assert z.shape == (7, 9, D)
    assert not f.requires_grad
    assert not z.requires_grad
    assert len({row.sum().item() for row in f}) == 7
    assert len({path.sum().item() for path in z}) == 7
    pyro.set_rng_seed(3)
    first = sample_latents(model, 7, Steps(9))
    pyro.set_rng_seed(3)
    again = sample_latents(model, 7, Steps(9))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_sample_latents_draws_from_the_prior_of_the_model() -> None:
    """Moments of f and z against those of the model run as a program."""
    model, count = dsvae(), 4000
    with torch.no_grad():
        trace = poutine.trace(model).get_trace(shape=(count, 4))
    for ours, site in zip(sample_latents(model, count, Steps(4)), "fz", strict=True):
        theirs: Tensor = trace.nodes[site]["value"]
        error = ((ours.var(0) + theirs.var(0)) / count).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() < 4.5 * error).all()
        assert ((ours.std(0) / theirs.std(0) - 1).abs() < 4.5 / count**0.5).all()


# --- the model as a generator -----------------------------------------------------------------------------------------


def test_the_model_generates_without_frames_and_scores_with_them() -> None:
    model = dsvae(IMAGE)
    assert model(shape=(B, T)).shape == (B, T, *IMAGE)
    x = torch.rand(B, T, *IMAGE)
    assert torch.equal(model(x), x)
    with pytest.raises(UsageError, match="shape"):
        model()


@pytest.mark.parametrize("prior", [LSTMPrior, IID])
@pytest.mark.parametrize("likelihood", [Normal, Bernoulli])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("ragged", [False, True])
def test_predictive_draws_from_the_prior(prior: Any, likelihood: Any, parallel: bool, ragged: bool) -> None:
    model = dsvae(prior=prior, likelihood=likelihood)
    lengths = torch.tensor([5, 2, 4]) if ragged else None
    draws = Predictive(model, num_samples=4, parallel=parallel)(shape=(B, T), lengths=lengths)
    shapes = {"f": (B, F), "z": (B, T, D), "x": (B, T, *VECTOR)}
    for site, shape in shapes.items():
        assert draws[site].shape == (4, *shape)
        assert len({tuple(draw.flatten().tolist()) for draw in draws[site]}) == 4


def test_predictive_reconstructs_from_given_latents() -> None:
    model = dsvae()
    f, z = sample_latents(model, B, Steps(T))
    latents = {"f": f.expand(4, B, F), "z": z.expand(4, B, T, D)}
    draws = Predictive(model, posterior_samples=latents, parallel=True)(shape=(B, T))
    assert draws["x"].shape == (4, B, T, *VECTOR)
    deviation = (draws["x"] - decode(model, f, z)).abs().max() / model.likelihood.scale
    assert deviation.item() < 6


def test_latents_without_observations_are_drawn_where_x_is_missing() -> None:
    """Conditioned on frames, x is returned as given; what is not observed is not invented by the model."""
    model = dsvae()
    x = torch.rand(B, T, *VECTOR)
    mask = torch.rand(B, T) < 0.5
    returned = model(x.masked_fill(~mask.unsqueeze(-1), float("nan")), mask)
    assert torch.equal(returned[mask], x[mask])
    assert torch.isfinite(returned).all()
