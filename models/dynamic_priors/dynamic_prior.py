"""What every prior over the dynamic latents is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.steps import Steps


class DynamicPrior(nn.Module, ABC):
    """A module that returns the prior p(z_1:T) as a `PathDistribution`.

    The first constructor argument of every dynamic prior is ``latent_size``, which the model supplies; all others are
    options. A constructor that also has a parameter ``static_size`` is given F under that name, for p(z_1:T | f). Give it a
    default: it is not an option. To write your own prior, subclass this and `PathDistribution`, and name it by its dotted
    path.

    Args:
        latent_size: D, the dimension of z_t.

    Attributes:
        continuous_time: Whether the prior takes the time between steps into account. A fit of frames that are not equally
            spaced refuses a prior that does not.
    """

    continuous_time: ClassVar[bool] = False

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    @abstractmethod
    def forward(self, f: Tensor, steps: Steps) -> PathDistribution:
        """p(z_1:T | f).

        Args:
            f: Static latent, ``(*B, F)``. A prior that does not depend on f takes only its batch shape.
            steps: The time axis: T, lengths and times.

        Returns:
            A distribution with batch shape ``*B`` and event shape (T, D).
        """
