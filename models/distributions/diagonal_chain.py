"""The Gauss-Markov path whose dimensions are independent of each other."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import register_kl

from pyro_dsvae.models.distributions.density import detached, overdispersed
from pyro_dsvae.models.distributions.gaussian_path import GaussianPath, Moments, kl_to_path, moments
from pyro_dsvae.models.ops.linear_recurrence import linear_recurrence, step_before
from pyro_dsvae.models.steps import Steps

LOG_2PI = math.log(2 * math.pi)


class Transitions(NamedTuple):
    """z_t = coefficient_t z_{t-1} + offset_t + scale_t noise_t, each broadcastable to ``(*B, T, D)``.

    Attributes:
        coefficient: a_t; at a first step, which has no step before it, it is not used.
        offset: b_t.
        scale: s_t.
    """

    coefficient: Tensor
    offset: Tensor
    scale: Tensor


class DiagonalChain(GaussianPath):
    """A path with z_t = a_t z_{t-1} + b_t + s_t noise_t in every dimension: jointly normal, tridiagonal precision.

    The sign of a_t, and so of the correlation of neighbouring steps, is free. Sampling, density, moments and KL take O(T)
    work and O(log T) calls.

    Args:
        batch_shape: ``*B``.
        transitions: a, b and s of all steps.
        steps: The time axis.
        continuation: From later steps, each of which has a step before it, to their transitions; None where the path cannot
            be continued.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
        >>> from pyro_dsvae.models.distributions.gaussian_path import moments
        >>> from pyro_dsvae.models.steps import Steps
        >>> half, zero, one = torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([1.0])
        >>> chain = DiagonalChain(torch.Size(), Transitions(half, zero, one), Steps(3))
        >>> moments(chain).variance.squeeze(-1)  # v_t = v_{t-1} / 4 + 1
        tensor([1.0000, 1.2500, 1.3125])
    """

    def __init__(
        self,
        batch_shape: torch.Size,
        transitions: Transitions,
        steps: Steps,
        continuation: Callable[[Steps], Transitions] | None = None,
    ) -> None:
        self.transitions = transitions
        self.continuation = continuation
        super().__init__(batch_shape, steps, transitions.scale.shape[-1])

    @property
    def mean(self) -> Tensor:
        return linear_recurrence(self.transitions.coefficient, self._whole(self.transitions.offset))

    @property
    def variance(self) -> Tensor:
        """Var z_1:T ``(*B, T, D)``."""
        a, _, s = (self._whole(v) for v in self.transitions)
        return linear_recurrence(a**2, s**2)

    def conditionals(self, z: Tensor) -> TorchDistribution:
        a, b, s = self.transitions
        loc = a * step_before(z) + b
        return Normal(loc, s.expand(loc.shape)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        a, b, s = self.transitions
        noise = torch.randn(self.shape(sample_shape), dtype=s.dtype, device=s.device)
        return linear_recurrence(a, b + s * noise)

    def continue_from(self, z_past: Tensor, horizon: int) -> "DiagonalChain":
        """See `PathDistribution.continue_from`.

        Raises:
            ValueError: Where the path cannot be continued that far, as that of a posterior.
        """
        past = z_past.shape[-2]
        if self.continuation is not None:
            a, b, s = self.continuation(self.steps.after(past, horizon))
        elif past + horizon <= self.steps.length:
            a, b, s = (self._whole(v)[..., past : past + horizon, :] for v in self.transitions)
        else:
            raise ValueError(f"the path has {self.steps.length} steps; it says nothing of step {past + horizon}")
        shape = (*z_past.shape[:-2], horizon, z_past.shape[-1])
        a, b, s = (v.expand(torch.broadcast_shapes(v.shape, shape)) for v in (a, b, s))
        b = torch.cat([b[..., :1, :] + a[..., :1, :] * z_past[..., -1:, :], b[..., 1:, :]], dim=-2)
        following = self.steps.after(past, horizon)
        return DiagonalChain(b.shape[:-2], Transitions(a, b, s), following, self.continuation)

    def expected_log_conditionals(self, q: Moments) -> Tensor:
        a, b, s = (self._whole(v) for v in self.transitions)
        square = (q.loc - a * step_before(q.loc) - b) ** 2 + q.variance + a**2 * step_before(q.variance)
        if q.lagged is not None:
            square = square - 2 * a * q.lagged
        return -(0.5 * square / s**2 + s.log() + 0.5 * LOG_2PI).sum(-1)

    def _whole(self, values: Tensor) -> Tensor:
        """Transitions in the shape ``(*B, T, D)`` of a path."""
        return values.expand(self.batch_shape + self.event_shape)


@detached.register
def _(q: DiagonalChain) -> DiagonalChain:
    held = Transitions(*(v.detach() for v in q.transitions))
    return DiagonalChain(q.batch_shape, held, q.steps, q.continuation)


@overdispersed.register
def _(q: DiagonalChain, scale: float) -> DiagonalChain:
    a, b, s = q.transitions
    return DiagonalChain(q.batch_shape, Transitions(a, b, scale * s), q.steps)


@moments.register
def _(q: DiagonalChain) -> Moments:
    a, b, s = (q._whole(v) for v in q.transitions)
    # Of the same tensors as the rest, not by the properties: gradients are then summed once, in one order.
    variance = linear_recurrence(a**2, s**2)
    entropy = (s.log() + 0.5 * (1 + LOG_2PI)).sum(-1)

    def factor() -> Tensor:
        # Column j is the answer of the path to unit noise at step j.
        noise = torch.diag_embed(s.movedim(-2, -1)).movedim(-1, 0).movedim(-1, -2)
        return linear_recurrence(a, noise).movedim(0, -1).movedim(-3, -2)

    return Moments(linear_recurrence(a, b), variance, a * step_before(variance), entropy, factor)


register_kl(DiagonalChain, GaussianPath)(kl_to_path)
