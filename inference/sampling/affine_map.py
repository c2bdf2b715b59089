"""Latents of a batch of sequences, and an affine map of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.latents import Latents


@dataclass(frozen=True)
class AffineMap:
    """u -> centre + shift + exp(log_scale) (u - centre) for every entry of f and z, one map per sequence.

    Attributes:
        centre: The point that scaling leaves in place; a parametrisation only.
        shift: In units of the latents.
        log_scale: Logarithm of the factor of deviations from the centre; 0 where nothing is scaled.
        exists: (B, T) bool, or None where all steps exist.
    """

    centre: Latents
    shift: Latents
    log_scale: Latents
    exists: Tensor | None

    def __call__(self, u: Latents) -> Latents:
        parts = zip(u, self.centre, self.shift, self.log_scale, strict=True)
        return Latents(*(c + shift + s.exp() * (v - c) for v, c, shift, s in parts))

    def inverse(self, v: Latents) -> Latents:
        parts = zip(v, self.centre, self.shift, self.log_scale, strict=True)
        return Latents(*(c + (w - c - shift) * (-s).exp() for w, c, shift, s in parts))

    @property
    def log_det(self) -> Tensor:
        """(B,) log of the factor by which volumes grow, over the steps that exist."""
        per_step = self.log_scale.z.sum(-1)
        if self.exists is not None:
            per_step = torch.where(self.exists, per_step, torch.zeros_like(per_step))
        return self.log_scale.f.sum(-1) + per_step.sum(-1)

    @classmethod
    def joined(cls, parts: Sequence["AffineMap"]) -> "AffineMap":
        """Several batches (B,) as one."""
        exists = [part.exists for part in parts if part.exists is not None]
        return cls(
            Latents.joined([part.centre for part in parts]),
            Latents.joined([part.shift for part in parts]),
            Latents.joined([part.log_scale for part in parts]),
            torch.cat(exists) if exists else None,
        )

    def rows(self, rows: Tensor) -> "AffineMap":
        """That of some of the sequences."""
        exists = None if self.exists is None else self.exists[rows]
        return AffineMap(self.centre.rows(rows), self.shift.rows(rows), self.log_scale.rows(rows), exists)
