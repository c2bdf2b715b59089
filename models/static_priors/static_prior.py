"""What every prior over the static latent is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.ops.precision import own_precision


class StaticPrior(nn.Module, ABC):
    """A module that returns the prior p(f), a distribution with batch () and event (F,).

    The first constructor argument of every static prior is ``static_size``, which the model supplies; all others are options.

    Args:
        static_size: F, the dimension of f.

    Attributes:
        frozen: Whether a fit has not yet started to train this prior (see `Optimisation`). A prior that starts as N(0, I)
            may then return exactly that, whose KL has a closed form (see `FlexiblePrior`). As this decides what p(f) is, it
            is a part of the module's state.
        refittable: Whether the prior can be refitted, at little cost, to draws of f while the posterior is held fixed.
    """

    refittable: ClassVar[bool] = True

    def __init__(self, static_size: int) -> None:
        super().__init__()
        self.static_size = static_size
        self.frozen = False

    @abstractmethod
    def forward(self) -> TorchDistribution:
        """p(f), event (F,)."""

    def initialise_from(self, f: Tensor) -> None:
        """Prepare for a fit to the draws ``f`` (N, F) of a posterior that is held fixed. Here: keep what was learned before."""

    def get_extra_state(self) -> Tensor:
        """Whether the prior is frozen, for `state_dict`. No buffer, because to read one would make a GPU wait in every step."""
        return torch.tensor(self.frozen)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what `get_extra_state` returned."""
        self.frozen = bool(state)


class FlexiblePrior(StaticPrior):
    """A learned prior that is N(0, I) while it is frozen, and where F = 0. Otherwise it is `learned`.

    Args:
        static_size: The dimension F of f.
    """

    zeros: Tensor

    def __init__(self, static_size: int) -> None:
        super().__init__(static_size)
        # A buffer, so that N(0, I) follows the model's dtype and device.
        self.register_buffer("zeros", torch.zeros(static_size), persistent=False)

    def forward(self) -> TorchDistribution:
        if self.frozen or self.static_size == 0:
            # Several devices wait for a gradient of every parameter.
            loc = self.zeros + sum(0 * parameter.sum() for parameter in self.parameters())
            return Normal(loc, torch.ones_like(self.zeros)).to_event(1)
        with own_precision():
            return self.learned()

    @abstractmethod
    def learned(self) -> TorchDistribution:
        """p(f), event (F,), where F is at least 1."""
