"""Log spectra of sound, and the magnitudes that log spectra stand for."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.models.errors import UsageError, check_count

# Seconds of sound in one spectrum, and from one spectrum to the next: a quarter, so that a sound follows from magnitudes.
WINDOW, HOP = 0.032, 0.008
# What is softer than this magnitude counts as this: 100 dB below full scale.
FLOOR = 1e-5
SLOWEST, FASTEST = 2_000, 192_000
_FINER = 16  # points of a bin at which a filter is evaluated
_UPDATES = 200  # of the magnitudes that have given band means


@dataclass(frozen=True)
class Spectra:
    """Log spectra of a sound, 125 a second.

        x_tk = log max(sum_b W_kb |X_tb|, floor)

    X is the short-time Fourier transform with Hann windows of 32 ms, 8 ms apart, divided by half the window's sum, so that a
    sine of amplitude a has magnitude a. Row k of W is a triangle on the mel scale with sum 1, so that x has the mean magnitude
    of each band. Without bands W is the identity.

    Source: bands as in Davis & Mermelstein, "Comparison of parametric representations for monosyllabic word recognition",
    IEEE Transactions on Acoustics, Speech and Signal Processing 1980; mel = 2595 log10(1 + Hz / 700).

    Args:
        rate: Samples a second.
        bands: How many, K; 0 for the log magnitude of every bin.

    Example:
        >>> import math, torch
        >>> from pyro_dsvae.data.speech.spectra import Spectra
        >>> spectra = Spectra(rate=16_000, bands=0)
        >>> sine = 0.5 * torch.sin(2 * math.pi * 1000 * torch.arange(16_000) / 16_000)
        >>> x = spectra.of(sine)
        >>> x.shape, round(x[60].exp().max().item(), 3), int(x[60].argmax()) * 16_000 / 512
        (torch.Size([126, 257]), 0.5, 1000.0)
    """

    rate: int = 16_000
    bands: int = 80

    def __post_init__(self) -> None:
        if not SLOWEST <= self.rate <= FASTEST:
            raise UsageError(f"rate = {self.rate}; it is in samples a second, {SLOWEST} to {FASTEST}", "data.rate")
        check_count("bands", self.bands, 0)
        if self.bands > self.bins // 2:
            raise UsageError(
                f"bands = {self.bands}; of {self.bins} frequencies at {self.rate} samples a second there are at most "
                f"{self.bins // 2} bands, or 0 for every frequency",
                "data.bands",
            )

    @property
    def hop(self) -> int:
        """Samples from one spectrum to the next."""
        return round(HOP * self.rate)

    @property
    def window(self) -> int:
        """Samples of one spectrum."""
        return 4 * self.hop

    @property
    def bins(self) -> int:
        """Frequencies from 0 to half the rate."""
        return self.window // 2 + 1

    @property
    def size(self) -> int:
        """P, values of a frame."""
        return self.bands or self.bins

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(P,) the middle of each band, or the frequency of each bin, in Hz."""
        if self.bands:
            return _hz(np.linspace(0, _mel(self.rate / 2), self.bands + 2)[1:-1])
        return np.linspace(0, self.rate / 2, self.bins, dtype=np.float64)

    def steps(self, samples: int) -> int:
        """How many spectra so many samples have."""
        return samples // self.hop + 1

    def transform(self, sound: Tensor) -> Tensor:
        """X (T, bins), complex, of a sound (S,), S at least 1."""
        window = self._hann()
        # Silence before and after, so that the first and the last sample are as good as any.
        padded = torch.nn.functional.pad(sound, (self.window // 2, self.window // 2 + self.hop))
        spectrum = torch.stft(padded, self.window, self.hop, window=window.to(sound), center=False, return_complex=True)
        return spectrum.T[: self.steps(len(sound))] / (window.sum() / 2)

    def sound(self, spectrum: Tensor, samples: int) -> Tensor:
        """The sound (S,) whose transform comes closest to X (T, bins), in the sense of least squares (Griffin & Lim 1984)."""
        window = self._hann().to(spectrum.real)
        pieces = torch.fft.irfft(spectrum * (window.sum() / 2), n=self.window, dim=-1) * window
        length = (len(spectrum) - 1) * self.hop + self.window
        sums, weights = (_overlapped(v, self.hop, length) for v in (pieces, window.square().expand_as(pieces)))
        start = self.window // 2
        found = (sums / weights.clamp(min=1e-8))[start : start + samples]
        return torch.nn.functional.pad(found, (0, samples - len(found)))

    def of(self, sound: Tensor) -> Tensor:
        """x (T, P) of a sound (S,)."""
        return self.log(self.transform(sound).abs())

    def log(self, magnitudes: Tensor) -> Tensor:
        """x (T, P) of magnitudes (T, bins)."""
        if self.bands:
            magnitudes = magnitudes @ self._filters().to(magnitudes).T
        return magnitudes.clamp(min=FLOOR).log()

    def magnitudes(self, x: Tensor) -> Tensor:
        """Magnitudes (T, bins) that x (T, P) stands for; of bands the smoothest that have their means, nearly.

        Many magnitudes have the same band means. Multiplicative updates keep them positive and start from the means themselves
        (Lee & Seung, "Algorithms for non-negative matrix factorization", NIPS 2000).
        """
        if not self.bands:
            return x.exp()
        filters, means = self._filters().to(x), x.exp()
        found = means @ (filters / filters.sum(0).clamp(min=1e-8))
        towards, square = means @ filters, filters.T @ filters
        for _ in range(_UPDATES):
            found = found * towards / (found @ square).clamp(min=1e-12)
        return found

    def _hann(self) -> Tensor:
        return torch.hann_window(self.window, dtype=torch.float64)

    def _filters(self) -> Tensor:
        return torch.from_numpy(_triangles(self.rate, self.window, self.bands))


def inversion_error(spectra: Spectra, magnitudes: Tensor) -> float:
    """By how many decibels (root mean square) magnitudes differ from those that come back from their log spectra.

    Values below a thousandth of the largest do not count.

    Args:
        spectra: How they are analysed.
        magnitudes: (T, bins).
    """
    back = spectra.magnitudes(spectra.log(magnitudes))
    heard = magnitudes > 1e-3 * magnitudes.max()
    decibels = 20 * (back.clamp(min=FLOOR) / magnitudes.clamp(min=FLOOR)).log10()
    return float(decibels[heard].square().mean().sqrt())


@lru_cache(maxsize=8)
def _triangles(rate: int, window: int, bands: int) -> NDArray[np.float64]:
    """W (K, bins): the mean of each triangle over the width of each bin, so that no narrow band falls between two bins."""
    bins = window // 2 + 1
    edges = _hz(np.linspace(0, _mel(rate / 2), bands + 2))
    points = ((np.arange(bins * _FINER) + 0.5) / _FINER - 0.5) * (rate / window)
    rows = [np.interp(points, edges[k : k + 3], [0.0, 1.0, 0.0]).reshape(bins, _FINER).mean(1) for k in range(bands)]
    filters = np.stack(rows)
    return filters / filters.sum(1, keepdims=True)


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return 700 * (10 ** (mel / 2595) - 1)


def _overlapped(pieces: Tensor, hop: int, length: int) -> Tensor:
    """(length,) the sum of pieces (T, window), each ``hop`` later than the one before."""
    folded = torch.nn.functional.fold(pieces.T[None], (1, length), (1, pieces.shape[1]), stride=(1, hop))
    return folded.flatten()
