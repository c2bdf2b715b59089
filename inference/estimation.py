"""What all estimators share: model and guide, modes, noise, the size of a chunk, progress."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.seeding import generators_kept
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError, check_seed

# Numbers in the frames that are decoded at once, and the smallest frame to count with, below which networks dominate.
NUMBERS = 2**22
SMALLEST_FRAME = 512

CPU = torch.device("cpu")

Guide = Callable[..., Any]
Progress = Callable[[float], None]


class Work:
    """Reports to ``progress`` the share of the work that is done, rising to 1.

    Args:
        progress: Called with the share; None: nothing is reported.
        total: The whole of the work, in any unit.
    """

    def __init__(self, progress: Progress | None, total: float) -> None:
        self.progress, self.total, self.done = progress, total, 0.0

    def did(self, amount: float) -> None:
        self.done += amount
        if self.progress is not None:
            self.progress(min(self.done / self.total, 1.0))


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """What to tell the progress of a part of the work, which goes from one share of the whole to another."""
    return lambda share: progress(start + share * (stop - start))


def paths_at_once(clip_shape: Sequence[int], max_frames: int | None = None) -> int:
    """How many latent paths, draws times sequences, fit into one chunk of ``max_frames`` decoded frames.

    The number depends on the shape of a clip ``(T, *frame)`` alone, never on the machine. So a seed gives the same noise
    everywhere.
    """
    length, *frame = clip_shape
    if max_frames is None:
        max_frames = NUMBERS // max(math.prod(frame), SMALLEST_FRAME)
    return max(1, max_frames // length)


def check_proposal(guide: Guide) -> None:
    """Refuse a guide that cannot propose draws for importance sampling.

    Raises:
        UsageError: Where the guide has no density.
    """
    if isinstance(guide, Posterior) and not guide.comparable:
        raise UsageError(
            f"the posterior {type(guide).__name__} is a point and proposes nothing else, so importance weights have no "
            "meaning; fit any other posterior to know the evidence"
        )


@contextmanager
def evaluation(model: DSVAE, guide: Guide, seed: int, device: torch.device, gradients: bool = False) -> Iterator[None]:
    """A context with evaluation mode, its own noise, no gradients and no checks; everything is restored afterwards.

    Args:
        model: To put into evaluation mode.
        guide: Likewise.
        seed: Of the noise.
        device: Of the noise.
        gradients: Whether `torch.enable_grad` will be used inside.
    """
    check_seed(seed)
    parts = [part for part in (model, guide) if isinstance(part, nn.Module)]
    modes = [(module, module.training) for part in parts for module in part.modules()]
    with generators_kept(device), pyro.validation_enabled(False), torch.no_grad():
        torch.manual_seed(seed)
        try:
            for module, _ in modes:
                # cuDNN differentiates recurrent networks in training mode only; without dropout the modes do not differ.
                module.training = gradients and isinstance(module, nn.RNNBase) and not module.dropout
            yield
        finally:
            for module, training in modes:
                module.training = training


@dataclass(frozen=True)
class Sampler:
    """A model and its guide in the form that every estimator takes.

    Attributes:
        model: Any prior, likelihood and decoder.
        guide: A posterior, or any Pyro program over "f" and "z".
        device: Where both are.
        max_frames: Frames decoded at once, which bounds memory; by default 4 million numbers' worth. Another value divides
            the noise differently and gives another estimate, equally good.
        progress: Called with the share of the work that is done, rising to 1.

    Raises:
        UsageError: For ``max_frames`` below 1.
    """

    model: DSVAE
    guide: Guide
    device: torch.device = CPU
    max_frames: int | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"max_frames is {self.max_frames}; it must be at least 1")

    def evaluation(self, seed: int, gradients: bool = False) -> AbstractContextManager[None]:
        """`evaluation` of model and guide."""
        return evaluation(self.model, self.guide, seed, self.device, gradients)

    def paths_at_once(self, clip_shape: Sequence[int]) -> int:
        """How many latent paths of clips ``(T, *frame)`` one chunk holds (`paths_at_once`)."""
        return paths_at_once(clip_shape, self.max_frames)

    def batch(self, sequences: Sequences, positions: Tensor) -> Batch:
        """Some of the sequences on the device, in the units of the model."""
        return sequences.batch(positions, self.model.likelihood, self.device)

    def chunks(self, sequences: Sequences, draws: int = 1) -> Iterator[tuple[Tensor, Batch]]:
        """Positions and batches of all the sequences, as many at once as ``draws`` paths of each allow."""
        size = max(1, self.paths_at_once(sequences.frames.shape[1:]) // draws)
        for positions in torch.arange(len(sequences)).split(size):
            yield positions, self.batch(sequences, positions)

    def work(self, total: float) -> Work:
        """The progress of work of this total."""
        return Work(self.progress, total)

    def part(self, start: float, stop: float) -> "Sampler":
        """The same, for a part of the work, from one share of it to another."""
        return self if self.progress is None else replace(self, progress=part_of(self.progress, start, stop))
