"""The optimisers of a fit: Muon for the weights of layers, Adam for everything else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Optimizer, Rates

LAYERS = (nn.Linear, _ConvNd, nn.RNNBase)
# Weights with fewer rows or columns, such as those of heads and of a first convolution, are left to Adam.
SMALLEST = 32
# An update of this root mean square is about what Adam makes at the same rate, so that both take the same rates.
ROOT_MEAN_SQUARE = 0.2
# Coefficients of the polynomial a s + b s^3 + c s^5, which brings singular values s from (0, 1] near 1 when it is repeated.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
REPEATS = 5


def optimizers(objective: Objective, name: Optimizer, learning_rate: float) -> list[torch.optim.Optimizer]:
    """The optimisers of all parameters of ``objective``. Each of their groups says which of the `Rates` it learns at."""
    priors = {part: list(getattr(objective.model, part).parameters()) for part in Rates._fields[1:]}
    of_priors = {id(parameter) for part in priors.values() for parameter in part}
    networks = [parameter for parameter in objective.parameters() if id(parameter) not in of_priors]
    matrices: list[nn.Parameter] = []
    if name == "Muon":
        of_layers = {id(weight) for weight in layer_weights(objective)}
        matrices = [parameter for parameter in networks if id(parameter) in of_layers]
        networks = [parameter for parameter in networks if id(parameter) not in of_layers]
    groups = [{"params": found, "part": part} for part, found in {"networks": networks, **priors}.items() if found]
    adam = torch.optim.Adam(groups, lr=learning_rate, fused=True)
    return [Muon([{"params": matrices, "part": "networks"}], lr=learning_rate), adam] if matrices else [adam]


def layer_weights(module: nn.Module) -> list[nn.Parameter]:
    """The weights of linear, convolutional and recurrent layers that have `SMALLEST` rows and columns or more."""
    return [
        weight
        for layer in module.modules()
        if isinstance(layer, LAYERS)
        for weight in layer.parameters(recurse=False)
        if weight.ndim > 1 and min(weight.flatten(1).shape) >= SMALLEST
    ]


class Muon(torch.optim.Optimizer):
    """Steps along the gradient's momentum, made orthogonal: every direction of a weight learns equally fast.

        m <- mu m + (1 - mu) g,   w <- w - rate .2 sqrt(max(rows, columns)) U V^T,   U S V^T = mu m + (1 - mu) g.

    The rows of a weight are its first dimension, and its columns all others. U V^T is found approximately, by five steps of
    a Newton-Schulz iteration, which bring singular values that are not tiny between about .7 and 1.2. Gradients of networks
    are nearly of low rank, so Adam hardly moves a weight in most directions; here the rare directions move as far as the
    common ones.

    Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale is that of Liu et al.,
    "Muon is Scalable for LLM Training", 2025. `torch.optim.Muon` takes no weights of convolutions.

    Args:
        params: Groups of weights of two or more dimensions.
        lr: The rate.
        momentum: mu.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.training.optimizers import Muon
        >>> layer = torch.nn.Linear(64, 32, bias=False)
        >>> before = layer.weight.detach().clone()
        >>> optimizer = Muon([{"params": [layer.weight]}], lr=0.01)
        >>> layer(torch.randn(8, 64)).square().sum().backward()
        >>> optimizer.step()
        >>> change = (layer.weight.detach() - before) / 0.01
        >>> 0.05 < change.square().mean().sqrt().item() < 0.15  # of 32 directions, 8 have a gradient
        True
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step. Weights of one shape are made orthogonal together, which costs less.

        Args:
            closure: Computes the loss and its gradients again, if given.

        Returns:
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                alike.setdefault(update.shape, []).append((weight, update))
            for shape, found in alike.items():
                size = group["lr"] * ROOT_MEAN_SQUARE * max(shape) ** 0.5
                updates = orthogonalised(torch.stack([update for _, update in found]))
                for (weight, _), update in zip(found, updates, strict=True):
                    weight.sub_(update.view_as(weight), alpha=size)
        return loss


def orthogonalised(matrices: Tensor) -> Tensor:
    """About U V^T of every matrix U S V^T, (N, rows, columns); zero where the matrix is zero.

    A step of the iteration is x <- p x, p = a + b x x^T + c (x x^T)^2. All p are polynomials of the first x x^T, so they
    commute, and their product is found from x x^T alone, which is a square of the shorter side of x.

    Source: the quintic Newton-Schulz iteration of Jordan et al. (see `Muon`).
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
    square = x @ x.mT
    product = p = _polynomial(square)
    for _ in range(REPEATS - 1):
        square = p @ square @ p
        p = _polynomial(square)
        product = product @ p
    x = product @ x
    return x if wide else x.mT


def _polynomial(square: Tensor) -> Tensor:
    """a + b s + c s^2 of square matrices s, (N, rows, rows)."""
    a, b, c = POLYNOMIAL
    p = torch.baddbmm(square, square, square, beta=b, alpha=c)
    p.diagonal(dim1=1, dim2=2).add_(a)
    return p
