"""Chains of independent dimensions and the recurrences under them, against loops and dense normals."""

import math
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.typing import NDArray
from pyro.distributions import Normal, StudentT
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_dsvae.models.distributions.density import detached
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import moments
from pyro_dsvae.models.ops.linear_recurrence import linear_recurrence, matrix_recurrence
from pyro_dsvae.models.steps import Steps

B, T, D = 3, 6, 2
LENGTHS = [T, 1, 4]


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# --- recurrences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(1, 18))
def test_recurrence_is_the_loop(length: int) -> None:
    a, b = random(B, length, D), random(4, B, length, D)
    a[:, :1] = math.nan  # the first coefficient has nothing to multiply
    y = [b[..., 0, :]]
    for t in range(1, length):
        y.append(a[:, t] * y[-1] + b[..., t, :])
    torch.testing.assert_close(linear_recurrence(a, b), torch.stack(y, dim=-2))


@pytest.mark.parametrize("length", range(1, 18))
@pytest.mark.parametrize("shared", [False, True])
def test_matrix_recurrence_is_the_loop(length: int, shared: bool) -> None:
    a, b = random(*(() if shared else (B,)), length, D, D), random(4, B, length, D)
    a[..., :1, :, :] = math.nan
    y = [b[..., 0, :]]
    for t in range(1, length):
        y.append((a[..., t, :, :] @ y[-1].unsqueeze(-1)).squeeze(-1) + b[..., t, :])
    torch.testing.assert_close(matrix_recurrence(a, b), torch.stack(y, dim=-2))


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_recurrences_have_the_gradients_of_finite_differences(length: int) -> None:
    a, b = random(length, D).requires_grad_(), random(B, length, D).requires_grad_()
    assert torch.autograd.gradcheck(linear_recurrence, (a, b))
    matrices = random(length, D, D).requires_grad_()
    assert torch.autograd.gradcheck(matrix_recurrence, (matrices, b))


def test_recurrence_broadcasts() -> None:
    b = random(4, B, T, D)
    a = torch.tensor([0.5, -0.9], dtype=torch.float64)
    torch.testing.assert_close(linear_recurrence(a, b), linear_recurrence(a.expand(4, B, T, D), b))
    spelt_out = linear_recurrence(a, b[0, 0, 0].expand(T, D))
    torch.testing.assert_close(linear_recurrence(a.expand(T, D), b[0, 0, 0]), spelt_out)


@pytest.mark.parametrize("coefficient", [1.0, -1.0, 0.999, 1e-30])
def test_recurrence_is_stable_over_many_steps(coefficient: float) -> None:
    """float32 over 4,096 steps, where products of all coefficients would underflow, against the float64 loop."""
    a, b = torch.full((4096, 1), coefficient), torch.randn(4096, 1)
    y, expected = 0.0, []
    for value in b[:, 0].double().tolist():
        y = coefficient * y + value
        expected.append(y)
    exact = torch.tensor(expected, dtype=torch.float64).unsqueeze(1)
    actual = linear_recurrence(a, b).double()
    assert (actual - exact).abs().max() < 1e-5 * exact.abs().max()
    torch.testing.assert_close(matrix_recurrence(a.unsqueeze(-1), b).double(), actual, rtol=1e-5, atol=1e-4)


# --- the chain --------------------------------------------------------------------------------------------------------


def a_chain(*batch: int, steps: Steps | None = None) -> DiagonalChain:
    steps = steps or Steps(T)
    a, b, s = (random(*batch, steps.length, D) for _ in range(3))
    return DiagonalChain(torch.Size(batch), Transitions(a, b, 0.1 + s.exp()), steps)


def dense(q: DiagonalChain, *index: int, length: int | None = None) -> MultivariateNormal:
    """The joint normal of one sequence over (t, d), built up one step after the other."""
    length = length or q.steps.length
    a, b, s = (v.expand(q.batch_shape + q.event_shape)[index].numpy() for v in q.transitions)
    mean = np.zeros((length, D))
    covariance: NDArray[np.float64] = np.zeros((length, D, length, D))
    for t in range(length):
        for d in range(D):
            mean[t, d] = b[t, d] + (a[t, d] * mean[t - 1, d] if t else 0)
            for r in range(t):
                covariance[t, d, r, d] = covariance[r, d, t, d] = a[t, d] * covariance[t - 1, d, r, d]
            covariance[t, d, t, d] = s[t, d] ** 2 + (a[t, d] * covariance[t - 1, d, t, d] if t else 0)
    n = length * D
    return MultivariateNormal(torch.from_numpy(mean.reshape(n)), torch.from_numpy(covariance.reshape(n, n)))


def test_density_is_that_of_the_dense_normal() -> None:
    q = a_chain(4, B)
    z = random(4, B, T, D)
    for i in range(4):
        for b in range(B):
            torch.testing.assert_close(q.log_prob(z)[i, b], dense(q, i, b).log_prob(z[i, b].flatten()))


def test_moments_are_those_of_the_dense_normal() -> None:
    q = a_chain(4, B)
    told = moments(q)
    assert told.lagged is not None
    assert told.factor is not None
    factor = told.factor()
    assert factor.shape == (4, B, D, T, T)
    torch.testing.assert_close(q.mean, told.loc)
    torch.testing.assert_close(q.variance, told.variance)
    for i in range(4):
        for b in range(B):
            joint = dense(q, i, b)
            covariance = joint.covariance_matrix.view(T, D, T, D)
            torch.testing.assert_close(told.loc[i, b].flatten(), joint.mean)
            torch.testing.assert_close(told.variance[i, b].flatten(), joint.variance)
            assert (told.lagged[i, b, 0] == 0).all()
            for d in range(D):
                across = covariance[:, d, :, d]
                torch.testing.assert_close(told.lagged[i, b, 1:, d], across.diagonal(-1))
                torch.testing.assert_close(factor[i, b, d] @ factor[i, b, d].T, across)
                assert torch.equal(factor[i, b, d], factor[i, b, d].tril())
            torch.testing.assert_close(told.entropy[i, b].sum(), joint.entropy())


def test_moments_of_transitions_that_do_not_depend_on_the_step() -> None:
    """Given once, (D,), or spelt out: the same path."""
    a, b, s = (torch.tensor(v, dtype=torch.float64) for v in ([0.5, -0.9], [1.0, 2.0], [0.3, 0.4]))
    short = DiagonalChain(torch.Size((4, B)), Transitions(a, b, s), Steps(T))
    values = Transitions(*(v.expand(4, B, T, D).clone() for v in (a, b, s)))
    spelt_out = DiagonalChain(torch.Size((4, B)), values, Steps(T))
    one, other = moments(short), moments(spelt_out)
    for name in ("loc", "variance", "lagged", "entropy"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    assert one.factor is not None
    assert other.factor is not None
    torch.testing.assert_close(one.factor(), other.factor())
    torch.testing.assert_close(kl_divergence(short, a_chain(4, B)).shape, torch.Size((4, B)))


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
def test_kl_between_chains_is_that_of_dense_normals(ragged: bool) -> None:
    steps = Steps(T, torch.tensor(LENGTHS) if ragged else None)
    q, p = a_chain(4, B, steps=steps), a_chain(4, B, steps=steps)
    actual = kl_divergence(q, p)
    for i in range(4):
        for b in range(B):
            n = LENGTHS[b] if ragged else T
            expected = kl_divergence(dense(q, i, b, length=n), dense(p, i, b, length=n))
            torch.testing.assert_close(actual[i, b], expected)
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(4, B, dtype=torch.float64))


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
def test_kl_from_independent_steps_is_that_of_dense_normals(ragged: bool) -> None:
    steps = Steps(T, torch.tensor(LENGTHS) if ragged else None)
    loc, scale = random(4, B, T, D), random(4, B, T, D).exp()
    q, p = steps.join(Normal(loc, scale).to_event(1)), a_chain(B, steps=steps)
    actual = kl_divergence(q, p)
    assert actual.shape == (4, B)
    for i in range(4):
        for b in range(B):
            n = LENGTHS[b] if ragged else T
            one = MultivariateNormal(loc[i, b, :n].flatten(), scale[i, b, :n].flatten().square().diag())
            torch.testing.assert_close(actual[i, b], kl_divergence(one, dense(p, b, length=n)))


def test_kl_from_steps_that_are_not_normal_is_not_known() -> None:
    steps = StudentT(5.0, random(B, T, D), 1.0).to_event(2)
    with pytest.raises(NotImplementedError):
        kl_divergence(steps, a_chain(B))


@pytest.mark.parametrize("coefficient", [0.8, -0.8])
def test_neighbours_correlate_in_either_direction(coefficient: float) -> None:
    """Draws have the dense covariance: every entry within 4.5 standard errors. Its sign next to the diagonal is free."""
    count = 20_000
    a = torch.full((T, D), coefficient, dtype=torch.float64)
    q = DiagonalChain(torch.Size((1,)), Transitions(a, random(T, D), random(T, D).exp()), Steps(T))
    z = q.rsample(torch.Size([count]))[:, 0].flatten(1)
    joint = dense(q, 0)
    covariance, variance = joint.covariance_matrix, joint.variance
    assert ((z.mean(0) - joint.mean).abs() < 4.5 * (variance / count).sqrt()).all()
    error = ((variance.outer(variance) + covariance**2) / count).sqrt()
    assert ((z.T.cov() - covariance).abs() < 4.5 * error).all()
    lagged = moments(q).lagged
    assert lagged is not None
    assert (lagged[0, 1:].sign() == math.copysign(1, coefficient)).all()
    assert (covariance.diagonal(D).abs() > 10 * error.diagonal(D)).any()


def test_draws_are_reparameterised() -> None:
    a, b, s = (random(B, T, D).requires_grad_() for _ in range(3))
    DiagonalChain(torch.Size((B,)), Transitions(a, b, s.exp()), Steps(T)).rsample(torch.Size([3])).sum().backward()
    for name, value in (("a", a), ("b", b), ("s", s)):
        assert value.grad is not None
        used = value.grad[:, 1:] if name == "a" else value.grad  # the first coefficient has no step before it
        assert (used != 0).all()


def test_held_fixed_it_is_the_same_distribution_without_gradients() -> None:
    a, b, s = (random(B, T, D).requires_grad_() for _ in range(3))
    q = DiagonalChain(torch.Size((B,)), Transitions(a, b, s.exp()), Steps(T))
    z = random(B, T, D)
    held = detached(q).log_prob(z)
    torch.testing.assert_close(held, q.log_prob(z))
    assert not held.requires_grad


# --- continuation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", range(1, T))
def test_a_path_is_its_start_times_its_continuations(split: int) -> None:
    q, z = a_chain(B), random(4, B, T, D)
    rest = q.continue_from(z[..., :split, :], T - split)
    assert rest.batch_shape == (4, B)
    start = torch.stack([dense(q, b, length=split).log_prob(z[:, b, :split].flatten(1)) for b in range(B)], dim=-1)
    torch.testing.assert_close(start + rest.log_prob(z[..., split:, :]), q.log_prob(z))
    for second in range(split + 1, T):
        middle = q.continue_from(z[..., :split, :], second - split).log_prob(z[..., split:second, :])
        again = rest.continue_from(z[..., split:second, :], T - second).log_prob(z[..., second:, :])
        torch.testing.assert_close(middle + again, rest.log_prob(z[..., split:, :]))


def test_a_path_without_a_continuation_says_nothing_of_steps_past_its_end() -> None:
    q, z = a_chain(B), random(B, T, D)
    with pytest.raises(ValueError, match="the path has 6 steps; it says nothing of step 7"):
        q.continue_from(z[:, :4], 3)
    assert q.continue_from(z[:, :4], 2).event_shape == (2, D)


def test_a_continuation_is_asked_for_the_steps_that_follow() -> None:
    """With their own times as far as there are any, then at the last interval; and it is handed on."""
    asked: list[Any] = []

    def later(steps: Steps) -> Transitions:
        asked.append(steps.intervals)
        one = torch.ones(D, dtype=torch.float64)
        return Transitions(0.5 * one, one, one)

    times = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
    one = torch.ones(D, dtype=torch.float64)
    q = DiagonalChain(torch.Size((1,)), Transitions(one, one, one), Steps(3, times=times), later)
    z = random(1, 3, D)
    rest = q.continue_from(z[:, :2], 3)
    assert asked[-1].tolist() == [[2.0, 2.0, 2.0]]
    torch.testing.assert_close(rest.mean[0, 0], 0.5 * z[0, 1] + 1)
    torch.testing.assert_close(rest.mean[0, 1], 0.5 * rest.mean[0, 0] + 1)
    again = rest.continue_from(z[:, :1], 2)
    assert asked[-1].tolist() == [[2.0, 2.0]]
    torch.testing.assert_close(again.mean[0, 0], 0.5 * z[0, 0] + 1)
