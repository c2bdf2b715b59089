"""What ArviZ does for this project. No other file knows ArviZ."""

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray

# The fewest draws whose upper fifth is a tail that ArviZ fits.
MIN_DRAWS = 25
# Weights that are as equal as this, in nats, have no tail: what is left to fit is rounding.
FLAT = 0.01


def pareto_k_hat(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shape k-hat (N,) of the upper tail of each sequence's weights, for log weights (N, K) up to a constant.

    Below .5 the weights' variance is finite; up to .7 their mean can be had from a practicable number of draws; above, it
    cannot, and whatever was computed is a loose lower bound. Independent draws are assumed. 0 where the whole tail lies
    within 1 % (as where the proposal is the posterior); infinite where it spans more than a floating-point number can.

    Source: Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", JMLR 25, 2024.
    """
    return np.array([_k_hat(row) for row in np.asarray(log_weights, dtype=np.float64)])


def _k_hat(log_weights: NDArray[np.float64]) -> float:
    tail = np.sort(log_weights)[-_tail_size(len(log_weights)) :]
    if tail[-1] - tail[0] < FLAT:
        return 0.0
    # Not as logarithms: with log_weights=True, arviz-stats 0.8 fits the tail of the logarithms themselves.
    weights = np.exp(log_weights - tail[-1])
    if np.exp(tail[0] - tail[-1]) == 0:
        # Weights that underflow tie at zero, and the fit would take the tail for a harmless one.
        return np.inf
    with np.errstate(all="ignore"):
        k_hat = float(array_stats.pareto_khat(weights[None], r_eff=1.0, tail="right"))
    return k_hat if np.isfinite(k_hat) else np.inf


def _tail_size(draws: int) -> int:
    """How many weights ArviZ takes for the tail."""
    return int(3 * draws**0.5) if draws > 225 else draws // 5
