"""Stationary correlation functions of one dimension, time."""

import math
from typing import Literal

from torch import Tensor

Kernel = Literal["rbf", "matern12", "matern32", "matern52", "cauchy", "periodic"]
# Jitter in shares of the variance. Smooth kernels are singular to working precision without it; rough ones need none.
JITTER: dict[str, float] = {
    "rbf": 1e-5,
    "matern12": 0.0,
    "matern32": 0.0,
    "matern52": 1e-6,
    "cauchy": 1e-5,
    "periodic": 1e-5,
}
# A distance in length-scales beyond which nothing changes, so that no product is infinite times zero.
FAR = 1e8


def correlation(kernel: Kernel, distance: Tensor, lengthscale: Tensor, period: float) -> Tensor:
    """k(distance), formulas as in `GaussianProcess`, for ``distance`` and ``lengthscale`` that broadcast."""
    if kernel == "periodic":
        return (-2 * ((math.pi / period * distance).sin() / lengthscale) ** 2).exp()
    u = (distance / lengthscale).clamp(max=FAR)
    if kernel == "rbf":
        return (-0.5 * u**2).exp()
    if kernel == "cauchy":
        return 1 / (1 + u**2)
    if kernel == "matern12":
        return (-u).exp()
    if kernel == "matern32":
        u = math.sqrt(3) * u
        return (1 + u) * (-u).exp()
    u = math.sqrt(5) * u
    return (1 + u + u**2 / 3) * (-u).exp()
