"""No dynamics at all: the negative control."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps


class IID(DynamicPrior):
    """p(z_1:T) = prod_t N(z_t; 0, I): every step on its own, as in a VAE of single frames.

    It is here as a control: a model that explains motion must beat it, and its generated motion must fail.
    """

    continuous_time: ClassVar[bool] = True

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        zero = f.new_zeros(self.latent_size)

        def transitions(_: Steps) -> Transitions:
            return Transitions(zero, zero, zero + 1)

        return DiagonalChain(f.shape[:-1], transitions(steps), steps, transitions)
