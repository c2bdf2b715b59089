"""Stationary correlation functions of one dimension, time."""

import math
from typing import Literal, get_args

from torch import Tensor

Kernel = Literal["rbf", "matern12", "matern32", "matern52", "cauchy", "periodic"]
KERNELS: tuple[str, ...] = get_args(Kernel)


def correlation(kernel: Kernel, distance: Tensor, lengthscale: Tensor, period: float) -> Tensor:
    """k(distance) of the kernels that `GaussianProcess` lists.

    Args:
        kernel: Which of them.
        distance: Distance in time; broadcasts with ``lengthscale``.
        lengthscale: In units of time; without unit for the periodic kernel.
        period: Of the periodic kernel, in units of time.
    """
    if kernel == "periodic":
        return (-2 * ((math.pi / period * distance).sin() / lengthscale) ** 2).exp()
    u = distance / lengthscale
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
