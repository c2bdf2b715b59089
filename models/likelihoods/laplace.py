"""Frames with Laplace noise: a few values far off weigh less than under a normal."""

from typing import ClassVar

from pyro.distributions import Laplace as LaplaceDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.factory import frame_decoder


class Laplace(Likelihood):
    """p(x | f, z) = prod over values of exp(-|x - mu(f, z)| / b) / 2b, one b for all values, learned within bounds.

    mu is the conditional median, so edges are sharper than with `Normal`, whose mu is the mean.
    b = min_scale (max_scale / min_scale)^sigmoid(10 raw); for the bounds see `Normal`.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, S, S) or (P,), supplied by the model.
        width: Channels of the decoder's finest layer (images) or units / 16 (vectors).
        scale: Initial b, the mean absolute deviation, in units of the frames, of standardised series
            in standard deviations.
        min_scale: Lower bound of b.
        max_scale: Upper bound of b.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Laplace
        >>> p = Laplace(4, 2, frame_shape=(3,), scale=0.1)(torch.zeros(8, 4), torch.zeros(8, 5, 2))
        >>> p.log_prob(p.mean).mean().item()  # log(1 / 2b) at the median
        1.609...
    """

    real_valued: ClassVar[bool] = True

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 16,
        scale: float = 0.1,
        min_scale: float = 0.03,
        max_scale: float = 1.0,
    ) -> None:
        bounded_scale = BoundedScale.of("Laplace", min_scale, scale, max_scale)
        super().__init__(frame_decoder(static_size, latent_size, frame_shape, width))
        self.bounded_scale = bounded_scale
        self.raw_scale = nn.Parameter(bounded_scale.raw(scale))

    @property
    def scale(self) -> Tensor:
        """b, a scalar."""
        return self.bounded_scale(self.raw_scale)

    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        return LaplaceDistribution(self.decoder(f, z), self.scale)

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
