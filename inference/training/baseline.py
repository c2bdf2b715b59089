"""What a density that learns nothing reaches: every value of a frame by itself, with its moments in the training split."""

from collections.abc import Iterator

import torch
from pyro.distributions import Bernoulli, Normal, Poisson, TorchDistribution, Uniform
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
    scale is bounded from below cannot be narrower. Binary values have a Bernoulli, counts a Poisson distribution, classes are
    equally likely, and a byte has the normal density times the distance between two bytes. A model whose ELBO is lower has
    learned less than this.

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
    try:
        noise = predicted.variance.double().flatten(0, 1).mean(0)
    except NotImplementedError:
        noise = None
    support = predicted.support
    channels = support.cseq if isinstance(support, constraints.cat) else [support] * len(mean)
    each = [
        _alone(kind, mean[i], variance[i], None if noise is None else noise[i], of_bytes=model.likelihood.discrete)
        for i, kind in enumerate(channels)
    ]
    if None in each:
        return None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for x, observed in _chunks(objective, held_out, device):
        log_p = torch.stack([p.log_prob(x[:, :, i]) for i, p in enumerate(each) if p is not None], dim=2)
        total += torch.where(observed, log_p, torch.zeros_like(log_p)).sum()
        if model.likelihood.discrete:
            total += observed.sum() * torch.tensor(LEVEL).log()
    return float(total) / len(held_out)


def _alone(
    support: constraints.Constraint, mean: Tensor, variance: Tensor, noise: Tensor | None, of_bytes: bool
) -> TorchDistribution | None:
    """The density of a channel's values, each by itself; None for values of another kind."""
    if of_bytes or not support.is_discrete:
        least = torch.finfo(torch.float32).tiny
        return None if noise is None else Normal(mean, torch.maximum(variance, noise).clamp(min=least).sqrt())
    if support is constraints.boolean:
        return Bernoulli(mean.clamp(CERTAIN, 1 - CERTAIN), validate_args=False)
    if support is constraints.nonnegative_integer:
        return Poisson(mean.clamp(min=CERTAIN))
    if isinstance(support, constraints.integer_interval):
        # log p = -log K for each of the K classes.
        classes = support.upper_bound - support.lower_bound + 1
        return Uniform(mean.new_zeros(mean.shape), classes, validate_args=False)
    return None


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
