"""What the estimators are given of a batch of clips."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.steps import Steps


class Clips(NamedTuple):
    """The arguments of model and guide for some sequences, as in `DSVAE.forward`."""

    x: Tensor
    mask: Tensor | None
    lengths: Tensor | None
    times: Tensor | None

    @classmethod
    def of(cls, model: DSVAE, sequences: Sequences, positions: Tensor, device: torch.device) -> "Clips":
        batch = sequences.batch(positions, device)
        return cls(model.likelihood.prepare(batch.frames), batch.mask, batch.lengths, batch.times)

    @property
    def steps(self) -> Steps:
        return Steps(self.x.shape[1], self.lengths, self.times)

    def observed_count(self) -> Tensor:
        """(B,) int64, how many values of each sequence were observed."""
        observed = self.steps.observed(self.mask, self.x.ndim - 2)
        if observed is None:
            observed = torch.ones((), dtype=torch.bool, device=self.x.device)
        return observed.expand(self.x.shape).flatten(1).sum(1)
