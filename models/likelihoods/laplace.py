"""Frames with Laplace noise: a few values far off weigh less than under a normal."""

from pyro.distributions import Laplace as LaplaceDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood


class Laplace(Likelihood):
    """p(x | f, z) = prod over values of exp(-|x - mu(f, z)| / b) / 2b, one b for all values, learned within bounds.

    mu is the conditional median, so edges are sharper than with `Normal`, whose mu is the mean.
    b = min_scale (max_scale / min_scale)^sigmoid(10 raw); for the bounds see `Normal`.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        scale: Initial b, the mean absolute deviation, in units of the frames, of standardised series
            in standard deviations.
        min_scale: Lower bound of b.
        max_scale: Upper bound of b.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Laplace
        >>> p = Laplace(frame_shape=(3,), scale=0.1)(torch.zeros(8, 5, 3))
        >>> p.log_prob(p.mean).mean().item()  # log(1 / 2b) at the median
        1.609...
    """

    real_valued = True

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        scale: float = 0.1,
        min_scale: float = 0.03,
        max_scale: float = 1.0,
    ) -> None:
        bounded_scale = BoundedScale.of("Laplace", min_scale, scale, max_scale)
        super().__init__(frame_shape)
        self.bounded_scale = bounded_scale
        self.raw_scale = nn.Parameter(bounded_scale.raw(scale))

    @property
    def scale(self) -> Tensor:
        """b, a scalar."""
        return self.bounded_scale(self.raw_scale)

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return LaplaceDistribution(decoded, self.scale)

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
