"""Replications: clips that a fitted model generates in place of every observed clip, at four levels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide, Sampler
from pyro_dsvae.inference.handlers import traced
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

Level = Literal["frames", "dynamic", "static", "population"]
LEVELS: tuple[Level, ...] = get_args(Level)

# Levels whose replications of a clip are made from that clip, so that each is used twice: to infer and to compare.
USES_CLIP: dict[Level, bool] = {"frames": True, "dynamic": True, "static": True, "population": False}


@dataclass(frozen=True, kw_only=True)
class Replications:
    """K replications of each of B sequences, observed where the data are.

    Attributes:
        level: How they were made (`replicate`).
        positions: (B,) int64, which of the sequences these are.
        first: Index of the first of the K draws.
        data: ``(B, T, *frame)`` the observed frames, zero where not observed.
        observed: Bool, broadcastable to ``(B, T, *frame)``: which values count; None where all do.
        steps: The time axis.
        latents: f (K, B, F), z (K, B, T, D).
        distribution: p(x | f, z), batch ``(K, B, T, *frame)``.
        x: ``(K, B, T, *frame)`` one draw from it, so with observation noise; zero where the data were not observed.
    """

    level: Level
    positions: Tensor
    first: int
    data: Tensor
    observed: Tensor | None
    steps: Steps
    latents: Latents
    distribution: TorchDistribution
    x: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x | f, z] ``(K, B, T, *frame)``: the same without observation noise, where the data were not observed, too."""
        return self.distribution.mean

    @property
    def observed_mean(self) -> Tensor:
        """`mean`, zero where the data were not observed."""
        return _seen(self.mean, self.observed)


@torch.no_grad()
def guide_draws(guide: Guide, batch: Batch, count: int) -> Latents:
    """``count`` draws from q(f, z | x): f (K, B, F) and z (K, B, T, D)."""
    nodes = traced(guide, batch, count).nodes
    return Latents(nodes["f"]["value"], nodes["z"]["value"])


def replicate(
    sampler: Sampler,
    sequences: Sequences,
    levels: Sequence[Level] = LEVELS,
    draws: int = 20,
    seed: int = 0,
) -> Iterator[Replications]:
    """Generate replications of ``sequences``, chunk by chunk, so that they are never in memory together.

        frames      f, z ~ q(f, z | x)    x' ~ p(x | f, z)     new frames of the same clip: the likelihood
        dynamic     f ~ q(f | x)          z' ~ p(z | f)        a new path, the same static part: the dynamic prior
        static      z ~ q(z | x)          f' ~ p(f)            a new static part, the same path: the static prior
        population  f' ~ p(f)             z' ~ p(z | f')       a new clip of the same observation pattern: all of it

    Every replication has the mask, the length and the observation times of its clip. The levels that use the clip share
    their draws from q. A chunk holds all levels of some draws of some sequences, one `Replications` each, in the order of
    ``levels``. Model and guide are in evaluation mode while they draw; between chunks nothing of theirs is changed.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        levels: Which of the four.
        draws: K, replications of every sequence at every level.
        seed: Of all noise; the global generators are left as they were. A level's draws are the same whichever other
            levels are made.

    Raises:
        UsageError: For levels that do not exist and numbers of draws that make none.
    """
    check_levels(levels)
    if draws < 1:
        raise UsageError(f"every sequence needs at least 1 replication, not {draws}")
    return _chunks(sampler, sequences, levels, draws, seed)


def check_levels(levels: Sequence[Level]) -> Sequence[Level]:
    """The levels.

    Raises:
        UsageError: For none, and for one that does not exist.
    """
    wrong = next((level for level in levels if level not in LEVELS), None if levels else "none")
    if wrong is not None:
        raise UsageError(f"replications are made at the levels {', '.join(LEVELS)}, not {wrong}")
    return levels


def _chunks(
    sampler: Sampler, sequences: Sequences, levels: Sequence[Level], draws: int, seed: int
) -> Iterator[Replications]:
    model, at_once = sampler.model, sampler.paths_at_once(sequences.frames.shape[1:])
    work = sampler.work(len(sequences) * draws * len(levels))
    seeds = torch.Generator().manual_seed(seed)
    for positions, batch in sampler.chunks(sequences, draws):
        observed = batch.steps.observed(batch.mask, batch.frame_ndim)
        size = max(1, at_once // len(positions))
        for first in range(0, draws, size):
            count = min(size, draws - first)
            # Drawn for all levels, so that what one of them draws does not depend on the others.
            own = torch.randint(2**62, (1 + len(LEVELS),), generator=seeds).tolist()
            inferred = None
            if any(USES_CLIP[level] for level in levels):
                with sampler.evaluation(own[0]):
                    inferred = guide_draws(sampler.guide, batch, count)
            for level in levels:
                # Closed before a chunk is handed out: whoever reads it finds modes and generators as they were.
                with sampler.evaluation(own[1 + LEVELS.index(level)]):
                    latents = _latents(model, level, inferred, (count, len(positions)), batch.steps)
                    distribution = model.frames(*latents)
                    x = _seen(distribution.sample(), observed)
                yield Replications(
                    level=level,
                    positions=positions,
                    first=first,
                    data=batch.visible,
                    observed=observed,
                    steps=batch.steps,
                    latents=latents,
                    distribution=distribution,
                    x=x,
                )
                work.did(count * len(positions))


def _latents(model: DSVAE, level: Level, inferred: Latents | None, batch: tuple[int, int], steps: Steps) -> Latents:
    """The latents of one level, given draws from the guide where it needs them."""
    if level == "frames":
        assert inferred is not None
        return inferred
    if level == "dynamic":
        assert inferred is not None
        return Latents(inferred.f, model.dynamic_prior(inferred.f, steps).sample())
    f = model.static_prior().expand(batch).sample()
    if level == "static":
        assert inferred is not None
        return Latents(f, inferred.z)
    return Latents(f, model.dynamic_prior(f, steps).sample())


def _seen(x: Tensor, observed: Tensor | None) -> Tensor:
    return x if observed is None else torch.where(observed, x, torch.zeros_like(x))
