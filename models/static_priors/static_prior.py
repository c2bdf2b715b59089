"""What every prior over the static latent is."""

from abc import ABC, abstractmethod

from pyro.distributions import TorchDistribution
from torch import nn


class StaticPrior(nn.Module, ABC):
    """A module that returns p(f), a distribution with batch () and event (F,).

    The first constructor argument of every static prior is ``static_size`` (F), supplied by the model.
    """

    def __init__(self, static_size: int) -> None:
        super().__init__()
        self.static_size = static_size

    @abstractmethod
    def forward(self) -> TorchDistribution:
        """p(f), event (F,)."""
