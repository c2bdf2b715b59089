"""What a density that learns nothing reaches: every value of a frame by itself, with its moments in the training split."""

from collections.abc import Iterator

import torch
from pyro.distributions import Bernoulli, Normal, Poisson, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.inference.sequences import Sequences, evenly_spaced
from pyro_dsvae.inference.training.objective import Objective

# Training sequences that the moments are of, held-out ones that tell the noise of the model, and sequences at once.
TRAIN, NOISE, CHUNK = 512, 16, 64
# No share of ones and no rate is certain.
CERTAIN = 1e-3
# Distance of two of the 256 values of a byte.
LEVEL = 1 / 255


@torch.no_grad()
def baseline_log_prob(
    objective: Objective, train: Sequences, held_out: Sequences, device: torch.device
) -> float | None:
    """The mean over held-out sequences of log p(x) under independent values, in nats per sequence.

        p(x) = prod over t and values i of N(x_ti; mean_i, max(sd_i, noise_i)^2)

    mean_i and sd_i are over all observed steps of training sequences, and noise_i is the model's own noise: a likelihood whose
    scale is bounded from below cannot be narrower. Binary values have a Bernoulli, counts a Poisson distribution, and a byte
    the normal density times the distance between two bytes. A model whose ELBO is lower has learned less than this.

    Args:
        objective: Model and guide.
        train: Sequences of the training split.
        held_out: Others.
        device: Where the objective is.

    Returns:
        None where the likelihood states no variance, or has values of another kind.
    """
    model = objective.model
    mean, variance = _moments(objective, train.take(evenly_spaced(len(train), TRAIN)), device)
    some = held_out.batch(evenly_spaced(len(held_out), NOISE), model.likelihood, device)
    predicted = model.frames(*posterior_means(objective.guide, *some))
    support = predicted.support
    p: TorchDistribution
    if model.likelihood.discrete or not support.is_discrete:
        try:
            noise = predicted.variance.double().flatten(0, 1).mean(0)
        except NotImplementedError:
            return None
        p = Normal(mean, torch.maximum(variance, noise).clamp(min=torch.finfo(torch.float32).tiny).sqrt())
    elif support is constraints.boolean:
        p = Bernoulli(mean.clamp(CERTAIN, 1 - CERTAIN), validate_args=False)
    elif support is constraints.nonnegative_integer:
        p = Poisson(mean.clamp(min=CERTAIN))
    else:
        return None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for x, observed in _chunks(objective, held_out, device):
        log_p = p.log_prob(x)
        total += torch.where(observed, log_p, torch.zeros_like(log_p)).sum()
        if model.likelihood.discrete:
            total += observed.sum() * torch.tensor(LEVEL).log()
    return float(total) / len(held_out)


def _moments(objective: Objective, sequences: Sequences, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and variance of every value of a frame over observed steps, float64; 0 where it never was."""
    sums = [torch.zeros(sequences.frames.shape[2:], dtype=torch.float64, device=device) for _ in range(3)]
    count, total, square = sums
    for x, observed in _chunks(objective, sequences, device):
        count += observed.flatten(0, 1).sum(0)
        total += x.flatten(0, 1).sum(0)
        square += x.square().flatten(0, 1).sum(0)
    count = count.clamp(min=1)
    mean = total / count
    return mean, (square / count - mean.square()).clamp(min=0)


def _chunks(objective: Objective, sequences: Sequences, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Values ``(n, T, *frame)`` float64 in model units, zero where not observed, and which were observed."""
    for rows in torch.arange(len(sequences)).split(CHUNK):
        batch: Batch = sequences.batch(rows, objective.model.likelihood, device)
        yield batch.visible.double(), batch.observed
