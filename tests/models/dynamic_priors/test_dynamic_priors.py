"""Dynamic priors as distributions over paths: what they learn, and that sampling, scoring and continuing agree."""

from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro.distributions import Delta, Normal, TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePath
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.oracles import lstm_step

B, T, D, F = 3, 6, 2, 4
COEFFICIENT = 0.95


def random_lstm(latent_size: int = D) -> LSTM:
    """A prior with strong memory: weights far larger than the initial ones."""
    pyro.set_rng_seed(0)
    prior = LSTM(latent_size, hidden_size=5)
    with torch.no_grad():
        for p in prior.parameters():
            p.copy_(torch.randn_like(p))
    return prior.double()


PRIORS: dict[str, Callable[[], DynamicPrior]] = {"LSTM": random_lstm, "IID": lambda: IID(D)}


def path_of(prior: DynamicPrior, *batch: int, steps: Steps | None = None) -> PathDistribution:
    return prior(torch.zeros(*batch, F, dtype=torch.float64), steps or Steps(T))


# --- what a prior learns from AR(1) paths -----------------------------------------------------------------------------


def ar1(count: int, length: int) -> Tensor:
    """Stationary paths (count, length, 1) of unit variance with one-step correlation .95."""
    z = [torch.randn(count, 1)]
    for _ in range(length - 1):
        z.append(COEFFICIENT * z[-1] + (1 - COEFFICIENT**2) ** 0.5 * torch.randn(count, 1))
    return torch.stack(z, dim=1)


class OpenLoop(LSTM):
    """The published mistake: the prior is evaluated along its own samples, not along the path that it must predict."""

    def forward(self, f: Tensor, steps: Steps) -> "OpenLoopPath":
        return OpenLoopPath(self, self.start.expand(*f.shape[:-1], 1, -1), None, steps)


class OpenLoopPath(AutoregressivePath):
    def conditionals(self, z: Tensor) -> TorchDistribution:
        return super().conditionals(self.rsample())


class Identity(FrameDecoder):
    """Frames that are the latents themselves."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return z


def narrow_guide(x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None) -> None:
    """A guide that knows the path: z is x but for a hundredth."""
    with pyro.plate("sequences", x.shape[0], dim=-1):
        pyro.sample("f", Normal(x.new_zeros(x.shape[0], F), 1.0).to_event(1))
        steps = Steps(x.shape[1], lengths)
        pyro.sample("z", steps.join(Normal(x, torch.full_like(x, 0.01)).to_event(1)))


def loss_by_likelihood(prior: DynamicPrior, z: Tensor) -> Tensor:
    return -prior(torch.zeros(len(z), F), Steps(z.shape[1])).log_prob(z).mean()


def loss_by_elbo(prior: DynamicPrior, z: Tensor) -> Tensor:
    model = DSVAE(StandardNormal(F), prior, Identity((1,)), FixedNormal((1,), scale=1.0, scale_kind="fixed"))
    return SequenceELBO().terms(model, narrow_guide, z).loss


def learned_coefficient(prior: DynamicPrior, loss: Callable[[DynamicPrior, Tensor], Tensor]) -> float:
    """Slope of the learned E[z_t | z_<t] on z_{t-1} over held-out paths, after fitting ``prior``."""
    train, held_out = ar1(128, 25), ar1(1000, 50)
    optimiser = torch.optim.Adam(prior.parameters(), lr=1e-2)
    with pyro.validation_enabled(False):
        for _ in range(150):
            optimiser.zero_grad()
            loss(prior, train).backward()
            optimiser.step()
    with torch.no_grad():
        conditionals: Any = prior(torch.zeros(len(held_out), F), Steps(50)).conditionals(held_out)
    # The first steps have no or little past; a slope over all others.
    past, mean = held_out[:, 4:-1, 0], conditionals.mean[:, 5:, 0]
    return float(((past - past.mean()) * (mean - mean.mean())).sum() / ((past - past.mean()) ** 2).sum())


@pytest.mark.parametrize("loss", [loss_by_likelihood, loss_by_elbo], ids=["by likelihood", "through the ELBO"])
def test_the_prior_learns_the_coefficient_of_an_ar1_path(loss: Callable[[DynamicPrior, Tensor], Tensor]) -> None:
    pyro.set_rng_seed(0)
    assert learned_coefficient(LSTM(1, hidden_size=16), loss) == pytest.approx(COEFFICIENT, abs=0.03)


def test_an_open_loop_prior_learns_nothing_of_it() -> None:
    """The test above fails, by far, for the mistake that it is there to catch."""
    pyro.set_rng_seed(0)
    assert abs(learned_coefficient(OpenLoop(1, hidden_size=16), loss_by_elbo)) < 0.3


def test_an_open_loop_prior_is_refused_where_models_are_checked() -> None:
    """The first step of every fit is checked, so none can be fitted by mistake."""
    pyro.set_rng_seed(0)
    with pytest.raises(UsageError, match="open loop"):
        loss_by_elbo(OpenLoop(1, hidden_size=4), ar1(3, 5))
    assert torch.isfinite(loss_by_elbo(LSTM(1, hidden_size=4), ar1(3, 5)))


# --- one distribution, said in several ways ---------------------------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_shapes(prior: Callable[[], DynamicPrior]) -> None:
    path = path_of(prior(), 4, B)
    assert path.batch_shape == (4, B)
    assert path.event_shape == (T, D)
    assert path.rsample().shape == (4, B, T, D)
    assert path.sample(torch.Size([7, 5])).shape == (7, 5, 4, B, T, D)
    assert not path.sample().requires_grad
    z = path.sample(torch.Size([7]))
    assert path.log_prob(z).shape == (7, 4, B)
    conditionals = path.conditionals(z)
    assert conditionals.batch_shape == (7, 4, B, T)
    assert conditionals.event_shape == (D,)
    assert path.given(z).batch_shape == (7, 4, B)
    rest = path.continue_from(z, 3)
    assert rest.batch_shape == (7, 4, B)
    assert rest.event_shape == (3, D)
    assert rest.sample(torch.Size([2])).shape == (2, 7, 4, B, 3, D)
    assert path.expand(torch.Size((4, B))) is path
    with pytest.raises(ValueError, match="expand f"):
        path.expand(torch.Size((5, 4, B)))


def test_lstm_conditionals_equal_its_equations_step_by_step() -> None:
    prior = random_lstm()
    z = torch.randn(B, T, D, dtype=torch.float64)
    conditionals: Any = path_of(prior, B).conditionals(z)
    state = (torch.zeros(B, 5, dtype=torch.float64), torch.zeros(B, 5, dtype=torch.float64))
    for t in range(T):
        state = lstm_step(prior.lstm, prior.start.expand(B, -1) if t == 0 else z[:, t - 1], state)
        loc, scale = prior.head(state[0])
        torch.testing.assert_close(conditionals.mean[:, t], loc)
        torch.testing.assert_close(conditionals.variance[:, t].sqrt(), scale)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_a_step_depends_on_those_before_it_only(prior: Callable[[], DynamicPrior]) -> None:
    path = path_of(prior(), B)
    z = torch.randn(B, T, D, dtype=torch.float64)
    before: Any = path.conditionals(z)
    for t in range(T):
        changed = z.clone()
        changed[:, t:] += 1
        after: Any = path.conditionals(changed)
        assert torch.equal(after.mean[:, : t + 1], before.mean[:, : t + 1])
        if isinstance(path, AutoregressivePath) and t + 1 < T:
            assert not torch.equal(after.mean[:, t + 1], before.mean[:, t + 1])


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_scoring_never_draws(prior: Callable[[], DynamicPrior]) -> None:
    path = path_of(prior(), B)
    z = torch.randn(B, T, D, dtype=torch.float64)
    state = torch.get_rng_state()
    assert torch.equal(path.log_prob(z), path.log_prob(z))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_left_batches_equal_the_loop(prior: Callable[[], DynamicPrior]) -> None:
    path, one = path_of(prior(), 4, B), path_of(prior(), B)
    z = torch.randn(4, B, T, D, dtype=torch.float64)
    torch.testing.assert_close(path.log_prob(z), torch.stack([one.log_prob(particle) for particle in z]))
    torch.testing.assert_close(one.log_prob(z), path.log_prob(z))


@pytest.mark.parametrize("split", range(1, T))
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_density_of_a_path_is_that_of_its_start_times_that_of_the_rest(
    prior: Callable[[], DynamicPrior], split: int
) -> None:
    p = prior()
    path = path_of(p, B)
    z = torch.randn(5, B, T, D, dtype=torch.float64)
    start = path_of(p, B, steps=Steps(split)).log_prob(z[..., :split, :])
    rest = path.continue_from(z[..., :split, :], T - split)
    torch.testing.assert_close(path.log_prob(z), start + rest.log_prob(z[..., split:, :]))
    if T - split > 1:  # and a continuation can be continued
        again = rest.continue_from(z[..., split : split + 1, :], T - split - 1)
        first = path.continue_from(z[..., :split, :], 1).log_prob(z[..., split : split + 1, :])
        both = first + again.log_prob(z[..., split + 1 :, :])
        torch.testing.assert_close(rest.log_prob(z[..., split:, :]), both)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_steps_that_do_not_exist_have_no_density(prior: Callable[[], DynamicPrior]) -> None:
    p = prior()
    lengths = torch.tensor([6, 1, 4])
    z = torch.randn(5, B, T, D, dtype=torch.float64)
    ragged = path_of(p, B, steps=Steps(T, lengths)).log_prob(z)
    for b, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(ragged[:, b], path_of(p, 1, steps=Steps(n)).log_prob(z[:, b : b + 1, :n])[:, 0])


@pytest.mark.parametrize("start", [0, 3], ids=["from the start", "continued"])
def test_lstm_draws_have_the_distribution_that_is_scored(start: int) -> None:
    """Residuals of 20,000 ancestral draws, standardised with ``given``, are white: mean 0, variance 1, uncorrelated in time.

    Together with the dependence on the past this fixes every moment; 4.5 standard errors for each of ~100 numbers.
    """
    count = 20_000
    path = path_of(random_lstm(), 1)
    if start:
        path = path.continue_from(torch.randn(1, start, D, dtype=torch.float64), T - start)
    with torch.no_grad():
        z = path.sample(torch.Size([count]))
        given: Any = path.conditionals(z)
        residuals = ((z - given.mean) / given.variance.sqrt())[:, 0].flatten(1)
        density = path.log_prob(z)
        # z_t - E z_t regressed on z_{t-1}: lag-one correlation of draws against that which the conditionals imply.
        centred = z[:, 0] - z[:, 0].mean(0)
        cross = (centred[:, 1:] * centred[:, :-1]).mean(0)
        implied_cross = ((given.mean[:, 0, 1:] - given.mean[:, 0, 1:].mean(0)) * centred[:, :-1]).mean(0)
        cross_error = (residuals.var() * given.variance[:, 0, 1:] * centred[:, :-1] ** 2).mean(0).sqrt() / count**0.5
    assert (residuals.mean(0).abs() < 4.5 / count**0.5).all()
    correlations = residuals.T @ residuals / count - torch.eye(residuals.shape[1], dtype=torch.float64)
    bound = torch.full_like(correlations, 4.5 / count**0.5)
    bound.fill_diagonal_(4.5 * (2 / count) ** 0.5)
    assert (correlations.abs() < bound).all()
    assert ((cross - implied_cross).abs() < 4.5 * cross_error).all()
    assert cross.abs().max() > 10 * cross_error.max()  # there is a correlation to get wrong
    # E[-log p] is the entropy, which is known given the scales.
    entropy = given.base_dist.entropy().sum((-1, -2))
    error = (density + entropy).std(0) / count**0.5
    assert ((density + entropy).mean(0).abs() < 4.5 * error).all()


def test_iid_draws_are_standard_normal() -> None:
    pyro.set_rng_seed(0)
    z = path_of(IID(D), 1).rsample(torch.Size([20_000])).flatten(1)
    assert z.dtype == torch.float64
    covariance = z.T @ z / len(z)
    assert (z.mean(0).abs() < 4.5 / len(z) ** 0.5).all()
    assert ((covariance - torch.eye(T * D)).abs() < 4.5 * (2 / len(z)) ** 0.5).all()


def test_draws_are_reparameterised() -> None:
    prior = random_lstm()
    path_of(prior, B).rsample().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())


def test_given_is_a_product_of_normals_with_a_closed_kl() -> None:
    path = path_of(random_lstm(), B, steps=Steps(T, torch.tensor([6, 1, 4])))
    z = torch.randn(B, T, D, dtype=torch.float64)
    q = path.steps.join(Normal(z, torch.ones_like(z)).to_event(1))
    p: Any = path.conditionals(z)
    per_step = kl_divergence(Normal(z, torch.ones_like(z)), Normal(p.mean, p.variance.sqrt())).sum(-1)
    expected = torch.stack([per_step[0].sum(), per_step[1, :1].sum(), per_step[2, :4].sum()])
    torch.testing.assert_close(kl_divergence(q, path.given(z)), expected)


def test_a_path_is_a_site_for_stock_pyro() -> None:
    """Observed, replayed or drawn without SequenceELBO, a path still scores by its density."""
    path = path_of(random_lstm(), B)
    z = path.sample()

    def model() -> None:
        with pyro.plate("sequences", B, dim=-1):
            pyro.sample("z", path, obs=z)

    trace = pyro.poutine.trace(model).get_trace()
    torch.testing.assert_close(trace.log_prob_sum(), path.log_prob(z).sum())
    # A KL from a point needs nothing but the density.
    torch.testing.assert_close(kl_divergence(Delta(z, event_dim=2), path), -path.log_prob(z))


def test_steps() -> None:
    assert Steps(4).valid is None
    valid = Steps(4, torch.tensor([4, 1])).valid
    assert valid is not None
    assert valid.tolist() == [[True] * 4, [True, False, False, False]]
