"""Priors that predict the next step: networks, switching dynamics and flows against their equations, sums and integrals."""

import copy
import itertools
import math
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.typing import NDArray
from pyro.distributions import MixtureSameFamily, MultivariateNormal, Normal, TorchDistribution, is_validation_enabled
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import kstest, multivariate_normal
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyro_dsvae.inference.elbo import CLOSED_FORM_PER_STEP, STICKING_THE_LANDING, SequenceELBO
from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution, load_zuko
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.flow import Flow
from pyro_dsvae.models.dynamic_priors.gru import GRU
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.switching_linear import SwitchingLinear, SwitchingLinearPath
from pyro_dsvae.models.dynamic_priors.transformer import Transformer
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.ops.forward_algorithm import predict_states
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps

B, T, D, F = 3, 6, 2, 4
Array = NDArray[np.float64]
STATIC = {"condition_on_static": True, "static_size": F}


def spread(prior: Any, size: float) -> Any:
    """The prior with weights far from their initial ones, float64."""
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(size * torch.randn_like(p))
    return prior.double()


RECIPES: dict[str, Callable[..., Any]] = {
    "LSTM": lambda **options: spread(LSTM(D, hidden_size=5, **options), 1.0),
    "GRU": lambda **options: spread(GRU(D, hidden_size=5, **options), 1.0),
    "Transformer": lambda **options: spread(Transformer(D, width=8, heads=2, layers=2, **options), 0.3),
    "SwitchingLinear": lambda **options: spread(SwitchingLinear(D, states=3, **options), 0.3),
    "SwitchingLinear, full noise": lambda **options: spread(SwitchingLinear(D, 3, "full", **options), 0.3),
    "Flow, spline": lambda **options: spread(Flow(D, "spline", hidden_size=5, units=8, **options), 0.3),
    "Flow, affine": lambda **options: spread(Flow(D, "affine", hidden_size=5, units=8, **options), 0.3),
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in RECIPES}
CASES |= {f"{name} given f": (name, STATIC) for name in RECIPES if "full" not in name and "affine" not in name}
every_prior = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_family = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def made(case: tuple[str, dict[str, Any]]) -> Any:
    name, options = case
    return RECIPES[name](**options)


def statics(*batch: int) -> Tensor:
    return torch.randn(*batch, F, dtype=torch.float64)


def paths(*batch: int, length: int = T) -> Tensor:
    return torch.randn(*batch, length, D, dtype=torch.float64)


# --- one distribution, said in several ways ---------------------------------------------------------------------------


@every_prior
def test_shapes(case: tuple[str, dict[str, Any]]) -> None:
    prior = made(case)
    path = prior(statics(4, B), Steps(T))
    assert path.batch_shape == (4, B)
    assert path.event_shape == (T, D)
    assert path().shape == (4, B, T, D)
    z = path.sample(torch.Size([7, 5]))
    assert z.shape == (7, 5, 4, B, T, D)
    assert z.dtype == torch.float64
    assert not z.requires_grad
    assert path.log_prob(z).shape == (7, 5, 4, B)
    assert path.log_prob(z).dtype == torch.float64
    conditionals = path.conditionals(z)
    assert conditionals.batch_shape == (7, 5, 4, B, T)
    assert conditionals.event_shape == (D,)
    assert path.given(z).batch_shape == (7, 5, 4, B)
    rest = path.continue_from(z, 3)
    assert rest.batch_shape == (7, 5, 4, B)
    assert rest.event_shape == (3, D)
    assert rest.sample(torch.Size([2])).shape == (2, 7, 5, 4, B, 3, D)
    assert not prior.continuous_time


@every_prior
def test_single_dimension_and_single_step(case: tuple[str, dict[str, Any]]) -> None:
    """D = 1 and T = 1 are paths, too, and a sequence needs no batch."""
    name, options = case
    kinds: dict[str, Callable[..., DynamicPrior]] = {
        "LSTM": LSTM,
        "GRU": GRU,
        "Transformer": Transformer,
        "SwitchingLinear": SwitchingLinear,
        "SwitchingLinear, full noise": lambda size, **o: SwitchingLinear(size, noise="full", **o),
        "Flow, spline": Flow,
        "Flow, affine": lambda size, **o: Flow(size, "affine", **o),
    }
    for size, length in [(1, 1), (1, 4), (3, 1)]:
        path = kinds[name](size, **options)(torch.randn(F), Steps(length))
        z = path.sample()
        assert z.shape == (length, size)
        assert path.log_prob(z).shape == ()
        assert path.continue_from(z, 2).sample().shape == (2, size)


@every_prior
def test_left_batches_equal_the_loop(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case), statics(4, B), paths(4, B)
    expected = torch.stack([prior(f[i], Steps(T)).log_prob(z[i]) for i in range(4)])
    torch.testing.assert_close(prior(f, Steps(T)).log_prob(z), expected)
    one = torch.stack([prior(f[0], Steps(T)).log_prob(particle) for particle in z])
    torch.testing.assert_close(prior(f[0], Steps(T)).log_prob(z), one)


@every_prior
def test_a_step_depends_on_all_those_before_it_and_on_no_other(case: tuple[str, dict[str, Any]]) -> None:
    """Densities of fixed probes: the conditionals' parameters, whatever the family."""
    path, z, probe = made(case)(statics(B), Steps(T)), paths(B), paths(B)
    before = path.conditionals(z).log_prob(probe)
    for t in range(T):
        changed = z.clone()
        changed[:, t:] += 1
        torch.testing.assert_close(path.conditionals(changed).log_prob(probe)[:, : t + 1], before[:, : t + 1])
        changed = z.clone()
        changed[:, t] += 1
        moved = (path.conditionals(changed).log_prob(probe) - before).abs()
        assert (moved[:, : t + 1] < 1e-12).all()
        assert (moved[:, t + 1 :] > 1e-12).all()


@every_prior
def test_scoring_never_draws(case: tuple[str, dict[str, Any]]) -> None:
    path, z = made(case)(statics(B), Steps(T)), paths(B)
    state = torch.get_rng_state()
    assert torch.equal(path.log_prob(z), path.log_prob(z))
    path.continue_from(z, 2)
    assert torch.equal(torch.get_rng_state(), state)


@every_prior
def test_the_density_of_a_path_is_that_of_its_start_times_that_of_the_rest(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case), statics(B), paths(5, B)
    path = prior(f, Steps(T))
    for split in range(1, T):
        start = prior(f, Steps(split)).log_prob(z[..., :split, :])
        rest = path.continue_from(z[..., :split, :], T - split)
        torch.testing.assert_close(path.log_prob(z), start + rest.log_prob(z[..., split:, :]))
        for again in range(split + 1, T):  # and a continuation can be continued
            middle = path.continue_from(z[..., :split, :], again - split).log_prob(z[..., split:again, :])
            end = rest.continue_from(z[..., split:again, :], T - again).log_prob(z[..., again:, :])
            torch.testing.assert_close(rest.log_prob(z[..., split:, :]), middle + end)


@every_prior
def test_steps_that_do_not_exist_have_no_density(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case), statics(B), paths(5, B)
    lengths = torch.tensor([6, 1, 4])
    missing = torch.arange(T) >= lengths.unsqueeze(-1)
    z[:, missing] = 1e6
    z.requires_grad_()
    ragged = prior(f, Steps(T, lengths)).log_prob(z)
    for b, n in enumerate(lengths.tolist()):
        alone = prior(f[b : b + 1], Steps(n)).log_prob(z[:, b : b + 1, :n])
        torch.testing.assert_close(ragged[:, b], alone[:, 0])
    ragged.sum().backward()
    assert z.grad is not None
    assert (z.grad[:, missing] == 0).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in prior.parameters())


# --- draws ------------------------------------------------------------------------------------------------------------


def noise_of(conditionals: TorchDistribution, z: Tensor) -> Array:
    """(N, T D) independent standard normals, if z (N, 1, T, D) was drawn from p(z_t | z_<t) (Rosenblatt's transformation)."""
    known: Any = conditionals
    if isinstance(conditionals, FlowDistribution):
        affine = known.flow.transforms[0]
        noise = known.flow.base_dist.transform((z - affine.loc) / affine.scale)
    elif isinstance(conditionals, MixtureSameFamily):
        parts = known.component_distribution
        full = isinstance(parts, MultivariateNormal)
        lower = parts.scale_tril if full else parts.base_dist.scale.diag_embed()
        centred = (z.unsqueeze(-2) - parts.mean).unsqueeze(-1)
        e = torch.linalg.solve_triangular(lower, centred, upper=False)[..., 0].numpy()
        log_w = known.mixture_distribution.logits.numpy()
        columns = []
        for d in range(z.shape[-1]):
            w = np.exp(log_w - logsumexp(log_w, axis=-1, keepdims=True))
            columns.append(ndtri((w * ndtr(e[..., d])).sum(-1)))
            log_w = log_w - 0.5 * e[..., d] ** 2 - np.log(lower[..., d, d].numpy())
        noise = torch.tensor(np.stack(columns, -1))
    else:
        noise = (z - known.mean) / known.variance.sqrt()
    return noise.flatten(1).numpy()


@pytest.mark.parametrize(("start", "length"), [(0, 4), (3, 2)], ids=["from the start", "continued"])
@every_family
def test_draws_have_the_distribution_that_is_scored(name: str, start: int, length: int) -> None:
    """20,000 ancestral draws, turned into noise with the conditionals along them, are independent standard normals.

    Each column by Kolmogorov-Smirnov; columns and their squares uncorrelated within 5 standard errors.
    """
    count = 20_000
    with torch.no_grad():
        path = RECIPES[name](**STATIC)(statics(1), Steps(length))
        if start:
            path = path.continue_from(paths(1, length=start), length)
        z = path.sample(torch.Size([count]))
        noise = noise_of(path.conditionals(z), z)
    assert noise.shape == (count, length * D)
    for column in noise.T:
        assert kstest(column, "norm").pvalue > 1e-5
    for values in (noise, noise**2):
        correlations = np.corrcoef(values.T) - np.eye(values.shape[1])
        assert np.abs(correlations).max() < 5 / count**0.5
    if not start:  # there is a dependence to get wrong
        past, now = z[:, 0, :-1].flatten(0, 1), z[:, 0, 1:].flatten(0, 1)
        assert np.abs(np.corrcoef(past.T.numpy(), now.T.numpy())[:D, D:]).max() > 10 / (count * (length - 1)) ** 0.5


@pytest.mark.parametrize("name", ["LSTM", "GRU", "Transformer"])
def test_step_by_step_is_teacher_forcing(name: str) -> None:
    """The noise that ancestral sampling used comes back from the conditionals along its path: T cached steps, one pass."""
    path = RECIPES[name](**STATIC)(statics(B), Steps(T))
    for p in (path, path.continue_from(paths(B), T)):
        pyro.set_rng_seed(1)
        z = p.rsample()
        pyro.set_rng_seed(1)
        noise = torch.cat([torch.randn(B, 1, D, dtype=torch.float64) for _ in range(T)], dim=1)
        given: Any = p.conditionals(z)
        torch.testing.assert_close((z - given.mean) / given.variance.sqrt(), noise, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in RECIPES if "Switching" not in name])
def test_draws_are_reparameterised(name: str) -> None:
    prior = RECIPES[name](**STATIC)
    prior(statics(B), Steps(T)).rsample().square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())


def test_draws_of_discrete_states_carry_no_gradient() -> None:
    path = RECIPES["SwitchingLinear"]()(statics(B), Steps(T))
    assert not path.has_rsample
    assert not path.rsample().requires_grad


# --- numbers and storage ----------------------------------------------------------------------------------------------


@every_prior
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_gradients_are_finite(case: tuple[str, dict[str, Any]], size: float) -> None:
    prior = made(case).float()
    f, z = statics(B).float(), (size * paths(5, B)).float().requires_grad_()
    path = prior(f, Steps(T))
    value = path.log_prob(z)
    assert value.dtype == torch.float32
    value.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(path.continue_from(z, 3).sample()).all()


@every_prior
def test_single_precision_equals_double(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case), statics(B), paths(5, B)
    exact = prior(f, Steps(T)).log_prob(z)
    torch.testing.assert_close(
        prior.float()(f.float(), Steps(T)).log_prob(z.float()), exact.float(), rtol=1e-4, atol=1e-4
    )


@every_prior
def test_densities_under_autocast_are_float32(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case).float(), statics(B).float(), paths(5, B).float()
    exact = prior(f, Steps(T)).log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        path = prior(f, Steps(T))
        value = path.log_prob(z)
        assert path.sample().dtype == torch.float32
        assert path.continue_from(z, 2).sample().dtype == torch.float32
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=0.1, atol=1.0)
    if "Switching" in case[0]:  # no networks: nothing is rounded
        assert torch.equal(value, exact)


@every_prior
def test_copies_are_the_same_prior(case: tuple[str, dict[str, Any]]) -> None:
    prior, f, z = made(case), statics(B), paths(B)
    other = made(case)
    expected = prior(f, Steps(T)).log_prob(z)
    assert not torch.equal(other(f, Steps(T)).log_prob(z), expected)
    other.load_state_dict(prior.state_dict())
    for twin in (other, copy.deepcopy(prior), pickle.loads(pickle.dumps(prior))):
        assert torch.equal(twin(f, Steps(T)).log_prob(z), expected)


# --- f ----------------------------------------------------------------------------------------------------------------


@every_family
def test_f_moves_the_density_where_it_is_conditioned_on(name: str) -> None:
    z, f = paths(B), statics(2, B)
    with_f, without = RECIPES[name](**STATIC), RECIPES[name]()
    assert torch.equal(without(f[0], Steps(T)).log_prob(z), without(f[1], Steps(T)).log_prob(z))
    values = [with_f(v, Steps(T)).conditionals(z).log_prob(z) for v in f]
    assert ((values[0] - values[1]).abs() > 1e-6).all()
    # Each sequence by its own f only.
    mixed = torch.stack([f[0, 0], f[1, 1], f[1, 2]])
    expected = torch.stack([values[0][0], values[1][1], values[1][2]])
    torch.testing.assert_close(with_f(mixed, Steps(T)).conditionals(z).log_prob(z), expected)


@every_family
def test_where_f_is_zero_its_weights_do_not_matter(name: str) -> None:
    prior, z = RECIPES[name](**STATIC), paths(B)
    weights = {
        "LSTM": lambda: prior.lstm.weight_ih_l0,
        "GRU": lambda: prior.gru.weight_ih_l0,
        "Transformer": lambda: prior.network.embed.weight,
        "Flow, spline": lambda: prior.lstm.weight_ih_l0,
        "Flow, affine": lambda: prior.lstm.weight_ih_l0,
    }
    zero, other = torch.zeros(B, F, dtype=torch.float64), statics(B)
    before, moved = prior(zero, Steps(T)).log_prob(z), prior(other, Steps(T)).log_prob(z)
    with torch.no_grad():
        if "Switching" in name:
            prior.from_static.weight.zero_()
        else:
            weights[name]()[:, D:] = 0
    torch.testing.assert_close(prior(zero, Steps(T)).log_prob(z), before)
    torch.testing.assert_close(prior(other, Steps(T)).log_prob(z), before)
    assert not torch.isclose(moved, before).any()


@pytest.mark.parametrize("kind", [LSTM, GRU, Transformer, SwitchingLinear, Flow])
def test_f_without_its_size_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match="needs static_size"):
        kind(D, condition_on_static=True)


# --- the networks against their equations -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, STATIC], ids=["alone", "given f"])
def test_gru_conditionals_equal_its_equations_step_by_step(options: dict[str, Any]) -> None:
    prior, f, z = RECIPES["GRU"](**options), statics(B), paths(B)
    conditionals = prior(f, Steps(T)).conditionals(z)
    w = prior.gru
    h = torch.zeros(B, 5, dtype=torch.float64)
    for t in range(T):
        x = prior.start.expand(B, -1) if t == 0 else z[:, t - 1]
        x = torch.cat([x, f], -1) if options else x
        into = (x @ w.weight_ih_l0.T + w.bias_ih_l0).chunk(3, -1)
        back = (h @ w.weight_hh_l0.T + w.bias_hh_l0).chunk(3, -1)
        reset, update = torch.sigmoid(into[0] + back[0]), torch.sigmoid(into[1] + back[1])
        h = (1 - update) * torch.tanh(into[2] + reset * back[2]) + update * h
        loc, scale = prior.head(h)
        torch.testing.assert_close(conditionals.mean[:, t], loc)
        torch.testing.assert_close(conditionals.variance[:, t].sqrt(), scale)


def normalised(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


@pytest.mark.parametrize("options", [{}, STATIC], ids=["alone", "given f"])
def test_transformer_conditionals_equal_attention_by_hand(options: dict[str, Any]) -> None:
    """For every step anew: embed its whole past, attend with an explicit softmax one head and one query at a time."""
    prior, f, z = RECIPES["Transformer"](**options), statics(B), paths(B)
    conditionals = prior(f, Steps(T)).conditionals(z)
    width, heads, size = 8, 2, 4
    network = prior.network
    for b in range(B):
        for t in range(T):
            inputs = [prior.start, *z[b, :t]]
            x = []
            for position, value in enumerate(inputs):
                seen = torch.cat([value, f[b]]) if options else value
                angles = [position / 10_000 ** (2 * i / width) for i in range(width // 2)]
                code = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)
                x.append(network.embed.weight @ seen + network.embed.bias + code)
            for block in network.blocks:
                qkv = [block.project.weight @ normalised(v, block.attention_norm) + block.project.bias for v in x]
                after = []
                for i, v in enumerate(x):
                    pieces = []
                    for head in range(heads):
                        part = slice(head * size, (head + 1) * size)
                        query = qkv[i][:width][part]
                        scores = torch.stack([query @ u[width : 2 * width][part] / size**0.5 for u in qkv[: i + 1]])
                        weights = scores.exp() / scores.exp().sum()
                        pieces.append(sum(a * u[2 * width :][part] for a, u in zip(weights, qkv[: i + 1], strict=True)))
                    attended = v + block.out.weight @ torch.cat(pieces) + block.out.bias
                    norm, rise, gelu, fall = block.mlp
                    hidden = gelu(rise.weight @ normalised(attended, norm) + rise.bias)
                    after.append(attended + fall.weight @ hidden + fall.bias)
                x = after
            loc, scale = prior.head(normalised(x[-1], network.norm))
            torch.testing.assert_close(conditionals.mean[b, t], loc)
            torch.testing.assert_close(conditionals.variance[b, t].sqrt(), scale)


def test_transformer_reads_each_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws and continuations run the network over new steps only; what went before comes from the cache."""
    prior, read = RECIPES["Transformer"](), []
    original = Transformer.read

    def counted(self: Transformer, inputs: Tensor, state: Any) -> Any:
        read.append(inputs.shape[-2])
        return original(self, inputs, state)

    monkeypatch.setattr(Transformer, "read", counted)
    prior(statics(B), Steps(T)).continue_from(paths(B), 4).rsample()
    assert read == [T, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "options", [{"width": 9, "heads": 3}, {"width": 10}, {"heads": 0}, {"layers": 0}, {"width": 0}]
)
def test_transformer_sizes_that_do_not_fit_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Transformer(D, **options)


# --- switching linear dynamics ----------------------------------------------------------------------------------------


def enumerated(prior: SwitchingLinear, f: Tensor, z: Tensor) -> tuple[Array, Array]:
    """log p(s_1:t, z_1:t) summed over all K^t state paths for every t: log p(z_1:t) (T,) and p(s_t | z_1:t) (T, K)."""
    regimes = [v.detach().numpy() for v in prior.regimes(f)]
    initial, transition, first, offset = regimes
    scale = np.log1p(np.exp(prior.raw_scale.detach().numpy())) + 1e-3
    first_scale = np.log1p(np.exp(prior.first_raw_scale.detach().numpy())) + 1e-3
    below = np.zeros((len(scale), D, D)) if prior.below is None else np.tril(prior.below.detach().numpy(), -1)
    states, x, A = len(scale), z.numpy(), prior.coefficients.detach().numpy()
    density = np.empty((len(x), states))
    for t, k in itertools.product(range(len(x)), range(states)):
        lower = np.diag(scale[k]) + below[k] if t else np.diag(first_scale[k])
        mean = A[k] @ x[t - 1] + offset[k] if t else first[k]
        density[t, k] = multivariate_normal(mean, lower @ lower.T).logpdf(x[t])
    evidence, filtered = [], []
    for t in range(1, len(x) + 1):
        ends: list[list[float]] = [[] for _ in range(states)]
        for s in itertools.product(range(states), repeat=t):
            moves = sum(transition[i, j] for i, j in itertools.pairwise(s))
            ends[s[-1]].append(initial[s[0]] + moves + sum(density[i, k] for i, k in enumerate(s)))
        joint = logsumexp(np.array(ends), axis=1)
        evidence.append(logsumexp(joint))
        filtered.append(np.exp(joint - evidence[-1]))
    return np.array(evidence), np.array(filtered)


@pytest.mark.parametrize("name", ["SwitchingLinear", "SwitchingLinear, full noise"])
@pytest.mark.parametrize("options", [{}, STATIC], ids=["alone", "given f"])
def test_switching_density_is_the_sum_over_all_state_paths(name: str, options: dict[str, Any]) -> None:
    prior, f, z = RECIPES[name](**options), statics(1), paths(1)
    path: SwitchingLinearPath = prior(f, Steps(T))
    evidence, filtered = enumerated(prior, f[0], z[0])
    per_step = path.conditionals(z).log_prob(z)[0].detach().numpy()
    np.testing.assert_allclose(per_step.cumsum(), evidence, rtol=1e-10)
    np.testing.assert_allclose(path.filtered(z)[0].detach().exp().numpy(), filtered, rtol=1e-9)
    # The states of a continuation go on from the filter.
    rest = path.continue_from(z[:, :2], T - 2)
    np.testing.assert_allclose(rest.filtered(z[:, 2:])[0].detach().exp().numpy(), filtered[2:], rtol=1e-9)


@pytest.mark.parametrize("length", [*range(1, 10), 64, 300])
def test_states_are_predicted_as_by_a_loop(length: int) -> None:
    """Against the textbook recursion, for evidence that differs between states by up to 10^6 nats."""
    states = 3
    initial, transition = torch.randn(states).log_softmax(-1), torch.randn(states, states).log_softmax(-1)
    evidence = torch.randn(2, length, states) * 10.0 ** torch.randint(-1, 7, (2, length, 1))
    predicted = predict_states(initial, transition, evidence)
    assert predicted.dtype == torch.float32
    start, log_p = initial.double().numpy(), transition.double().numpy()
    for b in range(2):
        expected = [start]
        for t in range(length - 1):
            joint = expected[-1] + evidence[b, t].double().numpy()
            expected.append(logsumexp((joint - logsumexp(joint))[:, None] + log_p, axis=0))
        np.testing.assert_allclose(predicted[b].numpy(), np.array(expected), atol=3e-5)


def test_prediction_of_states_needs_no_loop_over_time() -> None:
    """Calls grow with the logarithm of T."""

    class Calls(TorchFunctionMode):
        count = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    def calls(length: int) -> int:
        with Calls() as calls:
            predict_states(torch.zeros(3), torch.zeros(3, 3), torch.zeros(length, 3))
        return calls.count

    short, long, longer = calls(16), calls(256), calls(4096)
    assert longer - long == long - short > 0


def simulated(count: int, length: int) -> tuple[SwitchingLinear, Tensor]:
    """Two well separated regimes in one dimension and paths (count, length, 1) of them."""
    truth = SwitchingLinear(1, states=2)
    with torch.no_grad():
        truth.initial.copy_(torch.tensor([0.5, -0.5]))
        truth.transition.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.5]]))
        truth.coefficients.copy_(torch.tensor([0.9, -0.6])[:, None, None])
        truth.offset.copy_(torch.tensor([[0.3], [-2.0]]))
        truth.first.copy_(torch.tensor([[2.0], [-2.0]]))
        truth.raw_scale.copy_(torch.tensor([[-1.5], [-0.5]]))
    return truth, truth(torch.zeros(count, F), Steps(length)).sample()


def fitted(prior: DynamicPrior, z: Tensor, steps: int, rate: float) -> DynamicPrior:
    optimiser = torch.optim.Adam(prior.parameters(), lr=rate)
    with pyro.validation_enabled(False):
        for _ in range(steps):
            optimiser.zero_grad()
            (-prior(torch.zeros(len(z), F), Steps(z.shape[1])).log_prob(z).mean()).backward()
            optimiser.step()
    return prior


def test_switching_dynamics_are_recovered_by_maximum_likelihood() -> None:
    """Held-out log density within two standard errors of the truth's; with one state it is far below."""
    truth, z = simulated(1100, 20)
    train, held_out = z[:100], z[100:]

    def score(prior: DynamicPrior) -> tuple[float, float]:
        with torch.no_grad():
            values = prior(torch.zeros(len(held_out), F), Steps(20)).log_prob(held_out)
        return float(values.mean()), float(values.std() / len(values) ** 0.5)

    best, error = score(truth)
    assert abs(score(fitted(SwitchingLinear(1, states=2), train, 120, 0.1))[0] - best) < 2 * error
    assert score(fitted(SwitchingLinear(1, states=1), train, 50, 0.1))[0] < best - 20 * error


@pytest.mark.parametrize(
    ("options", "message"), [({"states": 0}, "at least one state"), ({"noise": "none"}, "noise of")]
)
def test_switching_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SwitchingLinear(D, **options)


# --- flows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spline", "affine"])
def test_flow_densities_integrate_to_one(kind: Any) -> None:
    """Every conditional of one path, D = 1, by the trapezoidal rule on a fine grid."""
    prior = spread(Flow(1, kind, hidden_size=5, units=8), 0.5)
    z = torch.randn(1, T, 1, dtype=torch.float64)
    grid = torch.linspace(-60, 60, 120_001, dtype=torch.float64)
    with torch.no_grad():
        conditionals = prior(statics(1), Steps(T)).conditionals(z)
        density = conditionals.log_prob(grid[:, None, None, None]).exp()[:, 0]
    assert ((torch.trapezoid(density, grid, dim=0) - 1).abs() < 2e-4).all()
    if kind == "spline":  # there is a shape to get wrong: far from any normal with the same moments
        mean = torch.trapezoid(density * grid[:, None], grid, dim=0)
        variance = torch.trapezoid(density * (grid[:, None] - mean) ** 2, grid, dim=0)
        normal = Normal(mean, variance.sqrt()).log_prob(grid[:, None]).exp()
        assert (torch.trapezoid((density - normal).abs(), grid, dim=0) > 0.05).all()


@pytest.mark.parametrize("kind", ["spline", "affine"])
def test_flow_densities_change_variables(kind: Any) -> None:
    """log p(z) = log N(u; 0, I) + log |det du/dz| with the Jacobian by automatic differentiation, D = 2."""
    prior = RECIPES[f"Flow, {kind}"]()
    for value in (paths(1), 8 * paths(1)):
        conditionals: Any = prior(statics(1), Steps(T)).conditionals(value)
        scored = conditionals.log_prob(value)[0]
        affine, standard = conditionals.flow.transforms[0], conditionals.flow.base_dist

        def noise(z: Tensor, affine: Any = affine, standard: Any = standard) -> Tensor:
            return standard.transform((z - affine.loc) / affine.scale)

        jacobian = torch.autograd.functional.jacobian(lambda z, noise=noise: noise(z)[0], value)[:, :, 0]
        for t in range(T):
            log_det = torch.linalg.slogdet(jacobian[t, :, t])[1]
            expected = Normal(0.0, 1.0).log_prob(noise(value)[0, t]).sum() + log_det
            torch.testing.assert_close(scored[t], expected)


@pytest.mark.parametrize("kind", ["spline", "affine"])
def test_flow_networks_are_never_rounded(kind: Any) -> None:
    """A flow is scored and drawn from in full precision, whatever autocast says then."""
    prior, z = RECIPES[f"Flow, {kind}"]().float(), paths(B).float()
    conditionals = prior(statics(B).float(), Steps(T)).conditionals(z)
    exact = conditionals.log_prob(z)
    pyro.set_rng_seed(1)
    drawn = conditionals.sample()
    pyro.set_rng_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conditionals.log_prob(z), exact)
        assert torch.equal(conditionals.sample(), drawn)


@pytest.mark.parametrize("options", [{"kind": "cubic"}, {"transforms": 0}, {"units": 0}, {"bins": 1}])
def test_flow_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="flow"):
        Flow(D, **options)


@pytest.mark.parametrize("on", [True, False])
def test_loading_zuko_leaves_validation_as_it_was(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "zuko"]:
        monkeypatch.delitem(sys.modules, name)
    with pyro.validation_enabled(on):
        load_zuko()
        assert is_validation_enabled() is on
        assert torch.distributions.Distribution._validate_args is on


def test_flow_distribution_expands_and_masks() -> None:
    base = MultivariateNormal(torch.zeros(3, 2), torch.eye(2))
    flow = FlowDistribution(base)
    z = torch.randn(5, 4, 3, 2)
    wide = flow.expand(torch.Size([4, 3]))
    assert wide.batch_shape == (4, 3)
    assert wide.rsample(torch.Size([5])).shape == z.shape
    torch.testing.assert_close(wide.log_prob(z), base.log_prob(z))
    mask = torch.tensor([True, False, True])
    joined = flow.mask(mask).to_event(1)
    assert joined.event_shape == (3, 2)
    torch.testing.assert_close(joined.log_prob(z), (base.log_prob(z) * mask).sum(-1))


# --- the ELBO ---------------------------------------------------------------------------------------------------------


class Identity(FrameDecoder):
    """Frames that are the latents themselves."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return z


@every_prior
def test_kl_of_the_elbo(case: tuple[str, dict[str, Any]]) -> None:
    """E_q[log q(z) - log p(z)] by 1,000 particles within 4.5 standard errors of a plain average; gradients reach the prior."""
    prior, particles = made(case), 1000
    x, scale = paths(B), torch.full((B, T, D), 0.5, dtype=torch.float64)
    lengths = torch.tensor([6, 1, 4])
    model = DSVAE(StandardNormal(F), prior, Identity((D,)), FixedNormal((D,), scale=1.0, scale_kind="fixed")).double()

    def guide(x: Tensor, lengths: Tensor) -> None:
        with pyro.plate("sequences", B, dim=-1):
            pyro.sample("f", Normal(x.new_zeros(F), 1.0).expand((B, F)).to_event(1))
            pyro.sample("z", Steps(T, lengths).join(Normal(x, scale).to_event(1)))

    elbo = SequenceELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    terms = elbo.terms(model, guide, x, lengths=lengths)
    normal = case[0] in ("LSTM", "GRU", "Transformer")
    assert terms.estimators["z"] == (CLOSED_FORM_PER_STEP if normal else STICKING_THE_LANDING)
    q = Steps(T, lengths).join(Normal(x, scale).to_event(1))
    with torch.no_grad():
        z, f = q.sample(torch.Size([particles])), statics(particles, B)
        plain = q.log_prob(z) - prior(f, Steps(T, lengths)).log_prob(z)
    error = plain.std(0) / particles**0.5
    assert ((terms.kl["z"] - plain.mean(0)).abs() < 4.5 * 2**0.5 * error).all()
    terms.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())


# --- what a prior learns from AR(1) paths -----------------------------------------------------------------------------


def ar1(count: int, length: int) -> Tensor:
    """Stationary paths (count, length, 1) of unit variance with one-step correlation .95."""
    z = [torch.randn(count, 1)]
    for _ in range(length - 1):
        z.append(0.95 * z[-1] + (1 - 0.95**2) ** 0.5 * torch.randn(count, 1))
    return torch.stack(z, dim=1)


@pytest.mark.parametrize(
    "kind",
    [
        lambda: LSTM(1, hidden_size=16),
        lambda: GRU(1, hidden_size=16),
        lambda: Transformer(1, width=16, heads=2, layers=1),
        lambda: Flow(1, hidden_size=16, transforms=1, units=16),
    ],
    ids=["LSTM", "GRU", "Transformer", "Flow"],
)
def test_the_prior_learns_the_coefficient_of_an_ar1_path(kind: Callable[[], DynamicPrior]) -> None:
    """Slope on z_{t-1} of draws from the learned p(z_t | z_<t) along held-out paths; its standard error is .0015."""
    prior = fitted(kind(), ar1(128, 20), 80, 2e-2)
    held_out = ar1(1000, 50)
    with torch.no_grad():
        path: PathDistribution = prior(torch.zeros(1000, F), Steps(50))
        drawn = path.conditionals(held_out).sample()
    past, now = held_out[:, 4:-1, 0].flatten(), drawn[:, 5:, 0].flatten()
    slope = ((past - past.mean()) * (now - now.mean())).sum() / ((past - past.mean()) ** 2).sum()
    assert float(slope) == pytest.approx(0.95, abs=0.05)
