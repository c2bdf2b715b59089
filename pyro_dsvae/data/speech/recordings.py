"""Sound files as one channel at one rate, without silence at both ends, at one level."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.speech.spectra import HOP
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.models.errors import UsageError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".sph", ".mp3")
# Root mean square of every recording: 26 dB below full scale, the active level of ITU-T P.56.
LEVEL = 0.05
# A recording without a larger sample is silent: 80 dB below full scale.
SILENT = 1e-4
# Samples in a row at one extreme, near full scale, are clipped.
_ROW, _NEAR_FULL = 3, 0.95

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """One recording, ready for analysis.

    Attributes:
        sound: (S,) in 32 bits, of root mean square `LEVEL`.
        rate: Samples a second.
        gain: By which the file's samples were multiplied. The way back divides by it.
        start: Seconds that were cut off before the first sample.
        own_rate: Samples a second of the file.
        channels: Of the file, whose mean is taken.
        clipped: Whether the file is clipped.
    """

    sound: Tensor
    rate: int
    gain: float
    start: float
    own_rate: int
    channels: int
    clipped: bool


def read_recording(path: Path, rate: int, trim: float | None) -> Recording:
    """Read a sound file.

    Args:
        path: The file: WAV (also NIST's, as in TIMIT), FLAC, Ogg, and what else libsndfile reads.
        rate: Samples a second to bring it to, by a polyphase filter.
        trim: How many decibels below its loudest 32 ms the beginning and the end count as silence, which is cut off; None cuts
            off nothing.

    Raises:
        UsageError: For a file that holds no sound that can be used, in words that follow its name.
    """
    samples, own_rate, channels = _read(path)
    if samples.size == 0:
        raise UsageError("holds no samples")
    if not np.isfinite(samples).all():
        raise UsageError(f"holds {int((~np.isfinite(samples)).sum()):,} samples that are not finite")
    clipped = is_clipped(samples)
    largest = float(np.abs(samples).max())
    if largest < SILENT:
        raise UsageError(f"is silent: its largest sample is {largest:.2g} of full scale")
    mono = samples.mean(1, dtype=np.float32)
    if np.abs(mono).max() < SILENT:
        raise UsageError("is silent where its channels are mixed: they cancel; save one of them")
    if own_rate != rate:
        from scipy.signal import resample_poly

        divisor = gcd(own_rate, rate)
        mono = resample_poly(mono, rate // divisor, own_rate // divisor).astype(np.float32)
    first, last = (0, len(mono)) if trim is None else spoken_part(mono, rate, trim)
    mono = mono[first:last]
    gain = LEVEL / float(np.sqrt(np.mean(np.square(mono, dtype=np.float64))))
    return Recording(torch.from_numpy(mono * np.float32(gain)), rate, gain, first / rate, own_rate, channels, clipped)


def spoken_part(sound: Samples, rate: int, trim: float) -> tuple[int, int]:
    """The first and one past the last sample of a sound (S,) that belong to 32 ms within ``trim`` dB of its loudest 32 ms."""
    hop = max(1, round(HOP * rate))
    count = -(-len(sound) // hop)
    power = np.pad(np.square(sound, dtype=np.float64), (0, count * hop - len(sound))).reshape(count, hop).sum(1)
    smooth = np.convolve(power, np.ones(4), mode="same")
    loud = np.flatnonzero(smooth >= smooth.max() * 10 ** (-trim / 10))
    return int(loud[0]) * hop, min(len(sound), (int(loud[-1]) + 1) * hop)


def is_clipped(samples: Samples) -> bool:
    """Whether several samples in a row of a channel are at its extreme, near full scale or beyond; (S, channels)."""
    for extreme in (samples.max(0), samples.min(0)):
        at = (samples == extreme) & (np.abs(extreme) >= _NEAR_FULL)
        if len(at) >= _ROW and np.logical_and.reduce([at[i : len(at) - _ROW + 1 + i] for i in range(_ROW)]).any():
            return True
    return False


def write_wav(path: Path, sound: Tensor, rate: int) -> float:
    """A WAV file of 16 bits of a sound (S,) in [-1, 1]; a louder one is made softer as a whole, so that nothing is clipped.

    Returns:
        By what it was multiplied, 1 unless it was too loud.
    """
    soundfile = needed("soundfile", "speech", "a sound file")
    largest = float(sound.abs().max())
    scale = min(1.0, 0.99 / largest) if largest > 0 else 1.0
    soundfile.write(str(path), (sound * scale).double().cpu().numpy(), rate, subtype="PCM_16")
    return scale


def _read(path: Path) -> tuple[Samples, int, int]:
    """Samples (S, channels), their rate, and how many channels."""
    soundfile = needed("soundfile", "speech", "a sound file")
    try:
        with soundfile.SoundFile(str(path)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            expected, told = file.frames, file.extra_info
            rate, channels = file.samplerate, file.channels
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        what = " ".join(str(error).partition(": ")[2].split())[:120].rstrip(".") or type(error).__name__
        raise UsageError(f"is no sound file that can be read ({what})") from None
    if len(samples) < expected or _is_short(told):
        raise UsageError(f"is cut short: it holds {len(samples):,} samples, fewer than it says")
    return samples, rate, channels


def _is_short(told: str) -> bool:
    """Whether libsndfile says that a WAV holds fewer bytes of data than its header does; a stream's header says none."""
    lines = [line for line in told.splitlines() if line.strip().startswith("data") and "should be" in line]
    sizes = [
        [int(part) for part in line.replace("(", " ").replace(")", " ").split() if part.isdecimal()] for line in lines
    ]
    return any(len(size) == 2 and size[0] > size[1] and size[0] < 0x7FFFFFFF for size in sizes)
