"""Jointly normal priors against dense multivariate normals whose covariance is written down from the definition."""

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.typing import NDArray
from pyro.distributions import Normal
from scipy.linalg import expm, solve_continuous_lyapunov, solve_triangular
from scipy.special import gamma, kv
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence
from torch.func import functional_call

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import GaussianPath
from pyro_dsvae.models.distributions.linear_gaussian_path import LinearGaussianPath
from pyro_dsvae.models.dynamic_priors.gaussian_process import GaussianProcess
from pyro_dsvae.models.dynamic_priors.kernels import KERNELS
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

Array = NDArray[np.float64]
B, T, D, F = 3, 6, 2, 4
PERIOD = 5.0


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    pyro.set_rng_seed(0)
    with pyro.validation_enabled(True):
        yield


# --- the priors, and what they are by definition ----------------------------------------------------------------------


def disturbed(prior: Any, size: float = 0.3) -> Any:
    """The prior with parameters that differ from dimension to dimension."""
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(7)))
    return prior


BUILDERS: dict[str, Callable[[], Any]] = {
    "RandomWalk": lambda: disturbed(RandomWalk(D)),
    "LinearGaussian": lambda: disturbed(LinearGaussian(D)),
    "LinearGaussian, own start": lambda: disturbed(LinearGaussian(D, timescale=3.0, stationary=False)),
} | {
    f"GaussianProcess, {kernel}": lambda kernel=kernel: disturbed(  # type: ignore[misc]
        GaussianProcess(D, kernel, 1.0 if kernel == "periodic" else 3.0, period=PERIOD)
    )
    for kernel in KERNELS
}
THREE = ["RandomWalk", "LinearGaussian", "GaussianProcess, matern32"]
every_prior = pytest.mark.parametrize("name", BUILDERS)
regular_or_not = pytest.mark.parametrize("irregular", [False, True], ids=["regular", "irregular"])


def build(name: str, dtype: torch.dtype = torch.float64) -> Any:
    return BUILDERS[name]().to(dtype)


def numpy(values: Tensor) -> Array:
    return values.detach().double().numpy()


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


def random_walk(prior: RandomWalk, times: Array) -> tuple[Array, Array]:
    scale = softplus(numpy(prior.raw_scale)) + 1e-4
    start = softplus(numpy(prior.raw_start_scale)) + 1e-4
    shared = np.minimum.outer(times, times) - times[0]
    covariance = np.einsum("ts,de->tdse", np.ones_like(shared), np.diag(start**2))
    covariance += np.einsum("ts,de->tdse", shared, np.diag(scale**2))
    return np.zeros((len(times), D)), covariance


def correlated(raw_scale: Any, correlation: Any) -> Array:
    """The Cholesky factor that the parameters stand for, entry by entry."""
    raw_scale, correlation = numpy(raw_scale), numpy(correlation)
    lower = np.eye(D)
    for i in range(D):
        for j in range(i):
            r = float(correlation[i, j])
            lower[i, j] = r / math.sqrt(1 + (r / 30) ** 2)
        lower[i] *= (math.log1p(math.exp(raw_scale[i])) + 1e-3) / np.linalg.norm(lower[i])
    return lower


def drift_and_diffusion(prior: LinearGaussian) -> tuple[Array, Array]:
    """F and Sigma of dz = F (z - m) dt + Sigma^1/2 dW."""
    C = correlated(prior.raw_scale, prior.correlation)
    lower, decay = np.tril(numpy(prior.rotation), -1), numpy(prior.decay)
    root = np.tril(decay, -1) + np.diag(softplus(np.diag(decay)))
    R = root @ root.T + 1e-6 * np.eye(D)
    return C @ (lower - lower.T - R) @ np.linalg.inv(C), 2 * C @ R @ C.T


def linear_gaussian(prior: LinearGaussian, times: Array) -> tuple[Array, Array]:
    """Step by step: the noise of an interval by Van Loan's matrix, the stationary covariance by Lyapunov's equation."""
    drift, diffusion = drift_and_diffusion(prior)
    loc, m = numpy(prior.loc), numpy(prior.loc)
    V = solve_continuous_lyapunov(drift, -diffusion)
    if not prior.stationary:
        m = numpy(prior.start_loc)
        root = correlated(prior.raw_start_scale, prior.start_correlation)
        V = root @ root.T
    mean, covariance = np.zeros((len(times), D)), np.zeros((len(times), D, len(times), D))
    for t in range(len(times)):
        if t > 0:
            dt = times[t] - times[t - 1]
            A = expm(drift * dt)
            block = expm(np.block([[-drift, diffusion], [np.zeros((D, D)), drift.T]]) * dt)
            Q = block[D:, D:].T @ block[:D, D:]
            m, V = loc + A @ (m - loc), A @ V @ A.T + Q
            covariance[t, :, :t] = np.tensordot(A, covariance[t - 1, :, :t], 1)
            covariance[:t, :, t] = covariance[t, :, :t].transpose(1, 2, 0)
        mean[t], covariance[t, :, t] = m, V
    return mean, covariance


def kernel_of(name: str, r: Array, length: float) -> Array:
    if name.startswith("matern"):
        nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[name]
        x = np.sqrt(2 * nu) * np.where(r == 0, 1.0, r) / length
        return np.where(r == 0, 1.0, 2 ** (1 - nu) / gamma(nu) * x**nu * kv(nu, x))
    if name == "rbf":
        return np.exp(-(r**2) / (2 * length**2))
    if name == "cauchy":
        return length**2 / (length**2 + r**2)
    return np.exp((np.cos(2 * np.pi * r / PERIOD) - 1) / length**2)


def gaussian_process(prior: GaussianProcess, times: Array) -> tuple[Array, Array]:
    covariance = np.zeros((len(times), D, len(times), D))
    for d in range(D):
        length, variance = (math.exp(v[d]) for v in (numpy(prior.log_lengthscale), numpy(prior.log_variance)))
        k = kernel_of(prior.kernel, np.abs(np.subtract.outer(times, times)), length)
        covariance[:, d, :, d] = variance * (k + prior.jitter * np.eye(len(times)))
    return np.zeros((len(times), D)), covariance


def definition(prior: Any, times: Array) -> tuple[Array, Array]:
    """Mean (T D,) and covariance (T D, T D) of z_1:T, in the order of z in memory."""
    by_kind: Any = {RandomWalk: random_walk, LinearGaussian: linear_gaussian, GaussianProcess: gaussian_process}
    mean, covariance = by_kind[type(prior)](prior, times)
    return mean.reshape(-1), covariance.reshape(len(times) * D, -1)


def log_normal(z: Tensor, mean: Array, covariance: Array) -> float:
    factor = np.linalg.cholesky(covariance)
    noise = solve_triangular(factor, numpy(z).reshape(-1) - mean, lower=True)
    return float(-0.5 * noise @ noise - np.log(np.diag(factor)).sum() - 0.5 * len(mean) * math.log(2 * math.pi))


def dense(prior: Any, times: Array) -> MultivariateNormal:
    mean, covariance = definition(prior, times)
    return MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))


def observed_at(irregular: bool, length: int = T, count: int = B, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """(count, length) times with intervals from .3 to 2, a different start for every sequence; None for regular ones."""
    if not irregular:
        return None
    rng = np.random.default_rng(length)
    gaps = rng.uniform(0.3, 2.0, (count, length))
    return torch.from_numpy(gaps.cumsum(1) + np.arange(count)[:, None]).to(dtype)


def clock(times: Tensor | None, b: int, length: int) -> Array:
    return np.arange(length, dtype=np.float64) if times is None else numpy(times[b])


def path_of(prior: Any, *batch: int, steps: Steps | None = None) -> GaussianPath:
    dtype = next(prior.parameters()).dtype
    path: GaussianPath = prior(torch.zeros(*batch, F, dtype=dtype), steps or Steps(T))
    return path


# --- density ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 8, 64, 512])
@regular_or_not
@every_prior
def test_density_is_that_of_the_dense_normal_in_float32(name: str, irregular: bool, length: int) -> None:
    prior = build(name, torch.float32)
    count = 2 if length < 512 else 1
    times = observed_at(irregular, length, count, torch.float32)
    path = path_of(prior, count, steps=Steps(length, times=times))
    with torch.no_grad():
        z = path.rsample()
        actual = path.log_prob(z)
    assert actual.dtype == z.dtype == torch.float32
    for b in range(count):
        expected = log_normal(z[b], *definition(prior, clock(times, b, length)))
        assert float(actual[b]) == pytest.approx(expected, rel=1e-5, abs=1e-5 * length)


@regular_or_not
@every_prior
def test_density_is_that_of_the_dense_normal_far_from_its_mean_in_float64(name: str, irregular: bool) -> None:
    prior = build(name)
    times = observed_at(irregular)
    z = 10 * torch.randn(B, T, D, dtype=torch.float64)
    actual = path_of(prior, B, steps=Steps(T, times=times)).log_prob(z)
    for b in range(B):
        expected = log_normal(z[b], *definition(prior, clock(times, b, T)))
        assert float(actual[b].detach()) == pytest.approx(expected, rel=1e-9)


@regular_or_not
@every_prior
def test_conditionals_are_those_of_the_dense_normal_and_sum_to_the_density(name: str, irregular: bool) -> None:
    """Mean and variance of z_t given z_<t by block elimination in the dense covariance."""
    prior = build(name)
    times = observed_at(irregular)
    path = path_of(prior, B, steps=Steps(T, times=times))
    z = torch.randn(B, T, D, dtype=torch.float64)
    conditionals: Any = path.conditionals(z)
    torch.testing.assert_close(conditionals.log_prob(z).sum(-1), path.log_prob(z))
    for b in range(B):
        mean, covariance = definition(prior, clock(times, b, T))
        for t in range(T):
            past, now = slice(0, t * D), slice(t * D, (t + 1) * D)
            gain = np.linalg.solve(covariance[past, past], covariance[past, now]).T
            loc = mean[now] + gain @ (numpy(z[b]).reshape(-1)[past] - mean[past])
            spread = covariance[now, now] - gain @ covariance[past, now]
            np.testing.assert_allclose(numpy(conditionals.mean[b, t]), loc, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(numpy(conditionals.variance[b, t]), np.diag(spread), rtol=1e-6, atol=1e-9)


@regular_or_not
@every_prior
def test_a_step_depends_on_those_before_it_only(name: str, irregular: bool) -> None:
    """To the last bit, even where a later step is not a number."""
    path = path_of(build(name), B, steps=Steps(T, times=observed_at(irregular)))
    z = torch.randn(B, T, D, dtype=torch.float64)
    with pyro.validation_enabled(False):
        before: Any = path.conditionals(z)
        for t in range(T - 1):
            changed = z.clone()
            changed[:, t:] += 1e3
            after: Any = path.conditionals(changed)
            assert torch.equal(after.mean[:, : t + 1], before.mean[:, : t + 1])
            assert not torch.equal(after.mean[:, t + 1], before.mean[:, t + 1])


@pytest.mark.parametrize("draws", [20_000])
@regular_or_not
@every_prior
def test_draws_have_mean_variance_and_neighbours_correlation_of_the_definition(
    name: str, irregular: bool, draws: int
) -> None:
    """Every entry of mean and covariance within 5 standard errors (about 100 entries, 18 cases)."""
    prior = build(name, torch.float32)
    times = observed_at(irregular, 5, 1, torch.float32)
    path = path_of(prior, 1, steps=Steps(5, times=times))
    with torch.no_grad():
        z = numpy(path.rsample(torch.Size([draws]))[:, 0]).reshape(draws, -1)
    mean, covariance = definition(prior, clock(times, 0, 5))
    variance = np.diag(covariance)
    assert (np.abs(z.mean(0) - mean) < 5 * np.sqrt(variance / draws)).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / draws)
    sample = np.cov(z.T)
    assert (np.abs(sample - covariance) < 5 * error).all()
    neighbours = np.arange(4 * D)
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    actual = np.corrcoef(z.T)[neighbours, neighbours + D]
    expected = correlation[neighbours, neighbours + D]
    assert (np.abs(actual - expected) < 5 * (1 - expected**2) / math.sqrt(draws)).all()
    assert np.abs(expected).max() > 0.3


@every_prior
def test_mean_is_that_of_the_definition(name: str) -> None:
    prior = build(name)
    times = observed_at(True)
    mean = path_of(prior, 4, B, steps=Steps(T, times=times)).mean
    assert mean.shape == (4, B, T, D)
    for b in range(B):
        np.testing.assert_allclose(numpy(mean[1, b]).reshape(-1), definition(prior, clock(times, b, T))[0], atol=1e-12)


@regular_or_not
@pytest.mark.parametrize("name", ["LinearGaussian", "LinearGaussian, own start"])
def test_joint_covariance_of_a_linear_gaussian_path(name: str, irregular: bool) -> None:
    prior = build(name)
    times = observed_at(irregular)
    path = path_of(prior, 4, B, steps=Steps(T, times=times))
    assert isinstance(path, LinearGaussianPath)
    covariance = path.covariance()
    assert covariance.shape == ((B,) if irregular else ()) + (T * D, T * D)
    for b in range(B):
        expected = definition(prior, clock(times, b, T))[1]
        np.testing.assert_allclose(numpy(covariance[b] if irregular else covariance), expected, atol=1e-10)


# --- continuation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", range(1, T))
@regular_or_not
@every_prior
def test_a_path_is_its_start_times_its_continuations(name: str, irregular: bool, split: int) -> None:
    prior = build(name)
    times = observed_at(irregular)
    path = path_of(prior, B, steps=Steps(T, times=times))
    z = torch.randn(5, B, T, D, dtype=torch.float64)
    first_times = None if times is None else times[:, :split]
    start = path_of(prior, B, steps=Steps(split, times=first_times)).log_prob(z[..., :split, :])
    rest = path.continue_from(z[..., :split, :], T - split)
    assert rest.batch_shape == (5, B)
    torch.testing.assert_close(path.log_prob(z), start + rest.log_prob(z[..., split:, :]), rtol=1e-8, atol=1e-6)
    for second in range(split + 1, T):
        middle = path.continue_from(z[..., :split, :], second - split).log_prob(z[..., split:second, :])
        again = rest.continue_from(z[..., split:second, :], T - second)
        both = middle + again.log_prob(z[..., second:, :])
        torch.testing.assert_close(rest.log_prob(z[..., split:, :]), both, rtol=1e-8, atol=1e-6)


@regular_or_not
@every_prior
def test_a_forecast_is_the_dense_conditional_beyond_the_end(name: str, irregular: bool) -> None:
    """Later steps go on at the last interval; mean, density, and draws from the two-fold continuation."""
    prior = build(name)
    times = observed_at(irregular)
    z = torch.randn(B, T, D, dtype=torch.float64)
    path = path_of(prior, B, steps=Steps(T, times=times))
    whole = torch.randn(B, T + 4, D, dtype=torch.float64)
    whole[:, :T] = z
    rest = path.continue_from(z, 4)
    later = path.continue_from(z, 2).continue_from(whole[:, T : T + 2], 2)
    with torch.no_grad():
        draws = rest.rsample(torch.Size([4000]))
    for b in range(B):
        seen = clock(times, b, T)
        dt = seen[-1] - seen[-2]
        mean, covariance = definition(prior, np.concatenate([seen, seen[-1] + dt * np.arange(1, 5)]))
        n = T * D
        gain = np.linalg.solve(covariance[:n, :n], covariance[:n, n:]).T
        loc = mean[n:] + gain @ (numpy(z[b]).reshape(-1) - mean[:n])
        spread = covariance[n:, n:] - gain @ covariance[:n, n:]
        np.testing.assert_allclose(numpy(rest.mean[b]).reshape(-1), loc, rtol=1e-5, atol=1e-7)
        together = log_normal(whole[b], mean, covariance)
        assert float((path.log_prob(z) + rest.log_prob(whole[:, T:]))[b].detach()) == pytest.approx(together, rel=1e-7)
        before = log_normal(whole[b, : T + 2], mean[: n + 2 * D], covariance[: n + 2 * D, : n + 2 * D])
        assert float(later.log_prob(whole[:, T + 2 :])[b].detach()) == pytest.approx(together - before, rel=1e-5)
        error = np.sqrt(np.diag(spread) / 4000)
        assert (np.abs(numpy(draws[:, b]).reshape(4000, -1).mean(0) - loc) < 5 * error + 1e-7).all()


@pytest.mark.parametrize("name", THREE)
def test_leaving_a_step_out_leaves_the_others_as_they_were(name: str) -> None:
    """Exact discretisation: times 0, 1, 3 have the joint distribution that they have among 0, 1, 2, 3."""
    prior = build(name)

    def covariance(times: list[float]) -> Tensor:
        path = path_of(prior, 1, steps=Steps(len(times), times=torch.tensor([times], dtype=torch.float64)))
        zero = torch.zeros(len(times) * D, dtype=torch.float64)
        curvature = torch.autograd.functional.hessian(lambda z: path.log_prob(z.view(1, -1, D))[0], zero)
        return torch.linalg.inv(-curvature).view(len(times), D, len(times), D)

    some, kept = covariance([0.0, 1.0, 3.0]), [0, 1, 3]
    torch.testing.assert_close(some, covariance([0.0, 1.0, 2.0, 3.0])[kept][:, :, kept])
    regular = path_of(prior, 1, steps=Steps(T))
    z = torch.randn(1, T, D, dtype=torch.float64)
    spelt_out = torch.arange(T, dtype=torch.float64).unsqueeze(0) + 17
    torch.testing.assert_close(regular.log_prob(z), path_of(prior, 1, steps=Steps(T, times=spelt_out)).log_prob(z))


# --- KL ---------------------------------------------------------------------------------------------------------------


def a_chain(steps: Steps, *batch: int) -> DiagonalChain:
    """A posterior with neighbours correlated in either direction."""
    a, b, s = (torch.randn(*batch, steps.length, D, dtype=torch.float64) for _ in range(3))
    return DiagonalChain(torch.Size(batch), Transitions(a, b, 0.1 + s.exp()), steps)


def dense_chain(q: DiagonalChain, index: tuple[int, ...], length: int) -> MultivariateNormal:
    """The joint normal of one sequence, from z = (I - A)^-1 (b + s noise)."""
    a, b, s = (numpy(v[index])[:length] for v in q.transitions)
    n = length * D
    shift = np.diag(a.reshape(-1)[D:], -D)
    inverse = np.linalg.inv(np.eye(n) - shift)
    covariance = inverse @ np.diag(s.reshape(-1) ** 2) @ inverse.T
    return MultivariateNormal(torch.from_numpy(inverse @ b.reshape(-1)), torch.from_numpy(covariance))


LENGTHS = [T, 1, 4]


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@regular_or_not
@every_prior
def test_kl_from_independent_steps_is_that_of_dense_normals(name: str, irregular: bool, ragged: bool) -> None:
    prior = build(name)
    times = observed_at(irregular)
    steps = Steps(T, torch.tensor(LENGTHS) if ragged else None, times)
    loc, scale = torch.randn(2, B, T, D, dtype=torch.float64), torch.rand(2, B, T, D, dtype=torch.float64) + 0.1
    q = steps.join(Normal(loc, scale).to_event(1))
    for p in (path_of(prior, B, steps=steps), path_of(prior, 2, B, steps=steps)):
        actual = kl_divergence(q, p)
        assert actual.shape == (2, B)
        for i in range(2):
            for b in range(B):
                n = LENGTHS[b] if ragged else T
                one = MultivariateNormal(loc[i, b, :n].reshape(-1), (scale[i, b, :n].reshape(-1) ** 2).diag())
                expected = kl_divergence(one, dense(prior, clock(times, b, T)[:n]))
                assert float(actual[i, b].detach()) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@regular_or_not
@every_prior
def test_kl_from_a_chain_is_that_of_dense_normals(name: str, irregular: bool, ragged: bool) -> None:
    prior = build(name)
    times = observed_at(irregular)
    steps = Steps(T, torch.tensor(LENGTHS) if ragged else None, times)
    q = a_chain(steps, 2, B)
    actual = kl_divergence(q, path_of(prior, 2, B, steps=steps))
    assert actual.shape == (2, B)
    for i in range(2):
        for b in range(B):
            n = LENGTHS[b] if ragged else T
            expected = kl_divergence(dense_chain(q, (i, b), n), dense(prior, clock(times, b, T)[:n]))
            assert float(actual[i, b].detach()) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("name", THREE)
def test_kl_after_a_start_is_that_of_dense_normals(name: str) -> None:
    """From a posterior over later steps to the continuation, regular and twice continued."""
    prior = build(name)
    z = torch.randn(B, T, D, dtype=torch.float64)
    p = path_of(prior, B).continue_from(z[:, :2], 2).continue_from(z[:, 2:4], 2)
    q = a_chain(Steps(2), B)
    for b in range(B):
        mean, covariance = definition(prior, np.arange(6.0))
        n = 4 * D
        gain = np.linalg.solve(covariance[:n, :n], covariance[:n, n:]).T
        loc = mean[n:] + gain @ (numpy(z[b, :4]).reshape(-1) - mean[:n])
        spread = covariance[n:, n:] - gain @ covariance[:n, n:]
        expected = kl_divergence(
            dense_chain(q, (b,), 2), MultivariateNormal(torch.from_numpy(loc), torch.from_numpy(spread))
        )
        assert float(kl_divergence(q, p)[b].detach()) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@regular_or_not
@every_prior
def test_kl_per_step_along_a_path_is_that_of_dense_normals(name: str, irregular: bool, ragged: bool) -> None:
    """What a posterior with its own dynamics needs: sum_t KL(q_t || p_t), both taken along one path."""
    prior = build(name)
    steps = Steps(T, torch.tensor(LENGTHS) if ragged else None, observed_at(irregular))
    path = path_of(prior, B, steps=steps)
    z = torch.randn(4, B, T, D, dtype=torch.float64)
    loc, scale = torch.randn_like(z), torch.rand_like(z) + 0.1
    actual = kl_divergence(steps.join(Normal(loc, scale).to_event(1)), path.given(z))
    assert actual.shape == (4, B)
    one_step: Any = path.conditionals(z)
    covariance = (
        one_step.covariance_matrix if isinstance(path, LinearGaussianPath) else torch.diag_embed(one_step.variance)
    )
    per_step = kl_divergence(
        MultivariateNormal(loc, torch.diag_embed(scale**2)),
        MultivariateNormal(one_step.mean, covariance.expand(4, B, T, D, D)),
    )
    exists = torch.arange(T) < torch.tensor(LENGTHS if ragged else [T] * B)[:, None]
    torch.testing.assert_close(actual, (per_step * exists).sum(-1))


@regular_or_not
@every_prior
def test_ragged_sequences_have_the_density_of_truncated_ones(name: str, irregular: bool) -> None:
    prior = build(name)
    times = observed_at(irregular)
    z = torch.randn(5, B, T, D, dtype=torch.float64)
    ragged = path_of(prior, B, steps=Steps(T, torch.tensor(LENGTHS), times)).log_prob(z)
    for b, n in enumerate(LENGTHS):
        own = None if times is None else times[b : b + 1, :n]
        short = path_of(prior, 1, steps=Steps(n, times=own)).log_prob(z[:, b : b + 1, :n])
        torch.testing.assert_close(ragged[:, b], short[:, 0])


@regular_or_not
@every_prior
def test_steps_that_do_not_exist_touch_no_gradient(name: str, irregular: bool) -> None:
    prior = build(name)
    steps = Steps(T, torch.tensor(LENGTHS), observed_at(irregular))
    z = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(path_of(prior, B, steps=steps).log_prob(z).sum(), z)
    valid = steps.valid
    assert valid is not None
    assert (gradient[~valid] == 0).all()
    assert (gradient[valid] != 0).all()


@regular_or_not
@every_prior
def test_left_batches_equal_the_loop(name: str, irregular: bool) -> None:
    prior = build(name)
    steps = Steps(T, times=observed_at(irregular))
    many, one = path_of(prior, 4, B, steps=steps), path_of(prior, B, steps=steps)
    assert many.rsample(torch.Size([6])).shape == (6, 4, B, T, D)
    z = torch.randn(6, 4, B, T, D, dtype=torch.float64)
    expected = torch.stack([torch.stack([one.log_prob(particle) for particle in row]) for row in z])
    for path in (many, one):
        torch.testing.assert_close(path.log_prob(z), expected)
    rest = many.continue_from(z[..., :3, :], 2)
    assert rest.batch_shape == (6, 4, B)
    assert rest.rsample(torch.Size([2])).shape == (2, 6, 4, B, 2, D)
    values = z[..., 3:5, :]
    expected = torch.stack(
        [torch.stack([one.continue_from(p[:, :3], 2).log_prob(p[:, 3:5]) for p in row]) for row in z]
    )
    torch.testing.assert_close(rest.log_prob(values), expected)


# --- what the parameters may be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 10.0, 100.0, 1e4, 1e8])
@pytest.mark.parametrize("number", range(6))
def test_linear_gaussian_is_stable_whatever_its_parameters(size: float, number: int) -> None:
    prior = LinearGaussian(4)
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for p in prior.parameters():
            p.copy_(size * torch.randn(p.shape, generator=generator))
        times = torch.tensor([[0.0, 1e-3, 1.0, 2.0, 50.0, 1e5]])
        coefficient, _, scale_tril = path_of(prior, 1, steps=Steps(6, times=times)).transitions  # type: ignore[attr-defined]
        C = prior.scale_tril
    # C^-1 A C has the eigenvalues of A, and its norm is no less than the largest of them.
    similar = torch.linalg.solve_triangular(C, coefficient[0, 1:] @ C, upper=False)
    assert (torch.linalg.matrix_norm(similar, 2) < 1).all()
    if size <= 100:  # LAPACK does not always converge for matrices that underflow
        assert (torch.linalg.eigvals(coefficient[0, 1:]).abs() < 1).all()
    assert torch.isfinite(scale_tril).all()
    assert (scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()


@every_prior
def test_gradients_are_finite_at_the_ends_of_the_number_range(name: str) -> None:
    """Values of 10^10 in z, parameters of 60 in size: density and every gradient stay numbers."""
    for size in (0.0, 60.0):
        prior = disturbed(BUILDERS[name](), 0.0)
        with torch.no_grad():
            for p in prior.parameters():
                p.add_(size * torch.sign(torch.randn_like(p)))
        try:
            path = path_of(prior, B)
        except UsageError:  # length-scales of e^50 make rough kernels singular, and are refused
            assert size == 60.0
            assert name.startswith("GaussianProcess")
            continue
        z = torch.randn(B, T, D).mul(1e10 if size == 0 else 1.0).requires_grad_()
        (path.log_prob(z).sum() + path.rsample().sum()).backward()
        for value in (z, *prior.parameters()):
            assert value.grad is not None
            assert torch.isfinite(value.grad).all()


@pytest.mark.parametrize(
    "kernel", [k for k in KERNELS if k != "periodic"]
)  # a short periodic kernel repeats all the same
def test_very_short_length_scales_make_white_noise(kernel: str) -> None:
    """Without 0 / 0 on the diagonal and without infinity times zero beside it."""
    prior = GaussianProcess(D, kernel, lengthscale=1e-20, spread=1.0, jitter=0.0)  # type: ignore[arg-type]
    z = torch.randn(B, T, D)
    density = path_of(prior, B).log_prob(z)
    torch.testing.assert_close(density, Normal(0.0, 1.0).log_prob(z).sum((1, 2)))
    density.sum().backward()
    assert prior.log_lengthscale.grad is not None
    assert torch.isfinite(prior.log_lengthscale.grad).all()


@pytest.mark.parametrize("name", THREE)
def test_mixed_precision_does_not_reach_the_density(name: str) -> None:
    prior = build(name, torch.float32)
    path = path_of(prior, B)
    z = path.rsample()
    q = Normal(z, torch.full_like(z, 0.1)).to_event(2)
    expected = path.log_prob(z), kl_divergence(q, path), path.continue_from(z, 2).mean
    with torch.autocast("cpu", torch.bfloat16):
        inside = path_of(prior, B)
        actual = inside.log_prob(z), kl_divergence(q, inside), inside.continue_from(z, 2).mean
        assert inside.rsample().dtype == torch.float32
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


# --- learning ---------------------------------------------------------------------------------------------------------


def flat(prior: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in prior.parameters()])


def log_likelihood(prior: Any, values: Tensor, z: Tensor, steps: Steps) -> Tensor:
    parts = values.split([p.numel() for p in prior.parameters()])
    named = {n: part.view_as(p) for (n, p), part in zip(prior.named_parameters(), parts, strict=True)}
    f = torch.zeros(len(z), F, dtype=torch.float64)
    density: Tensor = functional_call(prior, named, (f, steps)).log_prob(z).sum()
    return density


def maximum(prior: Any, z: Tensor, steps: Steps) -> Tensor:
    values = flat(prior).requires_grad_()
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -log_likelihood(prior, values, z, steps) / z.numel()
        value.backward()
        return value

    with pyro.validation_enabled(False):
        optimiser.step(loss)
    return values.detach()


STARTS: dict[str, Callable[[], Any]] = {
    "RandomWalk": lambda: RandomWalk(D, scale=1.0, start_scale=0.3),
    "LinearGaussian": lambda: LinearGaussian(D, timescale=2.0),
    "GaussianProcess, matern32": lambda: GaussianProcess(D, "matern32", 1.0, spread=1.0, variance=3.0, period=PERIOD),
    "GaussianProcess, rbf": lambda: GaussianProcess(D, "rbf", 1.5, spread=1.0, variance=3.0, period=PERIOD),
}


@pytest.mark.parametrize("name", STARTS)
def test_maximum_likelihood_recovers_what_simulated_the_data(name: str) -> None:
    """From another start, on 150 paths with gaps. The error is weighed by the observed information I: (e' I e) has a
    chi-square distribution with as many degrees of freedom as there are parameters, and is below its 99.9 % point.
    """
    truth, prior = build(name), STARTS[name]().double()
    times = torch.randint(1, 3, (150, 20)).double().cumsum(1)
    steps = Steps(20, times=times)
    with torch.no_grad():
        z = path_of(truth, 150, steps=steps).rsample()
    begin, found, target = flat(prior), maximum(prior, z, steps), flat(truth)
    with pyro.validation_enabled(False):
        information = -torch.autograd.functional.hessian(lambda v: log_likelihood(prior, v, z, steps), found)
    assert isinstance(information, Tensor)
    used = information.diagonal().abs() > 1e-8  # of triangular parameters one half is not looked at
    degrees = int(used.sum())
    assert degrees == (9 if name == "LinearGaussian" else 4)
    information = information[used][:, used]
    assert (torch.linalg.eigvalsh(information) > 0).all()

    def distance(a: Tensor, b: Tensor) -> float:
        error = (a - b)[used]
        return float(error @ information @ error)

    deviation = torch.linalg.inv(information).diagonal().sqrt()
    assert distance(found, target) < chi2.ppf(0.999, degrees)
    assert ((found - target)[used].abs() < 4 * deviation).all()
    assert distance(begin, target) > 10 * chi2.ppf(0.999, degrees)  # the start would not have passed
    assert deviation.max() < 0.25
    ratio = 2 * float(log_likelihood(prior, found, z, steps) - log_likelihood(prior, target, z, steps))
    assert 0 <= ratio < chi2.ppf(0.999, degrees)


# --- parts of a program -----------------------------------------------------------------------------------------------


@every_prior
def test_a_prior_survives_copies_files_and_dtypes(name: str) -> None:
    prior = build(name, torch.float32)
    assert prior.continuous_time
    z = torch.randn(B, T, D)
    expected = path_of(prior, B).log_prob(z)
    other = STARTS.get(name, BUILDERS[name])()
    if isinstance(prior, LinearGaussian) and not prior.stationary:
        other = LinearGaussian(D, stationary=False)
    other.load_state_dict(prior.state_dict())
    for same in (copy.deepcopy(prior), pickle.loads(pickle.dumps(prior)), other):
        assert torch.equal(path_of(same, B).log_prob(z), expected)
    double = copy.deepcopy(prior).double()
    assert path_of(double, B).rsample().dtype == torch.float64
    torch.testing.assert_close(path_of(double, B).log_prob(z.double()).float(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("latent_size", [1, 5])
@pytest.mark.parametrize("kind", [RandomWalk, LinearGaussian, GaussianProcess])
def test_defaults_train(kind: Any, latent_size: int) -> None:
    """A prior as the command line builds it: every parameter gets a finite gradient, of drawing and of scoring."""
    prior = kind(latent_size)
    path = path_of(prior, B)
    for value in (path.rsample().square().sum(), path.log_prob(torch.randn(B, T, latent_size)).sum()):
        gradients = torch.autograd.grad(value, list(prior.parameters()), allow_unused=True, retain_graph=True)
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)


def test_options_are_the_values_before_training() -> None:
    walk = RandomWalk(D, scale=0.2, start_scale=200.0)
    torch.testing.assert_close(walk.scale, torch.full((D,), 0.2))
    torch.testing.assert_close(walk.start_scale, torch.full((D,), 200.0))
    linear = LinearGaussian(D, timescale=20.0, scale=3.0)
    covariance = path_of(linear, 1).covariance().view(T, D, T, D)  # type: ignore[attr-defined]
    lags = torch.arange(T).double()
    for d in range(D):
        torch.testing.assert_close(covariance[0, d, :, d].detach(), 9 * torch.exp(-lags / 20), rtol=1e-5, atol=0.0)
        torch.testing.assert_close(covariance[0, d, :, 1 - d].detach(), torch.zeros(T, dtype=torch.float64))
    process = GaussianProcess(3, lengthscale=4.0, spread=4.0, variance=2.0)
    torch.testing.assert_close(process.lengthscale.tolist(), [2.0, 4.0, 8.0], rtol=1e-6, atol=0.0)
    torch.testing.assert_close(process.variance.tolist(), [2.0] * 3, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (RandomWalk, {"scale": 0.0}, r"RandomWalk needs a finite scale above 0\.0001, not 0\.0"),
        (RandomWalk, {"scale": math.nan}, "scale"),
        (RandomWalk, {"start_scale": math.inf}, "start_scale"),
        (LinearGaussian, {"timescale": -1.0}, "timescale"),
        (LinearGaussian, {"timescale": math.nan}, "timescale"),
        (LinearGaussian, {"timescale": 1e6}, "timescale"),
        (LinearGaussian, {"scale": 0.0}, "scale"),
        (GaussianProcess, {"kernel": "linear"}, "knows no kernel 'linear'; choose from rbf, matern12"),
        (GaussianProcess, {"lengthscale": 0.0}, r"positive, finite lengthscale, not 0\.0"),
        (GaussianProcess, {"lengthscale": math.inf}, "lengthscale"),
        (GaussianProcess, {"lengthscale": math.nan}, "lengthscale"),
        (GaussianProcess, {"variance": -1.0}, "variance"),
        (GaussianProcess, {"period": 0.0}, "period"),
        (GaussianProcess, {"spread": 0.5}, "spread of at least 1"),
        (GaussianProcess, {"jitter": -1e-3}, "jitter"),
        (GaussianProcess, {"jitter": math.nan}, "jitter"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        kind(D, **options)
    assert "\n" not in str(refused.value)


def test_a_singular_gram_matrix_is_named() -> None:
    prior = GaussianProcess(D, "rbf", lengthscale=1e4, spread=1.0, jitter=0.0)
    with pytest.raises(
        UsageError, match=r"kernel rbf .* from 1e\+04 to 1e\+04 .* 50 steps; .* jitter than 0$"
    ) as refused:
        path_of(prior, 1, steps=Steps(50))
    assert "\n" not in str(refused.value)
    path_of(GaussianProcess(D, "rbf", lengthscale=1e4), 1, steps=Steps(50))


@pytest.mark.parametrize(
    "prior", [LinearGaussian(D), GaussianProcess(D, jitter=0.0)], ids=["LinearGaussian", "process"]
)
def test_times_that_stand_still_are_named(prior: Any) -> None:
    with pytest.raises(UsageError, match="times"):
        path_of(prior, 1, steps=Steps(3, times=torch.tensor([[0.0, 1.0, 1.0]])))
