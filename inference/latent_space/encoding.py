"""The codes of sequences: mean, scale and draws of f and z under the guide."""

import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide, Sampler
from pyro_dsvae.inference.handlers import LocalParameters, Means
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.models.errors import check_count

# Draws that tell the scale of a distribution that has no closed form of it.
SCALE_DRAWS = 256


@dataclass(frozen=True)
class Codes:
    """Mean, scale and draws of the latents of B sequences under the guide.

    A flow has neither mean nor scale in closed form: its "mean" is the image of its noise's mean, its scale that of draws.

    Attributes:
        f: Mean of q(f | x), (B, F).
        f_scale: Its standard deviation.
        z: Mean of q(z | f, x) at that f, (B, T, D).
        z_scale: Its standard deviation at that f; the uncertainty of f is not included.
        f_draws: K draws from q(f | x), (K, B, F); K may be 0.
        z_draws: Draws from q(z | f, x), (K, B, T, D), each at the f in the same place of ``f_draws``.
        lengths: (B,) int64, or None. Steps from ``lengths[i]`` on do not exist in sequence i, and their z are zero.
    """

    f: Tensor
    f_scale: Tensor
    z: Tensor
    z_scale: Tensor
    f_draws: Tensor
    z_draws: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.f)

    @classmethod
    def joined(cls, parts: Sequence["Codes"]) -> "Codes":
        """Several batches of one length as one."""
        f, f_scale, z, z_scale = (torch.cat([getattr(p, n) for p in parts]) for n in ("f", "f_scale", "z", "z_scale"))
        f_draws, z_draws = (torch.cat([getattr(p, n) for p in parts], dim=1) for n in ("f_draws", "z_draws"))
        lengths = [part.lengths for part in parts if part.lengths is not None]
        return cls(f, f_scale, z, z_scale, f_draws, z_draws, torch.cat(lengths) if lengths else None)

    @classmethod
    def gathered(cls, parts: Iterable["Codes"], count: int, folder: Path) -> "Codes":
        """Batches of one length, of ``count`` sequences together, as one. Its tensors are files, which go when they go.

        Args:
            parts: The batches; each may go when the next is made.
            count: Of sequences, N.
            folder: Where the files, which have no name, take their room.
        """
        whole: dict[str, Tensor] = {}
        start = 0
        for part in parts:
            for name, values in vars(part).items():
                if values is None:
                    continue
                axis = int(name.endswith("_draws"))
                if name not in whole:
                    shape = list(values.shape)
                    shape[axis] = count
                    whole[name] = _of_file(shape, values.dtype, folder)
                whole[name].narrow(axis, start, len(part)).copy_(values)
            start += len(part)
        return cls(**whole)


def _of_file(shape: Sequence[int], dtype: torch.dtype, folder: Path) -> Tensor:
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    like = torch.empty(0, dtype=dtype).numpy().dtype
    with tempfile.TemporaryFile(dir=folder) as file:
        if sys.platform == "linux":  # else a disk that is full is found when a page is written, which ends the process
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * like.itemsize)
        return torch.from_numpy(np.memmap(file, like, "w+", shape=tuple(shape)))


def encode(sampler: Sampler, batch: Batch, draws: int = 0, seed: int = 0) -> Codes:
    """Mean, scale and draws of f and z for every sequence. What was not observed has no influence.

    Args:
        sampler: Model and guide.
        batch: The sequences, on the sampler's device.
        draws: The number of draws, K.
        seed: Of the draws.

    Raises:
        UsageError: For a negative number of draws, and more than fit into memory.
    """
    check_count("draws", draws, 0)
    clips, length = batch.x.shape[:2]
    sizes = sampler.model.static_prior.static_size + length * sampler.model.dynamic_prior.latent_size
    check_memory(f"{draws} draws for each of {clips} clips", draws, clips, sizes)
    size = max(1, sampler.paths_at_once(batch.x.shape[1:]) // max(1, draws // 8))
    work = sampler.work(len(batch.x))
    parts = []
    with sampler.evaluation(seed):
        for rows in torch.arange(len(batch.x), device=batch.x.device).split(size):
            parts.append(_encoded(sampler.guide, batch.rows(rows), draws))
            work.did(len(rows))
    return Codes.joined(parts)


def _encoded(guide: Guide, batch: Batch, draws: int) -> Codes:
    with LocalParameters():
        sites = poutine.trace(Means()(guide)).get_trace(*batch).nodes
    (f, f_scale), (z, z_scale) = ((sites[n]["value"], _scale(sites[n]["fn"])) for n in ("f", "z"))
    f_draws, z_draws = f.new_zeros(0, *f.shape), z.new_zeros(0, *z.shape)
    if draws:
        latents, _ = Proposal(guide, batch).draw(draws)
        f_draws, z_draws = latents.f, latents.z
    valid = batch.steps.valid
    if valid is not None:
        z, z_scale, z_draws = (
            torch.where(valid.unsqueeze(-1), path, torch.zeros_like(path)) for path in (z, z_scale, z_draws)
        )
    return Codes(f, f_scale, z, z_scale, f_draws, z_draws, batch.lengths)


def _scale(distribution: Any) -> Tensor:
    try:
        return distribution.stddev
    except NotImplementedError:
        return distribution.sample(torch.Size([SCALE_DRAWS])).std(0)
