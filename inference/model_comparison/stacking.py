"""Weights of the mixture of models that predicts best."""

from torch import Tensor


def stacking_weights(log_density: Tensor, tolerance: float = 1e-5, steps: int = 10_000) -> Tensor:
    """Weights (C,) of the mixture of C candidates with the largest mean log density, for log densities (C, N).

    They say how useful a candidate is beside the others, not how probable it is: of two that are alike and good, both
    receive weight. The steps are multiplicative (EM), from equal weights: w_c <- w_c mean_i p_ci / sum_k w_k p_ki. They never
    lower the density, need no step size, and cannot overflow. The largest factor minus 1 bounds the remaining gain, in nats
    per sequence; the steps end where it is below ``tolerance``.

    Source: Yao, Vehtari, Simpson & Gelman, "Using stacking to average Bayesian predictive distributions", Bayesian
    Analysis 13, 2018.

    Args:
        log_density: (C, N), nats per sequence.
        tolerance: In nats per sequence.
        steps: At most.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.model_comparison.stacking import stacking_weights
        >>> stacking_weights(torch.tensor([[-1.0, -1.0], [-9.0, -9.0]])).round(decimals=3)  # the first is always better
        tensor([1., 0.])
    """
    density = (log_density - log_density.amax(0)).exp()
    weights = density.new_full((len(density),), 1 / len(density))
    for _ in range(steps):
        factors = (density / (weights @ density)).mean(1)
        if factors.max() - 1 < tolerance:
            break
        weights = weights * factors
    return weights / weights.sum()
