"""Guide views of speech: z sees one other voice for all frames, f sees frames without their order."""

import pyro
import pytest
import torch

from pyro_dsvae.inference.posteriors.views import VocalTract
from pyro_dsvae.inference.posteriors.views.vocal_tract import interpolated
from pyro_dsvae.models.encoders import Dense

T, P = 6, 41


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def seen_of(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_interpolation_is_exact_for_lines_and_at_columns() -> None:
    x = torch.linspace(-1, 3, P).double().expand(5, T, P)
    places = torch.rand(5, P).double()
    torch.testing.assert_close(interpolated(x, places), (4 * places - 1).unsqueeze(1).expand(5, T, P))
    noise = torch.randn(5, T, P)
    torch.testing.assert_close(interpolated(noise, torch.linspace(0, 1, P).expand(5, P)), noise)


def test_a_resonance_moves_alike_in_all_frames_as_a_power_of_its_place() -> None:
    """y(p) = x(p^exp(w)): what was at p0 is seen at p0^exp(-w), log-normally spread on a log scale of log p."""
    places = torch.linspace(0, 1, P).double()
    x = (-((places - 0.4) ** 2) / 0.002).exp().expand(4_000, T, P)
    y = VocalTract(warp=0.2, gain=0.0, tilt=0.0, shape=0.0).dynamic_view(x, seen_of(x), training=True)
    assert torch.equal(y, y[:, :1].expand_as(y))
    peak = places[y[:, 0].argmax(-1)]
    w = (places.new_tensor(0.4).log() / peak.log()).log()
    assert abs(float(w.mean())) < 0.02
    assert float(w.std()) == pytest.approx(0.2, rel=0.1)


def test_gain_and_tilt_are_one_line_over_frequencies_for_a_sequence() -> None:
    x = torch.randn(4_000, T, P).double()
    change = VocalTract(warp=0.0, gain=0.7, tilt=0.3, shape=0.0).dynamic_view(x, seen_of(x), training=True) - x
    torch.testing.assert_close(change, change[:, :1].expand_as(change))
    low, middle, high = change[:, 0, 0], change[:, 0, P // 2], change[:, 0, -1]
    torch.testing.assert_close(low + high, 2 * middle)
    assert float(middle.std()) == pytest.approx(0.7, rel=0.05)
    assert float(((high - low) / 2).std()) == pytest.approx(0.3, rel=0.05)


def test_shape_is_five_waves_over_frequencies_for_a_sequence() -> None:
    x = torch.zeros(4_000, T, 400).double()
    change = VocalTract(warp=0.0, gain=0.0, tilt=0.0, shape=0.3).dynamic_view(x, seen_of(x), training=True)
    assert torch.equal(change, change[:, :1].expand_as(change))
    places = torch.linspace(0, 1, 400).double()
    waves = torch.stack([torch.cos(torch.pi * k * places) for k in range(10)])
    found = torch.linalg.lstsq(waves.T, change[:, 0].T).solution
    torch.testing.assert_close(found.std(1), torch.tensor([0, 0, *5 * [0.3], 0, 0, 0]).double(), rtol=0.05, atol=1e-7)


def test_what_was_not_observed_stays_zero_and_nothing_changes_in_evaluation() -> None:
    x, observed = torch.randn(3, T, P), torch.ones(3, T, dtype=torch.bool)
    x[:, 2], observed[:, 2] = 0.0, False
    y = VocalTract().dynamic_view(x, observed, training=True)
    assert (y[:, 2] == 0).all()
    assert not torch.allclose(y, x)
    assert torch.equal(VocalTract().dynamic_view(x, observed, training=False), x)


def test_f_does_not_see_the_order_of_frames() -> None:
    static = VocalTract(frames=2).static_encoder((P,), 5, 7, lambda shape, size: Dense(shape, size, 8)).eval()
    x = torch.randn(3, T, P)
    torch.testing.assert_close(static(x, seen_of(x), None), static(x.flip(1), seen_of(x), None))
    # In training from so many frames at most.
    counts: list[int] = []
    static.encoder.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].shape[1]))  # type: ignore[union-attr,operator]
    static.train()(x, seen_of(x), None)
    assert counts == [2]
