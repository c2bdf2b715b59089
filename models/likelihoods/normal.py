"""Gaussian frames with a bounded scale, learned or given."""

import math
from typing import ClassVar, Literal

import torch
from pyro.distributions import Normal as NormalDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.factory import frame_decoder


class Normal(Likelihood):
    """p(x | f, z) = prod over values of N(x; mu(f, z), sigma^2), sigma learned within bounds or fixed.

    sigma = min_scale (max_scale / min_scale)^sigmoid(10 raw). Without the lower bound the density of pixels that repeat
    exactly grows without limit, and the KL terms cease to matter. Without the upper bound a large sigma, early in training,
    can explain all variation as noise.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, S, S) or (P,), supplied by the model.
        width: Channels of the decoder's finest layer (images) or units / 16 (vectors).
        scale: Initial sigma, in units of the frames, of standardised series in standard deviations.
        min_scale: Lower bound of sigma.
        max_scale: Upper bound of sigma.
        scale_kind: How many sigmas there are. "global": one for all values; "channel": one for each channel of an image or
            each value of a vector; "predicted": one for every value of every frame, by the decoder; "fixed": ``scale``, not
            learned.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Normal
        >>> likelihood = Normal(4, 2, frame_shape=(3,), scale_kind="channel", scale=0.1)
        >>> p = likelihood(torch.zeros(8, 4), torch.zeros(8, 5, 2))  # f, z
        >>> p.mean.shape
        torch.Size([8, 5, 3])
        >>> likelihood.scale.detach()
        tensor([0.1000, 0.1000, 0.1000])
    """

    real_valued: ClassVar[bool] = True
    raw_scale: Tensor

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 16,
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
        channels = frame_shape[0] * (2 if predicted else 1)
        decoder = frame_decoder(static_size, latent_size, (channels, *frame_shape[1:]), width)
        super().__init__(decoder, frame_shape)
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

    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        decoded = self.decoder(f, z)
        if self.bounded_scale is None or self.scale_kind != "predicted":
            return SharedScaleNormal(decoded, self.scale)
        loc, deviation = decoded.chunk(2, dim=-len(self.frame_shape))
        return NormalDistribution(loc, self.bounded_scale(self.raw_scale, deviation))

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
