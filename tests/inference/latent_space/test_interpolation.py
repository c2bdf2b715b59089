"""Noise coordinates against SciPy and brute force; interpolations against what geometry says of them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal
from scipy import integrate, stats

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.latent_space.interpolation import HELD, SPHERICAL, STRAIGHT, interpolate, slerp
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.models.distributions.density import from_base, to_base
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from tests.inference.test_contracts import REFUSED, Case, objective

T, F, D = 5, 3, 2


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def pair(case: Case, batch: int = 3) -> tuple[Any, Latents, Latents]:
    """A model, and the latents of two sets of clips drawn from its prior."""
    model = objective(case).double().eval().model
    with torch.no_grad():
        f = [model.static_prior().expand([batch]).sample() for _ in range(2)]
        z = [model.dynamic_prior(v, Steps(T)).sample() for v in f]
    return model, Latents(f[0], z[0]), Latents(f[1], z[1])


# --- spherical interpolation ------------------------------------------------------------------------------------------


def test_slerp_keeps_the_norm_and_turns_evenly() -> None:
    a, b = torch.randn(2, 4, 6)
    shares = torch.linspace(0, 1, 11)
    path = slerp(a, b, shares)
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    norms = path.norm(dim=-1)
    torch.testing.assert_close(norms, a.norm(dim=-1) + shares[:, None] * (b.norm(dim=-1) - a.norm(dim=-1)))
    unit = path / norms.unsqueeze(-1)
    turned = (unit[1:] * unit[:-1]).sum(-1).acos()
    torch.testing.assert_close(turned, turned.mean(0).expand_as(turned))
    # All in the plane of both ends.
    plane, _ = torch.linalg.qr(torch.stack([a, b], dim=-1))
    torch.testing.assert_close((plane @ (plane.mT @ path.unsqueeze(-1))).squeeze(-1), path)


def test_slerp_of_equal_opposite_zero_and_empty_vectors() -> None:
    a, shares = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.25, 1.0])
    torch.testing.assert_close(slerp(a, a, shares), a.expand(3, 2))
    torch.testing.assert_close(slerp(a, 3 * a, shares), torch.stack([a, 1.5 * a, 3 * a]))
    torch.testing.assert_close(slerp(a, -a, shares), torch.stack([a, 0.5 * a, -a]))
    torch.testing.assert_close(slerp(a, 0 * a, shares), torch.stack([a, 0.75 * a, 0 * a]))
    assert slerp(torch.zeros(2, 0), torch.zeros(2, 0), shares).shape == (3, 2, 0)
    nearly = slerp(a, a + 1e-9, shares)
    torch.testing.assert_close(nearly, a.expand(3, 2))


# --- noise coordinates ------------------------------------------------------------------------------------------------


def mixtures() -> dict[str, Any]:
    weights = Categorical(torch.tensor([0.5, 0.2, 0.3]))
    loc = torch.tensor([[-4.0, 0.0], [0.0, 3.0], [4.0, 1.0]])
    tril = torch.tensor([[[1.0, 0.0], [0.7, 0.5]], [[0.5, 0.0], [-1.0, 1.0]], [[0.8, 0.0], [0.0, 0.3]]])
    scale = torch.tensor([[1.0, 0.5], [0.5, 1.0], [0.8, 0.3]])
    return {
        "diagonal": MixtureSameFamily(weights, Normal(loc, scale).to_event(1)),
        "full": MixtureSameFamily(weights, MultivariateNormal(loc, scale_tril=tril)),
    }


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_the_noise_of_draws_of_a_mixture_is_standard_normal(kind: str) -> None:
    """Each dimension by Kolmogorov and Smirnov, their dependence by the correlations of values and squares; and back."""
    p = mixtures()[kind]
    values = p.sample((8_000,))
    noise = to_base(p, values)
    for column in noise.T.numpy():
        assert stats.kstest(column, "norm").pvalue > 1e-3
    for function in (lambda e: e, torch.square):
        assert abs(np.corrcoef(function(noise).T.numpy())[0, 1]) < 4.5 / math.sqrt(8_000)
    torch.testing.assert_close(from_base(p, noise), values, rtol=1e-9, atol=1e-9)


def test_the_noise_of_a_mixture_is_that_of_its_conditional_distribution_functions() -> None:
    """By quadrature of the joint density, SciPy's normals as its parts."""
    p: Any = mixtures()["full"]
    parts, weights = p.component_distribution, p.mixture_distribution.probs
    normals = [
        stats.multivariate_normal(m, s @ s.T) for m, s in zip(parts.loc.numpy(), parts.scale_tril.numpy(), strict=True)
    ]

    def density(b: float, a: float) -> float:
        return float(sum(w * n.pdf([a, b]) for w, n in zip(weights.numpy(), normals, strict=True)))

    a, b = 0.6, 1.7
    below_a = sum(
        w * stats.norm.cdf(a, n.mean[0], math.sqrt(n.cov[0, 0])) for w, n in zip(weights.numpy(), normals, strict=True)
    )
    below_b = integrate.quad(density, -15, b, args=(a,))[0] / integrate.quad(density, -15, 15, args=(a,))[0]
    expected = torch.from_numpy(stats.norm.ppf([below_a, below_b]))
    torch.testing.assert_close(to_base(p, torch.tensor([a, b])), expected, rtol=1e-6, atol=1e-6)


def test_a_mixture_of_one_is_a_normal_also_far_out_in_its_tails() -> None:
    p = MixtureSameFamily(Categorical(torch.ones(1)), Normal(torch.ones(1, 1), 2 * torch.ones(1, 1)).to_event(1))
    noise = torch.tensor([-30.0, -9.0, -1.0, 0.0, 0.5, 9.0, 30.0]).unsqueeze(-1)
    torch.testing.assert_close(to_base(p, 1 + 2 * noise), noise)
    torch.testing.assert_close(from_base(p, noise), 1 + 2 * noise)


@pytest.mark.parametrize("name", PARTS["static_prior"])
@pytest.mark.parametrize("kind", ["affine", "spline"])
def test_every_static_prior_is_a_map_of_normal_noise(name: str, kind: str) -> None:
    """There and back; the density is the noise's times the determinant of the map, by automatic differentiation."""
    if kind == "affine" and name != "Flow":
        pytest.skip("only flows come in kinds")
    made = objective(Case(static_prior=name)).double().eval()
    prior = PARTS["static_prior"]["Flow"](F, kind=kind).double() if name == "Flow" else made.model.static_prior
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        p = prior()
        f = p.sample((6,))
        noise = to_base(p, f)
        torch.testing.assert_close(from_base(p, noise), f, rtol=1e-5, atol=1e-6)
    for row in range(3):
        jacobian: Any = torch.autograd.functional.jacobian(lambda value: to_base(prior(), value), f[row])
        expected = Normal(0.0, 1.0).log_prob(noise[row]).sum() + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(p.log_prob(f[row]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PARTS["dynamic_prior"])
def test_every_path_is_a_map_of_its_innovations(name: str) -> None:
    """There and back; and the innovations of the prior's own paths are standard normal and uncorrelated."""
    model = objective(Case(dynamic_prior=name)).double().eval().model
    with torch.no_grad():
        f = torch.randn(3_000, F)
        path = model.dynamic_prior(f, Steps(T))
        z = path.sample()
        noise = to_base(path, z)
        few = model.dynamic_prior(f[:4], Steps(T))
        torch.testing.assert_close(from_base(few, noise[:4]), z[:4], rtol=1e-4, atol=1e-5)
    flat = noise.flatten(1)
    assert (flat.mean(0).abs() < 5 / math.sqrt(3_000)).all()
    covariance = flat.T.cov() - torch.eye(T * D)
    assert (covariance.abs() < 5 * math.sqrt(2 / 3_000)).all()


def test_unknown_distributions_are_refused() -> None:
    p = Pushforward(Normal(torch.zeros(2), 1.0).to_event(1), lambda e: (e, torch.zeros(())), lambda y: y)
    for function in (to_base, from_base):
        with pytest.raises(NotImplementedError, match="Pushforward"):
            function(p, torch.zeros(2))


# --- interpolation ----------------------------------------------------------------------------------------------------

CASES = [
    *(Case(dynamic_prior=name) for name in PARTS["dynamic_prior"]),
    *(Case(static_prior=name) for name in PARTS["static_prior"]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("part", ["f", "z", "both"])
def test_the_ends_are_the_clips_and_what_is_held_is_held(case: Case, part: Any) -> None:
    """Bit for bit, for priors that look at f, too; and nothing jumps at either end."""
    model, first, second = pair(case)
    found = interpolate(model, first, second, 5, part)
    assert found.f.shape == (5, 3, F)
    assert found.z.shape == (5, 3, T, D)
    assert torch.equal(found.f[0], first.f)
    assert torch.equal(found.z[0], first.z)
    assert torch.equal(found.f[-1], first.f if part == "z" else second.f)
    assert torch.equal(found.z[-1], first.z if part == "f" else second.z)
    assert found.geometry == {
        "f": HELD if part == "z" else SPHERICAL,
        "z": HELD if part == "f" else SPHERICAL,
    }
    if part == "z":
        assert torch.equal(found.f, first.f.expand(5, 3, F))
    if part == "f":
        assert torch.equal(found.z, first.z.expand(5, 3, T, D))
    fine = interpolate(model, first, second, 1_001, part)
    for values, end in ((fine.f, 1), (fine.f, -2), (fine.z, 1), (fine.z, -2)):
        assert (values[end] - values[0 if end == 1 else -1]).abs().max() < 0.1


def test_f_under_a_standard_normal_is_on_the_great_circle_and_z_under_iid_too() -> None:
    model, first, second = pair(Case(dynamic_prior="IID"))
    found = interpolate(model, first, second, 7)
    torch.testing.assert_close(found.f, slerp(first.f, second.f, found.shares))
    norms = found.z.flatten(2).norm(dim=-1)
    straight = norms[0] + found.shares[:, None] * (norms[-1] - norms[0])
    torch.testing.assert_close(norms, straight)


def test_f_under_a_flow_goes_along_the_great_circle_of_its_base() -> None:
    """By Zuko's own transform, which is called here directly."""
    model, first, second = pair(Case(static_prior="Flow"))
    found = interpolate(model, first, second, 5, "f")
    with torch.no_grad():
        transform = model.static_prior.flow().transform
        expected = slerp(transform(first.f), transform(second.f), found.shares)
        torch.testing.assert_close(transform(found.f), expected, rtol=1e-4, atol=1e-5)
    assert (found.f[2] - (first.f + second.f) / 2).abs().max() > 0.05


def test_the_way_between_two_parts_of_a_mixture_keeps_where_the_prior_is() -> None:
    """A straight line spends a third of its points where hardly a draw falls, ours at most one of twelve."""
    model, _, _ = pair(Case(static_prior="GaussianMixture"))
    prior = model.static_prior
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[-6.0, 0.0, 0.0], [6.0, 1.0, 0.0], [0.0, 30.0, 0.0]]))
        prior.raw_scale.fill_(0.5)
        prior.logits.copy_(torch.tensor([0.0, 0.0, -5.0]))
        p = prior()
        first, second = (p.component_distribution.sample()[i].expand(20, F) + 0.3 * torch.randn(20, F) for i in (0, 1))
        usual = torch.quantile(p.log_prob(p.sample((5_000,))), 0.002)
        z = torch.zeros(20, T, D)
        found = interpolate(model, Latents(first, z), Latents(second, z), 13, "f")
        ours = (p.log_prob(found.f) < usual).double().mean()
        straight = first + found.shares[:, None, None] * (second - first)
        theirs = (p.log_prob(straight) < usual).double().mean()
    assert ours < 1 / 12
    assert theirs > 0.3


def test_paths_between_two_clips_are_as_likely_as_paths_of_the_prior() -> None:
    """Smooth paths mixed in their values would shrink; mixed in their innovations they keep the prior's variance."""
    model, first, second = pair(Case(dynamic_prior="LinearGaussian"), 3_000)
    middle = interpolate(model, first, second, 3, "z").z[1]
    path = model.dynamic_prior(first.f, Steps(T))
    with torch.no_grad():
        # The norm in the middle is the mean of two, which is a little short of a root mean square.
        size = to_base(path, middle).flatten(1).square().sum(1).mean() / (T * D)
        straight = to_base(path, (first.z + second.z) / 2).flatten(1).square().sum(1).mean() / (T * D)
    assert 0.9 < float(size) < 1.02
    assert float(straight) < 0.6


def test_a_mixture_of_posteriors_that_are_not_normal_is_crossed_straight_and_it_is_said() -> None:
    model, first, second = pair(Case(static_prior="VampPrior", posterior="Flow"))
    found = interpolate(model, first, second, 5)
    assert found.geometry == {"f": STRAIGHT, "z": SPHERICAL}
    torch.testing.assert_close(found.f[1], 0.75 * first.f + 0.25 * second.f)
    assert torch.equal(found.f[-1], second.f)


@pytest.mark.parametrize(
    "case",
    [Case(static_prior="VampPrior", posterior=q) for q in PARTS["posterior"] if ("VampPrior", q) != REFUSED],
    ids=str,
)
def test_a_mixture_of_posteriors_is_crossed_whatever_they_are(case: Case) -> None:
    model, first, second = pair(case)
    assert torch.isfinite(interpolate(model, first, second, 4).f).all()


@pytest.mark.parametrize("name", ["GaussianProcess", "LinearGaussian", "RandomWalk"])
def test_observation_times_are_honoured(name: str) -> None:
    """Innovations are those of the times: with them the middle path has, in them, the norm between; without, another."""
    model, first, second = pair(Case(dynamic_prior=name))
    times = torch.tensor([0.0, 0.1, 0.2, 5.0, 9.0]).expand(3, T)
    found = interpolate(model, first, second, 3, "z", times)
    with torch.no_grad():
        path = model.dynamic_prior(first.f, Steps(T, times=times))
        norms = [to_base(path, z).flatten(1).norm(dim=1) for z in found.z]
    torch.testing.assert_close(norms[1], (norms[0] + norms[2]) / 2, rtol=1e-4, atol=1e-5)
    assert (interpolate(model, first, second, 3, "z").z[1] - found.z[1]).abs().max() > 1e-3


def test_single_precision() -> None:
    for case in (Case(), Case(static_prior="GaussianMixture", dynamic_prior="SwitchingLinear")):
        model, first, second = pair(case)
        model = model.float()
        first, second = (Latents(*(v.float() for v in latents)) for latents in (first, second))
        torch.set_default_dtype(torch.float32)
        found = interpolate(model, first, second, 5)
        torch.set_default_dtype(torch.float64)
        assert found.f.dtype == found.z.dtype == torch.float32
        assert torch.isfinite(found.z).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "at least 2, not 1"),
        ({"part": "x"}, "f, z, both, not 'x'"),
        ({"cut": 4}, "cut the longer clip"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    model, first, second = pair(Case())
    second = Latents(second.f, second.z[:, : options.pop("cut", T)])
    with pytest.raises(UsageError, match=message):
        interpolate(model, first, second, **options)
