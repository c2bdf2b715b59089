"""Distributions over whole paths of dynamic latents."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.models.distributions.density import (
    from_base,
    log_prob_by_step,
    overdispersed,
    teacher_forced,
    to_base,
)
from pyro_dsvae.models.steps import Steps


class PathDistribution(TorchDistribution):
    """p(z_1:T) = prod_t p(z_t | z_<t), one distribution with batch ``*B`` and event (T, D): a prior's or a posterior's.

    A subclass supplies the one-step conditionals of a *given* path in one pass (teacher forcing), ancestral sampling and
    continuation. The log density is defined through the conditionals, so the two cannot disagree:
    ``log_prob(z) = given(z).log_prob(z)``, in nats, shape ``*B``.

    Args:
        batch_shape: ``*B``.
        steps: The time axis.
        latent_size: The dimension D of z_t.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, batch_shape: torch.Size, steps: Steps, latent_size: int) -> None:
        self.steps = steps
        super().__init__(batch_shape, torch.Size((steps.length, latent_size)), validate_args=False)

    @abstractmethod
    def conditionals(self, z: Tensor) -> TorchDistribution:
        """p(z_t | z_<t) for every t at once, evaluated along ``z``.

        Step t may depend on ``z[..., :t, :]`` only. The method must never draw: a prior that is evaluated along its own samples
        (open loop) is not a prior for the path that the posterior proposes.

        Args:
            z: A path, ``(*B, T, D)``.

        Returns:
            A distribution with batch ``(*B, T)`` and event (D,).
        """

    @abstractmethod
    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Ancestral draws ``(*sample_shape, *B, T, D)``, reparameterised unless ``has_rsample`` is False."""

    @abstractmethod
    def continue_from(self, z_past: Tensor, horizon: int) -> "PathDistribution":
        """p(z_{t+1:t+H} | z_1:t), at the times of ``steps.after(t, H)``.

        Args:
            z_past: z_1:t, ``(*B, t, D)``.
            horizon: H, the number of steps to come.

        Returns:
            A path distribution with batch ``*B`` and event (H, D).
        """

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "PathDistribution":
        """Return the path itself: it takes its batch from f, so a plate never has to expand it.

        Raises:
            ValueError: Where ``batch_shape`` is another.
        """
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(
                f"a path with batch {tuple(self.batch_shape)} does not expand to {tuple(batch_shape)}: expand f"
            )
        return self

    def given(self, z: Tensor) -> TorchDistribution:
        """The product of all one-step conditionals along ``z``: batch ``*B``, event (T, D). Steps that do not exist are masked.

        Its log density at ``z`` itself is log p(z). Its KL from a posterior with independent steps is the sum of the KLs of the
        steps, which is what the ELBO needs.
        """
        return self.steps.join(self.conditionals(z))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value)


class OverdispersedPath(PathDistribution):
    """A path whose one-step conditionals are those of ``path``, over-dispersed. A draw takes T passes."""

    def __init__(self, path: PathDistribution, scale: float) -> None:
        self.path = path
        self.scale = scale
        super().__init__(path.batch_shape, path.steps, path.event_shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        return overdispersed(self.path.conditionals(z), self.scale)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        like = self.path.rsample()
        z = like.new_zeros(self.shape(sample_shape))
        for t in range(self.steps.length):
            z = torch.cat([z[..., :t, :], self.conditionals(z).rsample()[..., t:, :]], dim=-2)
        return z

    def continue_from(self, z_past: Tensor, horizon: int) -> "OverdispersedPath":
        return OverdispersedPath(self.path.continue_from(z_past, horizon), self.scale)


@teacher_forced.register
def _(q: PathDistribution, value: Tensor) -> TorchDistribution:
    return q.given(value)


@overdispersed.register
def _(q: PathDistribution, scale: float) -> OverdispersedPath:
    return OverdispersedPath(q, scale)


@log_prob_by_step.register
def _(q: PathDistribution, z: Tensor) -> Tensor:
    return q.conditionals(z).log_prob(z)


@to_base.register
def _(p: PathDistribution, value: Tensor) -> Tensor:
    return to_base(p.conditionals(value), value)


@from_base.register
def _(p: PathDistribution, base: Tensor) -> Tensor:
    # What the first step has before it is the same for all paths.
    z = from_base(p.conditionals(torch.zeros_like(base)), base)[..., :1, :]
    for e in base[..., 1:, :].split(1, dim=-2):
        step = p.continue_from(z, 1).conditionals(torch.zeros_like(e))
        z = torch.cat([z, from_base(step, e)], dim=-2)
    return z
