"""Densities of one's own: a class and its answers in one file, and all that is asked of a density works for them."""

import math
from typing import Any, ClassVar

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Laplace, MaskedDistribution, Normal, TorchDistribution
from scipy import stats
from torch import Tensor
from torch.distributions import constraints, kl_divergence, register_kl

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.elbo import (
    CLOSED_FORM,
    CLOSED_FORM_PER_STEP,
    MONTE_CARLO,
    STICKING_THE_LANDING,
    SequenceELBO,
    kl_of,
)
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.models.distributions import (
    GaussianPath,
    Moments,
    PathDistribution,
    detached,
    from_base,
    kl_to_path,
    log_prob_by_step,
    moments,
    overdispersed,
    to_base,
    unwrapped,
)
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.gaussian_process import GaussianProcess
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.switching_linear import SwitchingLinear
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.decoded import decoded_by

B, T, F, D, P = 3, 5, 2, 2, 4

# --- a density of single values, and its answers ----------------------------------------------------------------------


class Logistic(TorchDistribution):
    """P(x < v) = sigmoid((v - loc) / scale)."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Logistic":
        return Logistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.loc + self.scale * torch.rand(self.shape(sample_shape), dtype=self.loc.dtype).logit(eps=1e-12)

    def log_prob(self, value: Tensor) -> Tensor:
        u = (value - self.loc) / self.scale
        return -u - 2 * torch.nn.functional.softplus(-u) - self.scale.log()


@detached.register
def _(q: Logistic) -> Logistic:
    return Logistic(q.loc.detach(), q.scale.detach())


@overdispersed.register
def _(q: Logistic, scale: float) -> Logistic:
    return Logistic(q.loc, scale * q.scale)


@to_base.register
def _(p: Logistic, value: Tensor) -> Tensor:
    return torch.special.ndtri(((value - p.loc) / p.scale).sigmoid())


@from_base.register
def _(p: Logistic, base: Tensor) -> Tensor:
    return p.loc + p.scale * torch.special.ndtr(base).logit()


@register_kl(Logistic, Normal)
def _(q: Any, p: Any) -> Tensor:
    variance = (math.pi * q.scale) ** 2 / 3
    cross = ((q.loc - p.loc) ** 2 + variance) / (2 * p.scale**2) + (p.scale * math.sqrt(2 * math.pi)).log()
    return cross - q.scale.log() - 2


class LogisticPath(PathDistribution):
    """z_t ~ Logistic(z_{t-1} / 2, 1), z_0 = 0. A path answers by what its steps answer."""

    def conditionals(self, z: Tensor) -> TorchDistribution:
        before = torch.cat([torch.zeros_like(z[..., :1, :]), z[..., :-1, :]], dim=-2)
        return Logistic(before / 2, torch.ones_like(before)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        path = [torch.zeros(self.shape(sample_shape)[:-2] + self.event_shape[-1:])]
        for _ in range(self.steps.length):
            path.append(path[-1] / 2 + torch.rand_like(path[-1]).logit(eps=1e-12))
        return torch.stack(path[1:], dim=-2)

    def continue_from(self, z_past: Tensor, horizon: int) -> "Later":
        return Later(z_past.shape[:-2], self.steps.after(z_past.shape[-2], horizon), z_past[..., -1:, :])


class Later(LogisticPath):
    def __init__(self, batch_shape: torch.Size, steps: Steps, last: Tensor) -> None:
        self.last = last
        super().__init__(batch_shape, steps, last.shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        before = torch.cat([self.last.expand(*z.shape[:-2], 1, -1), z[..., :-1, :]], dim=-2)
        return Logistic(before / 2, torch.ones_like(before)).to_event(1)


# --- a density of normal paths, and its answers -----------------------------------------------------------------------


class DenseNormal(TorchDistribution):
    """z = loc + R noise over time, with one lower triangular R (T, T) for all dimensions."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, loc: Tensor, factor: Tensor) -> None:
        self.loc, self.factor = loc, factor
        super().__init__(loc.shape[:-2], loc.shape[-2:], validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.loc + self.factor @ torch.randn(self.shape(sample_shape), dtype=self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(self.factor, value - self.loc, upper=False)
        return (Normal(0.0, 1.0).log_prob(noise) - self.factor.diagonal().log().unsqueeze(-1)).sum((-2, -1))


@moments.register
def _(q: DenseNormal) -> Moments:
    covariance = q.factor @ q.factor.mT
    across = torch.cat([torch.zeros(1, dtype=torch.float64), covariance.diagonal(-1)])
    variance, lagged = (v.unsqueeze(-1).expand(q.loc.shape) for v in (covariance.diagonal(), across))
    entropy = q.loc.shape[-1] * (q.factor.diagonal().log() + 0.5 * math.log(2 * math.pi * math.e))
    return Moments(
        q.loc, variance, lagged, entropy.expand(q.loc.shape[:-1]), lambda: q.factor.expand(*q.loc.mT.shape, T)
    )


register_kl(DenseNormal, GaussianPath)(kl_to_path)

# --- what is asked of them --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _double_precision() -> Any:
    pyro.set_rng_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def parameters() -> tuple[Tensor, Tensor]:
    return torch.randn(B, T, D).requires_grad_(), torch.rand(B, T, D).add(0.5).requires_grad_()


def posterior(loc: Tensor, scale: Tensor, lengths: Tensor | None = None) -> Any:
    return Steps(T, lengths).join(Logistic(loc, scale).to_event(1))


def prior(kind: type[Any]) -> Any:
    made = kind(D)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made(torch.zeros(B, F), Steps(T))


@pytest.mark.parametrize("kind", ["dense, closed form", "logistic, per step", "logistic, Monte Carlo"])
def test_each_rung_of_the_kl_has_the_mean_of_the_plain_estimate(kind: str) -> None:
    """Along draws, log q - log p; the closed forms are this on average."""
    count = 5_000
    if kind.startswith("dense"):
        q: Any = DenseNormal(torch.randn(B, T, D), torch.randn(T, T).tril(-1) / 2 + torch.eye(T))
        p, expected = prior(LinearGaussian), CLOSED_FORM
    else:
        q = posterior(*(v.detach() for v in parameters()))
        p, expected = (
            (prior(LSTM), CLOSED_FORM_PER_STEP) if "step" in kind else (prior(SwitchingLinear), STICKING_THE_LANDING)
        )
    with torch.no_grad():
        z = q.rsample(torch.Size([count]))
        value, how = kl_of(q, p, z)
        plain = q.log_prob(z) - p.log_prob(z)
    assert how == expected
    error = (plain - value).std(0) / math.sqrt(count) if value.ndim == 2 else plain.std(0) / math.sqrt(count)
    assert ((plain.mean(0) - (value.mean(0) if value.ndim == 2 else value)).abs() < 4.5 * error + 1e-9).all()


def test_the_gradient_at_the_target_has_no_variance() -> None:
    """Sticking the landing: where q is p, every draw's gradient is zero."""
    loc, scale = (v.detach().requires_grad_() for v in (torch.zeros(B, 1, D), torch.ones(B, 1, D)))
    q = Steps(1).join(Logistic(loc, scale).to_event(1))
    value, how = kl_of(q, LogisticPath(torch.Size([B]), Steps(1), D), q.rsample())
    assert how == STICKING_THE_LANDING
    for gradient in torch.autograd.grad(value.sum(), (loc, scale)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_a_density_that_does_not_answer_is_scored_as_it_is() -> None:
    loc, scale = parameters()
    q = Steps(T).join(Laplace(loc, scale).to_event(1))
    z, p = q.rsample(), prior(SwitchingLinear)
    value, how = kl_of(q, p, z)
    assert how == MONTE_CARLO
    torch.testing.assert_close(value, q.log_prob(z) - p.log_prob(z))
    for question in (
        lambda: detached(q),
        lambda: overdispersed(q, 2.0),
        lambda: to_base(q, z),
        lambda: from_base(q, z),
    ):
        with pytest.raises(NotImplementedError, match="Laplace"):
            question()


def test_detached_it_is_the_same_density_without_gradients() -> None:
    q = posterior(*parameters(), torch.tensor([5, 2, 4]))
    z = torch.randn(B, T, D)
    held = detached(q).log_prob(z)
    torch.testing.assert_close(held, q.log_prob(z))
    assert q.log_prob(z).requires_grad
    assert not held.requires_grad


def test_the_log_density_is_known_step_by_step() -> None:
    loc, scale = parameters()
    z, path = torch.randn(B, T, D), LogisticPath(torch.Size([B]), Steps(T), D)
    expected = stats.logistic.logpdf(z.numpy(), loc.detach().numpy(), scale.detach().numpy()).sum(-1)
    np.testing.assert_allclose(log_prob_by_step(posterior(loc, scale), z).detach().numpy(), expected)
    torch.testing.assert_close(log_prob_by_step(path, z).sum(-1), path.log_prob(z))


def test_its_base_space_is_standard_normal_below_every_wrapper() -> None:
    """There and back; the density is the base's times the determinant, by automatic differentiation."""
    loc, scale = (v.detach()[0, 0] for v in parameters())
    p = Logistic(loc, scale).to_event(1).mask(torch.tensor(True))
    assert isinstance(p, MaskedDistribution)
    assert isinstance(unwrapped(p), Logistic)
    value = p.sample(torch.Size([4_000]))
    base = to_base(p, value)
    for column in base.T.numpy():
        assert stats.kstest(column, "norm").pvalue > 1e-3
    torch.testing.assert_close(from_base(p, base), value)
    jacobian: Any = torch.autograd.functional.jacobian(lambda v: to_base(p, v), value[0])
    expected = Normal(0.0, 1.0).log_prob(base[0]).sum() + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(p.log_prob(value[0]), expected)


def test_a_path_of_such_steps_has_a_base_space() -> None:
    path = LogisticPath(torch.Size([2_000]), Steps(T), D)
    base = torch.randn(2_000, T, D)
    torch.testing.assert_close(to_base(path, from_base(path, base)), base)
    z = path.sample()
    covariance = to_base(path, z).flatten(1).T.cov()
    assert ((covariance - torch.eye(T * D)).abs() < 5 * math.sqrt(2 / 2_000)).all()


class Guide:
    """f normal, z logistic, the same for every clip."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def __call__(self, x: Tensor, mask: Any = None, lengths: Any = None, times: Any = None) -> tuple[Tensor, Tensor]:
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", Normal(torch.zeros(B, F), 1.0).to_event(1))
            return f, pyro.sample("z", self.made)


def clips() -> Batch:
    return Batch(torch.randn(B, T, P), None, None, None)


def test_an_elbo_says_how_it_took_its_kl() -> None:
    loc, scale = parameters()
    model = DSVAE(StandardNormal(F), LSTM(D), *decoded_by(NormalLikelihood, F, D, (P,)))
    terms = SequenceELBO(max_plate_nesting=1).terms(model, Guide(posterior(loc, scale)), clips().x)
    assert terms.estimators == {"f": CLOSED_FORM, "z": CLOSED_FORM_PER_STEP}
    terms.loss.backward()
    for parameter in (loc, scale):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).all()


def test_an_over_dispersed_proposal_draws_and_scores_with_wider_scales() -> None:
    loc, scale = (v.detach() for v in parameters())
    latents, log_q = Proposal(Guide(posterior(loc, scale)), clips(), scale=2.0).draw(500)
    expected = stats.logistic.logpdf(latents.z.numpy(), loc.numpy(), 2 * scale.numpy()).sum((-2, -1))
    expected += stats.norm.logpdf(latents.f.numpy(), 0, 2).sum(-1)
    np.testing.assert_allclose(log_q.numpy(), expected, rtol=1e-6)
    spread = latents.z.std(0) / (2 * scale * math.pi / math.sqrt(3))
    assert ((spread - 1).abs() < 0.25).all()


def test_the_kl_of_a_dense_normal_is_that_of_the_joint_normals() -> None:
    """Against the closed form of both joint normals, dimension by dimension."""
    p = prior(GaussianProcess)
    q = DenseNormal(torch.randn(B, T, D), torch.randn(T, T).tril(-1) / 2 + torch.eye(T))
    joint = [torch.distributions.MultivariateNormal(torch.zeros(T), scale_tril=p.factor[d]) for d in range(D)]
    own = [torch.distributions.MultivariateNormal(q.loc[..., d], scale_tril=q.factor) for d in range(D)]
    expected = sum(kl_divergence(a, b) for a, b in zip(own, joint, strict=True))
    torch.testing.assert_close(kl_divergence(q, p), expected)
