"""Draws of latents and frames for a set of sequences, given them and from the prior alone, for a file."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Drawn:
    """K draws for N sequences, frames for the first M of them; on the CPU.

    Attributes:
        latents: f (K, N, F), z (K, N, T, D), NaN at steps that do not exist.
        x: ``(K, M, T, *frame)`` frames with observation noise, NaN at steps that do not exist.
        mean: ``(K, M, T, *frame)`` E[x | f, z], likewise.
    """

    latents: Latents
    x: Tensor
    mean: Tensor


@dataclass(frozen=True)
class PredictiveDraws:
    """The result of `predictive_draws`.

    Attributes:
        posterior: f, z ~ q(f, z | x_i), x' ~ p(x | f, z); values of x_i that were not observed are drawn, too.
        prior: f ~ p(f), z ~ p(z | f), x' ~ p(x | f, z), with the steps of sequence i.
        data: ``(M, T, *frame)``, the observed frames, NaN where not observed.
    """

    posterior: Drawn
    prior: Drawn
    data: Tensor


def predictive_draws(
    sampler: Sampler,
    sequences: Sequences,
    draws: int = 20,
    frames_of: int = 8,
    seed: int = 0,
) -> PredictiveDraws:
    """Draw the latents of every sequence, and frames for the first ``frames_of``; draw k of both belongs together.

    Args:
        sampler: Model and guide, any posterior.
        sequences: The sequences.
        draws: The number of draws, K.
        frames_of: M, sequences whose frames are drawn.
        seed: Of all noise.

    Raises:
        UsageError: For numbers below 1.
    """
    if draws < 1 or frames_of < 1 or len(sequences) == 0:
        raise UsageError(f"draws need a sequence and numbers of at least 1, not {draws} and {frames_of}")
    model, device = sampler.model, sampler.device
    parts: list[tuple[Tensor, ...]] = []
    shown: list[tuple[Tensor, ...]] = []
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences, draws):
            posterior, _ = Proposal(sampler.guide, batch).draw(draws)
            f = model.static_prior().expand([draws, len(positions)]).sample()
            prior = Latents(f, model.dynamic_prior(f, batch.steps).sample())
            valid = batch.steps.valid
            exists = torch.ones(batch.x.shape[:2], dtype=torch.bool, device=device) if valid is None else valid
            for drawn in (posterior, prior):
                missing = ~exists.unsqueeze(-1)
                parts.append((drawn.f.cpu(), drawn.z.masked_fill(missing, torch.nan).cpu()))
            count = int((positions < frames_of).sum())
            if not count:
                continue
            gone = (~exists[:count])[(..., *(None,) * batch.frame_ndim)]
            for drawn in (posterior, prior):
                p = model.frames(drawn.f[:, :count], drawn.z[:, :count])
                shown.append(tuple(v.masked_fill(gone, torch.nan).cpu() for v in (p.sample(), p.mean)))
            shown.append((batch.x[:count].masked_fill(~batch.observed[:count], torch.nan).cpu(),))
    data = torch.cat([part for (part,) in shown[2::3]])
    return PredictiveDraws(_joined(parts[::2], shown[::3]), _joined(parts[1::2], shown[1::3]), data)


def _joined(latents: list[tuple[Tensor, ...]], frames: list[tuple[Tensor, ...]]) -> Drawn:
    f, z = (torch.cat(part, dim=1) for part in zip(*latents, strict=True))
    x, mean = (torch.cat(part, dim=1) for part in zip(*frames, strict=True))
    return Drawn(Latents(f, z), x, mean)
