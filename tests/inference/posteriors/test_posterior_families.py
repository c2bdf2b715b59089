"""Posteriors beyond the two of Li & Mandt: what each may see, what it can represent, and that draws and densities agree."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_dsvae.inference.elbo import CLOSED_FORM, CLOSED_FORM_PER_STEP, MONTE_CARLO, SequenceELBO
from pyro_dsvae.inference.posteriors.autoregressive import Autoregressive
from pyro_dsvae.inference.posteriors.causal_lstm import CausalLSTM
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.flow import Flow
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import moments
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors import lstm as lstm_prior
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.decoded import decoded_by
from tests.encoded import small_encoder
from tests.oracles import gradients, lstm_step

B, T, F, D = 3, 5, 4, 2
IMAGE, VECTOR = (3, 16, 16), (6,)
LENGTHS = torch.tensor([5, 2, 4])
KINDS: list[Any] = [CausalLSTM, Autoregressive, StructuredGaussian, Flow, Delta]
LSTMPrior = lstm_prior.LSTM


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def posterior(
    kind: Any, frame_shape: tuple[int, ...] = VECTOR, latent_size: int = D, static_size: int = F, **options: Any
) -> Any:
    """A small guide with weights that differ everywhere, also where they start at zero; in double precision."""
    guide = kind(frame_shape, static_size, latent_size, small_encoder, hidden_size=5, feature_size=6, **options)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return guide.double()


def clips(frame_shape: tuple[int, ...] = VECTOR, size: int = B, length: int = T) -> Tensor:
    return torch.rand(size, length, *frame_shape, dtype=torch.float64)


def q_z(guide: Posterior, f: Tensor, lengths: Tensor | None = None, length: int = T, size: int = B) -> Any:
    """q(z | f, x) of random vectors; the same ones each time."""
    torch.manual_seed(1)
    return guide.dynamic(GuideInput.of(clips(size=size, length=length), lengths=lengths), f)


def static(*batch: int) -> Tensor:
    return torch.randn(*batch, F, dtype=torch.float64)


def model_for(prior: Any = LSTMPrior, frame_shape: tuple[int, ...] = VECTOR) -> DSVAE:
    dynamic = prior(D, hidden_size=5) if prior is LSTMPrior else prior(D)
    model = DSVAE(StandardNormal(F), dynamic, *decoded_by(NormalLikelihood, F, D, frame_shape, width=2))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.double()


def elbo_and_gradients(model: DSVAE, guide: Posterior, *args: Any) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(3)
    terms = SequenceELBO().terms(model, guide, *args)
    return terms, gradients(terms.loss, model, guide)


# --- the interface ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind: Any, frame_shape: tuple[int, ...], training: bool) -> None:
    guide = posterior(kind, frame_shape).train(training)
    assert guide.views.random == (len(frame_shape) == 3)
    trace = poutine.trace(guide).get_trace(clips(frame_shape), None, LENGTHS)
    f, z = trace.nodes["_RETURN"]["value"]
    assert f is trace.nodes["f"]["value"]
    assert z is trace.nodes["z"]["value"]
    assert f.shape == (B, F)
    assert z.shape == (B, T, D)
    assert f.dtype == z.dtype == torch.float64
    for name, event in [("f", (F,)), ("z", (T, D))]:
        fn = trace.nodes[name]["fn"]
        assert fn.batch_shape == (B,)
        assert fn.event_shape == event
        log_prob = fn.log_prob(trace.nodes[name]["value"])
        assert log_prob.shape == (B,)
        assert torch.isfinite(log_prob).all()
    # Further draws, and particles of f.
    clip = GuideInput.of(clips(frame_shape), lengths=LENGTHS)
    q = guide.dynamic(clip, static(4, B))
    assert q.batch_shape == (4, B)
    z = q.rsample(torch.Size([7]))
    assert z.shape == (7, 4, B, T, D)
    if kind is not Delta:
        assert q.log_prob(z).shape == (7, 4, B)
    assert guide.static(clip).expand([4, B]).rsample().shape == (4, B, F)


ESTIMATORS = {
    (CausalLSTM, LSTMPrior): (CLOSED_FORM, CLOSED_FORM_PER_STEP),
    (CausalLSTM, IID): (CLOSED_FORM, CLOSED_FORM),
    (Autoregressive, LSTMPrior): (CLOSED_FORM, CLOSED_FORM_PER_STEP),
    (Autoregressive, IID): (CLOSED_FORM, CLOSED_FORM_PER_STEP),
    (StructuredGaussian, LSTMPrior): (CLOSED_FORM, CLOSED_FORM_PER_STEP),
    (StructuredGaussian, IID): (CLOSED_FORM, CLOSED_FORM),
    (Flow, LSTMPrior): (MONTE_CARLO, MONTE_CARLO),
    (Flow, IID): (MONTE_CARLO, MONTE_CARLO),
    (Delta, LSTMPrior): (CLOSED_FORM, CLOSED_FORM),
    (Delta, IID): (CLOSED_FORM, CLOSED_FORM),
}


@pytest.mark.parametrize("prior", [LSTMPrior, IID], ids=["LSTM", "IID"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_posterior_has_an_elbo(kind: Any, prior: Any) -> None:
    model, guide = model_for(prior), posterior(kind)
    for elbo in (SequenceELBO(), SequenceELBO(3, 1, vectorize_particles=True)):
        terms = elbo.terms(model, guide, clips(), None, LENGTHS)
        assert (terms.estimators["f"], terms.estimators["z"]) == ESTIMATORS[kind, prior]
        assert terms.elbo.shape == (B,)
        assert torch.isfinite(terms.elbo).all()
        grads = gradients(terms.loss, guide)
        assert all(torch.isfinite(g).all() for g in grads.values())
        # Everything learns but the vector that stands for missing frames, of which there are none.
        unused = {n.removeprefix("0.") for n, g in grads.items() if not g.any()}
        assert unused <= {"static_encoder.frames.missing", "dynamic_encoder.frames.missing"}, unused


def test_only_point_estimates_are_not_comparable() -> None:
    assert {kind.__name__ for kind in KINDS if not kind.comparable} == {"Delta"}


@pytest.mark.parametrize("kind", KINDS)
def test_left_batches_of_f_equal_the_loop(kind: Any) -> None:
    guide = posterior(kind)
    f, z = static(4, B), torch.randn(B, T, D, dtype=torch.float64)
    together, one_by_one = q_z(guide, f, LENGTHS), [q_z(guide, value, LENGTHS) for value in f]
    exists = torch.arange(T) < LENGTHS[:, None]
    expected = torch.stack([q.mean for q in one_by_one])
    torch.testing.assert_close(together.mean[:, exists], expected[:, exists])
    assert (expected[0] - expected[1])[exists].abs().max() > 1e-3  # f matters
    if kind is not Delta:
        torch.testing.assert_close(together.log_prob(z), torch.stack([q.log_prob(z) for q in one_by_one]))


@pytest.mark.parametrize("junk", [1e6, math.nan])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
def test_what_is_not_observed_has_no_influence(kind: Any, frame_shape: tuple[int, ...], junk: float) -> None:
    """Terms and gradients are the same bits whatever stands in missing frames and in steps that do not exist."""
    model, guide = model_for(frame_shape=frame_shape), posterior(kind, frame_shape)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 1]], dtype=torch.bool)
    hidden = ~mask | (torch.arange(T) >= LENGTHS[:, None])
    x = clips(frame_shape)
    changed = x.masked_fill(hidden[(..., *(None,) * len(frame_shape))], junk)
    (clean, clean_gradients), (dirty, dirty_gradients) = (
        elbo_and_gradients(model, guide, frames, mask, LENGTHS) for frames in (x, changed)
    )
    assert torch.isfinite(clean.elbo).all()
    assert torch.equal(clean.elbo, dirty.elbo)
    assert all(torch.equal(g, dirty_gradients[name]) for name, g in clean_gradients.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_clip_has_the_posterior_of_the_clip_alone(kind: Any) -> None:
    guide, x, f = posterior(kind), clips(), static(B)
    padded = guide.dynamic(GuideInput.of(x, lengths=LENGTHS), f)
    z = torch.randn(B, T, D, dtype=torch.float64)
    changed = z.clone()
    for b, n in enumerate(LENGTHS.tolist()):
        changed[b, n:] += 1
        alone = guide.dynamic(GuideInput.of(x[b : b + 1, :n]), f[b : b + 1])
        torch.testing.assert_close(padded.mean[b, :n], alone.mean[0])
        if kind is not Delta:
            torch.testing.assert_close(padded.log_prob(z)[b], alone.log_prob(z[b : b + 1, :n])[0])
    if kind is not Delta:  # nor does a latent that does not exist matter
        torch.testing.assert_close(padded.log_prob(z), padded.log_prob(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_the_same_posterior(kind: Any) -> None:
    model, guide, x = model_for(), posterior(kind), clips()
    expected, _ = elbo_and_gradients(model, guide, x)
    file = io.BytesIO()
    torch.save(guide.state_dict(), file)
    file.seek(0)
    restored = posterior(kind)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(guide), pickle.loads(pickle.dumps(guide)), restored):
        assert torch.equal(elbo_and_gradients(model, other, x)[0].elbo, expected.elbo)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_in_full_precision(kind: Any, dtype: torch.dtype) -> None:
    guide = posterior(kind).float()
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        trace = poutine.trace(guide).get_trace(clips().float())
        trace.compute_log_prob()
    for name in ("f", "z"):
        node = trace.nodes[name]
        assert node["value"].dtype == node["log_prob"].dtype == node["fn"].mean.dtype == torch.float32


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_frames_leave_gradients_finite(kind: Any, frame_shape: tuple[int, ...]) -> None:
    model, guide = model_for(frame_shape=frame_shape).float(), posterior(kind, frame_shape).float()
    x = 1e4 * torch.randn(B, T, *frame_shape)
    terms = SequenceELBO().terms(model, guide, x, None, LENGTHS)
    assert torch.isfinite(terms.elbo).all()
    assert all(torch.isfinite(g).all() for g in gradients(terms.loss, model, guide).values())


@pytest.mark.parametrize("kind", KINDS)
def test_posterior_means_need_no_noise(kind: Any) -> None:
    guide, x = posterior(kind), clips()
    f, z = posterior_means(guide, x)
    again_f, again_z = posterior_means(guide, x)
    assert torch.equal(f, again_f)
    assert torch.equal(z, again_z)
    torch.testing.assert_close(f, guide.static(GuideInput.of(x)).mean)
    torch.testing.assert_close(z, guide.dynamic(GuideInput.of(x), f).mean)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (StructuredGaussian, {"max_coefficient": 0.0}, "max_coefficient"),
        (StructuredGaussian, {"max_coefficient": math.nan}, "max_coefficient"),
        (Flow, {"layers": 0}, "at least one layer"),
    ],
)
def test_options_are_checked(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(VECTOR, F, D, small_encoder, **options)


# --- who sees what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", range(1, T))
@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
def test_a_filter_does_not_look_ahead(frame_shape: tuple[int, ...], t: int) -> None:
    """Given f, frames from t on move q(z_t), q(z_{t+1}), ... and no bit of those before; the smoothers' all move."""
    x, f = clips(frame_shape), static(B)
    changed = x.clone()
    changed[:, t:] = torch.rand_like(changed[:, t:])
    for kind, looks_ahead in [(CausalLSTM, False), (LSTM, True)]:
        guide = posterior(kind, frame_shape).eval()
        before, after = (guide.dynamic(GuideInput.of(frames), f) for frames in (x, changed))
        for a, b in [(before.mean, after.mean), (before.variance, after.variance)]:
            assert torch.equal(a[:, :t], b[:, :t]) != looks_ahead
            assert ((a - b)[:, t:].abs().amax((0, 2)) > 0).all()


def test_a_filter_can_be_run_frame_by_frame() -> None:
    guide, x, f = posterior(CausalLSTM), clips(), static(B)
    whole = guide.dynamic(GuideInput.of(x), f)
    for t in range(1, T + 1):
        so_far = guide.dynamic(GuideInput.of(x[:, :t]), f)
        torch.testing.assert_close(so_far.mean[:, -1], whole.mean[:, t - 1])
        torch.testing.assert_close(so_far.variance[:, -1], whole.variance[:, t - 1])


# --- the autoregressive posterior -------------------------------------------------------------------------------------


def test_autoregressive_conditionals_equal_their_equations_step_by_step() -> None:
    guide, f = posterior(Autoregressive), static(B)
    q = q_z(guide, f)
    torch.manual_seed(1)
    features = guide.dynamic_encoder(clips(), torch.ones(B, T, dtype=torch.bool))
    context = guide.context(torch.cat([features, f.unsqueeze(1).expand(-1, T, -1)], dim=-1))
    z = torch.randn(B, T, D, dtype=torch.float64)
    conditionals = q.conditionals(z)
    zero = torch.zeros(B, 5, dtype=torch.float64)
    state, before = (zero, zero), guide.cell.start.expand(B, -1)
    for t in range(T):
        state = lstm_step(guide.cell.lstm, torch.cat([context[:, t], before], dim=-1), state)
        loc, scale = guide.cell.head(state[0] + guide.direct(features[:, t]))
        torch.testing.assert_close(conditionals.mean[:, t], loc)
        torch.testing.assert_close(conditionals.variance[:, t].sqrt(), scale)
        before = z[:, t]


def test_an_autoregressive_step_depends_on_those_before_it_only() -> None:
    q, z = q_z(posterior(Autoregressive), static(B)), torch.randn(B, T, D, dtype=torch.float64)
    before = q.conditionals(z)
    for t in range(T):
        changed = z.clone()
        changed[:, t:] += 1
        after = q.conditionals(changed)
        assert torch.equal(after.mean[:, : t + 1], before.mean[:, : t + 1])
        if t + 1 < T:
            assert not torch.equal(after.mean[:, t + 1], before.mean[:, t + 1])


def test_the_autoregressive_mean_takes_every_conditional_mean_given_the_means_before() -> None:
    q = q_z(posterior(Autoregressive), static(4, B))
    path = torch.zeros(4, B, T, D, dtype=torch.float64)
    for t in range(T):
        path[..., t, :] = q.conditionals(path).mean[..., t, :]
    torch.testing.assert_close(q.mean, path)


@pytest.mark.parametrize("split", range(1, T))
@pytest.mark.parametrize("kind", [Autoregressive, StructuredGaussian])
def test_the_density_of_a_path_is_that_of_its_start_times_that_of_the_rest(kind: Any, split: int) -> None:
    q, z = q_z(posterior(kind), static(4, B)), torch.randn(7, 4, B, T, D, dtype=torch.float64)
    past, rest = z[..., :split, :], z[..., split:, :]
    steps = q.conditionals(z).log_prob(z)  # (7, 4, B, T)
    following = q.continue_from(past, T - split)
    assert following.batch_shape == (7, 4, B)
    assert following.event_shape == (T - split, D)
    assert following.sample(torch.Size([2])).shape == (2, 7, 4, B, T - split, D)
    torch.testing.assert_close(following.log_prob(rest), steps[..., split:].sum(-1))
    if T - split > 1:  # and a continuation can be continued
        again = following.continue_from(rest[..., :1, :], T - split - 1)
        torch.testing.assert_close(again.log_prob(rest[..., 1:, :]), steps[..., split + 1 :].sum(-1))
    with pytest.raises(ValueError, match=f"has {T} steps"):
        q.continue_from(past, T - split + 1)


@pytest.mark.parametrize("start", [0, 2], ids=["from the start", "continued"])
@pytest.mark.parametrize("kind", [Autoregressive, StructuredGaussian])
def test_draws_have_the_distribution_that_is_scored(kind: Any, start: int) -> None:
    """Residuals of 20,000 draws, standardised by the conditionals along them, are white; 4.5 standard errors each."""
    count = 20_000
    with torch.no_grad():
        q = q_z(posterior(kind), static(1), size=1)
        if start:
            q = q.continue_from(torch.randn(1, start, D, dtype=torch.float64), T - start)
        z = q.sample(torch.Size([count]))
        given = q.conditionals(z)
        residuals = ((z - given.mean) / given.variance.sqrt())[:, 0].flatten(1)
        entropy = given.base_dist.entropy().sum((-1, -2))
        difference = q.log_prob(z) + entropy
    assert (residuals.mean(0).abs() < 4.5 / count**0.5).all()
    correlations = residuals.T @ residuals / count - torch.eye(residuals.shape[1], dtype=torch.float64)
    bound = torch.full_like(correlations, 4.5 / count**0.5)
    bound.fill_diagonal_(4.5 * (2 / count) ** 0.5)
    assert (correlations.abs() < bound).all()
    # The residuals are not correlated with the past either, and there is a dependence on it to get wrong.
    past = (z[:, 0, :-1] - z[:, 0, :-1].mean(0)) / z[:, 0, :-1].std(0)
    assert ((past * residuals.view(count, -1, D)[:, 1:]).mean(0).abs() < 4.5 / count**0.5).all()
    assert (given.mean[:, 0, 1:].std(0) > 0.01 * z[:, 0, 1:].std(0)).all()
    assert (difference.mean(0).abs() < 4.5 * difference.std(0) / count**0.5 + 1e-9).all()


@pytest.mark.parametrize("kind", [Autoregressive, StructuredGaussian])
def test_the_kl_per_step_agrees_with_monte_carlo(kind: Any) -> None:
    """Against the LSTM prior, over 4,000 paths: same mean within 4 standard errors, and less noise."""
    with torch.no_grad():
        q = q_z(posterior(kind), static(B), LENGTHS)
        p = model_for().dynamic_prior(static(B), q.steps)
        z = q.sample(torch.Size([4000]))
        per_step = kl_divergence(q.given(z), p.given(z))
        plain = q.log_prob(z) - p.log_prob(z)
    assert per_step.shape == (4000, B)
    assert (per_step >= 0).all()
    difference = per_step - plain
    assert (difference.mean(0).abs() < 4 * difference.std(0) / 4000**0.5).all()
    assert (per_step.std(0) < plain.std(0)).all()


# --- the structured Gaussian ------------------------------------------------------------------------------------------


def dense(q: DiagonalChain) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (T,), precision and covariance (T, T) of a chain without batch in its first dimension, from its equations.

    z = A z + b + S e, so z = (I - A)^-1 (b + S e).
    """
    a, b, s = (v[..., 0].detach().reshape(-1).double() for v in q.transitions)
    whiten = (torch.eye(len(s), dtype=torch.float64) - torch.diag(a[1:], -1)) / s[:, None]
    precision = whiten.T @ whiten
    mean = torch.linalg.solve(whiten, b / s)
    return mean, precision, torch.linalg.inv(precision)


def test_a_structured_gaussian_is_the_dense_normal_with_its_precision() -> None:
    q = q_z(posterior(StructuredGaussian), static(1), size=1)
    mean, _, covariance = dense(q)
    told = moments(q)
    factor = told.factor()[0, 0]
    torch.testing.assert_close(factor @ factor.T, covariance)
    torch.testing.assert_close(told.variance[0, :, 0], covariance.diag())
    torch.testing.assert_close(told.lagged[0, 1:, 0], covariance.diag(1))
    torch.testing.assert_close(told.loc[0, :, 0], mean)
    # Every neighbour is correlated; beyond neighbours the precision is zero.
    inverse = torch.linalg.inv(factor @ factor.T)
    assert (inverse.triu(2).abs() < 1e-8 * inverse.abs().max()).all()
    assert (inverse.diag(1).abs() > 1e-6 * inverse.abs().max()).all()
    by_dimension = [
        DiagonalChain(q.batch_shape, Transitions(*(v[..., d : d + 1] for v in q.transitions)), q.steps)
        for d in range(D)
    ]
    entropy = sum(MultivariateNormal(dense(one)[0], dense(one)[2]).entropy() for one in by_dimension)
    torch.testing.assert_close(told.entropy.sum(-1)[0], entropy)
    # 20,000 draws; the variance of an entry of a sample covariance is (S_ii S_jj + S_ij^2) / n.
    z = q.sample(torch.Size([20_000]))[:, 0, :, 0]
    assert ((z.mean(0) - mean).abs() < 4.5 * (covariance.diag() / len(z)).sqrt()).all()
    error = ((covariance.diag()[:, None] * covariance.diag() + covariance**2) / len(z)).sqrt()
    assert ((torch.cov(z.T) - covariance).abs() < 4.5 * error).all()


def test_the_mean_path_does_not_depend_on_the_coefficients() -> None:
    guide, f = posterior(StructuredGaussian), static(B)
    before = q_z(guide, f)
    with torch.no_grad():
        guide.coefficient.bias.add_(1.0)
    after = q_z(guide, f)
    assert ((after.transitions.coefficient - before.transitions.coefficient).abs() > 0.01).all()
    torch.testing.assert_close(after.mean, before.mean)


@pytest.mark.parametrize("bound", [0.5, 1.0, 3.0])
def test_coefficients_start_at_zero_and_stay_within_their_bound(bound: float) -> None:
    guide = StructuredGaussian(
        VECTOR, F, D, small_encoder, hidden_size=5, feature_size=6, max_coefficient=bound
    ).double()
    assert not q_z(guide, static(B)).transitions.coefficient.any()
    with torch.no_grad():
        guide.coefficient.bias.fill_(1e6)
    torch.testing.assert_close(q_z(guide, static(B)).transitions.coefficient.max().item(), bound)


@pytest.mark.parametrize("correlation", [-0.8, 0.8])
def test_adjacent_correlations_of_both_signs_are_learnt(correlation: float) -> None:
    """Fitted to a dense normal whose neighbours are correlated, the posterior becomes it, to 0.05 nats.

    A positive correlation is out of reach of the published banded posterior (FIELD.md, section 4).
    """
    lags = (torch.arange(T)[:, None] - torch.arange(T)).abs().double()
    target = MultivariateNormal(torch.linspace(-1, 1, T).double(), correlation**lags)
    guide = StructuredGaussian((1,), 1, 1, small_encoder, hidden_size=8, feature_size=8)
    clip, f = GuideInput.of(torch.linspace(0, 1, T).view(1, T, 1)), torch.zeros(1, 1)
    optimiser = torch.optim.Adam(guide.parameters(), lr=4e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-2, total_steps=150)
    precision, loc = target.precision_matrix.float(), target.loc.float()
    for _ in range(150):
        q = moments(guide.dynamic(clip, f))
        # E_q of the quadratic form; the target is AR(1), so its precision is tridiagonal, too.
        off = (q.loc[0, :, 0] - loc) @ precision @ (q.loc[0, :, 0] - loc)
        form = off + (precision.diag() * q.variance[0, :, 0]).sum() + 2 * (precision.diag(1) * q.lagged[0, 1:, 0]).sum()
        loss = 0.5 * form - q.entropy.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    mean, _, covariance = dense(guide.dynamic(clip, f))
    assert kl_divergence(MultivariateNormal(mean, covariance), target) < 0.05
    learnt = covariance.diag(1) / (covariance.diag()[1:] * covariance.diag()[:-1]).sqrt()
    torch.testing.assert_close(learnt, torch.full_like(learnt, correlation), atol=0.1, rtol=0)


# --- where exact posteriors are known ---------------------------------------------------------------------------------

SEQUENCES, STEPS, STEP_VARIANCE, NOISE_VARIANCE = 32, 10, 0.1, 1.0


class Walk(DynamicPrior):
    """z_1 ~ N(0, 1), z_t ~ N(z_{t-1}, STEP_VARIANCE)."""

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        scale = f.new_full((steps.length, 1), STEP_VARIANCE**0.5)
        scale[0] = 1
        return DiagonalChain(f.shape[:-1], Transitions(f.new_ones(1), f.new_zeros(1), scale), steps)


def walk_covariance() -> Tensor:
    t = torch.arange(STEPS, dtype=torch.float64)
    return 1 + STEP_VARIANCE * torch.minimum(t[:, None], t)


def walks() -> Tensor:
    """Frames (SEQUENCES, STEPS, 1): a random walk observed in noise of variance NOISE_VARIANCE."""
    frames = MultivariateNormal(torch.zeros(STEPS).double(), walk_covariance() + NOISE_VARIANCE * torch.eye(STEPS))
    return frames.sample(torch.Size([SEQUENCES])).unsqueeze(-1)


def exact_evidence(x: Tensor) -> Tensor:
    covariance = walk_covariance() + NOISE_VARIANCE * torch.eye(STEPS)
    return MultivariateNormal(torch.zeros(STEPS).double(), covariance).log_prob(x[..., 0])


def exact_elbo(x: Tensor, q: DiagonalChain) -> Tensor:
    """The ELBO of every sequence, computed densely from the chain's equations."""
    prior = MultivariateNormal(torch.zeros(STEPS).double(), walk_covariance())
    elbos = []
    for b in range(len(x)):
        a, c, s = (v.expand(len(x), STEPS, 1)[b] for v in q.transitions)
        mean, _, covariance = dense(DiagonalChain(torch.Size(), Transitions(a, c, s), Steps(STEPS)))
        square = (x[b, :, 0] - mean) ** 2 + covariance.diag()
        likelihood = -0.5 * (square / NOISE_VARIANCE + math.log(2 * math.pi * NOISE_VARIANCE)).sum()
        elbos.append(likelihood - kl_divergence(MultivariateNormal(mean, covariance), prior))
    return torch.stack(elbos)


def diagonal_gap() -> float:
    """KL from the best diagonal normal, which has the mean and the diagonal of the precision of the posterior."""
    precision = torch.linalg.inv(walk_covariance()) + torch.eye(STEPS) / NOISE_VARIANCE
    best = MultivariateNormal(torch.zeros(STEPS).double(), torch.diag(1 / precision.diag()))
    return float(kl_divergence(best, MultivariateNormal(torch.zeros(STEPS).double(), precision_matrix=precision)))


def fit_to_walks(x: Tensor, q: Callable[[], Any], parameters: list[Tensor], count: int, rate: float) -> None:
    """Maximise the ELBO with the closed KL of the code under test."""
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=count)
    prior = Walk(1)(x.new_zeros(len(x), 1), Steps(STEPS))
    for _ in range(count):
        now = q()
        square = (x - now.mean) ** 2 + now.variance
        loss = (0.5 * square.sum((1, 2)) / NOISE_VARIANCE + kl_divergence(now, prior)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def test_a_free_chain_is_the_exact_posterior_of_a_random_walk_and_no_diagonal_one_is() -> None:
    """Means, scales and coefficients of every sequence optimised by themselves."""
    x = walks()
    shape = (SEQUENCES, STEPS, 1)
    raw = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def chain() -> DiagonalChain:
        a, b, log_s = raw
        return DiagonalChain(torch.Size([SEQUENCES]), Transitions(a, b, log_s.exp()), Steps(STEPS))

    fit_to_walks(x, chain, raw, 240, 0.2)
    assert diagonal_gap() > 2
    gap = exact_evidence(x) - exact_elbo(x, chain())
    assert (gap > -1e-9).all()
    assert (gap < 0.1).all()
    assert chain().transitions.coefficient[:, 1:].min() > 0.3  # positive correlations did it


def test_the_amortised_chain_reaches_the_evidence_of_a_random_walk_and_no_diagonal_one_does() -> None:
    x = walks().float()
    f, clip = torch.zeros(SEQUENCES, 1), GuideInput.of(x)
    gaps = {}
    for kind, count in [(StructuredGaussian, 140), (LSTM, 25)]:
        torch.manual_seed(0)
        guide = kind((1,), 1, 1, small_encoder, hidden_size=24, feature_size=16)
        fit_to_walks(x, lambda guide=guide: guide.dynamic(clip, f), list(guide.parameters()), count, 0.02)
        with torch.no_grad():
            q: Any = guide.dynamic(clip, f)
            if kind is LSTM:
                zero = torch.zeros_like(q.mean)
                q = DiagonalChain(q.batch_shape, Transitions(zero, q.mean, q.variance.sqrt()), Steps(STEPS))
            gap = exact_evidence(x.double()) - exact_elbo(x.double(), q)
        assert (gap > -1e-3).all()
        gaps[kind] = float(gap.mean())
    assert gaps[StructuredGaussian] < 0.1
    assert gaps[LSTM] > diagonal_gap() - 1e-3 > 2


# --- flows ------------------------------------------------------------------------------------------------------------


def flow(latent_size: int = D, static_size: int = F, layers: int = 2) -> Any:
    """A flow that is far from the normal it starts from."""
    guide = posterior(Flow, latent_size=latent_size, static_size=static_size, layers=layers)
    with torch.no_grad():
        for p in guide.dynamic_flow.parameters():
            p.mul_(4)
        for p in guide.static_flow.parameters():
            p.mul_(1.5)
    return guide


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["complete", "ragged"])
def test_the_density_of_a_draw_is_the_one_that_its_value_has(lengths: Tensor | None, layers: int) -> None:
    """The density that comes with a draw, without inverting anything, against the inverse."""
    guide = flow(layers=layers)
    q_f = guide.static(GuideInput.of(clips(), lengths=lengths)).expand([4, B])
    for q in (q_f, q_z(guide, static(4, B), lengths)):
        pull, q.pull = q.pull, None  # nothing to invert with
        with torch.no_grad():
            draw = q.sample(torch.Size([6]))
            expected = q.log_prob(draw)
        q.pull = pull
        torch.testing.assert_close(q.log_prob(draw), expected, atol=1e-6, rtol=0)
        q.pull = None
        draw = q.rsample(torch.Size([6]))
        density = q.log_prob(draw)
        q.pull = pull
        assert density.shape == (6, 4, B)
        torch.testing.assert_close(q.log_prob(draw.clone()), density, atol=1e-6, rtol=0)
        second = q.rsample()
        torch.testing.assert_close(q.log_prob(draw), density, atol=1e-6, rtol=0)  # no longer the last one
        torch.testing.assert_close(q.log_prob(second.clone()), q.log_prob(second), atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_density_of_a_flow_is_that_of_a_change_of_variables(layers: int) -> None:
    """log q(g(e)) = log N(e; 0, 1) - log |det dg/de| with the Jacobian from automatic differentiation."""
    guide = flow(latent_size=2, static_size=3, layers=layers)
    f = torch.randn(1, 3, dtype=torch.float64)
    for q in (guide.static(GuideInput.of(clips(size=1))), q_z(guide, f, length=3, size=1)):
        for _ in range(3):
            noise = torch.randn(q.shape(), dtype=torch.float64)
            jacobian: Any = torch.autograd.functional.jacobian(lambda e, q=q: q.push(e)[0].flatten(), noise)
            log_det = torch.linalg.slogdet(jacobian.reshape(noise.numel(), -1))[1]
            assert log_det.abs() > 0.1
            expected = Normal(0.0, 1.0).log_prob(noise).sum() - log_det
            torch.testing.assert_close(q.log_prob(q.push(noise)[0]), expected.unsqueeze(0))


def test_a_flow_is_the_density_that_it_is_drawn_from() -> None:
    """E_q[r / q] = 1 for a normal r that is narrower than q, over 20,000 draws."""
    guide = flow(latent_size=1, static_size=3)
    f = torch.randn(1, 3, dtype=torch.float64)
    for q in (guide.static(GuideInput.of(clips(size=1))), q_z(guide, f, length=3, size=1)):
        with torch.no_grad():
            draws = q.sample(torch.Size([20_000]))
            flat = draws.flatten(1)
            r = MultivariateNormal(flat.mean(0), 0.3 * torch.cov(flat.T))
            weights = (r.log_prob(flat) - q.log_prob(draws)[:, 0]).exp()
        error = weights.std() / len(weights) ** 0.5
        assert error < 0.02
        assert abs(float(weights.mean()) - 1) < 4 * error


@pytest.mark.parametrize(("layers", "normal"), [(1, True), (2, False)])
def test_two_directions_leave_the_normals(layers: int, normal: bool) -> None:
    """log q(z_1, z_2) is quadratic in z_2 for one causal layer, so normal given z_1, and is not for two."""
    q = q_z(flow(latent_size=1, layers=layers), static(1), length=2, size=1)
    grid = torch.stack(torch.meshgrid(torch.zeros(1), torch.linspace(-1, 1, 9), indexing="ij"), dim=-1).double()
    with torch.no_grad():
        spread = q.sample(torch.Size([1000]))[:, 0, :, 0]
        z = spread.mean(0) + spread.std(0) * grid.view(9, 2)
        curvature = q.log_prob(z.view(9, 1, 2, 1))[:, 0].diff(n=2)
    assert bool((curvature - curvature[0]).abs().max() < 1e-8) == normal


def test_a_flow_starts_at_the_normals_of_its_heads() -> None:
    guide = Flow(VECTOR, F, D, small_encoder, hidden_size=5, feature_size=6).double()
    clip, f, z = GuideInput.of(clips(), lengths=LENGTHS), static(B), torch.randn(B, T, D, dtype=torch.float64)
    hidden = guide.smoother(guide.dynamic_encoder(clip.x, clip.observed), f, LENGTHS)
    start: TorchDistribution = clip.steps.join(Normal(*guide.dynamic_head(hidden)).to_event(1))
    q = guide.dynamic(clip, f)
    torch.testing.assert_close(q.log_prob(z), start.log_prob(z))
    torch.testing.assert_close(q.mean, start.mean)


def test_gradients_of_the_density_of_a_constant_do_not_come_from_the_draw() -> None:
    """d log q(z) / d parameters at a constant z, also where q itself drew it without gradients."""
    guide, f = flow(), static(B)
    q = q_z(guide, f)
    constant = q.sample()
    own = gradients(q.log_prob(constant).sum(), guide)
    fresh = gradients(q_z(guide, f).log_prob(constant.clone()).sum(), guide)
    assert own["0.dynamic_head.loc.weight"].any()
    for name, g in fresh.items():
        torch.testing.assert_close(own[name], g)


def test_flow_sites_replay_and_condition() -> None:
    """Scored in a trace, replayed and conditioned on, a flow has one density."""
    guide, x = flow(), clips()
    trace = poutine.trace(guide).get_trace(x, None, LENGTHS)
    replayed = poutine.trace(poutine.replay(guide, trace=trace)).get_trace(x, None, LENGTHS)
    values = {name: trace.nodes[name]["value"] for name in ("f", "z")}
    conditioned = poutine.trace(poutine.condition(guide, data=values)).get_trace(x, None, LENGTHS)
    expected = trace.log_prob_sum()
    torch.testing.assert_close(replayed.log_prob_sum(), expected)
    torch.testing.assert_close(conditioned.log_prob_sum(), expected)
