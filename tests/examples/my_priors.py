"""A dynamic prior of one's own: the latents walk at random."""

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.path_distribution import PathDistribution
from pyro_dsvae.models.steps import Steps


class RandomWalk(DynamicPrior):
    """z_1 ~ N(0, I) and z_t ~ N(z_{t-1}, scale^2 I), with a learned scale."""

    def __init__(self, latent_size: int, scale: float = 0.3) -> None:
        super().__init__(latent_size)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def forward(self, f: Tensor, steps: Steps) -> PathDistribution:
        start = f.new_zeros(*f.shape[:-1], self.latent_size)
        scales = torch.cat([f.new_ones(1), self.log_scale.exp().expand(steps.length - 1)])
        return RandomWalkPath(start, scales, steps)


class RandomWalkPath(PathDistribution):
    """A walk that leaves ``start`` (*B, D) with one scale per step (T,)."""

    def __init__(self, start: Tensor, scales: Tensor, steps: Steps) -> None:
        self.start, self.scales = start, scales.unsqueeze(-1)
        super().__init__(start.shape[:-1], steps, start.shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:  # all p(z_t | z_<t) along a given path, in one pass
        first = self.start.expand_as(z[..., 0, :]).unsqueeze(-2)
        return Normal(torch.cat([first, z[..., :-1, :]], dim=-2), self.scales).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = torch.randn(self.shape(sample_shape)).to(self.start)
        return self.start.unsqueeze(-2) + (self.scales * noise).cumsum(-2)

    def continue_from(self, z_past: Tensor, horizon: int) -> PathDistribution:
        return RandomWalkPath(z_past[..., -1, :], self.scales[-1].expand(horizon), Steps(horizon))
