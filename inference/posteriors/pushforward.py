"""The distribution of an invertible function of noise."""

from collections.abc import Callable
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.models.distributions.density import overdispersed


class Pushforward(TorchDistribution):
    """The distribution of y = g(e) with e from ``base``, for a g that is fast and an inverse that may be slow.

    log q(y) = log base(e) - log |det dg/de|. A draw keeps its noise and its determinant. So the density of this object's
    last draw, recognised by identity, needs no inverse; that of any other value does.

    Args:
        base: Distribution of the noise.
        push: From e to g(e) and log |det dg/de|, the latter in the shape of the base's log densities.
        pull: From y to e.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(
        self,
        base: TorchDistribution,
        push: Callable[[Tensor], tuple[Tensor, Tensor]],
        pull: Callable[[Tensor], Tensor],
    ) -> None:
        self.base = base
        self.push = push
        self.pull = pull
        self._drawn: Tensor | None = None
        self._density: Tensor | None = None
        self._constant = False
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """The image of the noise's mean: a central value, but not E y, which has no closed form."""
        return self.push(self.base.mean)[0]

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Pushforward":
        return Pushforward(self.base.expand(batch_shape), self.push, self.pull)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = self.base.rsample(sample_shape)
        value, log_det = self.push(noise)
        self._drawn, self._density = value, self.base.log_prob(noise) - log_det
        self._constant = not torch.is_grad_enabled()
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        # A value drawn without gradients is a constant; that its density has gradients is something its draw cannot know.
        known = not (self._constant and torch.is_grad_enabled())
        if value is self._drawn and self._density is not None and known:
            return self._density
        noise = self.pull(value)
        _, log_det = self.push(noise)
        return self.base.log_prob(noise) - log_det


@overdispersed.register
def _(q: Pushforward, scale: float) -> Pushforward:
    return Pushforward(overdispersed(q.base, scale), q.push, q.pull)
