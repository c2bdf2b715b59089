"""The Gauss-Markov path whose dimensions drive each other."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from pyro.distributions import MultivariateNormal, TorchDistribution
from torch import Tensor

from pyro_dsvae.models.distributions.gaussian_path import GaussianPath, Moments
from pyro_dsvae.models.ops.linear_recurrence import matrix_recurrence, step_before
from pyro_dsvae.models.steps import Steps

LOG_2PI = math.log(2 * math.pi)


class MatrixTransitions(NamedTuple):
    """z_t = coefficient_t z_{t-1} + offset_t + scale_tril_t noise_t.

    Attributes:
        coefficient: ``(*C, T, D, D)``, zero at a first step, which has no step before it; ``*C`` is () or (B,).
        offset: ``(*C, T, D)``.
        scale_tril: ``(*C, T, D, D)``, lower triangular.
    """

    coefficient: Tensor
    offset: Tensor
    scale_tril: Tensor


class LinearGaussianPath(GaussianPath):
    """A path with z_t = A_t z_{t-1} + b_t + L_t noise_t: jointly normal, block-tridiagonal precision, O(T) work.

    Matrices are float64, so that slow dynamics and mixed precision lose no accuracy; paths and densities have ``dtype``.

    Args:
        batch_shape: ``*B``.
        transitions: A, b and L of all steps.
        steps: The time axis.
        continuation: From later steps, each of which has a step before it, to their transitions.
        dtype: Of paths and densities.
    """

    def __init__(
        self,
        batch_shape: torch.Size,
        transitions: MatrixTransitions,
        steps: Steps,
        continuation: Callable[[Steps], MatrixTransitions],
        dtype: torch.dtype,
    ) -> None:
        self.transitions = transitions
        self.continuation = continuation
        self.dtype = dtype
        super().__init__(batch_shape, steps, transitions.offset.shape[-1])

    @property
    def mean(self) -> Tensor:
        a, b, _ = self.transitions
        return matrix_recurrence(a, b.expand(self.batch_shape + self.event_shape)).to(self.dtype)

    def conditionals(self, z: Tensor) -> TorchDistribution:
        a, b, scale_tril = self.transitions
        loc = _multiply(a, step_before(z.double())) + b
        return MultivariateNormal(loc.to(z.dtype), scale_tril=scale_tril.to(z.dtype))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        a, b, scale_tril = self.transitions
        noise = torch.randn(self.shape(sample_shape), dtype=self.dtype, device=b.device).double()
        return matrix_recurrence(a, b + _multiply(scale_tril, noise)).to(self.dtype)

    def continue_from(self, z_past: Tensor, horizon: int) -> "LinearGaussianPath":
        following = self.steps.after(z_past.shape[-2], horizon)
        a, b, scale_tril = self.continuation(following)
        first = _multiply(a[..., :1, :, :], z_past[..., -1:, :].double()) + b[..., :1, :]
        b = torch.cat([first, b[..., 1:, :].expand(*first.shape[:-2], -1, -1)], dim=-2)
        a = torch.cat([torch.zeros_like(a[..., :1, :, :]), a[..., 1:, :, :]], dim=-3)
        return LinearGaussianPath(
            b.shape[:-2], MatrixTransitions(a, b, scale_tril), following, self.continuation, self.dtype
        )

    def covariance(self) -> Tensor:
        """Cov(z_1:T) ``(*C, T D, T D)``, float64, with time before dimension; ``*C`` is () without observation times."""
        a, _, scale_tril = self.transitions
        length = self.steps.length
        # Column (j, e) is the answer of the path to noise of unit size in direction e at step j.
        unit = torch.eye(length, dtype=a.dtype, device=a.device).view(length, *(1,) * (a.ndim - 2), length, 1)
        columns = (unit * scale_tril.movedim(-1, 0)).flatten(0, 1)
        answers = matrix_recurrence(a, columns).flatten(-2).movedim(0, -1)
        return answers @ answers.mT

    def expected_log_conditionals(self, q: Moments) -> Tensor:
        a, b, scale_tril = self.transitions
        # E|M z_t - N z_{t-1} - c|^2, and every dimension of q is on its own: only column norms meet its variances.
        identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        m = torch.linalg.solve_triangular(scale_tril, identity, upper=False)
        n = m @ a
        loc, variance = q.loc.double(), q.variance.double()
        residual = _multiply(m, loc - b) - _multiply(n, step_before(loc))
        square = residual**2 + variance * (m**2).sum(-2) + step_before(variance) * (n**2).sum(-2)
        if q.lagged is not None:
            square = square - 2 * q.lagged.double() * (m * n).sum(-2)
        log_scale = scale_tril.diagonal(dim1=-2, dim2=-1).log()
        return -(0.5 * square + log_scale + 0.5 * LOG_2PI).sum(-1).to(q.loc.dtype)


def _multiply(matrices: Tensor, values: Tensor) -> Tensor:
    """``(*B, T, D)`` products of ``matrices`` ``(*C, T, D, D)`` with ``values`` ``(*B, T, D)``."""
    return torch.einsum("...ij,...j->...i", matrices, values)
