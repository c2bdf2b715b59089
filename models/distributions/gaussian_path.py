"""Paths whose steps are jointly normal, and the exact KL between two of them."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Independent, MaskedDistribution, Normal
from torch import Tensor
from torch.distributions import Independent as TorchIndependent
from torch.distributions import register_kl

from pyro_dsvae.models.distributions.path import PathDistribution


@dataclass(frozen=True)
class Moments:
    """What a prior must know of a normal posterior over paths, whose dimensions are independent, to compute its KL exactly.

    Attributes:
        loc: E z_t, ``(*B, T, D)``.
        variance: Var z_t, ``(*B, T, D)``.
        lagged: Cov(z_t, z_{t-1}), ``(*B, T, D)``, zero at the first step; None where all steps are independent.
        entropy: H(z_t | z_<t) in nats, ``(*B, T)``.
        factor: A function that returns R ``(*B, D, T, T)`` with R R^T = Cov(z_1:T) for each dimension; None where all steps
            are independent. It is a function because it costs O(T^2) and only priors without the Markov property need it.
    """

    loc: Tensor
    variance: Tensor
    lagged: Tensor | None
    entropy: Tensor
    factor: Callable[[], Tensor] | None = None


class GaussianPath(PathDistribution):
    """A path distribution whose joint density is normal.

    A subclass supplies the expectations of its one-step log densities under a normal posterior. With them

        KL(q || p) = -sum_t (H_q(z_t | z_<t) + E_q[log p(z_t | z_<t)])

    is exact, without a sampled path, for posteriors with independent steps and for `DiagonalChain`.
    """

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E z_1:T ``(*B, T, D)``."""

    @abstractmethod
    def expected_log_conditionals(self, q: Moments) -> Tensor:
        """E_q[log p(z_t | z_<t)] ``(*B, T)``, in nats."""


def independent_moments(q: TorchIndependent) -> Moments | None:
    """The moments of a posterior with independent steps, as `Steps.join` makes it of normals; None for any other."""
    base: Any = q
    while isinstance(base, TorchIndependent | MaskedDistribution):
        base = base.base_dist
    if not isinstance(base, Normal) or len(q.event_shape) != 2:
        return None
    return Moments(base.loc, base.variance, None, base.entropy().sum(-1))


def kl_to_path(q: Moments, p: GaussianPath) -> Tensor:
    """KL(q || p) ``(*B,)`` in nats over the steps that exist."""
    steps = -(q.entropy + p.expected_log_conditionals(q))
    valid = p.steps.valid
    return (steps if valid is None else torch.where(valid, steps, torch.zeros_like(steps))).sum(-1)


@register_kl(Independent, GaussianPath)
def _kl_independent_path(q: Any, p: GaussianPath) -> Tensor:
    moments = independent_moments(q)
    if moments is None:
        raise NotImplementedError
    return kl_to_path(moments, p)
