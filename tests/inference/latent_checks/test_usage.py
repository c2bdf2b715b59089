"""KL terms, active units and information per dimension, against closed forms, quadrature and loops."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal
from scipy import integrate, stats
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_checks.usage import LatentUsage, latent_usage
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.inference.calibration.test_simulation_based_calibration import ExactGuide, simulated
from tests.inference.test_contracts import frames_for, recipe
from tests.inference.test_linear_gaussian import EXACT, D, F, P, linear_gaussian_dsvae
from tests.oracles import Array

T, N = 4, 400


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Planted:
    """A guide whose means are written in the clip: f (B, 2) in the first frame, z (B, T, 1) in the last value of every frame.

    scale  (2,) of f, and of z
    flow   as a distribution that does not tell its moments
    """

    def __init__(self, scale: tuple[float, float] = (0.5, 1.0), z_scale: float = 0.3, flow: bool = False) -> None:
        self.scale, self.z_scale, self.flow = torch.tensor(scale), z_scale, flow

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> None:
        q_f: Any = Normal(x[:, 0, :2], self.scale).to_event(1)
        q_z: Any = Steps(x.shape[1], lengths).join(Normal(x[..., 2:], self.z_scale).to_event(1))
        if self.flow:
            q_f, q_z = (Pushforward(q, lambda e: (e, e.new_zeros(())), lambda y: y) for q in (q_f, q_z))
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", q_f)
            pyro.sample("z", q_z)


def planted_model() -> DSVAE:
    return DSVAE(StandardNormal(2), IID(1), Zero((P,)), noise()).double()


def noise() -> FixedNormal:
    """N(x, 1)."""
    return FixedNormal((P,), scale=1.0, scale_kind="fixed")


class Zero(FrameDecoder):
    """Frames of zeros, whatever the latents are."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return torch.zeros(*z.shape[:-1], P)


def planted_frames(f_scale: tuple[float, float], z_scale: float, lengths: Tensor | None = None) -> Sequences:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((N, T, P)) * np.array([*f_scale, z_scale]))
    return Sequences(x, None, lengths, torch.arange(N))


# --- rate and distortion ----------------------------------------------------------------------------------------------


def test_the_terms_of_the_exact_posterior_add_up_to_the_evidence() -> None:
    """And the rates are those of two normals."""
    sequences = simulated(30)
    use = latent_usage(Sampler(linear_gaussian_dsvae(), ExactGuide()), sequences, draws=400)
    evidence = [EXACT.kalman_evidence(x.numpy(), np.ones((T, P))) for x in sequences.frames]
    # Only 4 draws are decoded, so single sums are noisy; their mean over sequences is not.
    off = use.elbo - torch.tensor(evidence)
    assert abs(float(off.mean())) < 4 * float(off.std()) / math.sqrt(30)
    for b in range(3):
        m, S = EXACT.posterior(sequences.frames[b].numpy(), np.ones((T, P)))
        expected = 0.5 * (np.trace(S[:F, :F]) + m[:F] @ m[:F] - F - np.linalg.slogdet(S[:F, :F])[1])
        assert float(use.kl_static[b]) == pytest.approx(expected, abs=0.3)
        prior = EXACT.prior_covariance(T)
        whole = np.trace(np.linalg.solve(prior, S)) + m @ np.linalg.solve(prior, m) - len(m)
        whole += np.linalg.slogdet(prior)[1] - np.linalg.slogdet(S)[1]
        assert float(use.kl_static[b] + use.kl_dynamic[b]) == pytest.approx(0.5 * whole, abs=0.6)
    assert use.kl_static.dtype == use.kl_dynamic.dtype == use.reconstruction.dtype == torch.float64


def test_closed_forms_are_used_where_there_are_any() -> None:
    sequences = planted_frames((1.0, 0.0), 1.0, torch.tensor([4, 2]).repeat(N // 2))
    use = latent_usage(Sampler(planted_model(), Planted()), sequences)
    assert use.estimators == {"f": "closed form", "z": "closed form"}
    scale = torch.tensor([0.5, 1.0])
    f = sequences.frames[:, 0, :2]
    torch.testing.assert_close(use.kl_static, (0.5 * (f**2 + scale**2 - 1) - scale.log()).sum(1))
    steps = 0.5 * (sequences.frames[..., 2] ** 2 + 0.09 - 1) - math.log(0.3)
    exists = torch.arange(T) < torch.tensor([4, 2]).repeat(N // 2)[:, None]
    torch.testing.assert_close(use.kl_dynamic, (steps * exists).sum(1))
    log_prob = torch.from_numpy(stats.norm.logpdf(sequences.frames.numpy())).sum(-1)
    torch.testing.assert_close(use.reconstruction, (log_prob * exists).sum(1))
    assert (
        latent_usage(Sampler(planted_model(), Planted(flow=True)), sequences).estimators["f"].startswith("Monte Carlo")
    )


# --- active units and information -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [False, True], ids=["moments known", "moments of draws"])
def test_active_units_are_those_whose_mean_varies(flow: bool) -> None:
    """f_1 moves, f_2 has a posterior as wide as the prior and means within 5 % of it: not active, whatever draws add."""
    use = latent_usage(Sampler(planted_model(), Planted(flow=flow)), planted_frames((0.8, 0.05), 0.5))
    expected = planted_frames((0.8, 0.05), 0.5).frames[:, 0, :2].var(0)
    # The variance of the prior is that of 32 draws per sequence; that of the flow's means has the noise of draws taken off.
    torch.testing.assert_close(use.variance_static, expected, rtol=0.04, atol=0.006 if flow else 0)
    assert use.active_static.tolist() == [True, False]
    assert use.active_dynamic.tolist() == [True]
    assert float(use.variance_dynamic[0]) == pytest.approx(0.25, rel=0.12)
    strict = latent_usage(Sampler(planted_model(), Planted(flow=flow)), planted_frames((0.8, 0.05), 0.5), threshold=0.5)
    assert strict.active_static.tolist() == [True, False]
    assert strict.active_dynamic.tolist() == [False]
    assert strict.threshold == 0.5


def quadrature_kl(m: Array, s: float, M: float, S: float) -> Array:
    """KL(N(m, s^2) || N(M, S^2)) for every mean m (n,), as integrals over twelve standard deviations."""
    u = m + s * np.linspace(-12, 12, 2_001)[:, None]
    q, p = stats.norm.logpdf(u, m, s), stats.norm.logpdf(u, M, S)
    return integrate.trapezoid(np.exp(q) * (q - p), dx=s * 24 / 2_000, axis=0)


@pytest.mark.parametrize("flow", [False, True], ids=["moments known", "moments of draws"])
def test_information_is_the_mean_kl_from_the_aggregated_posterior(flow: bool) -> None:
    """By quadrature for every sequence, with the moments of the aggregated posterior from a pool of its components."""
    sequences = planted_frames((0.8, 0.05), 0.5)
    use = latent_usage(Sampler(planted_model(), Planted(flow=flow)), sequences, draws=64 if flow else 2)
    for k, scale in enumerate((0.5, 1.0)):
        means = sequences.frames[:, 0, k].numpy()
        S = math.sqrt(means.var(ddof=1) + scale**2)
        expected = quadrature_kl(means, scale, means.mean(), S).mean()
        assert float(use.kl_static_per_dimension[k]) == pytest.approx(expected, abs=0.02 if flow else 0.004)
    means = sequences.frames[..., 2].flatten().numpy()
    S = math.sqrt(means.var(ddof=1) + 0.09)
    expected = T * quadrature_kl(means, 0.3, means.mean(), S).mean()
    assert float(use.kl_dynamic_per_dimension[0]) == pytest.approx(expected, rel=0.01)


def test_information_of_a_normal_channel_is_its_mutual_information() -> None:
    """u = m + noise, both normal: log(1 + signal / noise) / 2, and none where the posterior is the prior."""
    use = latent_usage(Sampler(planted_model(), Planted((0.5, 1.0))), planted_frames((1.0, 0.0), 0.0))
    assert float(use.kl_static_per_dimension[0]) == pytest.approx(0.5 * math.log(1 + 4), abs=0.1)
    assert float(use.kl_static_per_dimension[1]) == pytest.approx(0, abs=1e-9)
    assert float(use.kl_dynamic_per_dimension[0]) == pytest.approx(0, abs=1e-9)


def test_steps_that_do_not_exist_count_nowhere() -> None:
    lengths = torch.tensor([4, 1, 2, 3]).repeat(N // 4)
    sequences = planted_frames((0.8, 0.05), 0.5, lengths)
    exists = torch.arange(T) < lengths[:, None]
    uses = []
    for junk in (0.0, 1e3):
        frames = torch.where(exists.unsqueeze(-1), sequences.frames, torch.tensor(junk))
        uses.append(latent_usage(Sampler(planted_model(), Planted()), Sequences(frames, None, lengths, sequences.rows)))
    for name in ("kl_dynamic", "reconstruction", "variance_dynamic", "kl_dynamic_per_dimension"):
        assert torch.equal(getattr(uses[0], name), getattr(uses[1], name)), name
    means = sequences.frames[..., 2][exists]
    total = float(means.var()) + 0.09
    expected = 0.5 * math.log(total / 0.09) * len(means) / N
    assert float(uses[0].kl_dynamic_per_dimension[0]) == pytest.approx(expected)
    assert float(uses[0].variance_dynamic[0]) == pytest.approx(float(means.var()), rel=0.05)


def test_the_variance_of_z_is_measured_by_its_own_prior() -> None:
    """Marginal variances of the linear-Gaussian prior, pooled over steps, and posterior means by the gain."""
    sequences = simulated(500, seed=2)
    use = latent_usage(Sampler(linear_gaussian_dsvae(), ExactGuide()), sequences, draws=64)
    prior = np.diag(EXACT.prior_covariance(T))[F:].reshape(T, D).mean(0)
    means = np.stack([EXACT.posterior(x.numpy(), np.ones((T, P)))[0] for x in sequences.frames])
    expected = means[:, F:].reshape(-1, D).var(0, ddof=1) / prior
    np.testing.assert_allclose(use.variance_dynamic.numpy(), expected, rtol=0.08)
    np.testing.assert_allclose(use.variance_static.numpy(), means[:, :F].var(0, ddof=1), rtol=0.08)


# --- every posterior --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PARTS["posterior"] if name != "Delta"])
def test_every_posterior_is_told(name: str) -> None:
    use = used(name)
    assert use.kl_static.shape == use.kl_dynamic.shape == use.reconstruction.shape == (3,)
    for values, size in ((use.kl_static_per_dimension, 3), (use.kl_dynamic_per_dimension, 2)):
        assert values.shape == (size,)
        assert torch.isfinite(values).all()
        assert (values >= 0).all()
    assert use.active_static.dtype == torch.bool
    assert use.variance_dynamic.shape == (2,)


def used(posterior: str, static_size: int = 3, **options: Any) -> LatentUsage:
    frames = frames_for("Normal").double()
    made = build(
        frames,
        0,
        static_size,
        2,
        recipe("static_prior", "StandardNormal"),
        recipe("dynamic_prior", "LSTM"),
        recipe("posterior", posterior),
        recipe("likelihood", "Normal"),
        recipe("decoder", "Dense"),
    ).double()
    sequences = Sequences(frames, None, torch.tensor([5, 2, 3]), torch.arange(3))
    sampler = Sampler(
        made.model, made.guide, max_frames=options.pop("max_frames", None), progress=options.pop("progress", None)
    )
    return latent_usage(sampler, sequences, **options)


def test_a_seed_repeats_and_the_size_of_chunks_changes_only_noise() -> None:
    one, two = used("LSTM"), used("LSTM")
    assert torch.equal(one.kl_dynamic, two.kl_dynamic)
    assert torch.equal(one.kl_dynamic_per_dimension, two.kl_dynamic_per_dimension)
    shares: list[float] = []
    small = used("LSTM", max_frames=1, progress=shares.append)
    torch.testing.assert_close(small.kl_static, one.kl_static)
    torch.testing.assert_close(small.kl_static_per_dimension, one.kl_static_per_dimension)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_model_without_f_has_none_to_tell() -> None:
    use = latent_usage(
        Sampler(DSVAE(StandardNormal(0), IID(1), Zero((P,)), noise()).double(), without_static),
        planted_frames((1.0, 1.0), 1.0),
    )
    for values in (use.variance_static, use.active_static, use.kl_static_per_dimension):
        assert values.shape == (0,)
    assert (use.kl_static == 0).all()
    assert use.active_dynamic.tolist() == [True]


def without_static(x: Tensor, *_: object) -> None:
    with pyro.plate("sequences", len(x), dim=-1):
        pyro.sample("f", Normal(torch.zeros(len(x), 0), 1.0).to_event(1))
        pyro.sample("z", Normal(x[..., 2:], 0.3).to_event(2))


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(UsageError, match="Delta is a point"):
        used("Delta")
    with pytest.raises(UsageError, match="at least 2 draws"):
        used("LSTM", draws=1)
    with pytest.raises(UsageError, match="threshold of active units must be positive"):
        used("LSTM", threshold=0.0)
    with pytest.raises(UsageError, match="at least 2 sequences, not 1"):
        latent_usage(Sampler(planted_model(), Planted()), Sequences(torch.zeros(1, T, P), None, None, torch.arange(1)))
