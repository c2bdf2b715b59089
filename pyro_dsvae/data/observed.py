"""What of a data set was observed, and which sequences have nothing or nothing finite."""

import torch
from torch import Tensor

from pyro_dsvae.data.words import numbered_sequences
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

# Values at once.
CHUNK = 2**26


def observed_frames(frames: Tensor, mask: Tensor | None, lengths: Tensor | None) -> Tensor:
    """Frames ``(N, T, *frame)`` that are finite everywhere: 0 stands for what is not finite and was not observed.

    Raises:
        UsageError: For a sequence without an observed value, or with one that is not finite.
    """
    if mask is not None or lengths is not None:
        empty = Sequences.of(frames, mask, lengths).observed_count() == 0
        if empty.any():
            raise UsageError(f"nothing was observed of {numbered_sequences(empty)}: leave {_them(empty)} out")
    if not frames.is_floating_point() or _finite(frames):
        return frames
    bad = ~torch.isfinite(frames)
    seen = (bad & Batch(frames, mask, lengths).observed).flatten(1).any(1)
    if seen.any():
        raise UsageError(
            f"frames hold values that are not finite in {numbered_sequences(seen)}: say in an array mask that they were not "
            "observed, such as mask=np.isfinite(frames)"
        )
    return frames.masked_fill(bad, 0.0)


def _finite(frames: Tensor) -> bool:
    """Whether all values are, told piece by piece: the frames may be a file that is larger than the memory."""
    size = max(1, CHUNK // frames[0].numel())
    return all(bool(torch.isfinite(part).all()) for part in frames.split(size))


def missing_share(frames: Tensor, mask: Tensor | None, lengths: Tensor | None) -> float:
    """Of the values of steps that exist, the share that was not observed."""
    if mask is None:
        return 0.0
    exist = Sequences.of(frames, None, lengths).observed_count().sum()
    return 1 - float(Sequences.of(frames, mask, lengths).observed_count().sum() / exist)


def _them(which: Tensor) -> str:
    return "it" if which.sum() == 1 else "them"
