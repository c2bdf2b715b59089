"""Series in units of their own: networks and noise see standard deviations from the mean, everything else the data's units."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from pyro.distributions import TorchDistribution, TransformedDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.transforms import AffineTransform

from pyro_dsvae.models.distributions.point import point

# How results say that they are errors of this unit.
IN_SD: Final = "in standard deviations of each column"


class Standardisation(nn.Module):
    """u = (x - mean) / sd for every value of a frame, and back.

        log p(x | f, z) = log p(u | f, z) - sum over values of log sd

    The decoder and the noise of the likelihood are in units of u, and so is what the guide's encoder sees. x is in the data's
    own units everywhere else: in samples, means, intervals and in densities, which have the log Jacobian. So a standardised
    fit and one that is not have comparable ELBOs. Before `set`, mean is 0 and sd is 1; columns of counts, of binary values and
    of classes keep that.

    Args:
        frame_shape: (P,).
        real: Of each column, whether it holds real numbers; None where all do.

    Attributes:
        mean: (P,), in the units of the data.
        sd: (P,), above 0, in the units of the data.
        spread: (P,), above 0: the standard deviation of every column, also of counts, by which errors are pooled.

    Example:
        >>> import torch
        >>> from pyro.distributions import Normal
        >>> from pyro_dsvae.models.standardisation import Standardisation
        >>> units = Standardisation((2,))
        >>> units.set(mean=torch.tensor([100.0, 0.0]), sd=torch.tensor([10.0, 0.5]))
        >>> units(torch.tensor([120.0, 1.0]))  # two standard deviations above the mean, both
        tensor([2., 2.])
        >>> units.invert(Normal(torch.zeros(2), 1.0)).mean
        tensor([100.,   0.])
    """

    mean: Tensor
    sd: Tensor
    spread: Tensor

    def __init__(self, frame_shape: tuple[int, ...], real: Sequence[bool] | None = None) -> None:
        super().__init__()
        self.real = None if real is None or all(real) else tuple(real)
        self.register_buffer("mean", torch.zeros(frame_shape))
        self.register_buffer("sd", torch.ones(frame_shape))
        self.register_buffer("spread", torch.ones(frame_shape))
        self.register_load_state_dict_pre_hook(_none_before)

    def forward(self, x: Tensor) -> Tensor:
        """u ``(*B, P)`` for x ``(*B, P)``."""
        return (x - self.mean) / self.sd

    def invert(self, u: TorchDistribution) -> TorchDistribution:
        """The distribution of x = mean + sd u, for that of u with batch ``(*B, P)`` and event ()."""
        return Unstandardised(u, self.mean, self.sd)

    def set(self, mean: Tensor, sd: Tensor) -> None:
        """Take these, (P,) each, for the columns of real numbers; the spread is that of all."""
        self.spread.copy_(sd)
        real = torch.ones_like(self.sd, dtype=torch.bool) if self.real is None else self.sd.new_tensor(self.real).bool()
        self.mean.copy_(torch.where(real, mean, 0.0))
        self.sd.copy_(torch.where(real, sd, 1.0))


class Unstandardised(TransformedDistribution):
    """The distribution of x = mean + sd u.

    Args:
        u: Of standardised values, batch ``(*B, P)`` and event ().
        mean: (P,).
        sd: (P,), above 0.
    """

    def __init__(self, u: TorchDistribution, mean: Tensor, sd: Tensor) -> None:
        super().__init__(u, AffineTransform(mean, sd), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """That of u: the real numbers, or what stays as it is."""
        return self.base_dist.support

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "Unstandardised":
        return Unstandardised(self.base_dist.expand(batch_shape), *self._units)

    @property
    def mean(self) -> Tensor:
        """mean + sd E u."""
        mean, sd = self._units
        return mean + sd * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """sd^2 Var u."""
        return self._units[1].square() * self.base_dist.variance

    @property
    def _units(self) -> tuple[Tensor, Tensor]:
        (transform,) = self.transforms
        return transform.loc, transform.scale


@point.register
def _(p: Unstandardised) -> Tensor:
    mean, sd = p._units
    return mean + sd * point(p.base_dist)


def column_sd(by: Standardisation | None) -> Tensor | None:
    """(P,), units of errors that are pooled over columns: 10 m and 1e-6 V have no mean; None where nothing is standardised."""
    return None if by is None or bool((by.spread == 1).all()) else by.spread


def pooled_unit(by: Standardisation | None) -> str:
    """The unit of what pools columns, in words; empty where that is the data's."""
    return "" if column_sd(by) is None else IN_SD


def standardised(x: Tensor, by: Standardisation | None) -> Tensor:
    """x ``(*B, *frame)`` as networks see it: itself where nothing is standardised."""
    return x if by is None else by(x)


def _none_before(module: Standardisation, state: dict[str, Any], prefix: str, *_: Mapping[str, Any]) -> None:
    """Fits of before there was standardisation saved none: theirs is mean 0 and sd 1."""
    state.setdefault(f"{prefix}mean", torch.zeros_like(module.mean))
    state.setdefault(f"{prefix}sd", torch.ones_like(module.sd))
    state.setdefault(f"{prefix}spread", state[f"{prefix}sd"])
