"""What is asked of a density beyond what Pyro asks of a distribution: generic functions with one answer per type.

A new density answers beside its class, and nothing else has to know of it:

    @overdispersed.register
    def _(q: Logistic, scale: float) -> Logistic:
        return Logistic(q.loc, scale * q.scale)

The wrappers and the densities of torch and Pyro answer here. Where a type has no answer, the functions that need one raise
`NotImplementedError`. A subclass answers as its base class does, unless it registers an answer of its own. The exact KL is
asked for in the same way, by `torch.distributions.register_kl`; for paths with normal steps see
`pyro_dsvae.models.distributions.gaussian_path.moments`.
"""

from functools import singledispatch
from typing import Any

import torch
from pyro.distributions import Independent, MaskedDistribution, MultivariateNormal, Normal
from torch import Tensor
from torch.distributions import Independent as TorchIndependent
from torch.distributions import MixtureSameFamily, TransformedDistribution

from pyro_dsvae.models.distributions.rosenblatt import NormalMixture


@singledispatch
def unwrapped(q: Any) -> Any:
    """The distribution below masks and below dimensions that were declared independent."""
    return q


@singledispatch
def teacher_forced(q: Any, value: Tensor) -> Any:
    """``q`` with every step conditioned on the steps of ``value`` before it.

    The log density of the result at ``value`` is that of ``q``, and the KL from another such density is a sum over steps.
    A density without steps is returned as it is.

    Args:
        q: A density over paths, or any other.
        value: A path ``(*B, T, D)``, or a value of ``q``.
    """
    return q


@singledispatch
def detached(q: Any) -> Any:
    """The same density with its parameters held fixed: its log density has gradients in its argument alone.

    Raises:
        NotImplementedError: Where the parameters of such a density are not known.
    """
    raise NotImplementedError(f"the parameters of a {type(q).__name__} are not known")


@singledispatch
def overdispersed(q: Any, scale: float) -> Any:
    """The density with standard deviations ``scale`` times as large, around the same mean.

    A path has larger standard deviations in its one-step conditionals, a function of noise in its noise.

    Args:
        q: The density.
        scale: The factor, above 0; above 1 for heavier use of the tails.

    Raises:
        NotImplementedError: Where the scales of such a density are not known.
    """
    raise NotImplementedError(f"a {type(q).__name__} with other standard deviations is not known")


@singledispatch
def log_prob_by_step(q: Any, z: Tensor) -> Tensor:
    """log q(z_t | z_<t) ``(*B, T)`` along a path, in nats.

    Args:
        q: A density over paths.
        z: The path, ``(*B, T, D)``. Steps that do not exist are scored like the others.

    Raises:
        NotImplementedError: Where the density is no product over steps.
    """
    raise NotImplementedError(f"the density of a {type(q).__name__} over paths is not known step by step")


@singledispatch
def to_base(p: Any, value: Tensor) -> Tensor:
    """The Rosenblatt transform e = g^-1(value), where g maps the base space N(0, I) to p.

    - Independent normals: (value - mean) / scale.
    - Jointly normal: L^-1 (value - mean), with L the Cholesky factor of the covariance.
    - Flows: the image of ``value`` in the flow's base.
    - Mixtures of normals: e_d = Phi^-1 F(value_d | value_<d), dimension by dimension.
    - Paths: the base space of every one-step conditional, which are the standardised innovations.

    Source: Rosenblatt, "Remarks on a multivariate transformation", Annals of Mathematical Statistics 23, 1952.

    Args:
        p: The density.
        value: A value of ``p``.

    Returns:
        The point of the base space, in the shape of ``value``.

    Raises:
        NotImplementedError: Where g is not known for such a density.
    """
    raise NotImplementedError(f"the base space of a {type(p).__name__} is not known")


@singledispatch
def from_base(p: Any, base: Tensor) -> Tensor:
    """The value g(base) of p, the inverse of `to_base`."""
    raise NotImplementedError(f"the base space of a {type(p).__name__} is not known")


# --- wrappers ---------------------------------------------------------------------------------------------------------


@unwrapped.register(TorchIndependent)
@unwrapped.register(MaskedDistribution)
def _(q: Any) -> Any:
    return unwrapped(q.base_dist)


@detached.register
def _(q: TorchIndependent) -> Any:
    return Independent(detached(q.base_dist), q.reinterpreted_batch_ndims)


@detached.register
def _(q: MaskedDistribution) -> Any:
    return detached(q.base_dist).mask(q._mask)


@overdispersed.register
def _(q: TorchIndependent, scale: float) -> Any:
    return Independent(overdispersed(q.base_dist, scale), q.reinterpreted_batch_ndims)


@overdispersed.register
def _(q: MaskedDistribution, scale: float) -> Any:
    return overdispersed(q.base_dist, scale).mask(q._mask)


@log_prob_by_step.register
def _(q: TorchIndependent, z: Tensor) -> Tensor:
    log_q: Tensor = q.base_dist.log_prob(z)
    return log_q.sum(-1) if log_q.ndim == z.ndim else log_q


@to_base.register(TorchIndependent)
@to_base.register(MaskedDistribution)
def _(p: Any, value: Tensor) -> Tensor:
    return to_base(p.base_dist, value)


@from_base.register(TorchIndependent)
@from_base.register(MaskedDistribution)
def _(p: Any, base: Tensor) -> Tensor:
    return from_base(p.base_dist, base)


@to_base.register
def _(p: TransformedDistribution, value: Tensor) -> Tensor:
    for transform in reversed(p.transforms):
        value = transform.inv(value)
    return to_base(p.base_dist, value)


@from_base.register
def _(p: TransformedDistribution, base: Tensor) -> Tensor:
    value = from_base(p.base_dist, base)
    for transform in p.transforms:
        value = transform(value)
    return value


# --- normals and their mixtures ---------------------------------------------------------------------------------------


@detached.register
def _(q: Normal) -> Normal:
    return Normal(q.loc.detach(), q.scale.detach())


@overdispersed.register
def _(q: Normal, scale: float) -> Normal:
    return Normal(q.loc, scale * q.scale)


@overdispersed.register
def _(q: MultivariateNormal, scale: float) -> MultivariateNormal:
    return MultivariateNormal(q.loc, scale_tril=scale * q.scale_tril)


@to_base.register(torch.distributions.Normal)
def _(p: Any, value: Tensor) -> Tensor:
    return (value - p.loc) / p.scale


@from_base.register(torch.distributions.Normal)
def _(p: Any, base: Tensor) -> Tensor:
    return p.loc + p.scale * base


@to_base.register(torch.distributions.MultivariateNormal)
def _(p: Any, value: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(p.scale_tril.shape[:-2], value.shape[:-1])
    deviation = (value - p.loc).expand(*batch, -1).unsqueeze(-1)
    return torch.linalg.solve_triangular(p.scale_tril.expand(*batch, -1, -1), deviation, upper=False).squeeze(-1)


@from_base.register(torch.distributions.MultivariateNormal)
def _(p: Any, base: Tensor) -> Tensor:
    return p.loc + (p.scale_tril @ base.unsqueeze(-1)).squeeze(-1)


@to_base.register
def _(p: MixtureSameFamily, value: Tensor) -> Tensor:
    return _normal_mixture(p).to_base(value.double()).to(value.dtype)


@from_base.register
def _(p: MixtureSameFamily, base: Tensor) -> Tensor:
    return _normal_mixture(p).from_base(base.double()).to(base.dtype)


def _normal_mixture(p: Any) -> NormalMixture:
    """``p`` as a mixture of normals over vectors. Raises `NotImplementedError` where it is none."""
    if len(p.event_shape) != 1:
        raise NotImplementedError(f"the base space of a mixture with event {tuple(p.event_shape)} is not known")
    loc, scale_tril = _loc_and_scale_tril(unwrapped(p.component_distribution))
    return NormalMixture(p.mixture_distribution.logits.double().log_softmax(-1), loc.double(), scale_tril.double())


@singledispatch
def _loc_and_scale_tril(part: Any) -> tuple[Tensor, Tensor]:
    raise NotImplementedError(f"the base space of a mixture of {type(part).__name__} is not known")


@_loc_and_scale_tril.register(torch.distributions.Normal)
def _(part: Any) -> tuple[Tensor, Tensor]:
    return part.loc, part.scale.diag_embed()


@_loc_and_scale_tril.register(torch.distributions.MultivariateNormal)
def _(part: Any) -> tuple[Tensor, Tensor]:
    return part.loc, part.scale_tril
