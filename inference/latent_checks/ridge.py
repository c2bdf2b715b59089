"""Does one set of numbers predict another? Ridge regression, evaluated on what was left out."""

import torch
from torch import Tensor

# Penalties in units of the mean eigenvalue of the predictors' covariance times their number.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def ridge_test(x: Tensor, y: Tensor, permutations: int, generator: torch.Generator) -> tuple[float, float]:
    """R^2 of y (n, D) predicted from x (n, F), leave-one-out, and the p-value of independence.

        R^2 = 1 - sum |y_i - prediction without i|^2 / sum |y_i - mean without i|^2,  every column of y on unit scale

    with the best of five penalties, which is chosen anew for every permutation of the rows of y, so the p-value,
    (1 + permutations with at least this R^2) / (1 + permutations), is exact. Leaving one out has a closed form for ridge
    regression: the residual over one minus the leverage.

    Args:
        x: (n, F).
        y: (n, D).
        permutations: Of the rows of y.
        generator: Of the permutations.
    """
    n, size = y.shape
    x, y = ((v - v.mean(0)) / v.std(0).clamp(min=1e-12) for v in (x.double(), y.double()))
    u, singular, _ = torch.linalg.svd(x, full_matrices=False)
    orders = [torch.arange(n), *(torch.randperm(n, generator=generator) for _ in range(permutations))]
    permuted = y[torch.stack(orders)].movedim(0, 1).reshape(n, -1)
    coordinates = u.T @ permuted
    total = (y * (n / (n - 1))).square().sum().clamp(min=1e-12)
    best = torch.full((len(orders),), -torch.inf, dtype=torch.float64)
    for penalty in PENALTIES:
        shrunk = singular.square() / (singular.square() + penalty * n)
        leverage = 1 / n + (u.square() * shrunk).sum(1)
        left_out = (permuted - u @ (shrunk.unsqueeze(1) * coordinates)) / (1 - leverage).clamp(min=1e-9).unsqueeze(1)
        error = left_out.square().sum(0).reshape(len(orders), size).sum(1)
        best = torch.maximum(best, 1 - error / total)
    reached = int((best[1:] >= best[0] - 1e-12).sum())
    return float(best[0]), (1 + reached) / (1 + permutations)
