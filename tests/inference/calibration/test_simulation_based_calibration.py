"""Simulation-based calibration against the exact posterior of a linear-Gaussian model, and its tests against SciPy."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Delta, MultivariateNormal, Normal, TorchDistribution
from scipy import stats
from torch import Tensor

from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand, chi_square_p_values, discoveries, histograms
from pyro_dsvae.inference.calibration.ranks import _bias_and_width, rank_test
from pyro_dsvae.inference.calibration.sbc import SimulationBasedCalibration, simulation_based_calibration
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.inference.test_linear_gaussian import EXACT, D, F, P, linear_gaussian_dsvae
from tests.oracles import Array

T = 4


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# --- what other tests of calibration use, too -------------------------------------------------------------------------


@lru_cache
def gain_and_covariance(observed: bytes, length: int) -> tuple[Array, Array]:
    """Of the posterior of (f, z): its mean is the gain times the observed values, zero elsewhere."""
    rows = np.frombuffer(observed, dtype=bool)[: length * P]
    m = EXACT.emission(length)[rows]
    covariance = EXACT.posterior(np.zeros((length, P)), rows.reshape(length, P))[1]
    gain = np.zeros((len(covariance), length * P))
    gain[:, rows] = covariance @ m.T / EXACT.r
    return gain, covariance


class ExactGuide:
    """The exact posterior of the linear-Gaussian model for clips of any length, or one that is wrong in a known way.

    stretch    factor of all standard deviations
    shift      of all means, in standard deviations
    marginals  the right normal for every entry, but without their correlations
    """

    def __init__(self, stretch: float = 1.0, shift: float = 0.0, marginals: bool = False) -> None:
        self.stretch, self.shift, self.marginals = stretch, shift, marginals

    def normals(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        count, most = x.shape[:2]
        observed = torch.ones(x.shape, dtype=torch.bool)
        if mask is not None:
            observed &= mask if mask.ndim == 3 else mask.unsqueeze(-1)
        loc, tril = torch.zeros(count, F + most * D), torch.eye(F + most * D).repeat(count, 1, 1)
        for b in range(count):
            length = most if lengths is None else int(lengths[b])
            gain, covariance = gain_and_covariance(observed[b, :length].numpy().tobytes(), length)
            seen = torch.where(observed[b, :length], x[b, :length], torch.zeros_like(x[b, :length]))
            size, deviation = len(covariance), np.sqrt(np.diag(covariance))
            loc[b, :size] = torch.from_numpy(gain) @ seen.flatten() + self.shift * torch.from_numpy(deviation)
            factor = np.diag(deviation) if self.marginals else np.linalg.cholesky(covariance)
            tril[b, :size, :size] = self.stretch * torch.from_numpy(factor)
        return loc, tril

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> None:
        steps = Steps(x.shape[1], lengths)
        loc, tril = self.normals(x, mask, lengths)
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", MultivariateNormal(loc[:, :F], scale_tril=tril[:, :F, :F]))
            noise = torch.linalg.solve_triangular(tril[:, :F, :F], (f - loc[:, :F]).unsqueeze(-1), upper=False)
            mean = loc[:, F:] + (tril[:, F:, :F] @ noise).squeeze(-1)
            lower = tril[:, F:, F:]

            def push(e: Tensor) -> tuple[Tensor, Tensor]:
                z = mean + (lower @ e.flatten(-2).unsqueeze(-1)).squeeze(-1)
                return z.unflatten(-1, (-1, D)), lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)

            def pull(z: Tensor) -> Tensor:
                centred = (z.flatten(-2) - mean).unsqueeze(-1)
                return torch.linalg.solve_triangular(lower, centred, upper=False).reshape(z.shape)

            zero = torch.zeros(*f.shape[:-1], x.shape[1], D)
            pyro.sample("z", Pushforward(steps.join(Normal(zero, zero + 1).to_event(1)), push, pull))


class Watched:
    """The exact posterior, which makes sure that it is asked of the masks and lengths of ``sequences``, row by row."""

    def __init__(self, sequences: Sequences) -> None:
        self.sequences, self.at = sequences, 0

    def __call__(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None, times: Tensor | None) -> None:
        rows = torch.arange(self.at, self.at + len(x)) % len(self.sequences)
        self.at += len(x)
        for given, known in ((mask, self.sequences.mask), (lengths, self.sequences.lengths)):
            assert given is not None
            assert known is not None
            assert torch.equal(given, known[rows])
        ExactGuide()(x, mask, lengths, times)


def simulated(count: int, length: int = T, seed: int = 0) -> Sequences:
    """Sequences (count, length, P) from the linear-Gaussian model."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.stack([EXACT.simulate(length, rng) for _ in range(count)]))
    return Sequences(x, None, None, torch.arange(count))


def template(ragged: bool = False) -> Sequences:
    """Only shapes, masks and lengths; a frame of it must never be looked at."""
    x = torch.full((5, T, P), math.nan)
    if not ragged:
        return Sequences(x, None, None, torch.arange(5))
    mask = torch.rand(5, T, P, generator=torch.Generator().manual_seed(1)) < 0.7
    return Sequences(x, mask, torch.tensor([4, 2, 3, 4, 1]), torch.arange(5))


def calibrated(guide: object, sequences: Sequences | None = None, **options: int) -> SimulationBasedCalibration:
    sequences = template() if sequences is None else sequences
    return simulation_based_calibration(Sampler(linear_gaussian_dsvae(), guide), sequences, **options)  # type: ignore[arg-type]


# --- the guide --------------------------------------------------------------------------------------------------------


def test_ranks_of_the_exact_posterior_are_uniform() -> None:
    """20 independent runs: p-values below 5 % in about 5 % of coordinates, by both tests; statements rarely wrong."""
    runs = [calibrated(ExactGuide(), simulations=200, seed=seed) for seed in range(100, 120)]
    for kind in ("p_values", "chi_square"):
        p = torch.stack([torch.cat([getattr(t, kind).flatten() for t in (r.static, r.dynamic)]) for r in runs])
        assert p.shape == (20, F + T * D)
        # Coordinates of one run depend on each other, runs do not.
        assert (stats.kstest(p.numpy(), "uniform", axis=0).pvalue > 0.001).all()
        assert float((p < 0.05).double().mean()) < 0.12
    joint = np.array([float(r.log_joint.p_values[0]) for r in runs if r.log_joint is not None])
    assert stats.kstest(joint, "uniform").pvalue > 0.01
    symmetry = torch.cat([t.symmetry for r in runs for t in (r.static, r.dynamic)]).numpy()
    assert stats.kstest(symmetry, "uniform").pvalue > 0.01
    said = [any(finding.severity != "good" for finding in r.findings) for r in runs]
    assert sum(said) <= 4  # of 20, where 5 % are expected: 2 % for q(f) and q(z) each, and 1 % for the joint
    widths = torch.cat([t.width for r in runs for t in (r.static, r.dynamic)])
    assert float(widths.mean()) == pytest.approx(1, abs=0.02)


def test_ranks_of_many_simulations_are_uniform_to_scipy() -> None:
    """5,000 simulations, every rank from 0 to L equally often, in every coordinate."""
    found = calibrated(ExactGuide(), simulations=5_000, joint_draws=0, draws=19)
    ranks = torch.cat([found.static.ranks, found.dynamic.ranks.flatten(1)], dim=1).numpy()
    counts = np.stack([np.bincount(column, minlength=20) for column in ranks.T])
    assert counts.shape == (F + T * D, 20)
    assert (stats.chisquare(counts, axis=1).pvalue > 0.002).all()


@pytest.mark.parametrize("stretch", [0.7, 1.4])
def test_a_wrong_scale_is_said_with_its_size_and_is_no_bias(stretch: float) -> None:
    found = calibrated(ExactGuide(stretch), simulations=600)
    for test, name in ((found.static, "f"), (found.dynamic, "z")):
        right, wrong = (test.narrow, test.wide) if stretch < 1 else (test.wide, test.narrow)
        assert right.all()
        assert not wrong.any()
        assert not test.biased.any()
        torch.testing.assert_close(test.width, torch.full((2,), stretch), rtol=0.1, atol=0)
        assert (test.p_values < 0.01).all()
        sentence = next(f for f in found.findings if f.subject.startswith(f"q({name})"))
        assert sentence.severity == "warning"
        assert f"too {'narrow' if stretch < 1 else 'wide'} in 2 of 2 dimensions" in sentence.sentence


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_a_shift_is_said_with_its_direction(shift: float) -> None:
    found = calibrated(ExactGuide(shift=shift), simulations=400)
    for test in (found.static, found.dynamic):
        assert test.biased.all()
        torch.testing.assert_close(test.bias, torch.full((2,), shift).double(), rtol=0, atol=0.12)
        assert not (test.narrow | test.wide).any()
    where = "0 too low, 2 too high" if shift > 0 else "2 too low, 0 too high"
    assert all(f"biased in 2 of 2 dimensions ({where})" in f.sentence for f in found.findings[:2])


def test_lost_correlations_show_in_the_log_joint_alone() -> None:
    """Every entry has its exact marginal posterior, so no coordinate can show it."""
    found = calibrated(ExactGuide(marginals=True), simulations=400, seed=1)
    assert [f.severity for f in found.findings] == ["good", "good", "note"]
    assert "less likely under the model than true latents" in found.findings[2].sentence


def test_lengths_and_masks_of_the_sequences_are_honoured() -> None:
    sequences = template(ragged=True)
    found = calibrated(ExactGuide(), sequences, simulations=300, seed=3)
    assert sequences.lengths is not None
    exists = torch.arange(T) < sequences.lengths[torch.arange(300) % 5, None]
    assert torch.equal(found.dynamic.ranks >= 0, exists.unsqueeze(-1).expand(-1, -1, D))
    assert (found.dynamic.p_values > 0.002).all()
    assert [f.severity for f in found.findings] == ["good"] * 3
    # 120 of 300 sequences have a fourth step: its p-values are those of the band of 120 values.
    u = (found.dynamic.ranks[exists[:, 3], 3] + 0.5) / 40
    torch.testing.assert_close(found.dynamic.p_values[3], ECDFBand.of(120, 20).p_values(histograms(u, 20)))
    # The guide saw no more than it would of the sequences: with all values it would say more, and be right, too.
    blind = calibrated(Watched(sequences), sequences, simulations=50, joint_draws=0)
    assert blind.static.ranks.shape == (50, F)
    narrow = calibrated(ExactGuide(0.6), sequences, simulations=300, seed=2)
    assert narrow.dynamic.narrow.all()


def test_ranks_are_those_of_a_loop_and_ties_are_broken_at_random() -> None:
    """A guide that says the same whatever it sees: a point at zero, which is below half of all true values."""

    def point(x: Tensor, *_: object) -> None:
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", Delta(torch.zeros(len(x), F), event_dim=1))
            pyro.sample("z", Delta(torch.zeros(len(x), T, D), event_dim=2))

    found = calibrated(point, simulations=200, joint_draws=0)
    assert found.log_joint is None
    assert set(found.static.ranks.unique().tolist()) == {0, 39}
    assert found.static.narrow.all()
    assert (found.static.width < 0.06).all()

    def copies(x: Tensor, *_: object) -> None:
        """f as it was drawn, which this model shows in its first frame, again and again."""
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", Delta(x[:, 0, :F], event_dim=1))
            pyro.sample("z", Normal(torch.zeros(len(x), T, D), 1.0).to_event(2))

    ranks = simulation_based_calibration(Sampler(shown(), copies), template(), 600, joint_draws=0).static.ranks  # type: ignore[arg-type]
    assert stats.chisquare(np.bincount(ranks.flatten().numpy(), minlength=40)).pvalue > 0.01


def shown() -> DSVAE:
    """A model whose frames begin with f itself, as good as without noise."""
    made = linear_gaussian_dsvae()

    class Shown(FrameDecoder):
        def decode(self, f: Tensor, z: Tensor) -> Tensor:
            return torch.cat([f, f[..., :1]], dim=-1).unsqueeze(-2).expand(*z.shape[:-1], P)

    class Exact(Likelihood):
        def forward(self, decoded: Tensor) -> TorchDistribution:
            return Delta(decoded)

        def check(self, frames: Tensor) -> None:
            pass

    return DSVAE(made.static_prior, made.dynamic_prior, Shown((P,)), Exact((P,)))


def test_a_model_without_f_has_no_ranks_of_it() -> None:
    made = linear_gaussian_dsvae()

    class Still(FrameDecoder):
        def decode(self, f: Tensor, z: Tensor) -> Tensor:
            return z[..., :1].expand(*z.shape[:-1], P)

    def guide(x: Tensor, *_: object) -> None:
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", Normal(torch.zeros(len(x), 0), 1.0).to_event(1))
            pyro.sample("z", Normal(torch.zeros(len(x), T, D), 1.0).to_event(2))

    frames = FixedNormal((P,), scale=1.0, scale_kind="fixed")
    model = DSVAE(StandardNormal(0), made.dynamic_prior, Still((P,)), frames)
    found = simulation_based_calibration(Sampler(model, guide), template(), 50)
    assert found.static.width.shape == (0,)
    assert [finding.subject[:4] for finding in found.findings] == ["q(z)", "log "]


def test_seeds_repeat_and_chunks_bound_memory() -> None:
    one, two = (calibrated(ExactGuide(), simulations=60, seed=3) for _ in range(2))
    assert torch.equal(one.dynamic.ranks, two.dynamic.ranks)
    shares: list[float] = []
    simulation_based_calibration(
        Sampler(linear_gaussian_dsvae(), ExactGuide(), max_frames=1600, progress=shares.append), template(), 60
    )
    assert len(shares) == 6  # 1,600 frames are 10 simulations with 40 paths of 4 steps
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simulations": 10}, "at least 50 simulations"),
        ({"draws": 50}, "one less than a multiple of 20"),
        ({"joint_draws": 59}, "at most the 39 draws"),
    ],
)
def test_numbers_that_make_no_test_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibrated(ExactGuide(), **options)


# --- the tests behind it ----------------------------------------------------------------------------------------------


def test_the_band_holds_uniform_samples_as_a_whole_and_no_better_band_is_narrower() -> None:
    rng = np.random.default_rng(0)
    for count in (40, 300):
        band = ECDFBand.of(count, 20)
        below = (rng.random((4_000, count, 1)) < band.points.numpy()).mean(1)
        inside = ((below >= band.lower.numpy() - 1e-12) & (below <= band.upper.numpy() + 1e-12)).all(1).mean()
        # Counts are whole numbers, so a band cannot hold exactly 95 %: at least that, up to the noise of 4,000 samples twice.
        assert 0.94 < inside < 0.975
        pointwise = stats.binom.interval(0.95, count, band.points.numpy())
        assert (band.lower.numpy() * count <= pointwise[0]).all()
        assert (band.upper.numpy() * count >= pointwise[1]).all()


def test_p_values_of_the_band_are_those_of_simulation_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    count, bins = 60, 20
    u = rng.beta(1.3, 1.0, (count, 5))
    found = ECDFBand.of(count, bins).p_values(histograms(torch.from_numpy(u), bins))

    def extreme(sample: Array) -> float:
        points = np.arange(1, bins) / bins
        c = (sample[:, None] < points).sum(0)
        tails = np.minimum(stats.binom.cdf(c, count, points), stats.binom.sf(c - 1, count, points))
        return float(2 * tails.min())

    null = np.array([extreme(rng.random(count)) for _ in range(2_000)])
    for j in range(5):
        p = (null <= extreme(u[:, j]) + 1e-12).mean()
        assert float(found[j]) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) * 1.5 / 2_000) + 2e-3)


def test_small_tests_by_hand() -> None:
    rng = np.random.default_rng(2)
    u = torch.from_numpy(rng.random((300, 7)))
    counts = histograms(u, 20)
    expected = np.stack([np.histogram(u[:, j], 20, (0, 1))[0] for j in range(7)])
    assert counts.tolist() == expected.tolist()
    # Two bins with 6 and 2 counts: the statistic is (2^2 + 2^2) / 4 = 2, the square of a normal value. Nothing counted: 1.
    p = chi_square_p_values(torch.tensor([[6, 2], [0, 0]]))
    torch.testing.assert_close(p, torch.tensor([math.erfc(1.0), 1.0], dtype=torch.float64))
    # Of four p-values the i-th smallest is allowed .05 i / 4; the third is too large, and the fourth not.
    assert discoveries(torch.tensor([0.049, 0.001, 0.04, 0.02]).double()).tolist() == [True] * 4
    assert discoveries(torch.tensor([0.06, 0.001, 0.04, 0.02]).double()).tolist() == [False, True, False, True]
    assert discoveries(torch.ones(0)).tolist() == []
    u[0, 0] = math.nan
    assert histograms(u, 20)[0].sum() == 299


@pytest.mark.parametrize("bias", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("scale", [0.6, 0.8, 1.0, 1.3, 1.6])
def test_bias_and_width_are_those_of_normals(scale: float, bias: float) -> None:
    """Ranks of true values N(0, 1) among draws N(bias, scale^2): no bias hides or feigns a width."""
    rng = np.random.default_rng(3)
    count, draws, size = 2_000, 39, 8
    true = rng.standard_normal((count, 1, size))
    q = bias + scale * rng.standard_normal((count, draws, size))
    ranks = torch.from_numpy((q < true).sum(1)).unsqueeze(1)
    test = rank_test(ranks, draws, ECDFBand.of(count, 20), torch.Generator().manual_seed(0))
    assert float(test.width.mean()) == pytest.approx(scale, rel=0.03)
    assert float(test.bias.mean()) == pytest.approx(bias, abs=0.03)
    assert bool(test.narrow.all()) == (scale < 1)
    assert bool(test.wide.all()) == (scale > 1)
    assert not (test.narrow & test.wide).any()
    assert scale != 1 or not (test.narrow | test.wide).any()


def test_the_error_of_the_width_is_that_of_repetitions() -> None:
    """Of 300 simulations, at a width of 1 and a bias that is not known: said wrong as often as promised."""
    rng = np.random.default_rng(5)
    for bias in (0.0, 0.6):
        true, q = rng.standard_normal((300, 1, 4_000)), bias + rng.standard_normal((300, 19, 4_000))
        ranks = torch.from_numpy((q < true).sum(1)).unsqueeze(1).double()
        _, _, difference, error = _bias_and_width(ranks, torch.ones_like(ranks, dtype=torch.bool), 19)
        z = (difference / error).numpy()
        assert z.std() == pytest.approx(1, abs=0.05)
        assert (np.abs(z) > 2.576).mean() == pytest.approx(0.01, abs=0.006)


def test_dependent_steps_are_taken_as_one() -> None:
    """Every step of a simulation has the same rank: 16 times the same numbers say no more than once."""
    generator = torch.Generator().manual_seed(4)
    wrong = []
    for _ in range(25):
        ranks = torch.randint(0, 20, (60, 1, 3), generator=generator).expand(-1, 16, -1)
        test = rank_test(ranks, 19, ECDFBand.of(60, 20), generator)
        wrong.append((test.narrow | test.wide).any() or test.biased.any())
    assert sum(map(bool, wrong)) <= 3  # of 25, two families of statements at 1 %
