"""Speech-like sounds without a synthesiser: a buzz at a speaker's pitch, through resonances that a word moves."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Samples = NDArray[np.float64]
# Of a word the first two resonances, in Hz, at its beginning and at its end.
WORDS = {"ai": ((750, 1200), (300, 2200)), "ua": ((320, 800), (720, 1100)), "io": ((280, 2250), (450, 850))}
# Of a speaker the pitch in Hz and the length of the vocal tract, against which resonances go up.
SPEAKERS = {"p225": (110, 1.0), "p226": (130, 0.95), "p227": (190, 0.86), "p228": (215, 0.82), "p229": (95, 1.06)}


def spoken(speaker: str, word: str, seconds: float = 0.6, rate: int = 16_000, take: int = 0) -> Samples:
    """(S,) in [-1, 1]: one word, with a little silence before and after."""
    pitch, tract = SPEAKERS[speaker]
    random = np.random.RandomState(take)
    count = int(seconds * rate)
    shares = np.linspace(0, 1, count)
    pulses = np.diff(np.floor(np.cumsum(pitch * (1 + 0.1 * shares + 0.02 * random.randn()) / rate)), prepend=0.0)
    first, last = (np.array(pair) / tract for pair in WORDS[word])
    out, size = np.zeros(count), count // 24
    for start in range(0, count, size):
        piece = pulses[start : start + 2 * size] + 1e-4 * random.randn(len(pulses[start : start + 2 * size]))
        for centre in (*(first + (last - first) * start / count), 2800 / tract):
            radius = np.exp(-np.pi * 90 / rate)
            piece = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2], piece)
        window = np.hanning(2 * size + 2)[1:-1][: len(piece)]
        out[start : start + 2 * size] += window * piece
    silence = 1e-5 * random.randn(rate // 10)
    return np.concatenate([silence, 0.4 * out / np.abs(out).max(), silence])


def write(path: Path, samples: NDArray[np.float64], rate: int = 16_000, **options: str) -> Path:
    """A file of sound, of the kind that its name says."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path
