"""Imputed frames and latents against the dense normal posterior."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler, evaluation
from pyro_dsvae.inference.latent_space.imputation import METHODS, Imputation, Method, impute
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.hmc import Langevin, Point, move, transition
from pyro_dsvae.inference.sampling.proposal import Joint
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.models.errors import UsageError
from tests.inference.forecasting.test_forecast import KINDS, Clips, Guide
from tests.inference.test_contracts import Case, frames_for, objective
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae
from tests.oracles import Array

T, P, F, D = 6, 3, 2, 2
FEW: dict[str, Any] = {"refinement": Refinement(steps=5, draws=2, check=5), "langevin": Langevin(6)}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def smoothed(clips: Clips, row: int) -> tuple[Array, Array, Array, Array]:
    """Mean and covariance of (f, z) given one clip, and mean and variance of its noiseless frames (T, P)."""
    x, observed = clips.known(row)
    m, S = EXACT.posterior(x, observed)
    M = EXACT.emission(len(x))
    return m, S, (M @ m).reshape(-1, P), np.diag(M @ S @ M.T).reshape(-1, P).copy()


def run(clips: Clips, guide: Any, **options: Any) -> Imputation:
    sampler = Sampler(linear_gaussian_dsvae(), guide, max_frames=options.pop("max_frames", None))
    return impute(sampler, Batch(clips.x, clips.mask, clips.lengths), **options)


def assert_exact(found: Imputation, clips: Clips, worth: Tensor, sigmas: float = 5.0) -> None:
    """Means and variances of latents and frames are the smoother's, within the errors of ``worth`` independent draws."""
    for row in range(4):
        m, S, mean, variance = smoothed(clips, row)
        length, n = len(mean), float(worth[row])
        latents = torch.cat([found.f[:, row], found.z[:, row, :length].flatten(1)], dim=1)
        pairs = [
            (latents.mean(0), latents.var(0), m, np.diag(S)),
            (found.model_mean[row, :length], found.model_sd[row, :length] ** 2, mean, variance),
        ]
        for average, spread, exact, exact_spread in pairs:
            exact_, exact_spread_ = torch.from_numpy(exact), torch.from_numpy(exact_spread.copy())
            assert ((average - exact_).abs() < sigmas * (exact_spread_ / n).sqrt()).all()
            assert ((spread / exact_spread_ - 1).abs() < sigmas * math.sqrt(2 / n)).all()
        # The noise of the likelihood comes on top where a value is missing.
        missing = ~clips.observed[row, :length]
        total = torch.from_numpy(variance)[missing] + EXACT.r
        assert ((found.sd[row, :length][missing] ** 2 / total - 1).abs() < sigmas * math.sqrt(2 / n)).all()


# --- against the smoother ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_guide_gives_the_smoother(kind: str) -> None:
    clips = Clips(kind)
    found = run(clips, Guide(), draws=2_000, proposals=2_000, method="amortised")
    assert_exact(found, clips, torch.full((4,), 2_000.0))
    torch.testing.assert_close(found.posterior.effective_sample_size, torch.full((4,), 2_000.0))
    assert (found.posterior.power == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_put_a_wrong_guide_right(kind: str) -> None:
    """Too wide and off; without weights it stays as wrong as it is."""
    clips = Clips(kind)
    wrong = Guide(1.3, 0.4)
    found = run(clips, wrong, draws=2_000, proposals=20_000, method="amortised")
    # Resampled draws are worth no more than the weighed ones.
    assert_exact(found, clips, found.posterior.effective_sample_size.clamp(max=2_000) / 1.5)
    plain = run(clips, wrong, draws=2_000, method="amortised", resample=False)
    with pytest.raises(AssertionError):
        assert_exact(plain, clips, torch.full((4,), 2_000.0))


def test_refinement_puts_a_wrong_guide_right_where_weights_alone_cannot() -> None:
    """Off by two standard deviations in all of 14 dimensions: the weighed draws are worth a few; refined, hundreds."""
    clips = Clips("missing values, ragged")
    wrong = Guide(0.7, 2.0)
    alone = run(clips, wrong, draws=1_000, method="amortised", resample=True)
    found = run(clips, wrong, draws=1_000, proposals=4_000, refinement=Refinement(steps=100, draws=4, rate=0.2))
    assert alone.posterior.effective_sample_size[0] < 100
    assert (alone.posterior.power < 1).any()
    assert (found.posterior.effective_sample_size > 300).all()
    assert (found.posterior.power == 1).all()
    assert_exact(found, clips, found.posterior.effective_sample_size.clamp(max=1_000) / 1.5)


@pytest.mark.parametrize("leapfrogs", [1, 5])
def test_chains_put_a_wrong_guide_right_without_weights(leapfrogs: int) -> None:
    """Independent normals, too narrow and off, only moved: the ends have forgotten where they began."""
    clips = Clips("missing values, ragged")
    options = Langevin(200 if leapfrogs == 1 else 40, leapfrogs)
    found = run(
        clips,
        Guide(0.6, 1.0, diagonal=True),
        draws=300,
        method="langevin",
        resample=False,
        refinement=Refinement(steps=1, draws=1, rate=1e-6),
        langevin=options,
    )
    assert_exact(found, clips, torch.full((4,), 300.0))
    assert (found.posterior.autocorrelation.abs() < 0.15).all()
    assert ((found.posterior.acceptance - (0.6 if leapfrogs == 1 else 0.8)).abs() < 0.15).all()


def test_memory_tells_chains_that_were_too_few() -> None:
    clips = Clips()
    found = run(
        clips, Guide(), draws=300, method="langevin", resample=False, langevin=Langevin(2), refinement=FEW["refinement"]
    )
    assert (found.posterior.autocorrelation > 0.3).all()


@pytest.mark.parametrize("leapfrogs", [1, 4])
def test_a_transition_leaves_the_density_as_it_is(leapfrogs: int) -> None:
    """From exact draws of a correlated normal to draws of it, also with steps so long that many are refused."""
    cov = torch.tensor([[1.0, 0.6], [0.6, 0.5]])
    precision = torch.linalg.inv(cov)

    def at(u: Tensor) -> Point:
        g = -u @ precision
        return Point(u, 0.5 * (g * u).sum(-1), g)

    count = 20_000
    u = torch.randn(count, 1, 2) @ torch.linalg.cholesky(cov).T
    point, refused = at(u), []
    for _ in range(4):
        point, probability = transition(at, point, torch.tensor(0.6 if leapfrogs == 1 else 0.42), leapfrogs)
        refused.append(1 - float(probability.mean()))
    assert all(0.05 < share < 0.9 for share in refused)
    ends = point.state[:, 0]
    assert (ends.mean(0).abs() < 4.5 * (cov.diagonal() / count).sqrt()).all()
    error = ((cov.square() + cov.diagonal().outer(cov.diagonal())) / count).sqrt()
    assert ((ends.T.cov() - cov).abs() < 4.5 * error).all()
    again = at(point.state)
    torch.testing.assert_close(point.log_density, again.log_density)
    torch.testing.assert_close(point.gradient, again.gradient)


def test_chains_stay_where_they_are_at_steps_that_do_not_exist() -> None:
    clips, model = Clips("ragged"), linear_gaussian_dsvae()
    x = torch.where(clips.observed, clips.x, torch.zeros_like(clips.x))
    start = Latents(torch.randn(5, 4, F), torch.randn(5, 4, T, D))
    with evaluation(model, Guide(), 0, torch.device("cpu"), gradients=True):
        joint = Joint(model, Batch(x, None, clips.lengths, None))
        ends = move(joint, start, Latents(torch.ones(4, F), torch.ones(4, T, D)), Langevin(20), lambda: None).latents
    assert clips.lengths is not None
    exists = torch.arange(T) < clips.lengths[:, None]
    assert torch.equal(ends.z[:, ~exists], start.z[:, ~exists])
    assert (ends.z[:, exists] != start.z[:, exists]).all()


# --- what is said of what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_observed_has_no_influence(method: Method) -> None:
    """The same bits whatever stands in missing values and after the end of a clip."""
    clips, found = Clips("missing values, ragged"), []
    for junk in (0.0, 1e6, math.nan):
        clips.x = torch.where(clips.observed, clips.truth, torch.full_like(clips.truth, junk))
        found.append(run(clips, Guide(1.2), draws=20, method=method, **FEW))
    for other in found[1:]:
        for name in ("mean", "sd", "model_mean", "model_sd", "means", "x", "f", "z", "draws"):
            assert torch.equal(getattr(found[0], name), getattr(other, name)), name


@pytest.mark.parametrize("method", METHODS)
def test_the_networks_of_a_guide_see_nothing_of_it_either(method: Method) -> None:
    """With amortised parts, bit for bit; and NaN nowhere."""
    made = objective(Case()).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    mask = torch.rand(x.shape) < 0.5
    mask[1] = False
    found = [
        impute(
            Sampler(made.model, made.guide),
            Batch(torch.where(mask, x, torch.full_like(x, junk)), mask),
            draws=8,
            method=method,
            **FEW,
        )
        for junk in (0.0, 1e6, math.nan)
    ]
    for other in found[1:]:
        assert torch.equal(found[0].means, other.means)
        assert torch.equal(found[0].sd, other.sd)
    assert torch.isfinite(found[0].means).all()


def test_observed_values_are_kept_and_frames_after_the_end_are_zero() -> None:
    clips = Clips("missing values, ragged")
    found = run(clips, Guide(), draws=30)
    seen = clips.observed
    assert torch.equal(found.mean[seen], clips.x[seen])
    assert (found.sd[seen] == 0).all()
    assert torch.equal(found.mean[~seen], found.model_mean[~seen])
    assert torch.equal(found.draws[:, seen], clips.x[seen].expand(30, -1))
    assert torch.equal(found.draws[:, ~seen], found.means[:, ~seen])
    torch.testing.assert_close(found.model_sd, found.means.std(0))
    assert clips.lengths is not None
    ended = torch.arange(T) >= clips.lengths[:, None]
    for value in (found.mean, found.sd, found.model_mean, found.model_sd):
        assert (value[ended] == 0).all()
    assert (found.z[:, ended] == 0).all()
    exists = ~ended.unsqueeze(-1)
    assert (found.sd[exists & ~seen] ** 2 > EXACT.r).all()


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_is_observed_draws_are_the_priors_and_it_is_said(method: Method) -> None:
    """One clip of four: with the prior's moments; and all of four."""
    clips = Clips()
    clips.mask = torch.ones(4, T, dtype=torch.bool)
    clips.mask[1] = False
    options: dict[str, Any] = {
        "draws": 1_500,
        "method": method,
        "langevin": Langevin(2),
        "refinement": FEW["refinement"],
    }
    found = run(clips, Guide(3.0, 2.0), **options)
    assert found.from_prior.tolist() == [False, True, False, False]
    latents = torch.cat([found.f[:, 1], found.z[:, 1].flatten(1)], dim=1)
    variance = torch.from_numpy(np.diag(EXACT.prior_covariance(T)).copy())
    assert (latents.mean(0).abs() < 4.5 * (variance / 1_500).sqrt()).all()
    assert ((latents.var(0) / variance - 1).abs() < 4.5 * math.sqrt(2 / 1_500)).all()
    assert found.posterior.effective_sample_size.isnan().tolist() == [False, True, False, False]
    # The others are in their places still.
    for row in (0, 2, 3):
        apart = (found.f[:, row].mean(0) - torch.from_numpy(smoothed(clips, row)[0][:F])).abs()
        assert method == "amortised" or (apart < 1).all()
    clips.mask[:] = False
    nothing = run(clips, Guide(), **{**options, "draws": 5})
    assert nothing.from_prior.all()
    assert torch.equal(nothing.mean, nothing.model_mean)


def test_everything_observed_is_the_denoised_reconstruction() -> None:
    """``model_mean`` is nearer to the noiseless frames than the frames are, by the factor that the smoother says."""
    rng = np.random.default_rng(0)
    count = 60
    noisy = np.stack([EXACT.simulate(T, rng) for _ in range(count)])
    clips = Clips(count=count)
    clips.x = clips.truth = torch.from_numpy(noisy)
    clips.observed = torch.ones_like(clips.x, dtype=torch.bool)
    found = run(clips, Guide(), draws=200, method="amortised")
    assert torch.equal(found.mean, clips.x)
    for row in range(count):
        _, _, mean, variance = smoothed(clips, row)
        error = torch.from_numpy(variance).sqrt() / math.sqrt(200)
        assert ((found.model_mean[row] - torch.from_numpy(mean)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("prior", "guide", "method"),
    [
        *itertools.product(PARTS["dynamic_prior"], ["LSTM"], ["langevin"]),
        *(("LSTM", guide, "amortised" if guide == "Delta" else "langevin") for guide in PARTS["posterior"]),
    ],
)
def test_every_prior_and_every_posterior_imputes(prior: str, guide: str, method: Method) -> None:
    """Ragged, with missing values: finite, the same for the same seed, and the work is told."""
    made = objective(Case(dynamic_prior=prior, posterior=guide)).double().eval()
    x, lengths = made.model.likelihood.to_model_units(frames_for("Normal")), torch.tensor([5, 2, 1])
    mask = torch.rand(x.shape) < 0.6
    told: list[float] = []
    state = torch.get_rng_state()
    options: dict[str, Any] = {"refinement": Refinement(2, 2, check=4), "langevin": Langevin(4), "method": method}
    once, again = (
        impute(Sampler(made.model, made.guide, progress=told.append), Batch(x, mask, lengths), draws=5, **options)
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(once.means, again.means)
    assert torch.isfinite(once.means).all()
    assert torch.isfinite(once.sd).all()
    assert told == sorted(told[: len(told) // 2]) * 2
    assert told[-1] == pytest.approx(1.0) or guide == "Delta"
    if guide != "Delta":
        assert (once.posterior.acceptance >= 0).all()


@pytest.mark.parametrize("option", ["static_prior", "likelihood"])
def test_every_static_prior_and_likelihood_imputes(option: str) -> None:
    for name in PARTS[option]:
        case = Case(**{option: name})
        made = objective(case).double().eval()
        x = made.model.likelihood.to_model_units(frames_for(case.likelihood))
        mask = torch.rand(x.shape) < 0.6
        few = impute(Sampler(made.model, made.guide), Batch(x, mask), draws=5, method="langevin", **FEW)
        assert torch.isfinite(few.sd).all()
        found = impute(Sampler(made.model, made.guide), Batch(x, mask), draws=100, method="amortised")
        with torch.no_grad():
            frames = cast(Any, made.model.frames(found.f, found.z))
            noise = torch.stack([frames.sample() for _ in range(100)]).var(0).mean(0)
        # The predictive variance is that of the means and the likelihood's on top.
        error = (found.sd / (found.model_sd**2 + noise).sqrt() - 1).abs()[~mask].median()
        assert torch.isfinite(found.sd).all()
        # That of Student's t with hardly more than two degrees of freedom is not seen in samples.
        assert name == "StudentT" or float(error) < 0.05, name


def test_clips_are_independent_of_those_beside_them_and_keep_their_order() -> None:
    """A clip that has no observation moves no other; chunks of one clip give the same distribution."""
    clips = Clips("missing values, ragged")
    whole = run(clips, Guide(), draws=2_000, method="amortised")
    split = run(clips, Guide(), draws=2_000, method="amortised", max_frames=T * 2_000)
    for row in range(4):
        _, _, mean, variance = smoothed(clips, row)
        for found in (whole, split):
            error = torch.from_numpy(variance / 2_000).sqrt()
            assert ((found.model_mean[row, : len(mean)] - torch.from_numpy(mean)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gibbs"}, "methods amortised, refined, langevin, not 'gibbs'"),
        ({"draws": 0}, "draws is 0; it must be a whole number of at least 1"),
        (
            {"mask": torch.ones(3, 4, dtype=torch.bool)},
            r"mask has shape \(3, 4\); of frames \(3, 5, 4\) it must be \(3, 5\)",
        ),
        ({"lengths": torch.tensor([6, 1, 1])}, "lengths lie from 1 to the 5"),
        ({"guide": "Delta"}, "Delta is a point.*amortised"),
        ({"draws": 5, "proposals": 4}, "5 draws cannot be kept of 4"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    made = objective(Case(posterior=options.pop("guide", "LSTM"))).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    batch = Batch(x, mask=options.pop("mask", None), lengths=options.pop("lengths", None))
    with pytest.raises(UsageError, match=message):
        impute(Sampler(made.model, made.guide), batch, **options)
    for name, value in (("transitions", 1), ("leapfrogs", 0)):
        with pytest.raises(UsageError, match=name):
            Langevin(**{name: value})
