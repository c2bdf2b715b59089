"""Linear-Gaussian series at irregular times, of which 30 % are missing: imputation against the exact smoother.

The oracle conditions one dense normal, whose covariance over the times is a formula of a textbook.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pyro
import pytest
import torch
from scipy import stats
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_space.imputation import Imputation, impute
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors import DynamicPrior, GaussianProcess, LinearGaussian, RandomWalk
from pyro_dsvae.models.likelihoods import Normal
from pyro_dsvae.models.static_priors import StandardNormal
from tests.inference.forecasting.test_forecast import Guide
from tests.inference.test_linear_gaussian import EXACT, LinearDecoder
from tests.oracles import Array

T, P, F, D = 8, 3, 2, 2
NOISE = 0.3
# A dynamic prior, and the covariance of one of its dimensions over some times.
PRIORS: dict[str, tuple[Callable[[], DynamicPrior], Callable[[Array], Array]]] = {
    "random walk": (
        lambda: RandomWalk(D, scale=0.5, start_scale=1.2),
        lambda t: 1.2**2 + 0.5**2 * np.minimum.outer(t - t[0], t - t[0]),
    ),
    "Ornstein-Uhlenbeck": (
        lambda: LinearGaussian(D, timescale=2.0, scale=0.9),
        lambda t: 0.9**2 * np.exp(-np.abs(np.subtract.outer(t, t)) / 2.0),
    ),
    "Gaussian process": (
        lambda: GaussianProcess(D, kernel="rbf", lengthscale=1.5, spread=1.0, variance=0.7, jitter=1e-6),
        lambda t: 0.7 * (np.exp(-0.5 * np.subtract.outer(t, t) ** 2 / 1.5**2) + 1e-6 * np.eye(len(t))),
    ),
}
every_prior = pytest.mark.parametrize("prior", PRIORS)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Series:
    """Draws of the process at irregular times, with 30 % of the values hidden, and its exact posterior."""

    def __init__(self, prior: str, count: int) -> None:
        self.covariance = PRIORS[prior][1]
        rng = np.random.default_rng(4)
        self.times = torch.from_numpy(rng.exponential(0.4, (count, T)).cumsum(1) + 0.05 * np.arange(T))
        self.seen = torch.from_numpy(rng.random((count, T, P)) >= 0.3)
        self.seen[:, 0, 0] = True
        clips = []
        for times in self.times.numpy():
            path = np.linalg.cholesky(self.latent_covariance(times)) @ rng.normal(size=F + T * D)
            clips.append((EXACT.emission(T) @ path).reshape(T, P) + NOISE * rng.normal(size=(T, P)))
        self.truth = torch.from_numpy(np.stack(clips))
        self.batch = Batch(self.truth.where(self.seen, math.nan), self.seen, None, self.times)

    def latent_covariance(self, times: Array) -> Array:
        """Of f, then z_1, z_2, …: (F + T D, F + T D)."""
        whole = np.eye(F + len(times) * D)
        whole[F:, F:] = np.kron(self.covariance(times), np.eye(D))
        return whole

    def posterior(self, row: int, times: Array) -> tuple[Array, Array]:
        """Mean and covariance of all latents of a series, taken to be at these times."""
        seen = self.seen[row].numpy().reshape(-1)
        prior, emission = self.latent_covariance(times), EXACT.emission(T)[seen]
        gain = prior @ emission.T @ np.linalg.inv(emission @ prior @ emission.T + NOISE**2 * np.eye(int(seen.sum())))
        return gain @ self.truth[row].numpy().reshape(-1)[seen], prior - gain @ emission @ prior


class Posterior(Guide):
    """The exact posterior of the series, or one that is off (see `Guide`)."""

    def __init__(self, series: Series, stretch: float = 1.0, shift: float = 0.0) -> None:
        super().__init__(stretch, shift)
        self.series = series

    def normals(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        assert len(x) == len(self.series.times)
        both = [self.series.posterior(row, times) for row, times in enumerate(self.series.times.numpy())]
        loc = torch.from_numpy(np.stack([m + self.shift * np.sqrt(np.diag(S)) for m, S in both]))
        return loc, self.stretch * torch.from_numpy(np.stack([np.linalg.cholesky(S) for _, S in both]))


def imputed(series: Series, prior: str, guide: Posterior, batch: Batch, draws: int, proposals: int) -> Imputation:
    noise = Normal((P,), scale=NOISE, scale_kind="fixed")
    model = DSVAE(StandardNormal(F), PRIORS[prior][0](), LinearDecoder((P,)), noise).double()
    return impute(Sampler(model, guide, max_frames=10**9), batch, draws, "amortised", proposals=proposals)


def off(found: Imputation, series: Series, worth: Tensor) -> tuple[Tensor, Tensor]:
    """How many standard errors means and variances of missing values are from the smoother's, for draws worth so many."""
    worth = worth.clamp(max=len(found.means))[:, None, None] / 1.5
    exact = [series.posterior(row, times) for row, times in enumerate(series.times.numpy())]
    emission = EXACT.emission(T)
    mean = torch.from_numpy(np.stack([(emission @ m).reshape(T, P) for m, _ in exact]))
    variance = torch.from_numpy(np.stack([np.diag(emission @ S @ emission.T).reshape(T, P) for _, S in exact]))
    missing = ~series.seen
    means = (found.mean - mean).abs() / (variance / worth).sqrt()
    variances = (found.sd**2 - variance - NOISE**2).abs() / (variance * (2 / worth).sqrt())
    return means[missing], variances[missing]


@every_prior
def test_imputed_means_and_variances_are_the_smoothers(prior: str) -> None:
    """Also by weights of a guide that is too wide and off the mean."""
    series = Series(prior, 4)
    for guide, proposals in ((Posterior(series), 2_000), (Posterior(series, 1.2, 0.2), 20_000)):
        found = imputed(series, prior, guide, series.batch, 2_000, proposals)
        for errors in off(found, series, found.posterior.effective_sample_size):
            assert errors.max() < 5
            assert errors.square().mean() < 2


@every_prior
def test_without_the_times_they_are_not(prior: str) -> None:
    """The control: weights with steps one unit apart lead elsewhere."""
    series = Series(prior, 4)
    found = imputed(series, prior, Posterior(series, 1.2, 0.2), series.batch._replace(times=None), 2_000, 20_000)
    assert off(found, series, torch.full((4,), 2_000.0))[0].square().mean() > 10


@every_prior
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_what_was_hidden(prior: str, level: float) -> None:
    """Over 300 series, within 4 standard errors, which take each series as one observation."""
    series = Series(prior, 300)
    found = imputed(series, prior, Posterior(series), series.batch, 200, 200)
    missing = ~series.seen
    within = (series.truth - found.mean).abs() < stats.norm.ppf((1 + level) / 2) * found.sd
    share = (within & missing).sum((1, 2)) / missing.sum((1, 2)).clamp(min=1)
    share = share[missing.any(2).any(1)]
    assert abs(share.mean() - level) < 4 * share.std() / math.sqrt(len(share))
    narrow = (series.truth - found.mean).abs() < stats.norm.ppf((1 + level) / 2) * found.model_sd
    assert ((narrow & missing).sum() / missing.sum()) < level - 0.05  # without the noise of the likelihood
