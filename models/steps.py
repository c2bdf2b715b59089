"""The time axis of a batch of sequences."""

from dataclasses import dataclass

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """Which time steps the sequences of a batch have, and when they are.

    length   T, the number of steps of the longest sequence
    lengths  (B,) int64, or None where every sequence has T steps; steps from ``lengths[i]`` on do not exist in
             sequence i: they have no latent, no frame and no term in the ELBO
    times    (B, T) observation times, strictly increasing, or None for steps one unit of time apart
    past     (B,) the time of the step before the first, where the steps continue others
    """

    length: int
    lengths: Tensor | None = None
    times: Tensor | None = None
    past: Tensor | None = None

    @property
    def valid(self) -> Tensor | None:
        """(B, T) bool, True where a step exists; None where all do."""
        if self.lengths is None:
            return None
        return torch.arange(self.length, device=self.lengths.device) < self.lengths.unsqueeze(-1)

    def observed(self, mask: Tensor | None, frame_ndim: int) -> Tensor | None:
        """Which values of frames of ``frame_ndim`` axes exist and were observed: bool, broadcastable to (B, T, \\*frame).

        mask  (B, T) or (B, T, \\*frame) bool, True where observed, or None: all were

        None where every value counts.
        """
        if mask is not None and mask.ndim == 2:
            mask = mask[(..., *(None,) * frame_ndim)]
        valid = self.valid
        if valid is None:
            return mask
        valid = valid[(..., *(None,) * frame_ndim)]
        return valid if mask is None else mask & valid

    def join(self, conditionals: TorchDistribution) -> TorchDistribution:
        """Per-step distributions, batch (\\*B, T) and event (D,), as one over paths: batch \\*B, event (T, D).

        Steps that do not exist are masked, so they add nothing to a log density or a KL. Model and guide both build
        their path through this method, which is what keeps the closed-form KL between the two available.
        """
        valid = self.valid
        return (conditionals if valid is None else conditionals.mask(valid)).to_event(1)

    @property
    def intervals(self) -> Tensor | None:
        """(B, T) time since the step before, zero at the first where there is none; None where all are one unit."""
        if self.times is None:
            return None
        before = self.times[..., :1] if self.past is None else self.past.unsqueeze(-1)
        return self.times.diff(dim=-1, prepend=before)

    def after(self, past: int, horizon: int) -> "Steps":
        """The ``horizon`` steps that follow the first ``past``, all of them existing.

        They are at the sequence's own times as far as it has them; later ones go on at its last interval, or one unit of
        time apart where there is none. ``past`` is at least 1.
        """
        if self.times is None:
            return Steps(horizon)
        times, intervals = self.times, self.intervals
        assert intervals is not None
        missing = past + horizon - self.length
        if missing > 0:
            ahead = torch.arange(1, missing + 1, dtype=times.dtype, device=times.device)
            last = torch.where(intervals[..., -1:] > 0, intervals[..., -1:], torch.ones_like(intervals[..., -1:]))
            times = torch.cat([times, times[..., -1:] + ahead * last], dim=-1)
        return Steps(horizon, times=times[..., past : past + horizon], past=times[..., past - 1])
