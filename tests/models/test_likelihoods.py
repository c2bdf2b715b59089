"""Likelihoods of frames: densities, bounds, what they accept."""

import copy
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal as NormalDistribution
from scipy import stats
from scipy.special import log_softmax
from torch import Tensor

from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.categorical import Categorical
from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli, ContinuousBernoulliDistribution
from pyro_dsvae.models.likelihoods.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticDistribution
from pyro_dsvae.models.likelihoods.laplace import Laplace
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.likelihoods.student_t import StudentT
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import Decoded, decoded_by

B, T, F, D = 3, 4, 5, 2
IMAGE, VECTOR = (3, 16, 16), (6,)
Kind = Callable[..., Likelihood]


LIKELIHOODS: dict[str, Kind] = {
    "Normal": Normal,
    "Normal per channel": partial(Normal, scale_kind="channel"),
    "Normal predicted": partial(Normal, scale_kind="predicted"),
    "Normal fixed": partial(Normal, scale_kind="fixed"),
    "Laplace": Laplace,
    "StudentT": StudentT,
    "Bernoulli": Bernoulli,
    "ContinuousBernoulli": ContinuousBernoulli,
    "DiscretizedLogistic": DiscretizedLogistic,
    "DiscretizedLogistic global": partial(DiscretizedLogistic, scale_kind="global"),
    "Poisson": Poisson,
    "Categorical": Categorical,
    "Categorical of 4": partial(Categorical, classes=4),
}


def made(kind: str, frame_shape: tuple[int, ...], width: int = 1) -> Decoded:
    """A likelihood and its decoder in float64; the learned scales are not all alike."""
    decoded = Decoded(LIKELIHOODS[kind], F, D, frame_shape, width)
    for parameter in decoded.likelihood.parameters():
        parameter.data.add_(0.03 * torch.randn_like(parameter))
    return decoded.double()


def model_of(decoded: Decoded) -> DSVAE:
    return DSVAE(StandardNormal(F), LSTM(D, hidden_size=4), decoded.decoder, decoded.likelihood).double()


def bound(raw: Tensor, low: float, high: float) -> Any:
    """low (high / low)^sigmoid(10 raw)."""
    return low * (high / low) ** (1 / (1 + np.exp(-10 * raw.detach().numpy())))


def zeros_and_ones(*shape: int) -> Tensor:
    """Values that every support has."""
    return torch.rand(*shape, dtype=torch.float64).round()


def each_kind() -> Any:
    return pytest.mark.parametrize("kind", LIKELIHOODS)


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


@pytest.mark.parametrize("raw", [-1e30, -1e4, -3.0, 0.0, 2.0, 1e4, 1e30])
@pytest.mark.parametrize(("low", "high"), [(0.05, 1.0), (1e-3, 1e3), (0.1, 0.11)])
def test_normal_scale_stays_within_its_bounds(raw: float, low: float, high: float) -> None:
    likelihood = Normal(VECTOR, scale=math.sqrt(low * high), min_scale=low, max_scale=high)
    with torch.no_grad():
        likelihood.raw_scale.fill_(raw)
    assert low * (1 - 1e-5) <= likelihood.scale.item() <= high * (1 + 1e-5)
    likelihood.scale.backward()
    assert torch.isfinite(likelihood.raw_scale.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.051, 0.1, 0.3, 0.99])
def test_normal_scale_starts_where_it_was_told_and_reaches_both_bounds(scale: float) -> None:
    likelihood = Normal(VECTOR, scale=scale, min_scale=0.05, max_scale=1.0)
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
        Normal(VECTOR, scale=scale, min_scale=low, max_scale=high)


def scipy_log_density(likelihood: Any, decoded: Any, x: Any) -> Any:
    """log p(x) of every value by SciPy, from the decoder's output and the raw parameters."""
    match likelihood:
        case Normal(scale_kind="predicted"):
            loc, deviation = np.split(decoded, 2, axis=-len(likelihood.frame_shape))
            deviation = deviation + 10 * likelihood.raw_scale.item()
            result = stats.norm(loc, 0.05 * (1 / 0.05) ** (1 / (1 + np.exp(-deviation)))).logpdf(x)
        case Normal(scale_kind="fixed"):
            result = stats.norm(decoded, float(torch.tensor(0.1))).logpdf(x)
        case Normal():
            result = stats.norm(decoded, bound(likelihood.raw_scale, 0.05, 1.0)).logpdf(x)
        case Laplace():
            result = stats.laplace(decoded, bound(likelihood.raw_scale, 0.03, 1.0)).logpdf(x)
        case StudentT():
            degrees = bound(likelihood.raw_degrees, 2.05, 100.0)
            result = stats.t(degrees, decoded, bound(likelihood.raw_scale, 0.03, 1.0)).logpdf(x)
        case Bernoulli():
            result = stats.bernoulli(1 / (1 + np.exp(-decoded))).logpmf(x)
        case ContinuousBernoulli():
            eta = decoded / (1 + np.abs(decoded) / 100)
            # An exponential variable cut off at 1, counted from the end where the density is high.
            result = stats.truncexpon(np.abs(eta), 0, 1 / np.abs(eta)).logpdf(np.where(eta < 0, x, 1 - x))
        case DiscretizedLogistic():
            logistic = stats.logistic(decoded, bound(likelihood.raw_scale, 0.002, 1.0))
            # Differences of the smaller tail, which does not cancel.
            low, high = np.where(x == 0, -np.inf, x - 0.5 / 255), np.where(x == 1, np.inf, x + 0.5 / 255)
            inner = np.where(x > decoded, logistic.sf(low) - logistic.sf(high), logistic.cdf(high) - logistic.cdf(low))
            result = np.log(inner)
        case Poisson():
            result = stats.poisson(np.log1p(np.exp(decoded)) + 1e-4).logpmf(x)
        case Categorical():
            channels = np.split(decoded, likelihood.frame_shape[0], axis=-len(likelihood.frame_shape))
            each = [log_softmax(c, axis=-len(likelihood.frame_shape)) for c in channels]
            at = np.stack(
                [np.moveaxis(c, -len(likelihood.frame_shape), -1) for c in each], -len(likelihood.frame_shape) - 1
            )
            result = np.take_along_axis(at, x[..., None].astype(int), -1)[..., 0]
        case _:
            raise AssertionError(likelihood)
    return result


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@each_kind()
def test_the_density_of_a_frame_is_the_one_of_scipy(kind: str, frame_shape: tuple[int, ...]) -> None:
    decoded = made(kind, frame_shape)
    likelihood: Any = decoded.likelihood
    f, z = torch.randn(B, F, dtype=torch.float64), torch.randn(B, T, D, dtype=torch.float64)
    frames = decoded(f, z)
    assert frames.batch_shape == (B, T, *frame_shape)
    assert frames.event_shape == ()
    x = torch.rand(B, T, *frame_shape, dtype=torch.float64)
    match likelihood:
        case Bernoulli():
            x = x.round()
        case DiscretizedLogistic():
            x = (2 * x - 0.5).clamp(0, 1).mul(255).round() / 255  # many at both ends
        case Poisson():
            x = (6 * x).round()
        case Categorical():
            x = ((likelihood.channel_parameters[0] - 1) * x).round()
    expected = scipy_log_density(likelihood, decoded.decoder(f, z).detach().numpy(), x.numpy())
    np.testing.assert_allclose(frames.log_prob(x).detach().numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dims", [1, len(IMAGE) + 1], ids=["frame mask", "value mask"])
@each_kind()
def test_the_site_x_sums_the_observed_values_of_a_sequence(kind: str, dims: int) -> None:
    """Its log density per sequence is the sum, not the mean, over the values that were observed."""
    model = model_of(made(kind, IMAGE))
    x = zeros_and_ones(B, T, *IMAGE)
    mask, lengths = torch.rand(x.shape[: 1 + dims]) < 0.7, torch.tensor([4, 2, 3])
    trace = pyro.poutine.trace(model).get_trace(x, mask, lengths)
    trace.compute_log_prob()
    values = model.frames(trace.nodes["f"]["value"], trace.nodes["z"]["value"]).log_prob(x)
    for b in range(B):
        expected = sum((values[b, t] * mask[b, t]).sum() for t in range(int(lengths[b])))
        torch.testing.assert_close(trace.nodes["x"]["log_prob"][b], expected)


@each_kind()
def test_values_that_were_not_observed_touch_no_gradient(kind: str) -> None:
    model = model_of(made(kind, VECTOR))
    x = zeros_and_ones(B, T, *VECTOR)
    mask = torch.rand(x.shape) < 0.5
    gradients = []
    for missing in (0.0, math.nan):
        pyro.set_rng_seed(0)
        trace = pyro.poutine.trace(model).get_trace(torch.where(mask, x, missing), mask)
        gradients.append(
            torch.autograd.grad(trace.log_prob_sum(), [*model.decoder.parameters(), *model.likelihood.parameters()])
        )
    for expected, actual in zip(*gradients, strict=True):
        assert torch.isfinite(actual).all()
        assert torch.equal(actual, expected)


@each_kind()
def test_left_batches_equal_the_loop(kind: str) -> None:
    likelihood = made(kind, IMAGE)
    f, z = torch.randn(4, B, F, dtype=torch.float64), torch.randn(4, B, T, D, dtype=torch.float64)
    x = zeros_and_ones(B, T, *IMAGE)
    together = likelihood(f, z)
    apart = [likelihood(*pair) for pair in zip(f, z, strict=True)]
    torch.testing.assert_close(together.log_prob(x), torch.stack([p.log_prob(x) for p in apart]))
    torch.testing.assert_close(together.mean, torch.stack([p.mean for p in apart]))


@each_kind()
def test_draws_have_the_mean_that_is_decoded_and_lie_in_the_support(kind: str) -> None:
    """40,000 draws of every value, their mean within 4.5 standard errors of ``mean``."""
    likelihood, n = made(kind, VECTOR), 40_000
    with torch.no_grad():
        frames = likelihood(5 * torch.randn(F).double(), 5 * torch.randn(1, D).double())
    x = frames.sample([n])
    assert x.shape == (n, 1, *VECTOR)
    assert x.dtype == torch.float64
    # The mean of a discretised logistic is good to 10^-4.
    slack = 1e-4 if isinstance(likelihood.likelihood, DiscretizedLogistic) else 1e-9
    assert ((x.mean(0) - frames.mean).abs() < slack + 4.5 * x.std(0) / n**0.5).all()
    likelihood.likelihood.check(x.transpose(0, 1))
    assert torch.isfinite(frames.log_prob(x)).all()


@each_kind()
def test_gradients_are_finite_whatever_the_decoder_says(kind: str) -> None:
    for value in (1e4, -1e4, 0.0):
        likelihood = made(kind, VECTOR).float()
        last: Any = likelihood.decoder.layers[-1]  # type: ignore[index]
        torch.nn.init.constant_(last.bias, value)
        x = zeros_and_ones(B, T, *VECTOR).float()
        frames = likelihood(torch.randn(B, F), torch.randn(B, T, D))
        log_prob = frames.log_prob(x)
        assert log_prob.dtype == torch.float32
        assert torch.isfinite(log_prob).all()
        assert torch.isfinite(frames.mean).all()
        log_prob.sum().backward()
        for parameter in likelihood.parameters():
            assert torch.isfinite(parameter.grad).all()  # type: ignore[arg-type]


@each_kind()
def test_copies_pickles_and_checkpoints_have_the_same_density(kind: str) -> None:
    likelihood = made(kind, VECTOR)
    f, z, x = torch.randn(B, F).double(), torch.randn(B, T, D).double(), zeros_and_ones(B, T, *VECTOR)
    expected = likelihood(f, z).log_prob(x)
    fresh = Decoded(LIKELIHOODS[kind], F, D, VECTOR).double()
    fresh.load_state_dict(likelihood.state_dict())
    for other in (copy.deepcopy(likelihood), pickle.loads(pickle.dumps(likelihood)), fresh):
        torch.testing.assert_close(other(f, z).log_prob(x), expected)


@each_kind()
def test_stored_frames_in_model_units(kind: str) -> None:
    likelihood = LIKELIHOODS[kind](VECTOR)
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8)
    as_they_are = kind.startswith(("Poisson", "Categorical"))
    expected = [0.0, 51.0, 255.0] if as_they_are else [0.0, 0.2, 1.0]
    torch.testing.assert_close(likelihood.to_model_units(stored), torch.tensor(expected))
    assert torch.equal(likelihood.to_model_units(torch.tensor([-1.5, 2.0])), torch.tensor([-1.5, 2.0]))
    assert likelihood.to_model_units(torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float32
    assert likelihood.to_model_units(torch.tensor([0, 1])).dtype == torch.float32


def test_only_probabilities_of_8_bit_values_give_bits_per_dimension() -> None:
    discrete = {kind for kind in LIKELIHOODS if LIKELIHOODS[kind](VECTOR).discrete}
    assert discrete == {"DiscretizedLogistic", "DiscretizedLogistic global"}


def test_bernoulli_accepts_intensities_and_nothing_else() -> None:
    likelihood = Bernoulli(VECTOR)
    likelihood.check(torch.tensor([0.0, 0.3, 1.0]))
    likelihood.check(torch.tensor([0, 255], dtype=torch.uint8))
    for value in (-0.01, 1.01, 255.0):
        with pytest.raises(UsageError, match=r"values in \[0, 1\]") as error:
            likelihood.check(torch.tensor([0.5, value]))
        assert "\n" not in str(error.value)


def test_bernoulli_scores_intensities_under_validation() -> None:
    """x log p + (1 - x) log(1 - p), also where Pyro checks supports."""
    model = DSVAE(StandardNormal(F), LSTM(D, hidden_size=4), *decoded_by(Bernoulli, F, D, VECTOR))
    x = torch.rand(B, T, *VECTOR)
    with pyro.validation_enabled(True):
        trace = pyro.poutine.trace(model).get_trace(x)
        trace.compute_log_prob()
    p = model.frames(trace.nodes["f"]["value"], trace.nodes["z"]["value"]).mean
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2))
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)


def test_normal_accepts_any_value() -> None:
    Normal(VECTOR).check(torch.tensor([-1e6, 1e6]))


@pytest.mark.parametrize("kind", ["Normal per channel", "Normal predicted", "Normal fixed", "Laplace", "StudentT"])
def test_the_likelihoods_of_real_numbers_accept_any(kind: str) -> None:
    LIKELIHOODS[kind](VECTOR).check(torch.tensor([-1e6, 1e6]))


# --- whose scale it is ------------------------------------------------------------------------------------------------


def test_the_default_normal_keeps_its_weights_and_keys() -> None:
    """Checkpoints from before there was a scale_kind must load."""
    assert set(Normal(VECTOR).state_dict()) == {"raw_scale"}
    assert Normal(VECTOR).raw_scale.shape == ()
    assert not Normal(VECTOR, scale_kind="fixed").state_dict()


@pytest.mark.parametrize(("frame_shape", "shape"), [(VECTOR, (6,)), (IMAGE, (3, 1, 1))], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", ["Normal per channel", "DiscretizedLogistic"])
def test_a_scale_per_channel_is_one_for_each(kind: str, frame_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    likelihood: Any = made(kind, frame_shape).likelihood
    assert likelihood.scale.shape == shape
    assert len(likelihood.scale.unique()) == shape[0]


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
def test_a_predicted_scale_differs_from_value_to_value_within_its_bounds(frame_shape: tuple[int, ...]) -> None:
    likelihood = made("Normal predicted", frame_shape, width=2)
    assert likelihood.likelihood.frame_shape == frame_shape
    with torch.no_grad():
        near = likelihood(torch.zeros(1, F).double(), torch.zeros(1, T, D).double()).stddev
        far = likelihood(1e3 * torch.randn(9, F).double(), 1e3 * torch.randn(9, T, D).double()).stddev
    assert near.mean().item() == pytest.approx(0.1, rel=0.25)  # where it was told to start
    assert far.min().item() >= 0.05 * (1 - 1e-6)
    assert far.max().item() <= 1 + 1e-6
    assert far.max() > 5 * far.min()


def test_a_fixed_scale_has_nothing_to_learn_and_needs_no_bounds() -> None:
    likelihood = Normal(VECTOR, scale=3.0, scale_kind="fixed")
    assert not list(likelihood.parameters())
    frames = likelihood(torch.randn(B, T, *VECTOR))
    assert torch.equal(frames.stddev, torch.full_like(frames.mean, 3.0))
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="0 < scale"):
            Normal(VECTOR, scale=scale, scale_kind="fixed")


@pytest.mark.parametrize("part", [Laplace, StudentT, DiscretizedLogistic])
def test_bounds_of_the_other_scales(part: Any) -> None:
    likelihood = part(VECTOR, scale=0.2, min_scale=0.1, max_scale=0.7)
    torch.testing.assert_close(likelihood.scale, torch.full_like(likelihood.scale, 0.2))
    for raw, expected in ((-1e4, 0.1), (1e4, 0.7)):
        torch.nn.init.constant_(likelihood.raw_scale, raw)
        torch.testing.assert_close(likelihood.scale, torch.full_like(likelihood.scale, expected))
    with pytest.raises(UsageError, match=f"{part.__name__} needs 0 < min_scale < scale < max_scale"):
        part(VECTOR, scale=0.1, min_scale=0.1)


@pytest.mark.parametrize("raw", [-1e4, 0.0, 1e4])
def test_a_student_t_always_has_a_mean_and_a_variance(raw: float) -> None:
    likelihood = StudentT(VECTOR)
    assert likelihood.degrees.item() == pytest.approx(5)
    torch.nn.init.constant_(likelihood.raw_degrees, raw)
    assert 2.04 < likelihood.degrees.item() < 100.1
    frames = likelihood(torch.randn(B, T, *VECTOR))
    assert torch.isfinite(frames.mean).all()
    assert torch.isfinite(frames.variance).all()


def fitted(likelihood: Any, x: Tensor, steps: int = 300) -> Any:
    """The likelihood with its scales, and nothing else, at maximum likelihood for frames decoded as zero."""
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -likelihood(torch.zeros_like(x)).log_prob(x).mean()
        loss.backward()
        optimiser.step()
    return likelihood


def test_scales_reach_the_maximum_of_the_likelihood() -> None:
    """Normal: root mean square per channel. Laplace: mean absolute value. Student t on +-c: s = c, whatever nu is."""
    x = torch.randn(20, T, *VECTOR) * torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    normal = fitted(Normal(VECTOR, scale_kind="channel"), x)
    torch.testing.assert_close(normal.scale, x.square().mean((0, 1)).sqrt(), rtol=5e-3, atol=0)
    laplace = fitted(Laplace(VECTOR), x)
    torch.testing.assert_close(laplace.scale, x.abs().mean(), rtol=1e-3, atol=0)
    student = fitted(StudentT(VECTOR), 0.4 * x.sign())
    assert student.scale.item() == pytest.approx(0.4, rel=1e-2)
    assert student.degrees.item() > 50  # two points have no tails


def test_a_student_t_finds_the_tails_of_its_data() -> None:
    """Degrees of freedom and scale of 12,000 draws against SciPy's maximum-likelihood fit."""
    x = torch.as_tensor(stats.t(4.0, 0, 0.3).rvs((500, 4, 6), random_state=0), dtype=torch.float32)
    degrees, _, scale = stats.t.fit(x.numpy().ravel(), floc=0)
    student = fitted(StudentT(VECTOR), x, steps=200)
    assert student.degrees.item() == pytest.approx(degrees, rel=0.02)
    assert student.scale.item() == pytest.approx(scale, rel=0.01)


def test_degrees_outside_their_bounds_are_refused() -> None:
    for degrees in (2.0, 100.0, math.nan):
        with pytest.raises(UsageError, match=r"2.05 < degrees < 100"):
            StudentT(VECTOR, degrees=degrees)


# --- continuous Bernoulli ---------------------------------------------------------------------------------------------

ETAS = [0.0, 1e-6, -1e-4, 0.004, 0.3, 0.999, 1.001, -1.5, 8.0, 16.0, -40.0, 100.0, 1e3, 1e4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("eta", ETAS)
def test_a_continuous_bernoulli_integrates_to_one_and_has_its_mean(eta: float, dtype: torch.dtype) -> None:
    """Gauss-Legendre quadrature in float64, on intervals that shrink towards the high end of the density."""
    p = ContinuousBernoulliDistribution(torch.tensor(eta, dtype=dtype))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    ends = np.concatenate([[0], np.geomspace(1e-6, 1, 25)])
    y = (ends[:-1, None] + ends[1:, None] + (ends[1:, None] - ends[:-1, None]) * nodes) / 2
    w = (ends[1:, None] - ends[:-1, None]) * weights / 2
    x = torch.as_tensor(y if eta < 0 else 1 - y)
    density = p.log_prob(x.to(dtype)).double().exp().numpy()
    # Rounding 1 - y to float32 shifts the exponent by up to eta times 6e-8.
    tolerance = 1e-9 if dtype == torch.float64 else 1e-6 * max(1, abs(eta))
    assert (w * density).sum() == pytest.approx(1, abs=tolerance)
    assert (w * density * x.numpy()).sum() == pytest.approx(p.mean.item(), abs=2 * tolerance)


@pytest.mark.parametrize("eta", [1e-8, 1e-3, -0.1, 0.5, 0.9, -0.999999, 1.0, 1.000001, 1.3, -2.0, 5.0, 40.0])
def test_a_continuous_bernoulli_is_exact_in_double_precision(eta: float) -> None:
    """Normaliser, mean and variance in 40 digits: on both sides of |eta| = 1, where a series ends, and away from it."""
    with mpmath.workdps(40):
        y = mpmath.mpf(eta) / 2
        exact = {
            "log_prob": mpmath.mpf("0.3") * 2 * y - mpmath.log((mpmath.exp(2 * y) - 1) / (2 * y)),
            "mean": (1 + mpmath.coth(y) - 1 / y) / 2,
            "variance": (1 / y**2 - 1 / mpmath.sinh(y) ** 2) / 4,
        }
    p = ContinuousBernoulliDistribution(torch.tensor(eta, dtype=torch.float64))
    found = {"log_prob": p.log_prob(torch.tensor(0.3, dtype=torch.float64)), "mean": p.mean, "variance": p.variance}
    for name, value in found.items():
        assert value.item() == pytest.approx(float(exact[name]), rel=1e-13, abs=1e-15), name


def test_a_continuous_bernoulli_is_smooth_where_its_formulas_meet() -> None:
    """Gradients in float32 against the derivative x - mean, on both sides of the switch between series and logarithm."""
    eta = torch.linspace(-3, 3, 1201).requires_grad_()
    log_prob = ContinuousBernoulliDistribution(eta).log_prob(torch.tensor(0.3))
    (slope,) = torch.autograd.grad(log_prob.sum(), eta)
    exact = ContinuousBernoulliDistribution(eta.detach().double())
    torch.testing.assert_close(slope.double(), 0.3 - exact.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(log_prob.double(), exact.log_prob(torch.tensor(0.3).double()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 1e-5, 0.7, -6.0, 300.0])
def test_draws_of_a_continuous_bernoulli_follow_its_distribution(eta: float) -> None:
    """Kolmogorov-Smirnov against the distribution function in closed form; draws are differentiable."""
    logit = torch.tensor(eta, requires_grad=True)
    x = ContinuousBernoulliDistribution(logit).rsample(torch.Size([4000]))
    assert x.min() >= 0
    assert x.max() <= 1
    # P(X <= x) = (e^(eta x) - 1) / (e^eta - 1), divided through by e^eta where that would overflow
    grid = x.detach().double().numpy()
    size = max(abs(eta), 1e-9)
    low = -np.expm1(-size * (grid if eta < 0 else 1 - grid)) / -np.expm1(-size)
    assert stats.kstest(low, "uniform").pvalue > 1e-3
    (slope,) = torch.autograd.grad(x.mean(), logit)
    assert torch.isfinite(slope)


def test_the_bound_of_a_logit_bounds_density_and_mean() -> None:
    likelihood = ContinuousBernoulli(VECTOR, max_logit=20.0)
    frames = likelihood(torch.full((B, T, *VECTOR), 1e6))
    assert frames.log_prob(torch.ones(B, T, *VECTOR)).max().item() == pytest.approx(math.log(20), abs=1e-3)
    assert frames.mean.max().item() == pytest.approx(1 - 1 / 20, abs=1e-4)
    with pytest.raises(UsageError, match="max_logit of at least 1"):
        ContinuousBernoulli(VECTOR, max_logit=0.0)


# --- discretised logistic ---------------------------------------------------------------------------------------------

GRID = torch.arange(256) / 255


@pytest.mark.parametrize("scale", [0.002, 0.004, 0.03, 0.3, 1.0])
def test_probabilities_of_all_pixel_values_sum_to_one(scale: float) -> None:
    loc = torch.cat([torch.linspace(-0.3, 1.3, 97), torch.tensor([-1e4, -30.0, 0.0, 0.5 / 255, 1.0, 7.0, 1e4])])
    log_prob = DiscretizedLogisticDistribution(loc, torch.tensor(scale)).log_prob(GRID.unsqueeze(-1))
    assert log_prob.max() <= 0
    assert torch.isfinite(log_prob).all()
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(len(loc)), rtol=0, atol=1e-5)


def test_a_far_away_pixel_has_the_log_probability_of_its_tail() -> None:
    """F(x + h) - F(x - h) is e^(-(x - mu) / s) (e^(h/s) - e^(-h/s)) far above mu: no underflow, and a slope of 1 / s."""
    loc = torch.tensor(-2.0, requires_grad=True)
    s, x, h = 0.002, 128 / 255, 0.5 / 255
    log_prob = DiscretizedLogisticDistribution(loc, torch.tensor(s)).log_prob(torch.tensor(x))
    assert log_prob.item() == pytest.approx(-(x + 2) / s + math.log(math.exp(h / s) - math.exp(-h / s)), rel=1e-5)
    log_prob.backward()
    assert loc.grad is not None
    assert loc.grad.item() == pytest.approx(1 / s, rel=1e-5)


@pytest.mark.parametrize("scale", [0.002, 0.005, 0.05, 1.0])
def test_the_mean_of_a_discretised_logistic_is_the_sum_over_its_values(scale: float) -> None:
    loc = torch.linspace(-0.2, 1.2, 201, dtype=torch.float64)
    p = DiscretizedLogisticDistribution(loc, torch.tensor(scale, dtype=torch.float64))
    grid = GRID.double().unsqueeze(-1)
    torch.testing.assert_close(p.mean, (p.log_prob(grid).exp() * grid).sum(0), rtol=0, atol=1e-4)


def test_draws_of_a_discretised_logistic_have_its_probabilities() -> None:
    """A chi-squared test over all 256 values, those expected less than ten times joined."""
    p = DiscretizedLogisticDistribution(torch.tensor(0.9), torch.tensor(0.05))
    n = 50_000
    levels = (p.sample(torch.Size([n])) * 255).round().long()
    expected = n * p.log_prob(GRID).exp().double()
    observed = levels.bincount(minlength=256).double()
    rare = expected < 10
    expected, observed = (torch.cat([v[~rare], v[rare].sum().view(1)]) for v in (expected, observed))
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-3
    assert torch.isin(p.sample(torch.Size([100])), GRID).all()


def test_a_discretised_logistic_takes_8_bit_frames_and_nothing_else() -> None:
    likelihood = DiscretizedLogistic(VECTOR)
    likelihood.check(torch.tensor([0, 255], dtype=torch.uint8))
    likelihood.check(GRID)
    likelihood.check(GRID.double())
    for bad in (0.5, 1.2, -1 / 255, 256 / 255, 17.0):
        with pytest.raises(UsageError, match="DiscretizedLogistic likelihood needs 8-bit frames") as error:
            likelihood.check(torch.tensor([0.0, bad]))
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=r"min_scale of at least 0.002"):
        DiscretizedLogistic(VECTOR, min_scale=0.001)


# --- what else is refused ---------------------------------------------------------------------------------------------


def test_continuous_bernoulli_takes_intensities_and_nothing_else() -> None:
    likelihood = ContinuousBernoulli(VECTOR)
    likelihood.check(torch.tensor([0.0, 0.3, 1.0]))
    likelihood.check(torch.tensor([0, 255], dtype=torch.uint8))
    for bad in (-0.01, 1.01, 255.0):
        with pytest.raises(UsageError, match=r"values in \[0, 1\].*a Normal likelihood") as error:
            likelihood.check(torch.tensor([0.5, bad]))
        assert "\n" not in str(error.value)


def test_poisson_takes_counts_and_nothing_else() -> None:
    likelihood = Poisson(VECTOR)
    likelihood.check(torch.tensor([0.0, 3.0, 1e6]))
    likelihood.check(torch.tensor([0, 300]))
    likelihood.check(torch.tensor([0, 255], dtype=torch.uint8))
    for bad in (torch.tensor([0.0, -1.0]), torch.tensor([0.0, 0.5]), torch.tensor([2, -3])):
        with pytest.raises(UsageError, match=r"counts 0, 1, 2.*a Normal likelihood") as error:
            likelihood.check(bad)
        assert "\n" not in str(error.value)
    for scale in (0.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="Poisson needs 0 < scale"):
            Poisson(VECTOR, scale=scale)


def test_the_scale_of_a_poisson_multiplies_its_rates() -> None:
    likelihood = Poisson(VECTOR, scale=50.0)
    decoded = torch.randn(B, T, *VECTOR)
    torch.testing.assert_close(likelihood(decoded).mean, 50 * torch.log1p(decoded.exp()) + 1e-4)


@pytest.mark.parametrize("part", [Normal, DiscretizedLogistic])
def test_unknown_kinds_of_scale_are_refused(part: Any) -> None:
    with pytest.raises(UsageError, match=f"{part.__name__} knows the scale_kind .* not pixel"):
        part(VECTOR, scale_kind="pixel")


@each_kind()
def test_every_likelihood_scores_and_generates_under_validation(kind: str) -> None:
    model = model_of(made(kind, IMAGE))
    with pyro.validation_enabled(True):
        x = model(shape=(B, T))
        assert x.shape == (B, T, *IMAGE)
        model.likelihood.check(x)
        trace = pyro.poutine.trace(model).get_trace(x)
        assert torch.isfinite(trace.log_prob_sum())


@each_kind()
def test_densities_are_float32_where_networks_run_in_bfloat16(kind: str) -> None:
    likelihood = made(kind, IMAGE).float()
    f, z, x = torch.randn(B, F), torch.randn(B, T, D), zeros_and_ones(B, T, *IMAGE).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert likelihood(f, z).log_prob(x).dtype == torch.float32
        assert likelihood(f, z).sample().dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (3, 1, 1), (4, 4)], ids=["one", "per channel", "trailing"])
def test_a_shared_scale_is_the_normal_of_the_library(shape: tuple[int, ...]) -> None:
    """Densities, gradients, expansion, masks and validation are those of pyro.distributions.Normal."""
    torch.manual_seed(0)
    loc = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    scale = (torch.rand(shape, dtype=torch.float64) + 0.2).requires_grad_()
    value = torch.randn(5, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    ours, reference = SharedScaleNormal(loc, scale), NormalDistribution(loc, scale)
    found = []
    for one in (ours, reference):
        log_prob = one.mask(loc.detach() > 0).to_event(3).log_prob(value)
        weights = torch.linspace(-1, 2, log_prob.numel(), dtype=torch.float64).view_as(log_prob)
        found.append((log_prob, *torch.autograd.grad((log_prob * weights).sum(), (loc, scale, value))))
    torch.testing.assert_close(found[0], found[1])
    expanded = ours.expand(torch.Size((7, 2, 3, 4, 4)))
    assert isinstance(expanded, SharedScaleNormal)
    torch.testing.assert_close(expanded.log_prob(value[0]), reference.log_prob(value[0]).expand(7, -1, -1, -1, -1))
    torch.testing.assert_close((ours.mean, ours.variance), (reference.mean, reference.variance))
    with pytest.raises(ValueError, match="within the support"):
        SharedScaleNormal(loc, scale, validate_args=True).log_prob(torch.full_like(loc, torch.nan))
