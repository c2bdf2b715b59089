"""A dynamic prior of one's own: the latents swing about zero, and forget."""

import torch
from torch import Tensor, nn

from pyro_dsvae.models.distributions import DiagonalChain, Transitions
from pyro_dsvae.models.dynamic_priors import DynamicPrior
from pyro_dsvae.models.steps import Steps


class Damped(DynamicPrior):
    """z_1 ~ N(0, I), z_t ~ N(memory z_{t-1}, (1 - memory^2) I); memory in (-1, 1) is learned for each dimension."""

    def __init__(self, latent_size: int, memory: float = 0.9) -> None:
        super().__init__(latent_size)
        self.raw_memory = nn.Parameter(torch.full((latent_size,), memory).atanh())

    def forward(self, f: Tensor, steps: Steps) -> DiagonalChain:
        memory = self.raw_memory.tanh()
        later = Transitions(
            memory, torch.zeros_like(memory), (1 - memory**2).sqrt()
        )  # memory z_{t-1} + 0 + scale noise
        scale = later.scale.expand(steps.length, -1)
        scale = torch.cat([torch.ones_like(scale[:1]), scale[1:]])  # the first step has none before it
        return DiagonalChain(f.shape[:-1], later._replace(scale=scale), steps, lambda _: later)
