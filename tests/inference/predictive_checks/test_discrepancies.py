"""Discrepancies against loops over what was observed, on clips whose answer is known, and as users write their own."""

import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyro.distributions import Bernoulli, Laplace, Normal, Poisson
from torch import Tensor

from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.predictive_checks import discrepancies as built_in
from pyro_dsvae.inference.predictive_checks.discrepancies import BUILT_IN, applicable
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames, discrepancy
from pyro_dsvae.inference.predictive_checks.palette import Palette, palette_distance
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import decoded_by

Array = NDArray[np.float64]
T = 6
SHAPES = {"images": (2, 3, 4), "vectors": (5,)}
PATTERNS = ["complete", "missing frames", "missing values", "ragged", "missing values, ragged"]


# --- the same by loops, for one clip: x (T, *frame) with NaN where not observed ---------------------------------------


def seen(values: Any) -> Array:
    values = np.asarray(values, dtype=np.float64)
    return values[~np.isnan(values)]


def mean(values: Any) -> float:
    return float(seen(values).mean()) if len(seen(values)) else math.nan


def products(x: Array, lag: int) -> float:
    """Mean of x_t x_{t+lag} over values seen at both."""
    return mean([x[t] * x[t + lag] for t in range(len(x) - lag)])


def centred(x: Array) -> Array:
    result = x.copy()
    for place in np.ndindex(x.shape[1:]):
        result[(slice(None), *place)] -= mean(x[(slice(None), *place)])
    return result


def correlation(x: Array, lag: int) -> float:
    return products(x, lag) / products(x, 0)


def spread(x: Array) -> float:
    return mean([seen(frame).std() for frame in x if len(seen(frame))])


def mean_variation(x: Array) -> float:
    groups = x.reshape(len(x), x.shape[1], -1)
    means = np.array([[mean(channel) for channel in frame] for frame in groups])
    return mean(centred(means) ** 2)


def drift(x: Array) -> float:
    there = [t for t in range(len(x)) if len(seen(x[t]))]
    first, second = there[: len(there) // 2], there[len(there) // 2 :]
    changes = []
    for place in np.ndindex(x.shape[1:]):
        a, b = (mean([x[(t, *place)] for t in half]) for half in (first, second))
        changes.append((a - b) ** 2)
    return mean(changes)


def fast_share(x: Array) -> float:
    """By the sums of the discrete Fourier transform, over all T frequencies."""
    moving, length = np.nan_to_num(centred(x)), len(x)
    power = []
    for k in range(length):
        wave = np.exp(-2j * np.pi * k * np.arange(length) / length)
        power.append(float((np.abs(np.tensordot(wave, moving, 1)) ** 2).sum()))
    frequency = [min(k, length - k) / length for k in range(length)]
    return sum(p for p, w in zip(power, frequency, strict=True) if w > 0.25) / sum(power[1:])


def sharpness(x: Array) -> float:
    return (mean(np.abs(np.diff(x, axis=-1))) + mean(np.abs(np.diff(x, axis=-2)))) / 2


LOOPS: dict[str, Callable[[Array], float]] = {
    "mean value": mean,
    "spread within a frame": spread,
    "largest value": lambda x: float(seen(x).max()),
    "smallest value": lambda x: float(seen(x).min()),
    "motion energy": lambda x: mean(np.abs(np.diff(x, axis=0))),
    "lag-1 autocorrelation": lambda x: correlation(centred(x), 1),
    "lag-2 autocorrelation": lambda x: correlation(centred(x), 2),
    "share of fast motion": fast_share,
    "variation of the frame mean": mean_variation,
    "drift between halves": drift,
    "sharpness": sharpness,
}
REALISED: dict[str, Callable[[Array, Array], float]] = {
    "residual size": lambda e, _: mean(e**2),
    "largest residual": lambda e, _: float(np.abs(seen(e)).max()),
    "residual autocorrelation": lambda e, _: correlation(e, 1),
    "surprise": lambda e, scale: mean(0.5 * e**2 + np.log(scale) + 0.5 * math.log(2 * math.pi)),
}


def clips(shape: tuple[int, ...], pattern: str) -> tuple[Tensor, Tensor | None]:
    """Values (2, 3, T, *frame) in float64 for 2 draws of 3 clips, and the pattern of the 3."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, T, *shape).double().cumsum(2)
    observed = torch.ones(3, T, *(1 for _ in shape), dtype=torch.bool)
    if "frames" in pattern:
        rows = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1]], dtype=torch.bool)
        observed = observed & rows[(..., *(None,) * len(shape))]
    if "values" in pattern:
        observed = observed & (torch.rand(3, T, *shape) < 0.75)
    if "ragged" in pattern:
        there = torch.arange(T) < torch.tensor([6, 5, 4])[:, None]
        observed = observed & there[(..., *(None,) * len(shape))]
    return x, None if pattern == "complete" else observed


def as_loops_see(x: Tensor, observed: Tensor | None) -> Tensor:
    return x if observed is None else torch.where(observed, x, math.nan)


def zeroed(x: Tensor, observed: Tensor | None) -> Tensor:
    return x if observed is None else torch.where(observed, x, 0.0)


def named(name: str) -> Discrepancy:
    return next(d for d in BUILT_IN if d.name == name)


def test_every_built_in_discrepancy_has_a_loop_here() -> None:
    assert {d.name for d in BUILT_IN} == {*LOOPS, *REALISED}
    assert {d.name for d in BUILT_IN if d.realised} == {*REALISED}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("frames", SHAPES)
def test_discrepancies_of_the_frames_are_what_loops_give(frames: str, pattern: str) -> None:
    shape = SHAPES[frames]
    x, observed = clips(shape, pattern)
    plain = as_loops_see(x, observed).numpy()
    for name, loop in LOOPS.items():
        if not named(name).applies(shape):
            continue
        found = named(name).function(Frames(zeroed(x, observed), len(shape), observed))
        expected = [[loop(clip) for clip in draw] for draw in plain]
        assert found.shape == (2, 3), name
        assert found.dtype == torch.float64, name
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("frames", SHAPES)
def test_realised_discrepancies_are_what_loops_give(frames: str, pattern: str) -> None:
    shape = SHAPES[frames]
    x, observed = clips(shape, pattern)
    loc, scale = torch.randn_like(x), torch.rand_like(x) + 0.5
    latents = Latents(torch.zeros(2, 3, 1), torch.zeros(2, 3, T, 1))
    given = Frames(zeroed(x, observed), len(shape), observed, None, latents, Normal(loc, scale))
    residuals = ((as_loops_see(x, observed) - loc) / scale).numpy()
    for name, loop in REALISED.items():
        expected = [[loop(residuals[k, i], scale[k, i].numpy()) for i in range(3)] for k in range(2)]
        np.testing.assert_allclose(named(name).function(given).numpy(), expected, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", [*LOOPS, *REALISED])
def test_single_precision_is_enough(name: str) -> None:
    """A long bright clip in float32 against the same in float64."""
    torch.manual_seed(0)
    x = 100 + torch.randn(1, 64, 3, 16, 16)

    def value(x: Tensor) -> float:
        p = Normal(torch.full_like(x, 100.0), torch.ones_like(x))
        latents = Latents(torch.zeros(1, 1), torch.zeros(1, 64, 1))
        return float(named(name).function(Frames(x, 3, None, None, latents, p)))

    # The differences that are taken are themselves rounded to 10^-5.
    assert value(x) == pytest.approx(value(x.double()), rel=1e-4, abs=2e-5)


# --- clips whose answer is known --------------------------------------------------------------------------------------


def test_a_clip_that_does_not_move_has_no_motion() -> None:
    frames = Frames(torch.rand(1, 1, 3, 4, 4).expand(1, T, 3, 4, 4), 3)
    for name in ("motion energy", "variation of the frame mean", "drift between halves"):
        assert float(named(name).function(frames)) == pytest.approx(0, abs=1e-12)
    still = Frames(torch.full((1, T, 2), 0.5), 1)
    for name in ("lag-1 autocorrelation", "lag-2 autocorrelation", "share of fast motion"):
        assert float(named(name).function(still)) == 0


@pytest.mark.parametrize(("period", "share"), [(2, 1.0), (3, 1.0), (6, 0.0), (12, 0.0)])
def test_one_wave_is_fast_or_slow(period: int, share: float) -> None:
    """And its autocorrelations are those of a cosine, up to the ends of the clip."""
    wave = torch.cos(2 * math.pi * torch.arange(120.0) / period + 0.3)
    frames = Frames(wave.view(1, 120, 1), 1)
    assert float(built_in.fast_share(frames)) == pytest.approx(share, abs=1e-6)
    assert float(built_in.autocorrelation(frames, 1)) == pytest.approx(math.cos(2 * math.pi / period), abs=0.03)
    assert float(built_in.autocorrelation(frames, 2)) == pytest.approx(math.cos(4 * math.pi / period), abs=0.03)


def test_a_change_midway_is_drift_and_a_swing_is_not() -> None:
    step = torch.cat([torch.zeros(4), torch.full((4,), 3.0)]).view(1, 8, 1)
    swing = torch.tensor([0.0, 3.0]).repeat(4).view(1, 8, 1)
    assert float(built_in.drift(Frames(step, 1))) == 9
    assert float(built_in.drift(Frames(swing, 1))) == 0


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("motion energy", [1, 0, 1, 0]),
        ("lag-1 autocorrelation", [1, 0, 1, 0]),
        ("lag-2 autocorrelation", [1, 1, 0, 0]),
        ("drift between halves", [0, 1, 0, 0]),
        *((name, [0, 0, 0, 0]) for name in LOOPS if name not in ("share of fast motion", "sharpness")),
    ],
)
def test_what_the_pattern_leaves_undefined_is_not_a_number(name: str, mask: list[int]) -> None:
    """For the clip concerned alone."""
    observed = torch.tensor([mask, [1, 1, 1, 1]], dtype=torch.bool).unsqueeze(-1)
    x = torch.where(observed, torch.randn(2, 4, 3), torch.zeros(()))
    assert named(name).function(Frames(x, 1, observed)).isnan().tolist() == [True, False]


def test_two_frames_have_no_second_lag() -> None:
    assert built_in.lag_2_autocorrelation(Frames(torch.randn(3, 2, 4), 1)).isnan().all()


# --- likelihoods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p", [Normal(0.2, 2.0), Laplace(0.2, 2.0), Poisson(3.0), Bernoulli(0.3)], ids=lambda p: type(p).__name__
)
def test_standardised_residuals_of_draws_have_mean_zero_and_size_one(p: Any) -> None:
    torch.manual_seed(0)
    p = p.expand([1, 200, 50])
    x = p.sample()
    frames = Frames(x, 1, None, None, None, p)
    assert float(frames.residuals.mean()) == pytest.approx(0, abs=4.5 / 100)
    fourth = float(frames.residuals.pow(4).mean())
    assert float(built_in.residual_size(frames)) == pytest.approx(1, abs=4.5 * math.sqrt(fourth) / 100)
    assert float(built_in.residual_autocorrelation(frames)) == pytest.approx(0, abs=4.5 / 100)
    assert float(built_in.surprise(frames)) == pytest.approx(-float(p.log_prob(x).double().mean()), rel=1e-6)


def test_a_likelihood_without_variance_says_so_and_has_a_surprise() -> None:
    p = DiscretizedLogistic((4,))(torch.zeros(2, 3, 4))
    frames = Frames(p.sample(), 1, None, None, None, p)
    if isinstance(_variance(p), Tensor):
        pytest.skip("DiscretizedLogistic states its variance")
    with pytest.raises(UsageError, match="states no variance"):
        built_in.residual_size(frames)
    assert built_in.surprise(frames).shape == (2,)


def _variance(p: Any) -> Tensor | None:
    try:
        return p.variance
    except NotImplementedError:
        return None


# --- the palette ------------------------------------------------------------------------------------------------------


def painted(colours: Tensor, count: int) -> Tensor:
    """Clips (count, 2, C, 5, 6) whose pixels have these colours (K, C)."""
    return colours[torch.randint(len(colours), (count, 2, 5, 6))].movedim(-1, 2)


def image_model(channels: int) -> DSVAE:
    return DSVAE(StandardNormal(1), IID(1), *decoded_by(NormalLikelihood, 1, 1, (channels, 16, 16)))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_palette_of_painted_clips_is_their_colours(channels: int) -> None:
    torch.manual_seed(0)
    colours = torch.rand(6, channels)
    training = Sequences(painted(colours, 20), None, None, torch.arange(20))
    palette = Palette.of(image_model(channels), training)
    distance = torch.cdist(palette.colours, colours)
    assert palette.colours.shape == colours.shape
    assert (distance.amin(1) < 1e-5).all()
    assert (palette(Frames(training.frames, 3)) < 1e-5).all()
    # Elsewhere, also outside their range, the distance to the nearest colour, by comparing all.
    x = torch.rand(2, 3, 4, channels, 5, 6) * 1.2 - 0.1
    exact = torch.cdist(x.movedim(-3, -1).flatten(0, -2), colours).amin(1).view(2, 3, -1).mean(-1)
    found = palette(Frames(x, 3))
    assert found.shape == (2, 3)
    # The colour of a cell is the right one but for pixels with two about as near.
    assert (found > exact - 1e-6).all()
    assert (found < 1.015 * exact).all()
    # One colour short, and the clips that have it stand out.
    short = Palette.of(image_model(channels), training, colours=5)
    assert len(short.colours) == 5
    assert (short(Frames(training.frames, 3)) > 1e-3).any()


def test_the_palette_is_read_off_prepared_and_observed_pixels() -> None:
    """Bytes are divided by 255; what was not observed, and other rows than the training ones, have no colour."""
    torch.manual_seed(0)
    frames = torch.randint(2, (4, 2, 3, 5, 6)).mul(255).to(torch.uint8)
    frames[3] = 128
    mask = torch.ones(frames.shape, dtype=torch.bool)
    frames[0, 0, 1, :, :3] = 77
    mask[0, 0, 1, :, :3] = False
    d = palette_distance(image_model(3), Sequences(frames, mask, None, torch.arange(3)))
    assert isinstance(d.function, Palette)
    assert set(map(tuple, d.function.colours.tolist())) == {(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    x = torch.zeros(1, 2, 3, 5, 6)
    x[0, 0, 0, 0, 0] = 0.5
    observed = torch.ones_like(x, dtype=torch.bool)
    assert float(d.function(Frames(x, 3))) == pytest.approx(0.5 / 60)
    observed[0, :, 1, 1:] = False
    assert float(d.function(Frames(x, 3, observed))) == pytest.approx(0.5 / 12)
    observed[0, 0, 2, 0, 0] = False
    assert float(d.function(Frames(x, 3, observed))) == 0


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (torch.rand(2, 2, 5), {}, "images of 1 to 3 channels"),
        (torch.rand(2, 2, 4, 3, 3), {}, "images of 1 to 3 channels"),
        (torch.rand(2, 2, 3, 3, 3), {"colours": 0}, "at least 1 colour"),
        (torch.rand(2, 2, 3, 3, 3), {"mask": torch.zeros(2, 2, dtype=torch.bool)}, "no pixel"),
    ],
)
def test_what_has_no_palette(frames: Tensor, options: dict[str, Any], message: str) -> None:
    mask = options.pop("mask", None)
    with pytest.raises(UsageError, match=message):
        Palette.of(image_model(3), Sequences(frames, mask, None, torch.arange(2)), **options)


# --- which apply, and one's own ---------------------------------------------------------------------------------------


def test_vectors_have_no_sharpness_and_all_else() -> None:
    assert {d.name for d in BUILT_IN} - {d.name for d in applicable((5,))} == {"sharpness"}
    assert applicable((3, 8, 8)) == list(BUILT_IN)


def test_what_looks_at_the_latents_must_say_so() -> None:
    frames = Frames(torch.zeros(1, 2, 3), 1)
    for look in (lambda: frames.distribution, lambda: frames.latents):
        with pytest.raises(UsageError, match="realised=True"):
            look()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module."""
    mine = ModuleType("my_discrepancies")
    mine.total_energy = lambda frames: frames.average(frames.x.square())  # type: ignore[attr-defined]
    mine.ready = Discrepancy("ready made", built_in.surprise, realised=True)  # type: ignore[attr-defined]
    mine.number = 3  # type: ignore[attr-defined]
    mine.two = lambda frames, other: frames  # type: ignore[attr-defined]
    mine.none = lambda: None  # type: ignore[attr-defined]
    mine.Kind = Frames  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_discrepancies", mine)
    return mine.__name__


def test_ones_own_is_found_by_its_dotted_path(module: str) -> None:
    own = discrepancy(f"{module}.total_energy")
    assert (own.name, own.realised, own.images_only) == ("total energy", False, False)
    x = torch.randn(2, 3, 4)
    assert own.function(Frames(x, 1)).numpy() == pytest.approx(x.square().mean((1, 2)).numpy())
    assert discrepancy(f"{module}.ready") is sys.modules[module].ready
    assert discrepancy("pyro_dsvae.inference.predictive_checks.discrepancies.sharpness").function is built_in.sharpness


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("energy", "module.function, not 'energy'"),
        ("my_discrepancies.", "module.function, not"),
        ("my_discrepancies.energy", "my_discrepancies has no 'energy'"),
        ("no_such_module.energy", "cannot be imported: ModuleNotFoundError"),
        ("my_discrepancies.number", "is of type int"),
        ("my_discrepancies.Kind", "is of type type"),
        ("my_discrepancies.two", "must take one argument"),
        ("my_discrepancies.none", "must take one argument"),
    ],
)
def test_what_is_no_discrepancy_is_said_in_one_line(module: str, path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        discrepancy(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "error"), [("1 / 0", "ZeroDivisionError"), ("torch.no_such_function()", "AttributeError")]
)
def test_a_module_that_fails_while_it_is_imported_is_the_users_to_mend(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, line: str, error: str
) -> None:
    (tmp_path / f"broken_{error}.py").write_text(f"import torch\n{line}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=f"cannot be imported: {error}"):
        discrepancy(f"broken_{error}.energy")
