"""What every prior over the static latent is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from pyro.distributions import TorchDistribution
from torch import nn


class StaticPrior(nn.Module, ABC):
    """A module that returns p(f), a distribution with batch () and event (F,).

    The first constructor argument of every static prior is ``static_size`` (F), supplied by the model.

    waiting  whether a fit has yet to begin with this prior (`Optimisation`); one that begins as N(0, I) may then be that,
             with its             exact KL, rather than something equal to it
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
