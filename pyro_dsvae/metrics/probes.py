"""Probes: classifiers of every factor from f alone and from z alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyro_dsvae.data.dataset import Label

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)  # strong to weak: each starts where the one before ended
ITERATIONS = 100
UNITS, STEPS, BATCH, CHECKS, LEARNING_RATE = 128, 600, 256, 10, 3e-3
HELD_OUT = 0.1


@dataclass(frozen=True)
class Probe:
    """Accuracies, on the evaluated clips, of classifiers that were trained on training clips.

    Attributes:
        linear: Of multinomial logistic regression.
        nonlinear: Of a network with one hidden layer.
        chance: Of the most frequent class of the training clips.
    """

    linear: float
    nonlinear: float
    chance: float


def probe(
    features: Tensor,
    labels: Mapping[str, Label],
    test_features: Tensor,
    test_labels: Mapping[str, Label],
    seed: int = 0,
) -> dict[str, Probe]:
    """Probes of every label from features (N, P) of training clips, evaluated on features (M, P) of others.

    Features are whitened, so the accuracy does not depend on the scale of a direction. A tenth of the training clips is
    held out (`held_out`). It chooses the L2 penalty of the linear probes and the step at which the others stop; neither
    is fitted again with it.

    Args:
        features: Of training clips.
        labels: Of training clips.
        test_features: Of the evaluated clips.
        test_labels: Of the evaluated clips.
        seed: Of the split and of the weights.
    """
    x, x_test = whitened(features, test_features)
    out = held_out(labels, seed)
    values = {name: label.values for name, label in labels.items()}
    classes = {name: len(label.classes) for name, label in labels.items()}
    fit, check = ({name: v[rows] for name, v in values.items()} for rows in (~out, out))
    linear = _linear(x[~out], fit, x[out], check, classes)
    found = _nonlinear(x[~out], fit, x[out], check, classes, x_test, seed)
    return {
        name: Probe(
            _share(x_test @ linear[name][0] + linear[name][1], label.values),
            _share(found[name], label.values),
            _share(values[name].bincount(minlength=classes[name]).expand(len(x_test), -1), label.values),
        )
        for name, label in test_labels.items()
    }


def held_out(labels: Mapping[str, Label], seed: int) -> Tensor:
    """(N,) bool, True for about a tenth of the clips: all clips of some characters, where the others still show all classes.

    A character is a combination of static labels. Where they are too few, single clips are held out.
    """
    values = [label.values for label in labels.values() if label.role == "static"]
    n = len(next(iter(labels.values())).values)
    generator = torch.Generator().manual_seed(seed)
    who = torch.stack(values, 1).unique(dim=0, return_inverse=True)[1] if values else torch.arange(n)
    for groups in (who, torch.arange(n)):
        count = int(groups.max()) + 1
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[torch.randperm(count, generator=generator)[: max(1, round(HELD_OUT * count))]] = True
        out = chosen[groups]
        if all(set(v[out].tolist()) <= set(v[~out].tolist()) for v in (label.values for label in labels.values())):
            break
    return out


def logistic_regression(
    x: Tensor,
    values: Mapping[str, Tensor],
    classes: Mapping[str, int],
    penalty: float,
    start: Tensor | None = None,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Weights (P + 1, sum of classes), the intercepts in the last row, that minimise, for every label on its own,

        mean cross entropy + penalty / 2 ||W||^2

    over features x (N, P) by L-BFGS from ``start`` or 0. Labels share the iterations, not the weights.
    """
    sizes = list(classes.values())
    weights = torch.zeros(x.shape[1] + 1, sum(sizes), dtype=x.dtype) if start is None else start.clone()
    weights.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=iterations, history_size=20, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = (x @ weights[:-1] + weights[-1]).split(sizes, dim=1)
        fits = [cross_entropy(part, values[name]) for part, name in zip(logits, classes, strict=True)]
        total = torch.stack(fits).sum() + penalty / 2 * weights[:-1].square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    return weights.detach()


def _linear(
    x: Tensor, fit: Mapping[str, Tensor], x_check: Tensor, check: Mapping[str, Tensor], classes: Mapping[str, int]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Label -> weights (P, classes) and intercepts (classes,) under the penalty that does best on the held-out clips."""
    # Single precision is enough to choose among penalties, and twice as fast.
    x, x_check = x.float(), x_check.float()
    weights: Tensor | None = None
    best: dict[str, tuple[float, Tensor]] = {}
    for penalty in PENALTIES:
        weights = logistic_regression(x, fit, classes, penalty, weights, ITERATIONS)
        for name, part in zip(classes, weights.split(list(classes.values()), dim=1), strict=True):
            loss = float(cross_entropy(x_check @ part[:-1] + part[-1], check[name]))
            if name not in best or loss < best[name][0]:
                best[name] = loss, part.double()
    return {name: (part[:-1], part[-1]) for name, (_, part) in best.items()}


class _Networks(nn.Module):
    """One network of one hidden layer per label, side by side: Adam keeps them independent of each other."""

    def __init__(self, features: int, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.classes = dict(classes)
        self.hidden = nn.Linear(features, UNITS * len(self.classes))
        self.heads = nn.ModuleList(nn.Linear(UNITS, count) for count in self.classes.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.hidden(x).relu().split(UNITS, dim=1)
        return {n: head(part) for n, head, part in zip(self.classes, self.heads, hidden, strict=True)}


def _nonlinear(
    x: Tensor,
    fit: Mapping[str, Tensor],
    x_check: Tensor,
    check: Mapping[str, Tensor],
    classes: Mapping[str, int],
    x_test: Tensor,
    seed: int,
) -> dict[str, Tensor]:
    """Label -> logits (M, classes) on the evaluated clips, of the moment that did best on the held-out ones."""
    # A layer without inputs is its intercepts; torch warns of empty weights, so there is one that is always 0.
    x, x_check, x_test = (v.float() if v.shape[1] else v.float().new_zeros(len(v), 1) for v in (x, x_check, x_test))
    best: dict[str, tuple[float, Tensor]] = {}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        networks = _Networks(x.shape[1], classes)
        optimiser = torch.optim.Adam(networks.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
        for step in range(1, STEPS + 1):
            rows = torch.randint(len(x), (min(BATCH, len(x)),))
            losses = [cross_entropy(logits, fit[name][rows]) for name, logits in networks(x[rows]).items()]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
            schedule.step()
            if step % (STEPS // CHECKS) == 0:
                with torch.no_grad():
                    seen, told = networks(x_check), networks(x_test)
                for name in classes:
                    loss = float(cross_entropy(seen[name], check[name]))
                    if name not in best or loss < best[name][0]:
                        best[name] = loss, told[name]
    return {name: logits for name, (_, logits) in best.items()}


def whitened(features: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, P) and others (M, P) in directions in which the first have mean 0, variance 1 and no correlation, float64.

    Directions that carry less than a millionth of the largest variance are left out: they are noise of single precision.
    """
    if features.shape[1] == 0:
        return features.double(), others.double()
    mean, scale = features.double().mean(0), features.double().std(0, correction=0)
    # What is constant but for rounding must not be blown up.
    scale = torch.where(scale > 1e-6 * (1 + mean.abs()), 1 / scale, torch.zeros_like(scale))
    x, y = ((values.double() - mean) * scale for values in (features, others))
    variances, directions = torch.linalg.eigh(x.T @ x / len(x))
    kept = (variances > 1e-6 * variances.max()) & (variances > 0)
    directions = directions[:, kept] / variances[kept].sqrt()
    return x @ directions, y @ directions


def _share(scores: Tensor, true: Tensor) -> float:
    """Share whose highest score is at the true class."""
    return float((scores.argmax(-1) == true).double().mean())
