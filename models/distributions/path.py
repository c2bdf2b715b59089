"""Distributions over whole paths of dynamic latents."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.models.steps import Steps


class PathDistribution(TorchDistribution):
    """p(z_1:T) = prod_t p(z_t | z_<t), one distribution with batch \\*B and event (T, D): a prior's, or a posterior's.

    A subclass supplies the one-step conditionals of a *given* path in one pass (teacher forcing), ancestral sampling and
    continuation. The log density is defined through the conditionals, so the two cannot disagree:
    ``log_prob(z) = given(z).log_prob(z)``, in nats, shape \\*B.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, batch_shape: torch.Size, steps: Steps, latent_size: int) -> None:
        self.steps = steps
        super().__init__(batch_shape, torch.Size((steps.length, latent_size)), validate_args=False)

    @abstractmethod
    def conditionals(self, z: Tensor) -> TorchDistribution:
        """p(z_t | z_<t) for every t at once, evaluated along ``z`` (\\*B, T, D): batch (\\*B, T), event (D,).

        Step t may depend on ``z[..., :t, :]`` only. It must never draw: a prior that is evaluated along its own samples
        (open loop) is not a prior for the path that the posterior proposes.
        """

    @abstractmethod
    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Ancestral draws (\\*sample_shape, \\*B, T, D), reparameterised unless ``has_rsample`` is False."""

    @abstractmethod
    def continue_from(self, z_past: Tensor, horizon: int) -> "PathDistribution":
        """p(z_{t+1:t+H} | z_1:t) for ``z_past`` (\\*B, t, D): a path distribution with event (H, D).

        Its steps are at the times of ``steps.after(t, H)``.
        """

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "PathDistribution":
        """Itself: a path takes its batch from f, so a plate never has to widen it. Raises `ValueError` where one would."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(
                f"a path with batch {tuple(self.batch_shape)} does not expand to {tuple(batch_shape)}: expand f"
            )
        return self

    def given(self, z: Tensor) -> TorchDistribution:
        """The product of all one-step conditionals along ``z``: batch \\*B, event (T, D), steps that do not exist masked.

        As a function of its argument its log density at ``z`` itself is log p(z), and its KL from a posterior with
        independent steps is the sum of the per-step KLs, which is what the ELBO needs.
        """
        return self.steps.join(self.conditionals(z))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value)
