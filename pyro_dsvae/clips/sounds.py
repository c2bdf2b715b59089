"""Recordings as sequences of a run that was fitted to speech, and sequences as recordings."""

from pathlib import Path

import torch
from torch import Tensor

from pyro_dsvae.data.speech.recordings import SUFFIXES, Recording, read_recording, write_wav
from pyro_dsvae.data.speech.resynthesis import resynthesised
from pyro_dsvae.data.speech.segments import Segmenting
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError


def read_sound(path: Path, how: Segmenting) -> tuple[Sequences, Recording]:
    """All frames (1, T, P) of a recording, read as the recordings of the run's data are, and the recording.

    Raises:
        UsageError: Where it is no file of sound, holds no sound that can be used, or fewer than two frames.
    """
    if not path.exists():
        raise UsageError(
            f"{path}: no such file; a clip of a run on speech is an index, a recording ({', '.join(SUFFIXES)}) or an .npz"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} is no recording, and this run is on speech: give one of {', '.join(SUFFIXES)}, or frames in an .npz"
        )
    try:
        recording = read_recording(path, how.spectra.rate, how.trim)
    except UsageError as error:
        raise UsageError(f"{path} {error}", *error.options) from None
    frames = how.spectra.of(recording.sound)
    if len(frames) < 2:
        raise UsageError(f"{path} holds one frame; a clip to condition on needs at least 2")
    return Sequences.of(frames[None]), recording


def write_sound(
    path: Path, frames: Tensor, how: Segmenting, timing: Recording | None, known: Tensor | None = None
) -> None:
    """A WAV file of log spectra (T, P).

    Args:
        path: The file to write.
        frames: As the run's frames are.
        how: How these were made.
        timing: The recording that gives z. The sound gets its level and its length, and Griffin and Lim's algorithm starts from
            its phase. Without one it starts from a random phase.
        known: (T,) bool, of which frames that phase is used; that of the others is random. None for all.
    """
    x = frames.detach().cpu().float()
    hop = how.spectra.hop
    samples, phase, gain = (len(x) - 1) * hop + 1, None, 1.0
    if timing is not None:
        samples, gain = min(samples + hop - 1, len(timing.sound)), timing.gain
        phase = how.spectra.transform(timing.sound).angle()[: len(x)]
        if known is not None:
            noise = torch.rand(phase.shape, generator=torch.Generator().manual_seed(0))
            phase = torch.where(known.cpu().unsqueeze(-1), phase, 2 * torch.pi * noise)
    sound = resynthesised(how.spectra, x, samples, phase) / gain
    write_wav(path, torch.nan_to_num(sound), how.spectra.rate)
