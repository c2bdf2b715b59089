"""Weights of the mixture of models that predicts best."""

from torch import Tensor


def stacking_weights(log_density: Tensor, tolerance: float = 1e-5, steps: int = 10_000) -> Tensor:
    """Weights (C,) of the mixture of C candidates with the largest mean log density, for log densities (C, N).

    They tell how useful a candidate is beside the others, not how probable it is: of two that are alike and good, both
    are given weight. Multiplicative steps (EM) from equal weights never lose density, need no step size, and cannot
    overflow: w_c <- w_c mean_i p_ci / sum_k w_k p_ki. The largest factor minus 1 bounds what is still to be gained, in
    nats per sequence; steps end where it is below ``tolerance``.

    Source: Yao, Vehtari, Simpson & Gelman, "Using stacking to average Bayesian predictive distributions", Bayesian
    Analysis 13, 2018.
    """
    density = (log_density - log_density.amax(0)).exp()
    weights = density.new_full((len(density),), 1 / len(density))
    for _ in range(steps):
        factors = (density / (weights @ density)).mean(1)
        if factors.max() - 1 < tolerance:
            break
        weights = weights * factors
    return weights / weights.sum()
