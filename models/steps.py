"""The time axis of a batch of sequences."""

from dataclasses import dataclass

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """Which time steps the sequences of a batch have.

    length   T, the number of steps of the longest sequence
    lengths  (B,) int64, or None where every sequence has T steps; steps from ``lengths[i]`` on do not exist in
             sequence i: they have no latent, no frame and no term in the ELBO
    times    (B, T) observation times, or None for equally spaced steps
    """

    length: int
    lengths: Tensor | None = None
    times: Tensor | None = None

    @property
    def valid(self) -> Tensor | None:
        """(B, T) bool, True where a step exists; None where all do."""
        if self.lengths is None:
            return None
        return torch.arange(self.length, device=self.lengths.device) < self.lengths.unsqueeze(-1)

    def join(self, conditionals: TorchDistribution) -> TorchDistribution:
        """Per-step distributions, batch (\\*B, T) and event (D,), as one over paths: batch \\*B, event (T, D).

        Steps that do not exist are masked, so they add nothing to a log density or a KL. Model and guide both build
        their path through this method, which is what keeps the closed-form KL between the two available.
        """
        valid = self.valid
        return (conditionals if valid is None else conditionals.mask(valid)).to_event(1)
