"""A dynamic prior of one's own: the latents swing about zero, and forget."""

import torch
from torch import Tensor, nn

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps


class Damped(DynamicPrior):
    """z_1 ~ N(0, I) and z_t ~ N(memory z_{t-1}, (1 - memory^2) I), memory in (-1, 1) learned per dimension."""

    def __init__(self, latent_size: int, memory: float = 0.9) -> None:
        super().__init__(latent_size)
        self.raw_memory = nn.Parameter(torch.full((latent_size,), memory).atanh())

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        memory = self.raw_memory.tanh()

        def later(ahead: Steps) -> Transitions:  # of steps that follow others: z_t = memory z_{t-1} + 0 + scale noise
            scale = (1 - memory**2).sqrt().expand(ahead.length, -1)
            return Transitions(memory, torch.zeros_like(memory), scale)

        whole = later(steps)
        scale = torch.cat([torch.ones_like(whole.scale[:1]), whole.scale[1:]])  # the first step has none before it
        return DiagonalChain(f.shape[:-1], whole._replace(scale=scale), steps, later)
