"""The Monte Carlo gradient of a KL is, on average, the exact one, also where q is a chain that moves with its path."""

import pyro
import pytest
import torch
from pyro.distributions import Categorical, MixtureSameFamily, Normal, TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_dsvae.inference.elbo import STICKING_THE_LANDING, kl_of
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.steps import Steps

T, DRAWS = 4, 40_000


class Disguised(PathDistribution):
    """A chain whose conditionals are mixtures of one normal, so that no closed form is known for it."""

    def __init__(self, chain: DiagonalChain) -> None:
        self.chain = chain
        super().__init__(chain.batch_shape, chain.steps, chain.event_shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        base = self.chain.conditionals(z).base_dist
        one = Normal(base.loc.unsqueeze(-2), base.scale.unsqueeze(-2)).to_event(1)
        return MixtureSameFamily(Categorical(torch.ones(*base.loc.shape[:-1], 1)), one)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.chain.rsample(sample_shape)

    def continue_from(self, z_past: Tensor, horizon: int) -> DiagonalChain:
        return self.chain.continue_from(z_past, horizon)


def chain(*values: Tensor, count: int = 1) -> DiagonalChain:
    return DiagonalChain(torch.Size([count]), Transitions(*values), Steps(T))


@pytest.mark.parametrize("independent", [True, False], ids=["independent steps", "chain"])
def test_the_mean_gradient_is_exact(independent: bool) -> None:
    pyro.set_rng_seed(0)
    a = torch.zeros(T, 1) if independent else torch.tensor([[0.0], [0.8], [-0.7], [0.9]])
    values = [v.double().requires_grad_() for v in (a, torch.randn(T, 1), torch.rand(T, 1) + 0.4)]
    world = [torch.full((T, 1), v, dtype=torch.float64) for v in (0.5, 0.2, 1.0)]
    exact = torch.autograd.grad(kl_divergence(chain(*values), chain(*world)).sum(), values)

    q = [v.detach().expand(DRAWS, T, 1).clone().requires_grad_() for v in values]
    paths = chain(*q, count=DRAWS)
    estimate, how = kl_of(paths, Disguised(chain(*world, count=DRAWS)), paths.rsample())
    assert how == STICKING_THE_LANDING
    for each, expected in zip(torch.autograd.grad(estimate.sum(), q), exact, strict=True):
        error = each.std(0) / DRAWS**0.5
        assert ((each.mean(0) - expected).abs() < 4.5 * error + 1e-9).all()


def test_the_gradient_of_a_chain_at_its_target_has_no_variance() -> None:
    """Where q is p the path derivatives cancel draw by draw, those through the conditional means included."""
    pyro.set_rng_seed(0)
    world = [torch.tensor([[0.0], [0.8], [-0.7], [0.9]]).double(), torch.randn(T, 1).double(), torch.rand(T, 1) + 0.4]
    q = [v.double().expand(100, T, 1).clone().requires_grad_() for v in world]
    paths = chain(*q, count=100)
    estimate, _ = kl_of(paths, Disguised(chain(*(v.double() for v in world), count=100)), paths.rsample())
    for each in torch.autograd.grad(estimate.sum(), q):
        assert each.abs().max() < 1e-9
