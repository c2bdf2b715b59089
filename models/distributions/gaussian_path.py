"""Paths whose steps are jointly normal, and the exact KL between two of them."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from torch import Tensor
from torch.distributions import Independent, Normal, register_kl

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

    is exact, without a sampled path, for every posterior that states its `moments`.
    """

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E z_1:T ``(*B, T, D)``."""

    @abstractmethod
    def expected_log_conditionals(self, q: Moments) -> Tensor:
        """E_q[log p(z_t | z_<t)] ``(*B, T)``, in nats."""


@singledispatch
def moments(q: Any) -> Moments:
    """The moments that a normal density over paths states for its KL from a `GaussianPath`.

    A new density registers its moments here, and its KL as ``register_kl(NewDensity, GaussianPath)(kl_to_path)``.

    Raises:
        NotImplementedError: For a density that is not known to be normal.
    """
    raise NotImplementedError(f"a {type(q).__name__} is not known to be normal")


@moments.register(Independent)
@moments.register(MaskedDistribution)
def _(q: Any) -> Moments:
    return moments(q.base_dist)


@moments.register
def _(q: Normal) -> Moments:
    return Moments(q.loc, q.variance, None, q.entropy().sum(-1))


def kl_to_path(q: Any, p: GaussianPath) -> Tensor:
    """KL(q || p) ``(*B,)`` in nats over the steps that exist."""
    if len(q.event_shape) != len(p.event_shape):
        raise NotImplementedError(f"the KL from event {tuple(q.event_shape)} to {tuple(p.event_shape)} is not known")
    known = moments(q)
    steps = -(known.entropy + p.expected_log_conditionals(known))
    valid = p.steps.valid
    return (steps if valid is None else torch.where(valid, steps, torch.zeros_like(steps))).sum(-1)


register_kl(Independent, GaussianPath)(kl_to_path)
