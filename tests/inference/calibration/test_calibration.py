"""Predictive calibration against exact predictive distributions, closed forms and SciPy."""

import math
from collections.abc import Iterator

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Poisson
from scipy import stats
from torch import Tensor

from pyro_dsvae.inference.calibration.coverage import LEVELS, Coverage, coverage_of
from pyro_dsvae.inference.calibration.intervals import Calibrations, _Ranks, calibration
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from tests.inference.calibration.test_simulation_based_calibration import ExactGuide, simulated
from tests.inference.test_linear_gaussian import EXACT, D, F, P, linear_gaussian_dsvae
from tests.oracles import Array

T = 4


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def model(factor: float = 1.0) -> DSVAE:
    """The linear-Gaussian model, its frames with standard deviations ``factor`` times as large."""
    true = linear_gaussian_dsvae()
    frames = Normal((P,), scale=factor * math.sqrt(EXACT.r), scale_kind="fixed").double()
    return DSVAE(true.static_prior, true.dynamic_prior, true.decoder, frames)


def found(sequences: Sequences, factor: float = 1.0, guide: ExactGuide | None = None, **options: int) -> Calibrations:
    options = {"at_most": 2_000, "context": 2, **options}
    return calibration(Sampler(model(factor), guide or ExactGuide()), sequences, **options)


def assert_near(coverage: Coverage, expected: list[float]) -> None:
    """Within four standard errors, which are small."""
    assert (coverage.coverage_error < 0.02).all()
    deviation = coverage.coverage - torch.tensor(expected)
    assert (deviation.abs() < 4 * coverage.coverage_error).all(), coverage.coverage


# --- the well-specified model, and planted faults ---------------------------------------------------------------------


def test_the_true_model_with_its_exact_posterior_is_calibrated() -> None:
    """Frames given latents, and forecasts from the exact filter one and two steps ahead: nominal, and nothing is said."""
    result = found(simulated(1_000), seed=1)
    assert [c.horizon for c in result.forecasts] == [1, 2]
    for each in (result.given_latents, *result.forecasts):
        for coverage in (each.values, each.frame_means):
            assert_near(coverage, list(LEVELS))
            assert coverage.p_value > 0.005
            assert ((coverage.histogram - 0.05).abs() < 4.5 * coverage.histogram_error).all()
            assert abs(coverage.mean - 0.5) < 4 * coverage.mean_error
            assert float(coverage.histogram.sum()) == pytest.approx(1)
    assert [finding.severity for finding in result.findings] == ["good"] * 3


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_a_wrong_scale_gives_the_coverage_that_normals_give(factor: float) -> None:
    """x - E[x | f, z] is N(0, r) whatever the likelihood claims; intervals are ``factor`` times as wide as they should be."""
    result = found(simulated(800), factor, draws=159)
    half = stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    assert_near(result.given_latents.values, list(2 * stats.norm.cdf(factor * half) - 1))
    word = "narrow" if factor < 1 else "wide"
    assert result.findings[0].severity == "warning"
    assert f"intervals of single values are too {word}" in result.findings[0].sentence
    assert result.given_latents.values.p_value < 0.01
    # The forecast's own uncertainty hides part of it.
    off = [(c.values.coverage - torch.tensor(LEVELS)).abs().max() for c in (result.given_latents, *result.forecasts)]
    assert off[0] > off[1]


def test_forecast_pit_is_that_of_the_exact_predictive_normal() -> None:
    """P(x_3 < observed | x_1, x_2) of every value from one dense normal over all frames, against ranks among 400 draws."""
    sequences = simulated(60, seed=3)
    result = found(sequences, draws=399, at_most=60)
    x = sequences.frames.numpy().reshape(60, -1)
    m = EXACT.emission(T)
    covariance = m @ EXACT.prior_covariance(T) @ m.T + EXACT.r * np.eye(len(m))
    past, ahead = slice(0, 2 * P), slice(2 * P, 3 * P)
    gain = covariance[ahead, past] @ np.linalg.inv(covariance[past, past])
    spread = np.sqrt(np.diag(covariance[ahead, ahead] - gain @ covariance[past, ahead]))
    exact = stats.norm.cdf((x[:, ahead] - x[:, past] @ gain.T) / spread)
    one = result.forecasts[0].values.one.numpy()
    # ``one`` is one of the three values of the frame, which of them is random.
    assert np.abs(exact - one[:, None]).min(1).max() < 4.5 * 0.5 / math.sqrt(400)
    inside = (np.abs(exact - 0.5)[..., None] < np.array(LEVELS) / 2).mean((0, 1))
    np.testing.assert_allclose(result.forecasts[0].values.coverage.numpy(), inside, atol=0.04)


def test_a_biased_posterior_is_said_to_be_one() -> None:
    result = found(simulated(400), guide=ExactGuide(shift=2.0))
    text = " ".join(finding.sentence for finding in result.findings)
    assert "than predicted" in text
    assert {finding.severity for finding in result.findings} & {"warning", "serious"}


def test_frame_means_show_what_single_values_hide() -> None:
    """Errors shared by all values of a frame: the scale of single values is right, that of means is not."""
    rng = np.random.default_rng(4)
    sequences = simulated(600)
    shared = math.sqrt(EXACT.r) * rng.standard_normal((600, T, 1))
    frames = torch.from_numpy(noiseless(600) + shared)
    guide_of_truth = TrueLatents(600)
    result = calibration(
        Sampler(model(), guide_of_truth), Sequences(frames, None, None, sequences.rows), context=2, at_most=600
    )
    assert_near(result.given_latents.values, list(LEVELS))
    half = stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    expected = 2 * stats.norm.cdf(half / math.sqrt(P)) - 1
    deviation = result.given_latents.frame_means.coverage.numpy() - expected
    assert np.abs(deviation).max() < 0.05
    assert "a frame's mean" in result.findings[0].sentence


LATENTS = np.linalg.cholesky(EXACT.prior_covariance(T)) @ np.random.default_rng(6).standard_normal((F + T * D, 600))


def noiseless(count: int) -> Array:
    return (EXACT.emission(T) @ LATENTS[:, :count]).T.reshape(count, T, P)


class TrueLatents:
    """A guide that knows the latents of 600 clips by the order in which they come; only whole clips are asked for first."""

    def __init__(self, count: int) -> None:
        self.latents = torch.from_numpy(LATENTS.T[:count].copy())
        self.at = 0

    def __call__(self, x: Tensor, *_: object) -> None:
        rows = torch.arange(self.at, self.at + len(x)) % len(self.latents)
        self.at += len(x)
        latents = self.latents[rows]
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", pyro.distributions.Delta(latents[:, :F], event_dim=1))
            z = latents[:, F:].unflatten(1, (T, D))[:, : x.shape[1]]
            pyro.sample("z", pyro.distributions.Delta(z, event_dim=2))


# --- what is counted --------------------------------------------------------------------------------------------------


def test_discrete_values_have_uniform_pit_because_ties_are_random() -> None:
    rng = torch.Generator().manual_seed(7)
    rate = torch.full((4_000, 1, 1), 0.8)
    x = torch.poisson(rate, generator=rng)
    ranks = _Ranks(x, torch.ones_like(x, dtype=torch.bool))
    for _ in range(39):
        ranks.add(Poisson(rate).sample())
    u, means = ranks.pit()
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    assert u.shape == (4_000, 1, 1)
    assert means.shape == (4_000, 1)


def test_what_was_not_observed_has_no_influence() -> None:
    sequences = simulated(40)
    mask = torch.rand(40, T, P, generator=torch.Generator().manual_seed(8)) < 0.7
    lengths = torch.tensor([4, 3, 2, 4, 4]).repeat(8)
    exists = torch.arange(T) < lengths[:, None]
    observed = mask & exists.unsqueeze(-1)
    results = []
    for junk in (0.0, math.nan, 1e6):
        frames = torch.where(observed, sequences.frames, torch.tensor(junk))
        results.append(found(Sequences(frames, mask, lengths, sequences.rows), seed=2))
    for other in results[1:]:
        for a, b in zip(results[0].forecasts, other.forecasts, strict=True):
            assert torch.equal(a.values.one, b.values.one)
            assert torch.equal(a.frame_means.histogram, b.frame_means.histogram)
        assert torch.equal(results[0].given_latents.values.one, other.given_latents.values.one)
    first = results[0]
    assert first.given_latents.values.values == int(observed.sum())
    assert [c.values.values for c in first.forecasts] == [int(observed[:, 2].sum()), int(observed[:, 3].sum())]
    assert first.given_latents.frame_means.values == int(observed.any(2).sum())


def test_errors_are_over_sequences_as_repeated_data_show() -> None:
    """Values of a sequence that share most of their noise: the spread of 150 repetitions is the stated error."""
    rng = np.random.default_rng(9)
    coverages, errors, means, mean_errors = [], [], [], []
    for _ in range(150):
        noise = 0.95 * rng.standard_normal((40, 1)) + math.sqrt(1 - 0.95**2) * rng.standard_normal((40, 30))
        u = torch.from_numpy(stats.norm.cdf(noise))
        u[torch.from_numpy(rng.random((40, 30)) < np.linspace(0, 0.8, 40)[:, None])] = math.nan
        one = coverage_of(u, torch.Generator().manual_seed(0))
        coverages.append(one.coverage)
        errors.append(one.coverage_error)
        means.append(one.mean)
        mean_errors.append(one.mean_error)
    spread = torch.stack(coverages).std(0)
    torch.testing.assert_close(torch.stack(errors).mean(0)[:2], spread[:2], rtol=0.25, atol=0)
    assert float(np.mean(mean_errors)) == pytest.approx(float(np.std(means)), rel=0.25)
    # As if all values were independent, errors would be several times too small.
    assert (spread[:2] > 3 * (0.25 / 700) ** 0.5).all()


def test_one_value_of_each_sequence_is_taken_at_random_among_those_there_are() -> None:
    u = torch.tensor([[0.1, math.nan, 0.3], [math.nan, 0.5, math.nan]]).repeat(500, 1)
    one = coverage_of(u, torch.Generator().manual_seed(1)).one
    assert (one[1::2] == 0.5).all()
    share = float((one[::2] == 0.1).double().mean())
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(500))
    assert set(one[::2].tolist()) == {0.1, 0.3}


# --- what it is called with -------------------------------------------------------------------------------------------


def test_horizons_end_where_too_few_sequences_have_such_frames() -> None:
    sequences = simulated(40)
    lengths = torch.tensor([3] * 35 + [4] * 5)
    result = found(Sequences(sequences.frames, None, lengths, sequences.rows))
    assert [c.horizon for c in result.forecasts] == [1]
    assert found(simulated(20, 1), context=1).forecasts == ()


def test_seeds_repeat_and_the_progress_rises_to_one() -> None:
    shares: list[float] = []
    sequences = simulated(30)
    one = calibration(Sampler(model(), ExactGuide(), max_frames=160, progress=shares.append), sequences, seed=5)
    two = calibration(Sampler(model(), ExactGuide(), max_frames=160), sequences, seed=5)
    assert torch.equal(one.forecasts[1].values.one, two.forecasts[1].values.one)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert one.context == 2
    assert found(simulated(30), at_most=10).sequences == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 4}, "from 1 to 3 of 4 frames, not 4"),
        ({"draws": 5}, "at least 19 draws"),
        ({"at_most": 3}, "at least 8 sequences, not 3"),
    ],
)
def test_numbers_that_make_no_check_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found(simulated(20), **options)
