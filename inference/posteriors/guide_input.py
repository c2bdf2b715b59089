"""The input of a guide."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.models.encoders.gaps import with_gaps
from pyro_dsvae.models.steps import Steps


@dataclass(frozen=True)
class GuideInput:
    """What a guide may see of a batch.

    Attributes:
        x: ``(B, T, *frame)``, zero where not observed. Of series it has what `with_gaps` puts beside them, where the encoder of
            the guide reads that.
        observed: (B, T) bool, True where at least one value of the frame was observed.
        steps: The time axis.
    """

    x: Tensor
    observed: Tensor
    steps: Steps

    @classmethod
    def of(
        cls,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        gaps: bool = False,
    ) -> "GuideInput":
        """The visible part of frames x ``(B, T, *frame)``, and whether with its ``gaps``."""
        steps = Steps(x.shape[1], lengths, times)
        values = steps.observed(mask, x.ndim - 2)
        observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if values is not None:
            x, observed = torch.where(values, x, torch.zeros_like(x)), values.flatten(2).any(dim=2).expand(x.shape[:2])
        return cls(with_gaps(x, values, times) if gaps else x, observed, steps)

    def rows(self, rows: slice | Tensor) -> "GuideInput":
        """Some sequences of the batch."""
        lengths, times = (None if v is None else v[rows] for v in (self.steps.lengths, self.steps.times))
        return GuideInput(self.x[rows], self.observed[rows], Steps(self.steps.length, lengths, times))

    def showing(self, frames: Tensor) -> "GuideInput":
        """The same steps and observed frames, with other frames ``(B, T, *frame)`` where there is one."""
        seen = self.observed.view(*self.observed.shape, *(1,) * (self.x.ndim - 2))
        x = frames.to(self.x.dtype) * seen
        if x.shape[-1] < self.x.shape[-1]:
            # Nothing is missing in those that there are; they are as far apart.
            x = torch.cat([x, (~seen).to(x).expand_as(x), self.x[..., 2 * x.shape[-1] :]], -1)
        return GuideInput(x, self.observed, self.steps)
