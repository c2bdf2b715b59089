"""Priors with a network that reads the steps so far and predicts the next one."""

from abc import abstractmethod

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

# What a network keeps of the steps it has read, tensors (*B, ...): a recurrent state or a key/value cache. None at first.
State = tuple[Tensor, ...] | None


class AutoregressivePrior(DynamicPrior):
    """p(z_t | z_<t) = predict(h_t) with h_t = read(z_0, ..., z_{t-1}) and a learned z_0.

    Conditioned on f, every input is (z_{t-1}, f), so the density is p(z_t | z_<t, f). A subclass supplies the network and
    the family of the next step.

    Args:
        latent_size: The dimension D of z_t.
        condition_on_static: Whether the inputs hold f.
        static_size: F, needed only with ``condition_on_static``.

    Attributes:
        input_size: Size of what `read` is given: D, or D + F where it is conditioned on f.

    Raises:
        UsageError: Where ``condition_on_static`` is set without a size of f.
    """

    def __init__(self, latent_size: int, condition_on_static: bool, static_size: int) -> None:
        super().__init__(latent_size)
        if condition_on_static and static_size < 1:
            raise UsageError(f"condition_on_static needs static_size, the size of f, at least 1, not {static_size}")
        self.condition_on_static = condition_on_static
        self.input_size = latent_size + (static_size if condition_on_static else 0)
        self.start = nn.Parameter(torch.zeros(latent_size))

    @abstractmethod
    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read further steps.

        Args:
            inputs: ``(*B, T, E)``, the steps that follow those in ``state``; E is ``input_size``.
            state: The recurrent state, or keys and values, after earlier steps; None before the first.

        Returns:
            Features ``(*B, T, H)``, where the feature at t may depend on inputs up to t only, and the state after them.
        """

    @abstractmethod
    def predict(self, features: Tensor) -> TorchDistribution:
        """p(z_t | z_<t), batch ``(*B, T)`` and event (D,), reparameterised.

        Args:
            features: ``(*B, T, H)``, what `read` returns after z_{t-1}.
        """

    def forward(self, f: Tensor, steps: Steps) -> "AutoregressivePath":
        first = self.start.expand(*f.shape[:-1], 1, -1)
        return AutoregressivePath(self, first, None, steps, f if self.condition_on_static else None)


class AutoregressivePath(PathDistribution):
    """The path distribution of an `AutoregressivePrior` that has read the steps in ``state`` and reads ``first`` next.

    Args:
        prior: The prior whose networks are used.
        first: ``(*B, 1, D)``, the step before the first: the learned z_0, or the last step that was seen.
        state: What `AutoregressivePrior.read` returned after the steps before ``first``, or None.
        steps: The time axis.
        static: f ``(*B, F)``, or None where the prior does not depend on it.
    """

    def __init__(
        self,
        prior: AutoregressivePrior,
        first: Tensor,
        state: State,
        steps: Steps,
        static: Tensor | None = None,
    ) -> None:
        self.prior = prior
        self.first = first
        self.state = state
        self.static = static
        super().__init__(first.shape[:-2], steps, first.shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        return self.prior.predict(self._read_before(z)[0])

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        z = self.first.expand(*sample_shape, *self.first.shape)
        state, path = self._state(z.shape[:-2]), []
        for _ in range(self.steps.length):
            features, state = self.prior.read(self._with_static(z), state)
            z = self.prior.predict(features).rsample()
            path.append(z)
        return torch.cat(path, dim=-2)

    def continue_from(self, z_past: Tensor, horizon: int) -> "AutoregressivePath":
        _, state = self._read_before(z_past)
        static = None if self.static is None else self.static.expand(*z_past.shape[:-2], -1)
        steps = self.steps.after(z_past.shape[-2], horizon)
        return AutoregressivePath(self.prior, z_past[..., -1:, :], state, steps, static)

    def _read_before(self, z: Tensor) -> tuple[Tensor, State]:
        """What `read` makes of the step before each step of ``z`` ``(*B, T, D)``."""
        before = torch.cat([self.first.expand(*z.shape[:-2], 1, -1), z[..., :-1, :]], dim=-2)
        return self.prior.read(self._with_static(before), self._state(z.shape[:-2]))

    def _with_static(self, z: Tensor) -> Tensor:
        if self.static is None:
            return z
        return torch.cat([z, self.static.unsqueeze(-2).expand(*z.shape[:-1], -1)], dim=-1)

    def _state(self, batch_shape: torch.Size) -> State:
        """The state with further batch dimensions on the left."""
        if self.state is None:
            return None
        own = len(self.batch_shape)
        return tuple(s.expand(*batch_shape, *s.shape[own:]) for s in self.state)
