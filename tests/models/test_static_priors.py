"""Priors over the static latent: densities, draws, gradients, and what becomes of them in an ELBO."""

import copy
import functools
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Independent, Normal, TorchDistribution, TransformedDistribution
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform

from pyro_dsvae.inference.elbo import CLOSED_FORM, STICKING_THE_LANDING, SequenceELBO
from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture, orthogonal
from pyro_dsvae.models.static_priors.diagonal_normal import DiagonalNormal
from pyro_dsvae.models.static_priors.flow import Flow
from pyro_dsvae.models.static_priors.gaussian_mixture import EVEN, GaussianMixture, bounded_weights
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior
from tests.decoded import decoded_by
from tests.encoded import small_encoder

B, T, D, P, K = 4, 3, 2, 5, 6


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


class ToyEncoder(nn.Module):
    """q(f | x) = N(tanh(W mean_t x), softplus(V mean_t x)^2): nothing but what the prior is promised."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.loc = nn.Linear(P, size)
        self.scale = nn.Linear(P, size)


def encode(toy: ToyEncoder, x: Tensor) -> TorchDistribution:
    features = x.mean(1)
    return Normal(2 * torch.tanh(toy.loc(features)), nn.functional.softplus(toy.scale(features))).to_event(1)


def of_guide(guide: Posterior, x: Tensor) -> TorchDistribution:
    return guide.static(GuideInput.of(x))


def vamp(size: int, components: int = K, examples: int = 10) -> VampPrior:
    prior = VampPrior(size, components)
    prior.connect(functools.partial(encode, ToyEncoder(size)), 3 * torch.randn(examples, T, P))
    return prior


def guide_of(prior: StaticPrior) -> Any:
    """The module that the prior's posteriors come from."""
    assert isinstance(prior, VampPrior)
    assert prior._encode is not None
    encoder: Any = prior._encode[0]
    return encoder.args[0]


def flow(kind: Any) -> Callable[[int], Flow]:
    return lambda size: Flow(size, kind, hidden_size=16)


PRIORS: dict[str, Callable[[int], StaticPrior]] = {
    "StandardNormal": StandardNormal,
    "DiagonalNormal": DiagonalNormal,
    "GaussianMixture": lambda size: GaussianMixture(size, components=3),
    "VampPrior": vamp,
    "Flow spline": flow("spline"),
    "Flow affine": flow("affine"),
    "AutoregressiveMixture": lambda size: AutoregressiveMixture(size, modes=3, units=16),
}


def elsewhere(prior: Any, shift: float = 0.5) -> Any:
    """The prior away from where it starts."""
    for p in prior.parameters():
        p.data.add_(shift * torch.randn_like(p))
    return prior


def random_prior(name: str, size: int, shift: float = 0.5) -> Any:
    """A prior in float64 away from where it starts."""
    pyro.set_rng_seed(0)
    prior = PRIORS[name](size).double()
    if isinstance(prior, VampPrior):
        guide_of(prior).double()
    elsewhere(prior, shift)
    return prior


def each(*names: str) -> Any:
    return pytest.mark.parametrize("name", names or PRIORS)


# --- densities --------------------------------------------------------------------------------------------------------


def normal_log_density(x: Tensor, loc: Tensor, scale: Tensor) -> Any:
    """sum_i log N(x_i; loc_i, scale_i^2) of every row of x under every row of loc and scale, by SciPy."""
    x, loc, scale = (v.detach() for v in (x, loc, scale))
    return stats.norm(loc.numpy(), scale.numpy()).logpdf(x.unsqueeze(-2).numpy()).sum(-1)


def softmax_with_floor(logits: Tensor) -> Any:
    e = np.exp(logits.detach().numpy())
    return 0.95 * e / e.sum() + 0.05 / len(e)


def test_a_diagonal_normal_has_the_density_of_scipy_and_starts_as_the_standard_normal() -> None:
    f = torch.randn(7, 3, dtype=torch.float64)
    fresh = DiagonalNormal(3)()
    torch.testing.assert_close(fresh.log_prob(f.float()), StandardNormal(3)().log_prob(f.float()))
    prior = random_prior("DiagonalNormal", 3)
    sigma = 1e-3 + np.log1p(np.exp(prior.raw_scale.detach().numpy()))
    expected = stats.norm(prior.loc.detach().numpy(), sigma).logpdf(f.numpy()).sum(-1)
    np.testing.assert_allclose(prior().log_prob(f).detach().numpy(), expected, rtol=1e-10)


def test_a_gaussian_mixture_is_the_explicit_mixture() -> None:
    prior = random_prior("GaussianMixture", 2)
    f = 2 * torch.randn(9, 2, dtype=torch.float64)
    sigma = 0.05 + torch.log1p(prior.raw_scale.exp())
    components = normal_log_density(f, prior.loc, sigma)
    expected = logsumexp(components + np.log(softmax_with_floor(prior.logits)), axis=-1)
    np.testing.assert_allclose(prior().log_prob(f).detach().numpy(), expected, rtol=1e-10)


def test_how_far_a_new_autoregressive_mixture_is_from_the_standard_normal_is_said() -> None:
    """Its dimensions are independent and alike, so one integral by quadrature, times F, is the divergence."""
    prior = AutoregressiveMixture(1).double()
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64).unsqueeze(-1)
    normal = torch.as_tensor(stats.norm.logpdf(x.squeeze(-1).numpy()))
    apart = normal - prior().log_prob(x).detach()
    per_dimension = float(torch.trapezoid(normal.exp() * apart, x.squeeze(-1)))
    f = torch.randn(4_000, 64, generator=torch.Generator().manual_seed(0))
    several = AutoregressiveMixture(64)
    drawn = StandardNormal(64)().log_prob(f) - several().log_prob(f).detach()
    assert float(drawn.mean()) == pytest.approx(64 * per_dimension, abs=5 * float(drawn.std()) / 4_000**0.5)
    manual = AutoregressiveMixture.__doc__ or ""
    assert f"{per_dimension:.4f} nats per dimension, {64 * per_dimension:.2f} nats where F = 64" in manual
    several.frozen = True
    assert torch.equal(several().log_prob(f), StandardNormal(64)().log_prob(f))


def test_a_vamp_prior_is_the_explicit_mixture_over_its_pseudo_inputs() -> None:
    prior = random_prior("VampPrior", 2)
    f = torch.randn(9, 2, dtype=torch.float64)
    weights = softmax_with_floor(prior.logits)
    toy = guide_of(prior)
    components = []
    for u in prior.pseudo_inputs:  # one at a time
        mean = u.mean(0)
        loc, scale = 2 * torch.tanh(toy.loc(mean)), torch.log1p(toy.scale(mean).exp())
        components.append(normal_log_density(f, loc[None], scale[None]))
    expected = logsumexp(np.concatenate(components, axis=-1) + np.log(weights), axis=-1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(prior().log_prob(f).detach().numpy(), expected, rtol=1e-10)


def test_an_autoregressive_mixture_is_the_explicit_product_in_rotated_coordinates() -> None:
    """Dimension by dimension, with nothing to the right of it known, by SciPy's normals."""
    prior = random_prior("AutoregressiveMixture", 4, shift=0.2)
    f = torch.randn(9, 4, dtype=torch.float64)
    axes = orthogonal(prior.householder).mT.detach()
    torch.testing.assert_close(axes @ axes.T, torch.eye(4).double())
    assert (axes - torch.diag(axes.diag())).abs().max() > 0.1
    y = (f @ axes.T).numpy()
    expected = np.zeros(9)
    for i in range(4):
        known = torch.as_tensor(np.where(np.arange(4) < i, y, 1e3))
        numbers = (prior.first[i] + prior.network(known).view(9, 4, 3, 3)[:, i]).detach().numpy()
        logits, loc, raw = numbers.transpose(1, 0, 2)
        parts = stats.norm(loc, np.exp(7 * np.tanh(raw / 7))).logpdf(y[:, i : i + 1])
        expected += logsumexp(parts + logits, axis=-1) - logsumexp(logits, axis=-1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(prior().log_prob(f).detach().numpy(), expected, rtol=1e-8)


@each()
def test_the_density_of_one_dimension_integrates_to_one(name: str) -> None:
    grid = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    density = random_prior(name, 1)().log_prob(grid.unsqueeze(-1)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-5)


@each("Flow spline", "Flow affine", "AutoregressiveMixture")
def test_the_density_of_a_plane_integrates_to_one(name: str) -> None:
    grid = torch.linspace(-8, 8, 301, dtype=torch.float64)
    with torch.no_grad():
        density = random_prior(name, 2, shift=0.2)().log_prob(torch.cartesian_prod(grid, grid)).exp().view(301, 301)
    total = torch.trapezoid(torch.trapezoid(density, grid), grid)
    assert total.item() == pytest.approx(1, abs=1e-3)


@each("Flow spline", "Flow affine")
def test_a_flow_changes_variables_by_the_determinant_of_its_jacobian(name: str) -> None:
    """The map from f to noise is inverted numerically: f = rsample with the noise held fixed."""
    prior = random_prior(name, 2, shift=0.3)
    assert (prior.flow.transform(None)(torch.ones(2).double()) - 1).abs().max() > 0.1

    def draw(noise: Tensor) -> Tensor:
        distribution = prior().flow
        return distribution.transform.inv(noise)

    for noise in torch.randn(4, 2, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(draw, noise)
        expected = stats.norm.logpdf(noise.numpy()).sum() - np.linalg.slogdet(jacobian.numpy())[1]
        assert prior().log_prob(draw(noise)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 11])
def test_an_autoregressive_mixture_starts_near_the_standard_normal(size: int) -> None:
    """Variance 1, and a twentieth of a nat in every dimension."""
    prior, f = AutoregressiveMixture(size), torch.randn(20_000, size)
    difference = StandardNormal(size)().log_prob(f) - prior().log_prob(f)
    assert -0.001 * size < difference.mean() < 0.05 * size
    assert prior().sample((20_000,)).square().mean().item() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("size", [1, 2, 11])
def test_an_autoregressive_mixture_that_starts_from_draws_is_near_their_normal(size: int) -> None:
    """Whatever it was before; its axes are the principal components, and a dimension without spread has a density, too."""
    scales = torch.linspace(2, 0, size + 1)[:-1].exp() - 0.9
    f = 3 + (scales * torch.randn(20_000, size)) @ torch.linalg.qr(torch.randn(size, size))[0]
    prior = elsewhere(AutoregressiveMixture(size))
    assert -prior().log_prob(f).mean() > size  # far off
    prior.initialise_from(f)
    normal = stats.multivariate_normal(f.mean(0).numpy(), np.cov(f.numpy().T))
    difference = normal.logpdf(f.numpy()) - prior().log_prob(f).detach().numpy().astype(float)
    assert -0.001 * size < difference.mean() < 0.05 * size
    axes = np.linalg.eigh(np.cov(f.numpy().T).reshape(size, size))[1].T[::-1]
    np.testing.assert_allclose(abs(axes @ prior().rotation.detach().numpy().T), np.eye(size), atol=1e-3)
    for strange in (torch.cat([f[:, :-1], torch.ones(len(f), 1)], 1), 1e6 * f):
        prior.initialise_from(strange)
        assert torch.isfinite(prior().log_prob(strange)).all()
        assert all(torch.isfinite(parameter).all() for parameter in prior.parameters())


def test_what_was_learned_before_a_start_is_forgotten() -> None:
    f = torch.randn(50, 3)
    first, second = AutoregressiveMixture(3), elsewhere(AutoregressiveMixture(3))
    for prior in (first, second):
        torch.manual_seed(1)
        prior.initialise_from(f)
    assert all(torch.equal(v, second.state_dict()[name]) for name, v in first.state_dict().items())


@each("Flow spline", "Flow affine")
@pytest.mark.parametrize("size", [1, 2, 11])
def test_a_flow_starts_as_the_standard_normal(name: str, size: int) -> None:
    f = 2 * torch.randn(20, size)
    torch.testing.assert_close(PRIORS[name](size)().log_prob(f), StandardNormal(size)().log_prob(f))


@each("Flow spline", "Flow affine", "AutoregressiveMixture")
def test_a_frozen_prior_is_the_standard_normal_with_its_exact_kl(name: str) -> None:
    prior = PRIORS[name](3)
    prior.frozen = True
    q = Normal(torch.randn(B, 3), torch.rand(B, 3) + 0.5).to_event(1)
    kl = torch.distributions.kl_divergence(q, prior().expand([B]))
    torch.testing.assert_close(kl, torch.distributions.kl_divergence(q, StandardNormal(3)().expand([B])))
    kl.sum().backward()
    for parameter in prior.parameters():  # every one has a gradient, and it moves nothing
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def test_a_prior_without_dimensions_has_log_density_zero_and_no_kl() -> None:
    for prior in (StandardNormal(0), DiagonalNormal(0), Flow(0), AutoregressiveMixture(0)):
        p = prior().expand([B])
        assert p.event_shape == (0,)
        f = p.sample()
        assert f.shape == (B, 0)
        assert torch.equal(p.log_prob(f), torch.zeros(B))
        q = Normal(torch.zeros(B, 0), torch.ones(B, 0)).to_event(1)
        assert torch.equal(torch.distributions.kl_divergence(q, p), torch.zeros(B))


# --- draws ------------------------------------------------------------------------------------------------------------


def moments(prior: Any) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a mixture of diagonal normals, from the moments of its components."""
    if isinstance(prior, GaussianMixture):
        loc, scale = prior.loc, 0.05 + torch.log1p(prior.raw_scale.exp())
    else:
        q: Any = encode(guide_of(prior), prior.pseudo_inputs)
        loc, scale = q.mean, q.stddev
    w = torch.as_tensor(softmax_with_floor(prior.logits))
    mean = (w[:, None] * loc).sum(0)
    second = torch.einsum("k,ki,kj->ij", w, loc, loc) + torch.diag((w[:, None] * scale**2).sum(0))
    return mean.detach(), (second - torch.outer(mean, mean)).detach()


@each("GaussianMixture", "VampPrior")
def test_draws_of_mixtures_have_their_mean_and_covariance(name: str) -> None:
    """20,000 draws, each moment within 4.5 standard errors."""
    prior = random_prior(name, 2)
    n = 20_000
    f = prior().sample([n])
    mean, covariance = moments(prior)
    assert ((f.mean(0) - mean).abs() < 4.5 * f.std(0) / n**0.5).all()
    products = torch.einsum("ni,nj->nij", f - mean, f - mean)
    assert ((products.mean(0) - covariance).abs() < 4.5 * products.std(0) / n**0.5).all()
    torch.testing.assert_close(prior().mean, mean)


@each("Flow spline", "Flow affine", "DiagonalNormal", "AutoregressiveMixture")
def test_draws_have_the_moments_of_the_density(name: str) -> None:
    """Mean and covariance of 20,000 draws against integrals over a grid, each within 4.5 standard errors."""
    prior = random_prior(name, 2, shift=0.3)
    n = 20_000
    axis = torch.linspace(-8, 8, 201, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        f = prior().sample([n])
        weights = prior().log_prob(places).softmax(0)
    mean = weights @ places
    covariance = torch.einsum("n,ni,nj->ij", weights, places - mean, places - mean)
    assert (mean.abs() > 0.02).any()
    assert ((f.mean(0) - mean).abs() < 4.5 * f.std(0) / n**0.5).all()
    products = torch.einsum("ni,nj->nij", f - mean, f - mean)
    assert ((products.mean(0) - covariance).abs() < 4.5 * products.std(0) / n**0.5).all()


@each()
@pytest.mark.parametrize("size", [1, 3])
def test_a_prior_expands_to_a_plate_of_independent_draws(name: str, size: int) -> None:
    prior = random_prior(name, size)
    assert prior().batch_shape == ()
    assert prior().event_shape == (size,)
    wide = prior().expand([B])
    f = wide.sample([2])
    assert f.shape == (2, B, size)
    assert len(f.flatten(0, 1).unique(dim=0)) == 2 * B
    torch.testing.assert_close(wide.log_prob(f)[1, 2], prior().log_prob(f[1, 2]))
    with pyro.plate("particles", 3, dim=-2), pyro.plate("sequences", B, dim=-1):
        assert pyro.sample("f", prior()).shape == (3, B, size)


@each("Flow spline", "Flow affine", "GaussianMixture", "VampPrior", "AutoregressiveMixture")
def test_a_large_static_latent_is_no_matter(name: str) -> None:
    prior = PRIORS[name](256)
    f = prior().expand([8]).sample()
    assert f.shape == (8, 256)
    if name != "VampPrior":
        assert f.std().item() == pytest.approx(1, abs=0.1)
    assert torch.isfinite(prior().log_prob(f)).all()


# --- learning ---------------------------------------------------------------------------------------------------------


@each()
@pytest.mark.parametrize("size", [1, 2])
def test_gradients_at_far_away_values_are_finite(name: str, size: int) -> None:
    prior = random_prior(name, size).float()
    if isinstance(prior, VampPrior):
        guide_of(prior).float()
    # A flow multiplies by up to a thousand in each of its maps.
    values = [0.0, 5.0, -5.0, 1e4, -1e4, 1e4 if isinstance(prior, Flow) else 1e8]
    f = torch.tensor(values).unsqueeze(-1).repeat(1, size).requires_grad_()
    log_prob = prior().log_prob(f)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert torch.isfinite(f.grad).all()  # type: ignore[arg-type]
    for p in prior.parameters():
        assert torch.isfinite(p.grad).all()


@each("DiagonalNormal", "GaussianMixture")
def test_scales_have_a_floor(name: str) -> None:
    prior: Any = PRIORS[name](2)
    nn.init.constant_(prior.raw_scale, -1e4)
    p = prior()
    base = p.component_distribution if name == "GaussianMixture" else p
    floor = 0.05 if name == "GaussianMixture" else 1e-3
    torch.testing.assert_close(base.stddev, torch.full_like(base.stddev, floor))


def test_no_component_loses_its_share_of_the_gradient() -> None:
    """Under a plain softmax a component with logit -200 has weight and gradient exactly zero, wherever the data are."""
    prior = GaussianMixture(2, components=4)
    with torch.no_grad():
        prior.logits[0] = -200
        prior.loc[0] = 3.0
    weights = bounded_weights(prior.logits)
    assert weights.sum().item() == pytest.approx(1)
    assert weights.min().item() == pytest.approx(EVEN / 4)
    prior().log_prob(torch.tensor([[3.5, 3.5]])).sum().backward()
    assert prior.loc.grad is not None
    assert (prior.loc.grad[0] > 0.01).all()


@pytest.mark.parametrize(("size", "components"), [(1, 16), (2, 3), (2, 16), (64, 16), (256, 16)])
def test_means_start_apart_but_within_reach_of_each_other(size: int, components: int) -> None:
    prior = GaussianMixture(size, components)
    distances = torch.pdist(prior.loc.detach()) / prior().component_distribution.base_dist.scale.mean()
    assert 0.5 < distances.mean() < 4
    if size > 2:
        assert (distances > 1.5).all()
    if components > 3:
        assert prior().sample([4000]).square().mean().item() == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("start", [(4.0, 0.0), (0.0, 0.0)], ids=["all in one cluster", "all between"])
def test_a_gaussian_mixture_finds_clusters_from_a_bad_start(start: tuple[float, float]) -> None:
    """All components start at one place: maximum likelihood uses each of them and reaches the true log likelihood."""
    centres = torch.tensor([[4.0, 0.0], [-2.0, 3.5], [-2.0, -3.5]])
    data = centres[torch.randint(3, [500])] + 0.5 * torch.randn(500, 2)
    truth = logsumexp(normal_log_density(data, centres, torch.full_like(centres, 0.5)), axis=-1) - math.log(3)
    prior = GaussianMixture(2, components=3)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor(start) + 0.01 * torch.randn(3, 2))
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(600):
        optimiser.zero_grad()
        loss = -prior().log_prob(data).mean()
        loss.backward()
        optimiser.step()
    assert (torch.cdist(centres, prior.loc.detach()).amin(1) < 0.2).all()
    assert prior().mixture_distribution.probs.min() > 0.25
    assert -loss.item() > truth.mean() - 2 * truth.std() / len(truth) ** 0.5


@each("Flow spline", "Flow affine", "AutoregressiveMixture")
def test_a_flexible_prior_learns_what_a_normal_cannot(name: str) -> None:
    """f_2 = f_1^2 - 1 + noise: the log likelihood gets closer to the truth than to the best normal's."""
    f = torch.randn(300, 2)
    f[:, 1] = f[:, 0].square() - 1 + 0.3 * f[:, 1]
    truth = stats.norm.logpdf(f[:, 0]).mean() + stats.norm(0, 0.3).logpdf(f[:, 1] - f[:, 0] ** 2 + 1).mean()
    best_normal = stats.multivariate_normal(f.mean(0), np.cov(f.T)).logpdf(f).mean()
    prior = PRIORS[name](2)
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        loss = -prior().log_prob(f).mean()
        loss.backward()
        optimiser.step()
    assert -loss.item() > (truth + best_normal) / 2


def test_an_autoregressive_mixture_learns_a_lattice_that_lies_askew() -> None:
    """Four choices of three, none along an axis: of 81 modes a twentieth of a nat is missing at most, of a `Flow` .4."""
    spread, prior = 0.05, AutoregressiveMixture(4)
    askew = torch.linalg.qr(torch.randn(4, 4))[0]

    def draw(count: int) -> Tensor:
        choices = torch.randint(3, (count, 4)).float() - 1
        return (1.2 * choices + spread * torch.randn(count, 4)) @ askew

    truth = 4 * (-math.log(3) - math.log(spread) - 0.5 * math.log(2 * math.pi) - 0.5)
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    for _ in range(500):
        optimiser.zero_grad()
        (-prior().log_prob(draw(128)).mean()).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        missing = truth - prior().log_prob(draw(2_000)).mean().item()
    assert abs(missing) < 0.05


# --- the guide inside the VampPrior -----------------------------------------------------------------------------------


def sequence_model(prior: StaticPrior, kind: Any = Factorised) -> tuple[DSVAE, Posterior]:
    model = DSVAE(prior, IID(D), *decoded_by(NormalLikelihood, prior.static_size, D, (P,)))
    guide = kind((P,), prior.static_size, D, small_encoder, hidden_size=4, feature_size=4)
    if isinstance(prior, VampPrior):
        prior.connect(functools.partial(of_guide, guide), torch.randn(10, T, P))
    return model, guide


@pytest.mark.parametrize("kind", [Factorised, LSTMPosterior])
def test_the_vamp_prior_of_a_real_guide_mixes_its_posteriors(kind: Any) -> None:
    model, guide = sequence_model(VampPrior(2, K), kind)
    prior: Any = model.static_prior
    f = torch.randn(7, 2)
    components = []
    for u in prior.pseudo_inputs:
        q: Any = guide.static(GuideInput.of(u.unsqueeze(0)))
        components.append(q.log_prob(f))
    expected = torch.stack(components).logsumexp(0) - math.log(K)
    torch.testing.assert_close(prior().log_prob(f), expected)


def test_gradients_reach_pseudo_inputs_and_guide_but_the_guide_is_no_part_of_the_prior() -> None:
    model, guide = sequence_model(VampPrior(2, K))
    prior: Any = model.static_prior
    assert {name for name, _ in prior.named_parameters()} == {"logits", "pseudo_inputs"}
    assert not list(prior.children())
    prior().log_prob(torch.randn(3, 2)).sum().backward()
    assert (prior.pseudo_inputs.grad.flatten(1).abs().amax(1) > 0).all()
    assert guide.static_head.loc.weight.grad.abs().max() > 0
    # A module that encodes is none either.
    other = VampPrior(2, K)
    other.connect(nn.Sequential(), torch.zeros(1, T, P))
    assert not list(other.children())


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_a_copied_model_keeps_its_own_copied_guide(clone: Callable[[Any], Any]) -> None:
    pair = sequence_model(VampPrior(2, K))
    model, guide = clone(pair)
    assert guide_of(model.static_prior) is guide
    assert guide_of(pair[0].static_prior) is pair[1]
    f = torch.randn(5, 2)
    before = pair[0].static_prior().log_prob(f)
    torch.testing.assert_close(model.static_prior().log_prob(f), before)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(1.0)
    assert (model.static_prior().log_prob(f) - before).abs().max() > 0.01
    assert torch.equal(pair[0].static_prior().log_prob(f), before)


def test_pseudo_inputs_start_at_the_examples_repeated_with_a_little_noise() -> None:
    examples = torch.randn(4, T, P)
    prior = VampPrior(2, K)
    prior.connect(functools.partial(encode, ToyEncoder(2)), examples)
    start: Any = prior.pseudo_inputs
    assert start.shape == (K, T, P)
    noise = start.detach() - examples[[0, 1, 2, 3, 0, 1]]
    assert noise.std().item() == pytest.approx(0.01, rel=0.3)
    assert (start[4] != start[0]).any()


def test_a_checkpoint_of_a_vamp_prior_loads_into_one_connected_to_zeros() -> None:
    model, guide = sequence_model(VampPrior(2, K))
    again, other_guide = sequence_model(VampPrior(2, K))
    again.static_prior.connect(functools.partial(of_guide, other_guide), torch.zeros(1, T, P))  # type: ignore[operator]
    again.load_state_dict(model.state_dict())
    other_guide.load_state_dict(guide.state_dict())
    f = torch.randn(5, 2)
    torch.testing.assert_close(again.static_prior().log_prob(f), model.static_prior().log_prob(f))


def test_a_vamp_prior_follows_the_precision_of_the_model() -> None:
    model, guide = sequence_model(VampPrior(2, K))
    model.double(), guide.double()
    assert model.static_prior().log_prob(torch.zeros(2).double()).dtype == torch.float64


def test_a_vamp_prior_without_a_guide_says_so() -> None:
    with pytest.raises(UsageError, match="call connect"):
        VampPrior(2, K)()
    with pytest.raises(UsageError, match="examples"):
        VampPrior(2, K).connect(functools.partial(encode, ToyEncoder(2)), torch.zeros(0, T, P))


def test_a_guide_with_other_shapes_is_refused_by_name() -> None:
    prior = VampPrior(3, K)
    prior.connect(functools.partial(encode, ToyEncoder(2)), torch.zeros(1, T, P))
    with pytest.raises(UsageError, match=r"VampPrior needs .* but its Independent") as error:
        prior()
    assert "\n" not in str(error.value)


def shifted_normals(x: Tensor) -> TorchDistribution:
    """A posterior that is no Normal: N(m, 1) as a transformed standard normal, with m the mean of the first two values."""
    loc = x.mean(1)[:, :2]
    base: Any = Normal(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)
    flow: Any = TransformedDistribution(base, [AffineTransform(loc, 1.0, event_dim=1)])
    return FlowDistribution(flow)


def test_a_vamp_prior_mixes_posteriors_that_are_flows() -> None:
    prior = VampPrior(2, 3)
    prior.connect(shifted_normals, 5 * torch.randn(3, T, P))
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert prior.pseudo_inputs is not None
    loc = prior.pseudo_inputs.mean(1)[:, :2]
    w = softmax_with_floor(prior.logits)
    p = prior().expand([B])
    f = 3 * torch.randn(2, B, 2)
    expected = logsumexp(normal_log_density(f, loc, torch.ones_like(loc)) + np.log(w), axis=-1)
    np.testing.assert_allclose(p.log_prob(f).detach().numpy(), expected, rtol=1e-4)
    draws = prior().sample([20_000])
    mean = (torch.as_tensor(w)[:, None] * loc.detach()).sum(0)
    assert ((draws.mean(0) - mean).abs() < 4.5 * draws.std(0) / 20_000**0.5).all()


# --- inside an ELBO ---------------------------------------------------------------------------------------------------


@each()
def test_the_kl_of_f_is_exact_for_normals_and_sticks_the_landing_otherwise(name: str) -> None:
    """Its mean over 4,000 particles is the KL by quadrature over the plane, within 4.5 standard errors."""
    prior = PRIORS[name](2)
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.3 * torch.randn_like(p))
    model, guide = sequence_model(prior)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(torch.randn_like(p))
    pyro.clear_param_store()
    x = torch.randn(1, T, P).expand(4000, T, P)
    with torch.no_grad():
        terms = SequenceELBO().terms(model, guide, x)
        exact = name in ("StandardNormal", "DiagonalNormal")
        assert terms.estimators["f"] == (CLOSED_FORM if exact else STICKING_THE_LANDING)
        q = guide.static(GuideInput.of(x[:1]))
        axis = torch.linspace(-8, 8, 201)
        places = torch.cartesian_prod(axis, axis)
        log_q, log_p = q.log_prob(places), model.static_prior().log_prob(places)
        expected = (log_q.exp() * (log_q - log_p)).sum() * (axis[1] - axis[0]) ** 2
    kl = terms.kl["f"]
    error = 1e-3 + 4.5 * kl.std() / len(kl) ** 0.5
    assert abs(kl.mean() - expected) < error
    assert expected > 4 * error
    assert not list(pyro.get_param_store().keys())


@each()
def test_every_prior_trains_and_generates_in_the_model(name: str) -> None:
    model, guide = sequence_model(PRIORS[name](3))
    elbo = SequenceELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    with pyro.validation_enabled(True):
        elbo.terms(model, guide, torch.randn(B, T, P)).loss.backward()
        for parameter in [*model.static_prior.parameters(), *guide.parameters()]:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
        with LocalParameters():
            assert model(shape=(B, T)).shape == (B, T, P)


@each()
def test_densities_are_float32_where_networks_run_in_bfloat16(name: str) -> None:
    model, _ = sequence_model(PRIORS[name](3))
    f = torch.randn(B, 3)
    expected = model.static_prior().log_prob(f)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = model.static_prior()
        assert p.sample().dtype == torch.float32
        assert p.log_prob(f).dtype == torch.float32
        # Only the guide's networks may round.
        torch.testing.assert_close(p.log_prob(f), expected, **({"rtol": 0.05, "atol": 0.05} if "Vamp" in name else {}))


@each()
def test_pickles_copies_and_checkpoints_have_the_same_density(name: str) -> None:
    prior = random_prior(name, 3)
    f = torch.randn(4, 3, dtype=torch.float64)
    expected = prior().log_prob(f)
    for other in (pickle.loads(pickle.dumps(prior)), copy.deepcopy(prior)):
        torch.testing.assert_close(other().log_prob(f), expected)
    file = io.BytesIO()
    torch.save(prior.state_dict(), file)
    file.seek(0)
    pyro.set_rng_seed(1)
    fresh = PRIORS[name](3).double()
    if isinstance(fresh, VampPrior):
        guide_of(fresh).load_state_dict(guide_of(prior).state_dict())
        guide_of(fresh).double()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(fresh().log_prob(f), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianMixture(2, components=0),
        lambda: GaussianMixture(2, min_scale=0.0),
        lambda: GaussianMixture(2, min_scale=math.nan),
        lambda: VampPrior(2, components=0),
        lambda: Flow(2, kind="cubic"),  # type: ignore[arg-type]
        lambda: Flow(2, transforms=0),
        lambda: Flow(2, hidden_size=0),
        lambda: AutoregressiveMixture(2, modes=0),
        lambda: AutoregressiveMixture(2, units=0),
    ],
)
def test_bad_options_are_refused_in_one_line(make: Callable[[], StaticPrior]) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert "\n" not in str(error.value)
    assert "not " in str(error.value)


def test_importing_zuko_leaves_validation_on() -> None:
    with pyro.validation_enabled(True):
        Flow(2)
        with pytest.raises(ValueError, match="scale"):
            Independent(Normal(torch.zeros(2), -torch.ones(2)), 1)
