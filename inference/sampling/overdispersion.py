"""Guides with wider scales."""

import torch
from pyro.distributions import Independent, MaskedDistribution, MultivariateNormal, Normal, TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.errors import UsageError


def widen(q: TorchDistribution, scale: float) -> TorchDistribution:
    """The distribution with standard deviations ``scale`` times as large, around the same mean.

    Of a path that is normal given its past, the one-step standard deviations; of a flow, those of its noise. Raises
    `UsageError` for a distribution that is none of these.
    """
    wider: TorchDistribution
    match q:
        case Independent():
            wider = Independent(widen(q.base_dist, scale), q.reinterpreted_batch_ndims)
        case MaskedDistribution():
            wider = widen(q.base_dist, scale).mask(q._mask)
        case Normal():
            wider = Normal(q.loc, scale * q.scale)
        case MultivariateNormal():
            wider = MultivariateNormal(q.loc, scale_tril=scale * q.scale_tril)
        case DiagonalChain():
            a, b, s = q.transitions
            wider = DiagonalChain(q.batch_shape, Transitions(a, b, scale * s), q.steps)
        case Pushforward():
            wider = Pushforward(widen(q.base, scale), q.push, q.pull)
        case PathDistribution():
            wider = WidenedPath(q, scale)
        case _:
            raise UsageError(
                f"a proposal with scale {scale} is not known for a guide with a {type(q).__name__}; use scale 1 and, "
                "against tails that are too thin, a defensive share"
            )
    return wider


class WidenedPath(PathDistribution):
    """A path whose one-step conditionals are those of ``path``, widened. A draw takes T passes."""

    def __init__(self, path: PathDistribution, scale: float) -> None:
        self.path = path
        self.scale = scale
        super().__init__(path.batch_shape, path.steps, path.event_shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        return widen(self.path.conditionals(z), self.scale)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        like = self.path.rsample()
        z = like.new_zeros(self.shape(sample_shape))
        for t in range(self.steps.length):
            z = torch.cat([z[..., :t, :], self.conditionals(z).rsample()[..., t:, :]], dim=-2)
        return z

    def continue_from(self, z_past: Tensor, horizon: int) -> "WidenedPath":
        return WidenedPath(self.path.continue_from(z_past, horizon), self.scale)
