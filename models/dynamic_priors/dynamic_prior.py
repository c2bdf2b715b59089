"""What every prior over the dynamic latents is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.steps import Steps


class DynamicPrior(nn.Module, ABC):
    """A module that returns p(z_1:T) as a `PathDistribution`.

    The first constructor argument of every dynamic prior is ``latent_size`` (D), supplied by the model; all others are
    options. To write your own, subclass this and `PathDistribution`, and name it by its dotted path.

    A constructor with a parameter ``static_size`` is given F under that name, for p(z_1:T | f); give it a default, it is no
    option.

    continuous_time  whether the prior honours observation times; one that does not refuses irregular ones
    """

    continuous_time: ClassVar[bool] = False

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    @abstractmethod
    def forward(self, f: Tensor, steps: Steps) -> PathDistribution:
        """p(z_1:T | f) with batch shape ``f.shape[:-1]`` and event (``steps.length``, D).

        ``f`` (\\*B, F) is the static latent; a prior that does not look at it takes only its batch shape.
        """
