"""Frames with heavy-tailed noise: outliers such as lost joints or clicks hardly move the fit."""

from pyro.distributions import StudentT as StudentTDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bounded import BoundedScale
from pyro_dsvae.models.likelihoods.likelihood import Likelihood

# Mean and variance exist above 2; a hundred degrees of freedom are as good as a normal.
DEGREES = BoundedScale(2.05, 100.0)


class StudentT(Likelihood):
    """p(x | f, z) = prod over values of t(x; nu, mu(f, z), s), one s and one nu for all values, both learned within bounds.

    t(x; nu, mu, s) is proportional to (1 + ((x - mu) / s)^2 / nu)^(-(nu + 1) / 2) / s; its standard deviation is
    s sqrt(nu / (nu - 2)). s = min_scale (max_scale / min_scale)^sigmoid(10 raw), and nu likewise from 2.05 to 100; for the
    bounds of s see `Normal`.

    Source: Takahashi et al., "Student-t Variational Autoencoder for Robust Density Estimation", IJCAI 2018.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        scale: Initial s, in units of the frames, of standardised series in standard deviations.
        min_scale: Lower bound of s.
        max_scale: Upper bound of s.
        degrees: Initial nu, the degrees of freedom: small for heavy tails.

    Example:
        >>> from pyro_dsvae.models.likelihoods import StudentT
        >>> likelihood = StudentT(frame_shape=(3,), scale=0.1, degrees=4.0)
        >>> f"{likelihood.scale.item():.3f} {likelihood.degrees.item():.3f}"
        '0.100 4.000'
    """

    real_valued = True

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        scale: float = 0.1,
        min_scale: float = 0.03,
        max_scale: float = 1.0,
        degrees: float = 5.0,
    ) -> None:
        bounded_scale = BoundedScale.of("StudentT", min_scale, scale, max_scale)
        if not DEGREES.low < degrees < DEGREES.high:
            raise UsageError(f"StudentT needs {DEGREES.low} < degrees < {DEGREES.high:g}, not {degrees}")
        super().__init__(frame_shape)
        self.bounded_scale = bounded_scale
        self.raw_scale = nn.Parameter(bounded_scale.raw(scale))
        self.raw_degrees = nn.Parameter(DEGREES.raw(degrees))

    @property
    def scale(self) -> Tensor:
        """s, a scalar."""
        return self.bounded_scale(self.raw_scale)

    @property
    def degrees(self) -> Tensor:
        """nu, a scalar."""
        return DEGREES(self.raw_degrees)

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return StudentTDistribution(self.degrees, decoded, self.scale)

    def check(self, frames: Tensor) -> None:
        """Every finite frame lies in the support; the data set contract has refused the others."""
