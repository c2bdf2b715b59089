"""Discrepancies of single columns of series, in the units of the data."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pyro_dsvae.inference.predictive_checks.discrepancies import (
    fast_share,
    lag_1_autocorrelation,
    largest_value,
    smallest_value,
    value_mean,
)
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames

# More would be hundreds of tests, of which none would stand out.
MOST_COLUMNS = 8


def trend(frames: Frames) -> Tensor:
    """Slope of the least-squares line through the observed values of one column, per unit of time.

        sum_t (t - m)(x_t - x') / sum_t (t - m)^2,   m and x' the means over observed steps

    NaN where fewer than two values were observed. Without observation times, steps are one unit apart.
    """
    t = torch.arange(frames.x.shape[-2], dtype=torch.float64, device=frames.x.device)
    t = (t if frames.times is None else frames.times.double()).unsqueeze(-1).expand(frames.x.shape)
    seen = torch.ones((), dtype=torch.bool, device=t.device) if frames.observed is None else frames.observed
    weight = seen.expand(frames.x.shape).double()
    count = weight.sum(-2, keepdim=True)
    centred = (t - (t * weight).sum(-2, keepdim=True) / count) * weight
    slope = (centred * frames.x.double()).sum((-2, -1)) / centred.square().sum((-2, -1))
    return slope.masked_fill(count.flatten(-2).squeeze(-1) < 2, torch.nan)


def variation(frames: Frames) -> Tensor:
    """Standard deviation over time of one column."""
    return frames.average(frames.moving.square()).sqrt()


PROPERTIES: Mapping[str, Callable[[Frames], Tensor]] = {
    "level": value_mean,
    "trend": trend,
    "variation": variation,
    "lag-1 autocorrelation": lag_1_autocorrelation,
    "share of fast changes": fast_share,
    "largest value": largest_value,
    "smallest value": smallest_value,
}


def column_discrepancies(names: Sequence[str]) -> list[Discrepancy]:
    """Level, trend per unit of time, variation, autocorrelation, spectrum and extremes of each column.

    Args:
        names: Of the columns, in their order.

    Returns:
        One for each property and column; none where there are more than `MOST_COLUMNS`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.predictive_checks.columns import column_discrepancies
        >>> from pyro_dsvae.inference.predictive_checks.discrepancy import Frames
        >>> pulse = column_discrepancies(["pulse", "skin"])[1]
        >>> pulse.name, pulse.function(Frames(torch.tensor([[[60.0, 1.0], [62.0, 0.0], [64.0, 5.0]]]), 1)).tolist()
        ('trend of pulse', [2.0])
    """
    if len(names) > MOST_COLUMNS:
        return []
    return [
        Discrepancy(f"{what} of {name}", _of_column(function, number))
        for number, name in enumerate(names)
        for what, function in PROPERTIES.items()
    ]


def _of_column(function: Callable[[Frames], Tensor], column: int) -> Callable[[Frames], Tensor]:
    def of(frames: Frames) -> Tensor:
        seen = frames.observed
        if seen is not None and seen.shape[-1] > 1:
            seen = seen[..., column : column + 1]
        return function(Frames(frames.x[..., column : column + 1], 1, seen, frames.times))

    return of
