"""8-bit pixels as what they are: 256 values with probabilities."""

import math
from typing import ClassVar, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood

# Grey levels above black, and half the distance between two.
LEVELS = 255
HALF = 0.5 / LEVELS


class DiscretizedLogistic(Likelihood):
    """P(x | f, z) = prod over values of F(x + 1/510) - F(x - 1/510) for x in {0, 1/255, …, 1}, F logistic around mu(f, z).

    F(x) = sigmoid((x - mu) / s); the two outermost values take the tails. These are probabilities, at most one. So -log2 P
    per value is a code length, comparable with that of every other model of 8-bit images.
    s = min_scale (max_scale / min_scale)^sigmoid(10 raw), learned.

    Source: Kingma et al., "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        scale: Initial s, in units of the frames; the standard deviation of the logistic is 1.8 s.
        min_scale: Lower bound of s, at least 0.002, half a grey level.
        max_scale: Upper bound of s.
        scale_kind: "channel": one s for each channel of an image or each value of a vector; "global": one for all values.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import DiscretizedLogistic
        >>> p = DiscretizedLogistic(frame_shape=(1, 16, 16))(torch.zeros(1, 2, 1, 16, 16))
        >>> levels = torch.arange(256) / 255
        >>> total = sum(p.log_prob(torch.full((1, 2, 1, 16, 16), float(x))).exp() for x in levels)
        >>> torch.allclose(total, torch.ones_like(total), atol=1e-4)  # probabilities of 256 grey levels
        True
    """

    discrete: ClassVar[bool] = True

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        scale: float = 0.05,
        min_scale: float = 0.002,
        max_scale: float = 1.0,
        scale_kind: Literal["channel", "global"] = "channel",
    ) -> None:
        bounded_scale = BoundedScale.of("DiscretizedLogistic", min_scale, scale, max_scale)
        if min_scale < 0.002:
            raise UsageError(
                f"DiscretizedLogistic needs a min_scale of at least 0.002, half a grey level, not {min_scale}"
            )
        if scale_kind not in ("channel", "global"):
            raise UsageError(f"DiscretizedLogistic knows the scale_kind channel and global, not {scale_kind}")
        super().__init__(frame_shape)
        self.bounded_scale = bounded_scale
        start = bounded_scale.raw(scale)
        if scale_kind == "channel":
            start = start.expand(frame_shape[0], *(1 for _ in frame_shape[1:])).clone()
        self.raw_scale = nn.Parameter(start)

    @property
    def scale(self) -> Tensor:
        """s: a scalar, or one per channel, broadcastable to a frame."""
        return self.bounded_scale(self.raw_scale)

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return DiscretizedLogisticDistribution(decoded, self.scale)

    def check(self, frames: Tensor) -> None:
        if frames.dtype == torch.uint8:
            return
        levels = frames * LEVELS
        off = (levels - levels.round()).abs().max()
        if levels.min() < -HALF or levels.max() > LEVELS + HALF or off > 1e-2:
            raise UsageError(
                "the DiscretizedLogistic likelihood needs 8-bit frames, uint8 or multiples of 1/255 in [0, 1]; "
                "store them as uint8 or use a Normal likelihood",
                "likelihood",
            )


class DiscretizedLogisticDistribution(TorchDistribution):
    """A logistic variable rounded to {0, 1/255, …, 1}; its tails go to the outermost values.

    Args:
        loc: Of the logistic, in units of x.
        scale: Of the logistic, broadcastable with ``loc``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "DiscretizedLogisticDistribution":
        return DiscretizedLogisticDistribution(self.loc.expand(torch.Size(batch_shape)), self.scale)

    @property
    def mean(self) -> Tensor:
        """E x to within 10^-4: the sum of P(X >= level) over levels is taken as the integral of sigmoid((mu - t) / s) over
        t from 0 to 1, which is s log(1 + e^(mu / s)) - s log(1 + e^((mu - 1) / s)).
        """
        return self.scale * (softplus(self.loc / self.scale) - softplus((self.loc - 1) / self.scale))

    @property
    def variance(self) -> Tensor:
        """Var x, its root to within 5 %: that of the logistic cut off at 0 and 1, and h^2 / 12 for rounding to steps of h.

        With F2(u) the integral of log(1 + e^v) over v up to u, the second moment of a logistic cut off at 0 and 1 is
        2 s^2 (F2(mu / s) - F2((mu - 1) / s)) - 2 s log(1 + e^((mu - 1) / s)).
        """
        # In double precision: for small s this is a difference of numbers that are nearly equal.
        low, high, s = (v.double() for v in (self.loc / self.scale, (self.loc - 1) / self.scale, self.scale))
        first = s * (softplus(low) - softplus(high))
        second = 2 * s.square() * (_softplus_integral(low) - _softplus_integral(high)) - 2 * s * softplus(high)
        rounding = (2 * HALF) ** 2 / 12 * (torch.sigmoid(low) - torch.sigmoid(high))
        return ((second - first.square()).clamp(min=0) + rounding).to(self.loc.dtype)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        u = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.scale * (torch.log(u) - torch.log1p(-u))
        return (x * LEVELS).round().clamp(0, LEVELS) / LEVELS

    def log_prob(self, value: Tensor) -> Tensor:
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^(a - b)): three factors whose logarithms are all safe.
        below = logsigmoid((value + HALF - self.loc) / self.scale)
        above = logsigmoid((self.loc - value + HALF) / self.scale)
        inner = below + above + torch.log(-torch.expm1(-2 * HALF / self.scale))
        return torch.where(value < HALF, below, torch.where(value > 1 - HALF, above, inner))


def _softplus_integral(u: Tensor) -> Tensor:
    """The integral of log(1 + e^v) over v from minus infinity to u: -Li2(-e^u), by its series in log(1 + e^-|u|).

    Source: 't Hooft & Veltman, "Scalar one-loop integrals", Nuclear Physics B 153, 1979 (the series of Li2).
    """
    w = torch.log1p(torch.exp(-u.abs()))
    square = w.square()
    series = square * (1 / 36 - square * (1 / 3600 - square * (1 / 211680 - square / 10886400)))
    below = w * (1 + w / 4 + series)
    return torch.where(u > 0, u.square() / 2 + math.pi**2 / 6 - below, below)
