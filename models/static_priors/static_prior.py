"""What every prior over the static latent is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.ops.precision import own_precision


class StaticPrior(nn.Module, ABC):
    """A module that returns p(f), a distribution with batch () and event (F,).

    The first constructor argument of every static prior is ``static_size`` (F), supplied by the model.

    waiting  whether a fit has yet to begin with this prior (`Optimisation`); one that begins as N(0, I) may then be that,
             with its exact KL, rather than something equal to it (`FlexiblePrior`)
    settles  whether it can be fitted to draws of a posterior that stays as it is, at little cost
    """

    waiting = False
    settles: ClassVar[bool] = True

    def __init__(self, static_size: int) -> None:
        super().__init__()
        self.static_size = static_size

    @abstractmethod
    def forward(self) -> TorchDistribution:
        """p(f), event (F,)."""

    def start(self, f: Tensor) -> None:
        """Get ready to be fitted to draws f (N, F) that are all there will be; here: go on from what was learned before."""


class FlexiblePrior(StaticPrior):
    """A learned prior that is N(0, I) while it waits, and where F = 0; `learned` is what it is afterwards."""

    zeros: Tensor

    def __init__(self, static_size: int) -> None:
        super().__init__(static_size)
        # A buffer, so that N(0, I) follows the model's dtype and device.
        self.register_buffer("zeros", torch.zeros(static_size), persistent=False)

    def forward(self) -> TorchDistribution:
        if self.waiting or self.static_size == 0:
            # Several devices wait for a gradient of every parameter.
            loc = self.zeros + sum(0 * parameter.sum() for parameter in self.parameters())
            return Normal(loc, torch.ones_like(self.zeros)).to_event(1)
        with own_precision():
            return self.learned()

    @abstractmethod
    def learned(self) -> TorchDistribution:
        """p(f), event (F,), F at least 1."""
