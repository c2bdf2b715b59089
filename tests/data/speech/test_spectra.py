"""Analysis and resynthesis without a model: what goes in comes back."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfiltfilt

from pyro_dsvae.data.speech.resynthesis import resynthesised, signal_to_noise
from pyro_dsvae.data.speech.spectra import Spectra, inversion_error
from pyro_dsvae.models.errors import UsageError
from tests.data.speech.voices import spoken


@pytest.fixture(scope="module")
def word() -> torch.Tensor:
    return torch.from_numpy(spoken("p225", "ai"))


def distance(spectra: Spectra, x: torch.Tensor, sound: torch.Tensor) -> float:
    """Spectral convergence: how far the magnitudes of a sound are from those that were asked for, relative to these."""
    wanted = spectra.magnitudes(x)
    return float((spectra.transform(sound).abs() - wanted).norm() / wanted.norm())


def test_a_transform_is_that_of_its_definition() -> None:
    spectra = Spectra(rate=8_000, bands=0)
    sound = torch.randn(1_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step, window = 5, np.hanning(spectra.window + 1)[:-1]
    start = step * spectra.hop - spectra.window // 2
    piece = sound.numpy()[start : start + spectra.window] * window
    waves = np.exp(-2j * np.pi * np.outer(np.arange(spectra.bins), np.arange(spectra.window)) / spectra.window)
    assert np.allclose(spectra.transform(sound)[step].numpy(), waves @ piece / (window.sum() / 2), atol=1e-12)
    assert len(spectra.transform(sound)) == spectra.steps(1_000)


@pytest.mark.parametrize("samples", [256, 1_000, 4_097])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_a_sound_comes_back_whole_from_its_transform(samples: int, rate: int) -> None:
    spectra = Spectra(rate=rate, bands=0)
    sound = torch.randn(samples, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(spectra.sound(spectra.transform(sound), samples), sound, atol=1e-9)


def test_log_magnitudes_with_the_stored_phase_are_the_sound(word: torch.Tensor) -> None:
    spectra = Spectra(bands=0)
    phase = spectra.transform(word).angle()
    assert signal_to_noise(word, resynthesised(spectra, spectra.of(word), len(word), phase, iterations=0)) > 20
    assert signal_to_noise(word, resynthesised(spectra, spectra.of(word), len(word), phase)) > 20


def test_bands_with_the_stored_phase_come_near_the_sound(word: torch.Tensor) -> None:
    """80 means of 257 magnitudes: the fine structure of the voice is lost, its envelope and timing are not."""
    spectra = Spectra(bands=80)
    phase = spectra.transform(word).angle()
    assert signal_to_noise(word, resynthesised(spectra, spectra.of(word), len(word), phase, iterations=0)) > 8
    errors = [inversion_error(Spectra(bands=bands), spectra.transform(word).abs()) for bands in (20, 40, 80, 128)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 6
    assert inversion_error(Spectra(bands=0), spectra.transform(word).abs()) < 1e-6


def test_magnitudes_of_bands_have_the_bands_means(word: torch.Tensor) -> None:
    spectra = Spectra(bands=40)
    x = spectra.of(word)
    heard = x > x.max() - math.log(1000)
    assert (spectra.log(spectra.magnitudes(x)) - x)[heard].abs().max() < 0.1


def test_a_sound_from_bands_has_no_constant_offset_though_its_recording_has_one(word: torch.Tensor) -> None:
    voice = torch.from_numpy(sosfiltfilt(butter(4, 60, "highpass", fs=16_000, output="sos"), word.numpy()).copy())
    spectra, level = Spectra(bands=80), float(voice.std())
    recording = voice - voice.mean() + 0.01 * level  # a hundredth, as some synthesisers have
    x = spectra.of(recording)
    x[:, :3] += 1.0  # a decoder that makes the lowest bands louder than they were
    for iterations in (0, 64):
        sound = resynthesised(spectra, x, len(voice), spectra.transform(recording).angle(), iterations).numpy()
        assert abs(sound.mean()) < 0.002 * level
        assert 0.5 * level < sound.std() < 2 * level


def test_iterations_come_nearer_to_the_magnitudes(word: torch.Tensor) -> None:
    spectra = Spectra(bands=0)
    x = spectra.of(word)
    far = [distance(spectra, x, resynthesised(spectra, x, len(word), iterations=n)) for n in (0, 8, 64)]
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.2
    known = resynthesised(spectra, x, len(word), spectra.transform(word).angle(), iterations=8)
    assert distance(spectra, x, known) < far[2] / 10


def test_bands_are_triangles_on_the_mel_scale() -> None:
    spectra = Spectra(rate=16_000, bands=40)
    flat = torch.full((1, spectra.bins), 0.25)
    assert torch.allclose(spectra.log(flat), torch.full((1, 40), math.log(0.25)))  # means, whose weights have sum 1
    mel = 2595 * np.log10(1 + spectra.frequencies / 700)
    assert np.allclose(np.diff(mel), mel[0])  # equally far apart, the first from 0 Hz
    assert math.isclose(mel[-1] + mel[0], 2595 * math.log10(1 + 8000 / 700))
    for band in (8, 20, 39):
        wave = torch.zeros(1, spectra.bins)
        wave[0, round(spectra.frequencies[band] * spectra.window / spectra.rate)] = 1
        assert int(spectra.log(wave).argmax()) == band


def test_silence_is_the_floor_and_comes_back_as_silence() -> None:
    spectra = Spectra()
    x = spectra.of(torch.zeros(4_000))
    assert torch.isfinite(x).all()
    assert resynthesised(spectra, x, 4_000).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 100}, "rate = 100; it is in samples a second"), ({"bands": 300}, "there are at most 128 bands")],
)
def test_what_has_no_spectra_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Spectra(**options)
