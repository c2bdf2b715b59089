"""Gaussian processes over time, one per latent dimension."""

import math
from typing import ClassVar, NamedTuple

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.distributions.gaussian_path import GaussianPath, Moments
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.kernels import KERNELS, Kernel, correlation
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

LOG_2PI = math.log(2 * math.pi)

# Logarithms beyond which nothing changes, so that no product is infinite times zero.
LIMIT = 50.0


class GaussianProcess(DynamicPrior):
    """``z_1:T ~ N(0, K)`` in every dimension, ``K_ts = variance (k(|time_t - time_s|) + jitter [t = s])``.

    With r the distance in time and l the length-scale, both in units of time, k(r) is

        rbf       exp(-r^2 / 2 l^2)                              infinitely smooth
        matern12  exp(-r / l)                                    rough, Ornstein-Uhlenbeck
        matern32  (1 + u) exp(-u), u = sqrt(3) r / l             one derivative
        matern52  (1 + u + u^2 / 3) exp(-u), u = sqrt(5) r / l   two derivatives
        cauchy    1 / (1 + r^2 / l^2)                            smooth on many scales at once
        periodic  exp(-2 sin^2(pi r / period) / l^2)             repeats; here l has no unit

    Length-scale and variance are learned, one each per dimension. The jitter is independent noise at every step, and part of
    the prior. It keeps K well conditioned, and it limits how well a step can be predicted: the error has a standard
    deviation of at least sqrt(jitter variance). The work is O(D T^3): once per batch without observation times, once per
    sequence with them.

    Source: Rasmussen & Williams, Gaussian Processes for Machine Learning, MIT Press 2006; over latent paths: Fortuin et al.,
    "GP-VAE: Deep Probabilistic Time Series Imputation", AISTATS 2020.

    Args:
        latent_size: D, supplied by the model.
        kernel: Covariance function k, one of the six above.
        lengthscale: The middle one of the initial length-scales, in units of time (periodic: without unit).
        spread: Ratio of the longest initial length-scale to the shortest; their logarithms are equally spaced. 1: all equal.
        variance: Initial variance of every dimension.
        period: Time after which a periodic path repeats, not learned; other kernels ignore it.
        jitter: Share of the variance; matern12 and matern32 need none, unless steps are very close in time.

    Raises:
        UsageError: Where an option is out of its range.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import GaussianProcess
        >>> from pyro_dsvae.models.steps import Steps
        >>> prior = GaussianProcess(2, kernel="rbf", lengthscale=4.0, spread=4.0)
        >>> prior.lengthscale.detach()
        tensor([2.0000, 8.0000], dtype=torch.float64)
        >>> times = torch.tensor([[0.0, 0.5, 3.0]])
        >>> prior(torch.zeros(1, 3), Steps(3, times=times)).rsample().shape
        torch.Size([1, 3, 2])
    """

    continuous_time: ClassVar[bool] = True

    def __init__(
        self,
        latent_size: int,
        kernel: Kernel = "matern32",
        lengthscale: float = 4.0,
        spread: float = 4.0,
        variance: float = 1.0,
        period: float = 8.0,
        jitter: float = 1e-5,
    ) -> None:
        super().__init__(latent_size)
        if kernel not in KERNELS:
            raise UsageError(f"GaussianProcess knows no kernel {kernel!r}; choose from {', '.join(KERNELS)}")
        for name, value in (("lengthscale", lengthscale), ("variance", variance), ("period", period)):
            if not math.exp(-LIMIT) <= value <= math.exp(LIMIT):
                raise UsageError(f"GaussianProcess needs a positive, finite {name}, not {value}")
        if not 1 <= spread <= math.exp(LIMIT):
            raise UsageError(f"GaussianProcess needs a finite spread of at least 1, not {spread}")
        if not 0 <= jitter < math.inf:
            raise UsageError(f"GaussianProcess needs a finite jitter of at least 0, not {jitter}")
        self.kernel = kernel
        self.period = period
        self.jitter = jitter
        places = torch.linspace(-0.5, 0.5, latent_size) if latent_size > 1 else torch.zeros(1)
        self.log_lengthscale = nn.Parameter(math.log(lengthscale) + math.log(spread) * places)
        self.log_variance = nn.Parameter(torch.full((latent_size,), math.log(variance)))

    @property
    def lengthscale(self) -> Tensor:
        """(D,) float64, in units of time."""
        return self.log_lengthscale.double().clamp(-LIMIT, LIMIT).exp()

    @property
    def variance(self) -> Tensor:
        """(D,) float64."""
        return self.log_variance.double().clamp(-LIMIT, LIMIT).exp()

    def forward(self, f: Tensor, steps: Steps) -> "GaussianProcessPath":
        return GaussianProcessPath(self, f.shape[:-1], steps, self._clock(steps), None)

    def _clock(self, steps: Steps) -> Tensor:
        if steps.times is not None:
            return steps.times.double()
        return torch.arange(steps.length, dtype=torch.float64, device=self.log_variance.device)

    def factor(self, times: Tensor) -> Tensor:
        """The Cholesky factors ``(*C, D, T, T)`` of K at ``times`` ``(*C, T)``, float64.

        Raises:
            UsageError: Where K is singular to working precision.
        """
        distance = (times.unsqueeze(-1) - times.unsqueeze(-2)).abs().unsqueeze(-3)
        k = correlation(self.kernel, distance, self.lengthscale[:, None, None], self.period)
        k = k + self.jitter * torch.eye(times.shape[-1], dtype=k.dtype, device=k.device)
        try:
            # In float64: in float32, with jitter 1e-5 and a smooth kernel, one-step scales are off by percents.
            return self.variance.sqrt()[:, None, None] * torch.linalg.cholesky(k)
        except torch.linalg.LinAlgError as error:
            low, high = self.lengthscale.min().item(), self.lengthscale.max().item()
            raise UsageError(
                f"GaussianProcess: kernel {self.kernel} with length-scales from {low:.3g} to {high:.3g} has a singular "
                f"covariance over {times.shape[-1]} steps; give times that differ, a smaller lengthscale, "
                f"or more jitter than {self.jitter:g}"
            ) from error


class Before(NamedTuple):
    """The steps that a path continues.

    Attributes:
        times: ``(*C, t)``, when they were.
        z: ``(*B, t, D)``, their latents.
    """

    times: Tensor
    z: Tensor


class GaussianProcessPath(GaussianPath):
    """The path distribution of `GaussianProcess` at ``times``, given the steps in ``before``.

    In every dimension z = loc + L noise with L lower triangular. The noise of steps up to t determines z up to t, so row t
    of L gives the one-step conditional. Steps that do not exist come last, so they influence no other. All of it is computed
    in float64. ``*C`` is () where all sequences share their times, and (B,) otherwise.

    Args:
        prior: Kernel and variances.
        batch_shape: ``*B``.
        steps: The time axis.
        times: ``(*C, T)``.
        before: Steps that this path continues, or None.
    """

    def __init__(
        self, prior: GaussianProcess, batch_shape: torch.Size, steps: Steps, times: Tensor, before: Before | None
    ) -> None:
        super().__init__(batch_shape, steps, prior.latent_size)
        self.prior = prior
        self.times = times
        self.before = before
        self.dtype = prior.log_variance.dtype
        if before is None:
            self.factor = prior.factor(times)
            self.loc = times.new_zeros(self.event_shape)
        else:
            n = before.times.shape[-1]
            joint = prior.factor(torch.cat([before.times, times], dim=-1))
            noise = _whiten(joint[..., :n, :n], before.z.double())
            self.loc = _mix(joint[..., n:, :n], noise)
            self.factor = joint[..., n:, n:]

    @property
    def mean(self) -> Tensor:
        return self.loc.to(self.dtype).expand(self.batch_shape + self.event_shape)

    def conditionals(self, z: Tensor) -> TorchDistribution:
        z = z.expand(torch.broadcast_shapes(z.shape, self.batch_shape + self.event_shape))
        noise = _whiten(self.factor, z.double() - self.loc)
        loc = self.loc + _mix(self.factor.tril(-1), noise)
        return Normal(loc.to(z.dtype), self._scale.to(z.dtype).expand_as(loc)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = torch.randn(self.shape(sample_shape), dtype=self.dtype, device=self.times.device).double()
        return (self.loc + _mix(self.factor, noise)).to(self.dtype)

    def continue_from(self, z_past: Tensor, horizon: int) -> "GaussianProcessPath":
        past = z_past.shape[-2]
        following = self.steps.after(past, horizon)
        if following.times is None:
            start = self.times[..., :1]
            ahead = start + torch.arange(past + horizon, dtype=torch.float64, device=start.device)
            seen, times = ahead[..., :past], ahead[..., past:]
        else:
            seen, times = self.times[..., :past], following.times.double()
        z = z_past
        if self.before is not None:
            seen = torch.cat([self.before.times, seen], dim=-1)
            earlier = self.before.z.expand(*z.shape[:-2], *self.before.z.shape[-2:])
            z = torch.cat([earlier, z], dim=-2)
        return GaussianProcessPath(self.prior, z.shape[:-2], following, times, Before(seen, z))

    def expected_log_conditionals(self, q: Moments) -> Tensor:
        square = _whiten(self.factor, q.loc.double() - self.loc) ** 2
        if q.factor is None:
            identity = torch.eye(self.steps.length, dtype=square.dtype, device=square.device)
            inverse = torch.linalg.solve_triangular(self.factor, identity, upper=False)
            square = square + _mix(inverse**2, q.variance.double())
        else:
            spread = torch.linalg.solve_triangular(self.factor, q.factor().double(), upper=False)
            square = square + (spread**2).sum(-1).movedim(-1, -2)
        return -(0.5 * square + self._scale.log() + 0.5 * LOG_2PI).sum(-1).to(q.loc.dtype)

    @property
    def _scale(self) -> Tensor:
        """``(*C, T, D)`` standard deviations of the one-step conditionals."""
        return self.factor.diagonal(dim1=-2, dim2=-1).movedim(-1, -2)


def _mix(matrices: Tensor, values: Tensor) -> Tensor:
    """``(*B, T, D)``: ``matrices`` ``(*C, D, T, S)`` times ``values`` ``(*B, S, D)``, every dimension on its own."""
    return torch.einsum("...dts,...sd->...td", matrices, values)


def _whiten(factor: Tensor, values: Tensor) -> Tensor:
    """L^-1 ``values`` ``(*B, T, D)`` for ``factor`` L ``(*C, D, T, T)``, every dimension on its own.

    Batch dimensions that L does not have become right-hand sides of one solve, where broadcasting would copy L.
    """
    shared = values.ndim - 2 - (factor.ndim - 3)
    sides = values.movedim(-1, -2).flatten(0, shared - 1) if shared else values.movedim(-1, -2).unsqueeze(0)
    solved = torch.linalg.solve_triangular(factor, sides.movedim(0, -1), upper=False).movedim(-1, 0)
    return solved.reshape(*values.shape[:-2], *solved.shape[-2:]).movedim(-1, -2)
