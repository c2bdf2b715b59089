"""The time axis of a batch of sequences."""

from dataclasses import dataclass

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """The time axis of a batch: which steps each sequence has, and when they are.

    Attributes:
        length: T, the number of steps of the longest sequence.
        lengths: (B,) int64, or None where every sequence has T steps. Sequence i has only its first ``lengths[i]`` steps:
            later ones have no latent, no frame and no term in the ELBO.
        times: (B, T) observation times, strictly increasing; None where steps are one unit of time apart.
        past: (B,) time of the step before the first, where these steps continue others.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.steps import Steps
        >>> Steps(3, lengths=torch.tensor([3, 1])).valid
        tensor([[ True,  True,  True],
                [ True, False, False]])
        >>> Steps(3, times=torch.tensor([[0.0, 1.0, 4.0]])).intervals
        tensor([[0., 1., 3.]])
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
        """Which values of frames of ``frame_ndim`` axes exist and were observed: bool, broadcastable to
        ``(B, T, *frame)``.

        None where every value counts.

        Args:
            frame_ndim: 1 for vectors (P,), 3 for images (C, H, W).
            mask: (B, T) or ``(B, T, *frame)`` bool, True where observed, or None: all were.
        """
        if mask is not None and mask.ndim == 2:
            mask = mask[(..., *(None,) * frame_ndim)]
        valid = self.valid
        if valid is None:
            return mask
        valid = valid[(..., *(None,) * frame_ndim)]
        return valid if mask is None else mask & valid

    def join(self, conditionals: TorchDistribution) -> TorchDistribution:
        """Join per-step distributions, batch ``(*B, T)`` and event (D,), into one over paths: batch ``*B``, event (T, D).

        Steps that do not exist are masked, so they add nothing to a log density or a KL. Model and guide both build their paths
        with this method; that keeps the closed-form KL between the two available.
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
        """The ``horizon`` steps that follow the first ``past``; all of them exist.

        They are at the sequence's own times, as far as it has them. Later steps continue with its last interval, or one unit of
        time apart where it has none.

        Args:
            past: Steps that were seen, at least 1.
            horizon: Steps to come.
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
