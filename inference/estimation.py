"""What every estimate over held-out sequences shares: arguments, modes, noise, the size of a chunk, progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import nn

from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.seeding import generators_kept
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError

# Numbers in the frames that are decoded at once, and the smallest frame to count with, below which networks dominate.
NUMBERS = 2**22
SMALLEST_FRAME = 512

CPU = torch.device("cpu")

Guide = Callable[..., Any]


class Work:
    """Tells ``progress`` the share of the work that is done, rising to 1."""

    def __init__(self, progress: Callable[[float], None] | None, total: float) -> None:
        self.progress, self.total, self.done = progress, total, 0.0

    def did(self, amount: float) -> None:
        self.done += amount
        if self.progress is not None:
            self.progress(min(self.done / self.total, 1.0))


def paths_at_once(sequences: Sequences, frames_at_once: int | None) -> int:
    """How many latent paths, draws times sequences, fit one chunk of ``frames_at_once`` decoded frames.

    The number depends on the frames' size alone, never on the machine, so that a seed gives the same noise everywhere.
    """
    if frames_at_once is None:
        frames_at_once = NUMBERS // max(sequences.frames[0, 0].numel(), SMALLEST_FRAME)
    elif frames_at_once < 1:
        raise UsageError(f"frames_at_once is {frames_at_once}; at least one frame is decoded at once")
    return max(1, frames_at_once // sequences.frames.shape[1])


def check_proposal(guide: Guide) -> None:
    """Raises `UsageError` where the guide has no density."""
    if isinstance(guide, Posterior) and not guide.comparable:
        raise UsageError(
            f"the posterior {type(guide).__name__} is a point and proposes nothing else, so importance weights have no "
            "meaning; fit any other posterior to know the evidence"
        )


@contextmanager
def evaluation(model: DSVAE, guide: Guide, seed: int, device: torch.device, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode, noise of one's own, no gradients and no checks inside; everything is as it was afterwards.

    gradients  whether `torch.enable_grad` will be used inside
    """
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
