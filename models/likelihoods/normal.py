"""Gaussian frames with a bounded scale, learned or given."""

import math
from typing import Literal

import torch
from pyro.distributions import Normal as NormalDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood


class Normal(Likelihood):
    """p(x | f, z) = prod over values of N(x; mu(f, z), sigma^2), sigma learned within bounds or fixed.

    sigma = min_scale (max_scale / min_scale)^sigmoid(10 raw). Without the lower bound the density of pixels that repeat
    exactly grows without limit, and the KL terms cease to matter. Without the upper bound a large sigma, early in training,
    can explain all variation as noise.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        scale: Initial sigma, in units of the frames, of standardised series in standard deviations.
        min_scale: Lower bound of sigma.
        max_scale: Upper bound of sigma.
        scale_kind: How many sigmas there are. "global": one for all values; "channel": one for each channel of an image or
            each value of a vector; "predicted": one for every value of every frame, by the decoder; "fixed": ``scale``, not
            learned.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Normal
        >>> likelihood = Normal(frame_shape=(3,), scale_kind="channel", scale=0.1)
        >>> p = likelihood(torch.zeros(8, 5, 3))  # what a decoder says
        >>> p.mean.shape
        torch.Size([8, 5, 3])
        >>> likelihood.scale.detach()
        tensor([0.1000, 0.1000, 0.1000])
    """

    real_valued = True
    raw_scale: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        scale: float = 0.1,
        min_scale: float = 0.05,
        max_scale: float = 1.0,
        scale_kind: Literal["global", "channel", "predicted", "fixed"] = "global",
    ) -> None:
        if scale_kind not in ("global", "channel", "predicted", "fixed"):
            raise UsageError(f"Normal knows the scale_kind global, channel, predicted and fixed, not {scale_kind}")
        fixed = scale_kind == "fixed"
        if fixed and not 0 < scale < math.inf:
            raise UsageError(f"Normal with a fixed scale needs 0 < scale, not {scale}")
        bounded_scale = None if fixed else BoundedScale.of("Normal", min_scale, scale, max_scale)
        predicted = scale_kind == "predicted"
        super().__init__(frame_shape)
        self.parameters_per_value = 2 if predicted else 1
        self.bounded_scale = bounded_scale
        self.scale_kind = scale_kind
        if bounded_scale is None:
            self.register_buffer("raw_scale", torch.tensor(scale), persistent=False)
            return
        start = bounded_scale.raw(scale)
        if predicted:
            # What the decoder predicts is a deviation from this.
            self.register_buffer("raw_scale", start, persistent=False)
        elif scale_kind == "channel":
            self.raw_scale = nn.Parameter(start.expand(frame_shape[0], *(1 for _ in frame_shape[1:])).clone())
        else:
            self.raw_scale = nn.Parameter(start)

    @property
    def scale(self) -> Tensor:
        """sigma: a scalar, or one per channel, broadcastable to a frame; where predicted, that of a decoder saying 0."""
        return self.raw_scale if self.bounded_scale is None else self.bounded_scale(self.raw_scale)

    def forward(self, decoded: Tensor) -> TorchDistribution:
        if self.bounded_scale is None or self.scale_kind != "predicted":
            return SharedScaleNormal(decoded, self.scale)
        loc, deviation = decoded.chunk(2, dim=-len(self.frame_shape))
        return NormalDistribution(loc, self.bounded_scale(self.raw_scale, deviation))

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
