"""The stable linear stochastic differential equation, observed at the times of the steps."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_dsvae.models.distributions.linear_gaussian_path import LinearGaussianPath, MatrixTransitions
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.random_walk import inverse_softplus
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

MIN_SCALE, MIN_TIMESCALE = 1e-3, 1e-3
# Beyond these, which no data set comes near, products of float64 matrices would no longer be stable to their last digits.
MIN_RATE, MAX_RATE, MAX_RATIO = 1e-6, 1e6, 30.0


class LinearGaussian(DynamicPrior):
    """z_t = m + A_t (z_{t-1} - m) + N(0, Q_t), with full matrices A_t and Q_t: each dimension may drive any other.

    This is the exact solution, at the times of the steps, of the linear stochastic differential equation whose stationary
    distribution is N(m, P). With P = C C^T, in y = C^-1 (z - m),

        dy = (S - R) y dt + noise,    A_t = C exp((S - R) dt_t) C^-1,    Q_t = P - A_t P A_t^T

    where S is skew-symmetric (rotation) and R is positive definite (decay). So exp((S - R) dt) has a norm below 1: whatever
    the parameters are, the process is stable and Q_t is positive definite. Every stable linear equation with noise in all
    directions can be written in this form. m, P, S and R are learned. dt_t is the time since the previous step, 1 where the
    data have no observation times. Each distinct interval of a batch costs one matrix exponential, O(D^3).

    Source: Archambeau & Opper, "Approximate inference for continuous-time Markov processes", in Bayesian Time Series
    Models, 2011; exact discretisation: Särkkä & Solin, Applied Stochastic Differential Equations, 2019.

    Args:
        latent_size: D, supplied by the model.
        timescale: Initial time, in units of time, in which the correlation falls by a factor of e.
        scale: Initial stationary standard deviation of every dimension.
        stationary: Whether z_1 has the stationary distribution; if not, mean and covariance of z_1 are learned separately.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import LinearGaussian
        >>> from pyro_dsvae.models.steps import Steps
        >>> path = LinearGaussian(1, timescale=2.0)(torch.zeros(1, 3), Steps(3))
        >>> path.covariance().detach()[0]  # 1, e^(-1/2), e^(-1)
        tensor([1.0000, 0.6065, 0.3679], dtype=torch.float64)
    """

    continuous_time: ClassVar[bool] = True

    def __init__(self, latent_size: int, timescale: float = 5.0, scale: float = 1.0, stationary: bool = True) -> None:
        super().__init__(latent_size)
        if not MIN_TIMESCALE <= timescale < 1 / MIN_RATE:
            raise UsageError(
                f"LinearGaussian needs a timescale from {MIN_TIMESCALE:g} to below {1 / MIN_RATE:g} units of time, "
                f"not {timescale}; give times in another unit"
            )
        if not MIN_SCALE < scale < math.inf:
            raise UsageError(f"LinearGaussian needs a finite scale above {MIN_SCALE:g}, not {scale}")
        raw_scale = torch.full((latent_size,), inverse_softplus(scale - MIN_SCALE))
        raw_rate = inverse_softplus(math.sqrt(1 / timescale - MIN_RATE))
        self.loc = nn.Parameter(torch.zeros(latent_size))
        self.raw_scale = nn.Parameter(raw_scale)
        self.correlation = nn.Parameter(torch.zeros(latent_size, latent_size))
        self.rotation = nn.Parameter(torch.zeros(latent_size, latent_size))
        self.decay = nn.Parameter(raw_rate * torch.eye(latent_size))
        self.stationary = stationary
        if not stationary:
            self.start_loc = nn.Parameter(torch.zeros(latent_size))
            self.raw_start_scale = nn.Parameter(raw_scale.clone())
            self.start_correlation = nn.Parameter(torch.zeros(latent_size, latent_size))

    @property
    def scale_tril(self) -> Tensor:
        """(D, D) float64, C: the Cholesky factor of the stationary covariance P."""
        return _scale_tril(self.raw_scale, self.correlation)

    @property
    def whitened_drift(self) -> Tensor:
        """(D, D) float64, S - R; the drift of z itself is C (S - R) C^-1."""
        lower = self.rotation.double().tril(-1)
        decay = self.decay.double()
        root = decay.tril(-1) + softplus(decay.diagonal()).diag()
        return _capped(lower - lower.mT) - _capped(root @ root.mT) - MIN_RATE * _identity(root)

    def forward(self, f: Tensor, steps: Steps) -> LinearGaussianPath:
        loc, scale_tril = self.loc.double(), self.scale_tril
        if not self.stationary:
            loc, scale_tril = self.start_loc.double(), _scale_tril(self.raw_start_scale, self.start_correlation)
        first = MatrixTransitions(torch.zeros_like(scale_tril), loc, scale_tril)
        transitions = self._transitions(steps, first)
        return LinearGaussianPath(f.shape[:-1], transitions, steps, self._transitions, self.loc.dtype)

    def _intervals(self, steps: Steps, started: bool) -> tuple[Tensor, Tensor]:
        """The intervals that differ (U,), and which of them each step has ``(*C, T)``."""
        intervals = steps.intervals
        if intervals is None:
            return self.loc.new_ones(1), torch.zeros(steps.length, dtype=torch.int64, device=self.loc.device)
        if not started:
            intervals = torch.cat([torch.ones_like(intervals[..., :1]), intervals[..., 1:]], dim=-1)
        # Matrix exponentials are what costs, and few intervals differ.
        return intervals.unique(return_inverse=True)

    def _transitions(self, steps: Steps, first: MatrixTransitions | None = None) -> MatrixTransitions:
        """All of them, with ``first`` in the place of the first where that has no step before it."""
        different, which = self._intervals(steps, started=first is None)
        scale_tril, loc = self.scale_tril, self.loc.double()
        whitened = torch.linalg.matrix_exp(self.whitened_drift * different.double()[:, None, None])
        noise = _identity(whitened) - whitened @ whitened.mT
        try:
            noise_tril = scale_tril @ torch.linalg.cholesky(noise)
        except torch.linalg.LinAlgError as error:
            raise UsageError(
                "LinearGaussian: a step adds no noise; times must increase from step to step and parameters be finite, "
                f"but the shortest interval is {float(different.min()):g}"
            ) from error
        coefficient = torch.linalg.solve_triangular(scale_tril, scale_tril @ whitened, upper=False, left=False)
        offset = loc - coefficient @ loc
        values = (v[which] for v in (coefficient, offset, noise_tril))
        if first is None:
            return MatrixTransitions(*values)
        places = zip(first, values, (-3, -2, -3), strict=True)
        return MatrixTransitions(*(_replace_first(value, v, dim) for value, v, dim in places))


def _replace_first(value: Tensor, values: Tensor, dim: int) -> Tensor:
    """``values`` with ``value`` at index 0 of dimension ``dim``."""
    first, later = values.split([1, values.shape[dim] - 1], dim=dim)
    return torch.cat([value.unsqueeze(dim).expand_as(first), later], dim=dim)


def _scale_tril(raw_scale: Tensor, correlation: Tensor) -> Tensor:
    """A Cholesky factor (D, D): one standard deviation per dimension times rows of unit length."""
    lower = correlation.double().tril(-1)
    lower = lower / (1 + (lower / MAX_RATIO) ** 2).sqrt() + _identity(lower)
    return (softplus(raw_scale.double()) + MIN_SCALE).unsqueeze(-1) * lower / lower.norm(dim=-1, keepdim=True)


def _capped(matrix: Tensor) -> Tensor:
    """The matrix, scaled down smoothly where its norm comes near ``MAX_RATE``."""
    return matrix / (1 + (matrix / MAX_RATE).square().sum()).sqrt()


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
