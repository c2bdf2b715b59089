"""Intensities in [0, 1] with a density of their own."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood, check_unit_interval

# Where |eta| / 2 is below, a series replaces formulas that divide zero by zero. The formulas lose one digit at this point.
SERIES = 0.5
# zeta(2n) / pi^(2n) for n = 1, 2, ...
ZETAS = (
    1 / 6,
    1 / 90,
    1 / 945,
    1 / 9450,
    1 / 93555,
    691 / 638512875,
    2 / 18243225,
    3617 / 325641566250,
    43867 / 38979295480125,
    174611 / 1531329465290625,
    155366 / 13447856940643125,
)
# How many of them are exact to rounding in single precision, below SERIES.
SINGLE = 5


class ContinuousBernoulli(Likelihood):
    """p(x | f, z) = prod over values of eta e^(eta x) / (e^eta - 1) on [0, 1], with eta = d / (1 + |d| / max_logit).

    d is the output of the decoder for (f, z). Unlike `Bernoulli` this is a density of intensities, so models can be compared
    by it. The mean is not sigmoid(eta), but 1 / (1 - e^-eta) - 1 / eta. The bound on eta has the role of the lower bound of
    sigma in `Normal`: without it the density of exactly black or white pixels grows without limit.

    Source: Loaiza-Ganem & Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders",
    NeurIPS 2019.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        max_logit: Bound of eta in absolute value; the mean stays 1 / max_logit away from 0 and 1.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import ContinuousBernoulli
        >>> p = ContinuousBernoulli(frame_shape=(1, 16, 16))(torch.zeros(8, 5, 1, 16, 16))
        >>> x = p.rsample()
        >>> bool(x.min() >= 0), bool(x.max() <= 1)
        (True, True)
    """

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        max_logit: float = 100.0,
    ) -> None:
        if not 1 <= max_logit < math.inf:
            raise UsageError(f"ContinuousBernoulli needs a max_logit of at least 1, not {max_logit}")
        super().__init__(frame_shape)
        self.max_logit = max_logit

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return ContinuousBernoulliDistribution(decoded / (1 + decoded.abs() / self.max_logit))

    def check(self, frames: Tensor) -> None:
        check_unit_interval("ContinuousBernoulli", frames)


class ContinuousBernoulliDistribution(TorchDistribution):
    """p(x) = eta e^(eta x) / (e^eta - 1) on [0, 1], an exponential density truncated at 1; uniform where eta = 0.

    The distribution of torch is parameterised by probabilities. In float32 they cannot be told from 0 or 1 beyond |eta| = 16:
    there its density does not integrate to one, and its mean does not exceed 0.94. This one computes

        log p(x) = eta (x - 1/2) - log(sinh(y) / y),   y = eta / 2.

    For |y| < 1/2 it takes log(sinh(y) / y) = sum_n (-1)^(n+1) zeta(2n) / (n pi^(2n)) y^(2n) and the derivatives of this series,
    for the mean and the variance. The terms alternate and fall, so what is left out is at most the first term that is: 11 terms
    are exact to 1e-15 in double precision.

    Args:
        eta: Logits, any real numbers.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulliDistribution
        >>> ContinuousBernoulliDistribution(torch.tensor([0.0, 50.0])).mean  # 1/2, and 1 - 1/50
        tensor([0.5000, 0.9800])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"eta": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, eta: Tensor) -> None:
        self.eta = eta
        super().__init__(eta.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "ContinuousBernoulliDistribution":
        return ContinuousBernoulliDistribution(self.eta.expand(torch.Size(batch_shape)))

    @property
    def _log_norm(self) -> Tensor:
        """log(sinh(y) / y) with y = eta / 2."""
        y = (self.eta / 2).abs()
        small = y < SERIES
        large = y.clamp(min=SERIES)
        series = y.square().clamp(max=SERIES**2)
        return torch.where(
            small,
            series * _alternating(series, [zeta / n for n, zeta in enumerate(ZETAS, 1)]),
            large + torch.log1p(-torch.exp(-2 * large)) - torch.log(2 * large),
        )

    @property
    def mean(self) -> Tensor:
        """1 / (1 - e^-eta) - 1 / eta = 1/2 + coth(y) / 2 - 1 / 2y with y = eta / 2."""
        y = self.eta / 2
        large = y.abs().clamp(min=SERIES)
        series = y.square().clamp(max=SERIES**2)
        return 0.5 + torch.where(
            y.abs() < SERIES,
            y * _alternating(series, ZETAS),
            y.sign() * (1 / torch.tanh(large) - 1 / large) / 2,
        )

    @property
    def variance(self) -> Tensor:
        """1 / eta^2 - 1 / (4 sinh^2(eta / 2)) = (1 / y^2 - 1 / sinh^2 y) / 4 with y = eta / 2."""
        y = (self.eta / 2).abs()
        large = y.clamp(min=SERIES)
        series = y.square().clamp(max=SERIES**2)
        decay = torch.exp(-2 * large)
        return 0.25 * torch.where(
            y < SERIES,
            _alternating(series, [(4 * n - 2) * zeta for n, zeta in enumerate(ZETAS, 1)]),
            large.square().reciprocal() - 4 * decay / (1 - decay).square(),
        )

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Through the quantile function."""
        u = torch.rand(self._extended_shape(sample_shape), dtype=self.eta.dtype, device=self.eta.device)
        size = self.eta.abs().clamp(min=1e-6)
        # The quantile function for -|eta|, whose draws are near zero, so that none is rounded to a multiple of 10^-7.
        x = (-torch.log1p(u * torch.expm1(-size)) / size).clamp(max=1)
        return torch.where(self.eta < 0, x, 1 - x)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.eta * (value - 0.5) - self._log_norm


def _alternating(square: Tensor, weights: Sequence[float]) -> Tensor:
    """sum_n (-1)^(n+1) w_n square^(n-1), with as many terms as the precision of ``square`` can tell."""
    count = SINGLE if torch.finfo(square.dtype).bits <= 32 else len(weights)
    total = square * -weights[count - 1] + weights[count - 2]
    for weight in weights[count - 3 :: -1]:
        total = weight - square * total
    return total
