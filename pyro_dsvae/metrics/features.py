"""Posterior means of a split, and the summaries of a path that probes and scores use."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.inference.sequences import Sequences

SEGMENTS = 8


def encode(sampler: Sampler, sequences: Sequences) -> Latents:
    """Posterior means f (N, F) and z (N, T, D), on the CPU, in evaluation mode."""
    return _by_chunks(sampler, sequences, 0, lambda batch: posterior_means(sampler.guide, *batch))


def draw(sampler: Sampler, sequences: Sequences, seed: int) -> Latents:
    """One draw from the posterior of every sequence, f (N, F) and z (N, T, D) given that f, on the CPU."""

    def drawn(batch: Batch) -> tuple[Tensor, Tensor]:
        latents, _ = Proposal(sampler.guide, batch).draw(1)
        return latents.f.squeeze(0), latents.z.squeeze(0)

    return _by_chunks(sampler, sequences, seed, drawn)


def _by_chunks(
    sampler: Sampler, sequences: Sequences, seed: int, infer: Callable[[Batch], tuple[Tensor, Tensor]]
) -> Latents:
    work, parts = sampler.work(len(sequences)), []
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences):
            f, z = infer(batch)
            parts.append(Latents(f.cpu(), z.cpu()))
            work.did(len(positions))
    return Latents.joined(parts)


def one_split(data: SequenceData) -> Sequences:
    """All sequences of ``data``, which are of one split, in the form that model and guide take."""
    return data.sequences(SPLITS[int(data.split[0])])


def path_features(z: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The input of a probe for a path z (N, T, D): features (N, P), float64.

    They are the means over `SEGMENTS` equal segments of each sequence's own length: up to 8 steps, z itself, flattened.
    Longer paths add the mean absolute change within each segment, which averaging would remove.
    """
    count = min(SEGMENTS, z.shape[1])
    features = [_segments(z, lengths, count)]
    if z.shape[1] > SEGMENTS:
        changes = None if lengths is None else lengths - 1
        features.append(_segments(z.diff(dim=1).abs(), changes, count))
    return torch.cat(features, dim=1)


def path_codes(z: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Two numbers per dimension of a path z (N, T, D): its mean and its mean absolute change per step, (N, 2D), float64."""
    changes = None if lengths is None else lengths - 1
    return torch.cat([_segments(z, lengths, 1), _segments(z.diff(dim=1).abs(), changes, 1)], dim=1)


def _segments(values: Tensor, lengths: Tensor | None, count: int) -> Tensor:
    """Means (N, count D) of values (N, T, D) over equal segments of the first ``lengths`` steps, which must exist.

    Segment s of a sequence of L steps is floor(s L / count) to ceil((s + 1) L / count), so that none is empty.
    """
    n, t = values.shape[:2]
    ends = torch.full((n, 1), t) if lengths is None else lengths.cpu().unsqueeze(1)
    s = torch.arange(count)
    start, stop = s * ends // count, -(-(s + 1) * ends // count)
    exists = torch.arange(t) < ends
    kept = torch.where(exists.unsqueeze(-1), values.double(), torch.zeros((), dtype=torch.float64))
    sums = pad(kept.cumsum(1), (0, 0, 1, 0))

    def at(steps: Tensor) -> Tensor:
        return sums.gather(1, steps.unsqueeze(-1).expand(-1, -1, values.shape[2]))

    return ((at(stop) - at(start)) / (stop - start).unsqueeze(-1)).flatten(1)
