"""Sound from log spectra, which have no phase."""

import math

import torch
from torch import Tensor

from pyro_dsvae.data.speech.spectra import Spectra

ITERATIONS = 64


def resynthesised(
    spectra: Spectra, x: Tensor, samples: int, phase: Tensor | None = None, iterations: int = ITERATIONS
) -> Tensor:
    """A sound whose log spectra are near to x: Griffin and Lim's algorithm.

        X_0 = m exp(i phase),     X_{n+1} = m U / |U|,  U = transform(sound(X_n))

    with m the magnitudes that x stands for. No step takes |transform(sound(X_n))| farther from m. Started from the phase of a
    recording of which x was made, or of which only the voice was changed, it keeps the recording's timing. Without a phase it
    starts from a random one, and the sound is rougher. No iterations take the phase as it is.

    A sound from bands has mean zero, and m is zero at 0 Hz: bands do not tell a constant, and it is not heard.

    Source: Griffin & Lim, "Signal estimation from modified short-time Fourier transform", IEEE Transactions on Acoustics,
    Speech and Signal Processing 1984.

    Args:
        spectra: How x was made.
        x: (T, P).
        samples: Of the sound, S.
        phase: (T, bins), in radians; None for a random one.
        iterations: How many.

    Returns:
        (S,) in the precision of x.

    Example:
        >>> import torch
        >>> from pyro_dsvae.data.speech.resynthesis import resynthesised, signal_to_noise
        >>> from pyro_dsvae.data.speech.spectra import Spectra
        >>> spectra = Spectra(rate=8_000, bands=0)
        >>> sound = 0.1 * torch.randn(4_000, generator=torch.Generator().manual_seed(0))
        >>> phase = spectra.transform(sound).angle()
        >>> again = resynthesised(spectra, spectra.of(sound), len(sound), phase, iterations=0)
        >>> signal_to_noise(sound, again) > 60
        True
    """
    magnitudes = spectra.magnitudes(x)
    if spectra.bands:
        # The phase at 0 Hz is the sign of the recording's offset, the same in every frame: shares of the lowest band would
        # add up to an offset. What windows leak of it to the next frequency leaves a little, which the end takes off.
        magnitudes[:, 0] = 0
    if phase is None:
        noise = torch.Generator().manual_seed(0)
        phase = (2 * math.pi) * torch.rand(magnitudes.shape, generator=noise, dtype=magnitudes.dtype)
    found = spectra.sound(torch.polar(magnitudes, phase.to(magnitudes)), samples)
    for _ in range(iterations):
        angles = spectra.transform(found).angle()
        found = spectra.sound(torch.polar(magnitudes, angles), samples)
    return found - found.mean() if spectra.bands else found


def signal_to_noise(sound: Tensor, other: Tensor) -> float:
    """10 log10(sum s^2 / sum (s - s')^2), in decibels; infinite for equal sounds (S,)."""
    noise = (sound.double() - other.double()).square().sum()
    return float(10 * (sound.double().square().sum() / noise).log10())
