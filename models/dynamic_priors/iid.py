"""No dynamics at all: the negative control."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps


class IID(DynamicPrior):
    """p(z_1:T) = prod_t N(z_t; 0, I): all steps independent, as in a VAE of single frames.

    This is the negative control. A prior that explains motion must beat it, and the motion it generates must fail a check.

    Args:
        latent_size: D, supplied by the model.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import IID
        >>> from pyro_dsvae.models.steps import Steps
        >>> IID(1)(torch.zeros(4, 3), Steps(2)).log_prob(torch.zeros(4, 2, 1))  # -log(2 pi) for two steps
        tensor([-1.8379, -1.8379, -1.8379, -1.8379])
    """

    continuous_time: ClassVar[bool] = True

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        zero = f.new_zeros(self.latent_size)

        def transitions(_: Steps) -> Transitions:
            return Transitions(zero, zero, zero + 1)

        return DiagonalChain(f.shape[:-1], transitions(steps), steps, transitions)
