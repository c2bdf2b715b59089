"""Likelihoods of frames: densities, bounds, what they accept."""

import math
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from scipy import stats

from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

B, T, F, D = 3, 4, 5, 2
IMAGE, VECTOR = (3, 16, 16), (6,)
LIKELIHOODS: list[type[Normal | Bernoulli]] = [Normal, Bernoulli]


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


@pytest.mark.parametrize("raw", [-1e30, -1e4, -3.0, 0.0, 2.0, 1e4, 1e30])
@pytest.mark.parametrize(("low", "high"), [(0.05, 1.0), (1e-3, 1e3), (0.1, 0.11)])
def test_normal_scale_stays_within_its_bounds(raw: float, low: float, high: float) -> None:
    likelihood = Normal(F, D, VECTOR, width=1, scale=math.sqrt(low * high), min_scale=low, max_scale=high)
    with torch.no_grad():
        likelihood.raw_scale.fill_(raw)
    assert low * (1 - 1e-5) <= likelihood.scale.item() <= high * (1 + 1e-5)
    likelihood.scale.backward()
    assert torch.isfinite(likelihood.raw_scale.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.051, 0.1, 0.3, 0.99])
def test_normal_scale_starts_where_it_was_told_and_reaches_both_bounds(scale: float) -> None:
    likelihood = Normal(F, D, VECTOR, width=1, scale=scale, min_scale=0.05, max_scale=1.0)
    assert likelihood.scale.item() == pytest.approx(scale)
    with torch.no_grad():
        likelihood.raw_scale.fill_(-100)
        assert likelihood.scale.item() == pytest.approx(0.05)
        likelihood.raw_scale.fill_(100)
        assert likelihood.scale.item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("low", "scale", "high"),
    [
        (0.0, 0.1, 1.0),
        (-0.1, 0.1, 1.0),
        (0.5, 0.5, 0.5),
        (1.0, 0.7, 0.5),
        (0.1, 0.2, math.inf),
        (0.05, 0.05, 1.0),
        (0.05, 1.0, 1.0),
        (0.05, 2.0, 1.0),
        (math.nan, 0.1, 1.0),
        (0.05, math.nan, 1.0),
        (0.05, 0.1, math.nan),
    ],
)
def test_bad_bounds_are_refused(low: float, scale: float, high: float) -> None:
    with pytest.raises(UsageError, match="min_scale < scale < max_scale"):
        Normal(F, D, VECTOR, width=1, scale=scale, min_scale=low, max_scale=high)


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_the_density_of_a_frame_is_the_one_of_scipy(
    kind: type[Normal | Bernoulli], frame_shape: tuple[int, ...]
) -> None:
    likelihood = kind(F, D, frame_shape, width=1).double()
    f, z = torch.randn(B, F, dtype=torch.float64), torch.randn(B, T, D, dtype=torch.float64)
    frames = likelihood(f, z)
    assert frames.batch_shape == (B, T, *frame_shape)
    assert frames.event_shape == ()
    x = torch.rand(B, T, *frame_shape, dtype=torch.float64)
    x = x if kind is Normal else x.round()
    decoded: Any = likelihood.decoder(f, z).detach().numpy()
    if isinstance(likelihood, Normal):
        expected = stats.norm(decoded, likelihood.scale.item()).logpdf(x.numpy())
    else:
        expected = stats.bernoulli(1 / (1 + np.exp(-decoded))).logpmf(x.numpy())
    np.testing.assert_allclose(frames.log_prob(x).detach().numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("dims", [1, len(IMAGE) + 1], ids=["frame mask", "value mask"])
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_the_site_x_sums_the_observed_values_of_a_sequence(kind: type[Normal | Bernoulli], dims: int) -> None:
    """Its log density per sequence is the sum, not the mean, over the values that were observed."""
    model = DSVAE(StandardNormal(F), LSTM(D, hidden_size=4), kind(F, D, IMAGE, width=1)).double()
    x = torch.rand(B, T, *IMAGE, dtype=torch.float64).round()
    mask, lengths = torch.rand(x.shape[: 1 + dims]) < 0.7, torch.tensor([4, 2, 3])
    trace = pyro.poutine.trace(model).get_trace(x, mask, lengths)
    trace.compute_log_prob()
    values = model.likelihood(trace.nodes["f"]["value"], trace.nodes["z"]["value"]).log_prob(x)
    for b in range(B):
        expected = sum((values[b, t] * mask[b, t]).sum() for t in range(int(lengths[b])))
        torch.testing.assert_close(trace.nodes["x"]["log_prob"][b], expected)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_left_batches_equal_the_loop(kind: type[Normal | Bernoulli]) -> None:
    likelihood = kind(F, D, IMAGE, width=1).double()
    f, z = torch.randn(4, B, F, dtype=torch.float64), torch.randn(4, B, T, D, dtype=torch.float64)
    x = torch.rand(B, T, *IMAGE, dtype=torch.float64).round()
    together = likelihood(f, z).log_prob(x)
    torch.testing.assert_close(
        together, torch.stack([likelihood(*pair).log_prob(x) for pair in zip(f, z, strict=True)])
    )


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_prepare(kind: type[Normal | Bernoulli]) -> None:
    likelihood: Likelihood = kind(F, D, VECTOR, width=1)
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(likelihood.prepare(stored), torch.tensor([0.0, 0.2, 1.0]))
    assert torch.equal(likelihood.prepare(torch.tensor([-1.5, 2.0])), torch.tensor([-1.5, 2.0]))
    assert likelihood.prepare(torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float32
    assert likelihood.prepare(torch.tensor([0, 1])).dtype == torch.float32


def test_bernoulli_accepts_intensities_and_nothing_else() -> None:
    likelihood = Bernoulli(F, D, VECTOR, width=1)
    likelihood.check(torch.tensor([0.0, 0.3, 1.0]))
    likelihood.check(torch.tensor([0, 255], dtype=torch.uint8))
    for value in (-0.01, 1.01, 255.0):
        with pytest.raises(UsageError, match=r"values in \[0, 1\]") as error:
            likelihood.check(torch.tensor([0.5, value]))
        assert "\n" not in str(error.value)


def test_bernoulli_scores_intensities_under_validation() -> None:
    """x log p + (1 - x) log(1 - p), also where Pyro checks supports."""
    model = DSVAE(StandardNormal(F), LSTM(D, hidden_size=4), Bernoulli(F, D, VECTOR, width=1))
    x = torch.rand(B, T, *VECTOR)
    with pyro.validation_enabled(True):
        trace = pyro.poutine.trace(model).get_trace(x)
        trace.compute_log_prob()
    p = model.likelihood(trace.nodes["f"]["value"], trace.nodes["z"]["value"]).mean
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2))
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)


def test_normal_accepts_any_value() -> None:
    Normal(F, D, VECTOR, width=1).check(torch.tensor([-1e6, 1e6]))
