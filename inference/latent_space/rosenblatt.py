"""Priors as maps of standard normal noise: where a latent lies in it, and back."""

from typing import Any, NamedTuple

import torch
from pyro.distributions import Independent, MaskedDistribution, MixtureSameFamily, MultivariateNormal, Normal
from torch import Tensor
from torch.distributions import TransformedDistribution
from torch.special import log_ndtr, ndtri

from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.ops.precision import own_precision
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixtureDistribution

HALVINGS = 60
# The smallest tail that is told from none, 37 standard deviations out.
TINY = 1e-300


def to_noise(p: Any, value: Tensor) -> Tensor:
    """e (\\*B, D) with g(e) = ``value`` (\\*B, D), where g maps N(0, I) to p, batch \\*B and event (D,).

    Independent normals: (value - mean) / scale. Jointly normal: L^-1 (value - mean), L the Cholesky factor. Flows: their base.
    Mixtures of normals: the Rosenblatt transform e_d = Phi^-1 F(value_d | value_<d), dimension by dimension,
    autoregressive ones in their rotated coordinates. Raises `NotImplementedError` for any other distribution.

    Source: Rosenblatt, "Remarks on a multivariate transformation", Annals of Mathematical Statistics 23, 1952.
    """
    match p:
        case MaskedDistribution():
            return to_noise(p.base_dist, value)
        case Independent(base_dist=Normal() as base) if len(p.event_shape) == 1:
            return (value - base.loc) / base.scale
        case MultivariateNormal():
            return _solve(p.scale_tril, value - p.loc)
        case FlowDistribution(flow=flow):
            with own_precision():
                for transform in reversed(_affine(flow)):
                    value = transform.inv(value)
                return _standard(flow).transform(value)
        case MixtureSameFamily():
            return _Mixture.of(p).to_noise(value.double()).to(value.dtype)
        case AutoregressiveMixtureDistribution():
            with own_precision():
                y, conditionals = p.conditionals_at(value)
                return to_noise(conditionals, y.unsqueeze(-1)).squeeze(-1)
    raise NotImplementedError(f"the noise of a {type(p).__name__} is not known")


def from_noise(p: Any, noise: Tensor) -> Tensor:
    """g(e) (\\*B, D), the inverse of `to_noise`."""
    match p:
        case MaskedDistribution():
            return from_noise(p.base_dist, noise)
        case Independent(base_dist=Normal() as base) if len(p.event_shape) == 1:
            return base.loc + base.scale * noise
        case MultivariateNormal():
            return p.loc + (p.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        case FlowDistribution(flow=flow):
            with own_precision():
                value = _standard(flow).transform.inv(noise)
                for transform in _affine(flow):
                    value = transform(value)
                return value
        case MixtureSameFamily():
            return _Mixture.of(p).from_noise(noise.double()).to(noise.dtype)
        case AutoregressiveMixtureDistribution():
            along = noise.unsqueeze(-1)
            return p.generate(
                noise.shape[:-1], lambda conditional, i: from_noise(conditional, along[..., i : i + 1, :])
            )
    raise NotImplementedError(f"the noise of a {type(p).__name__} is not known")


def path_to_noise(path: PathDistribution, z: Tensor) -> Tensor:
    """The noise (\\*B, T, D) of the one-step conditionals along a path: its standardised innovations."""
    return to_noise(path.conditionals(z), z)


def path_from_noise(path: PathDistribution, noise: Tensor) -> Tensor:
    """The path (\\*B, T, D) that the noise leads to, step by step."""
    # What the first step has before it is the same for all paths.
    z = from_noise(path.conditionals(torch.zeros_like(noise)), noise)[..., :1, :]
    for e in noise[..., 1:, :].split(1, dim=-2):
        step = path.continue_from(z, 1).conditionals(torch.zeros_like(e))
        z = torch.cat([z, from_noise(step, e)], dim=-2)
    return z


def _standard(flow: Any) -> Any:
    """The flow of Zuko, without what was put behind it."""
    while isinstance(flow, TransformedDistribution):
        flow = flow.base_dist
    return flow


def _affine(flow: Any) -> list[Any]:
    """What was put behind the flow of Zuko, in the order from noise to values."""
    after: list[Any] = []
    while isinstance(flow, TransformedDistribution):
        after = [*flow.transforms, *after]
        flow = flow.base_dist
    return after


def _solve(scale_tril: Tensor, value: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(scale_tril.shape[:-2], value.shape[:-1])
    value = value.expand(*batch, -1).unsqueeze(-1)
    return torch.linalg.solve_triangular(scale_tril.expand(*batch, -1, -1), value, upper=False).squeeze(-1)


class _Mixture(NamedTuple):
    """K normals: log weights (\\*B, K), means (\\*B, K, D) and Cholesky factors (\\*B, K, D, D), float64."""

    log_weights: Tensor
    loc: Tensor
    scale_tril: Tensor

    @classmethod
    def of(cls, p: Any) -> "_Mixture":
        parts = p.component_distribution
        while isinstance(parts, MaskedDistribution):
            parts = parts.base_dist
        log_weights = p.mixture_distribution.logits.double().log_softmax(-1)
        match parts:
            case Independent(base_dist=Normal() as base) if len(parts.event_shape) == 1:
                return cls(log_weights, base.loc.double(), base.scale.double().diag_embed())
            case MultivariateNormal():
                return cls(log_weights, parts.loc.double(), parts.scale_tril.double())
        raise NotImplementedError(f"the noise of a mixture of {type(parts).__name__} is not known")

    def to_noise(self, value: Tensor) -> Tensor:
        noise = []
        state = self._opening()
        for d, v in enumerate(value.split(1, dim=-1)):
            standard = self._standard(state, d, v)
            below, above = (torch.logsumexp(state[0] + log_ndtr(s), -1) for s in (standard, -standard))
            # From the smaller of both tails, whose logarithm has digits left.
            tail = torch.minimum(below, above).exp().clamp(min=TINY)
            noise.append(torch.where(below < above, ndtri(tail), -ndtri(tail)))
            state = self._seen(state, d, standard)
        return torch.stack(noise, dim=-1) if noise else value

    def from_noise(self, noise: Tensor) -> Tensor:
        values = []
        state = self._opening()
        for d, e in enumerate(noise.split(1, dim=-1)):
            centre, scale = self._conditional(state, d)
            # The quantile of a mixture lies between those of its parts.
            all_ = centre + scale * e
            low, high = all_.min(-1, keepdim=True).values, all_.max(-1, keepdim=True).values
            sign = torch.where(e < 0, 1.0, -1.0).to(e)
            target = log_ndtr(-e.abs())
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                tail = torch.logsumexp(state[0] + log_ndtr(sign * (middle - centre) / scale), -1, keepdim=True)
                right = (tail < target) == (sign > 0)
                low, high = torch.where(right, middle, low), torch.where(right, high, middle)
            value = (low + high) / 2
            values.append(value)
            state = self._seen(state, d, self._standard(state, d, value))
        return torch.cat(values, dim=-1) if values else noise

    def _opening(self) -> tuple[Tensor, list[Tensor]]:
        """Log weights given the dimensions so far, and the noise of those in every part."""
        return self.log_weights, []

    def _conditional(self, state: tuple[Tensor, list[Tensor]], d: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (\\*B, K) of dimension d in every part, given those before it."""
        centre = self.loc[..., d]
        if state[1]:
            centre = centre + (self.scale_tril[..., d, :d] * torch.stack(state[1], dim=-1)).sum(-1)
        return centre, self.scale_tril[..., d, d]

    def _standard(self, state: tuple[Tensor, list[Tensor]], d: int, value: Tensor) -> Tensor:
        centre, scale = self._conditional(state, d)
        return (value - centre) / scale

    def _seen(self, state: tuple[Tensor, list[Tensor]], d: int, standard: Tensor) -> tuple[Tensor, list[Tensor]]:
        likely = state[0] - standard.square() / 2 - self.scale_tril[..., d, d].log()
        return likely.log_softmax(-1), [*state[1], standard]
