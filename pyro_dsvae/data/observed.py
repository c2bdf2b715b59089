"""What of a data set was observed, and which sequences have nothing or nothing finite."""

import torch
from torch import Tensor

from pyro_dsvae.data.words import numbered_sequences
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.models.errors import UsageError


def observed_frames(frames: Tensor, mask: Tensor | None, lengths: Tensor | None) -> Tensor:
    """Frames ``(N, T, *frame)`` that are finite everywhere: 0 stands for what is not finite and was not observed.

    Raises:
        UsageError: For a sequence without an observed value, or with one that is not finite.
    """
    if isinstance(frames, Stored):  # they were told when they were written
        return frames
    if mask is not None or lengths is not None:
        empty = Sequences.of(frames, mask, lengths).observed_count() == 0
        if empty.any():
            raise UsageError(f"nothing was observed of {numbered_sequences(empty)}: leave {_them(empty)} out")
    stored = Batch(frames, mask, lengths)
    if not frames.is_floating_point() or all(bool(torch.isfinite(part.x).all()) for part in stored.parts()):
        return frames
    seen = torch.cat([(~torch.isfinite(part.x) & part.observed).flatten(1).any(1) for part in stored.parts()])
    if seen.any():
        raise UsageError(
            f"frames hold values that are not finite in {numbered_sequences(seen)}: say in an array mask that they were not "
            "observed, such as mask=np.isfinite(frames)"
        )
    return torch.cat([part.x.masked_fill(~torch.isfinite(part.x), 0.0) for part in stored.parts()])


def missing_share(frames: Tensor, mask: Tensor | None, lengths: Tensor | None) -> float:
    """Of the values of steps that exist, the share that was not observed."""
    if mask is None:
        return 0.0
    exist = Sequences.of(frames, None, lengths).observed_count().sum()
    return 1 - float(Sequences.of(frames, mask, lengths).observed_count().sum() / exist)


def _them(which: Tensor) -> str:
    return "it" if which.sum() == 1 else "them"
