"""Refinement of a guide for each sequence: it closes the gap between amortised and per-sequence inference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.affine_map import AffineMap
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.training.schedule import half_cosine
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Refinement:
    """Options of `refine`.

    Attributes:
        steps: Steps of Adam, for every sequence; no network is changed.
        draws: Draws from the guide per step and sequence.
        rate: Initial learning rate, in standard deviations of the guide's draws, falling to 0 along half a cosine.
        check: Fresh draws that estimate the gain afterwards. A sequence that gained nothing keeps the guide.
    """

    steps: int = 100
    draws: int = 8
    rate: float = 0.1
    check: int = 100

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("draws", 1), ("check", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"a refinement needs {name} of at least {least}, not {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"the rate of a refinement must be positive, not {self.rate}")

    @property
    def cost(self) -> float:
        """Work per sequence, in draws that are scored once."""
        return 3 * self.steps * self.draws + 2 * self.check


@dataclass(frozen=True)
class Refined:
    """The maps, and what they gain per sequence.

    Attributes:
        affine_map: One map per sequence.
        gap_closed: (B,) ELBO with the map minus ELBO of the guide, along the same draws, in nats; 0 where the guide was
            kept.
        standard_error: (B,) of this difference.
    """

    affine_map: AffineMap
    gap_closed: Tensor
    standard_error: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Refined"]) -> "Refined":
        """Several batches as one."""
        return cls(
            AffineMap.joined([part.affine_map for part in parts]),
            torch.cat([part.gap_closed for part in parts]),
            torch.cat([part.standard_error for part in parts]),
        )


def refine(model: DSVAE, guide: Guide, batch: Batch, options: Refinement) -> Refined:
    """Fit one `AffineMap` to every sequence by its own ELBO.

        max over A of E_q(u)[log p(x, A(u))] + log |det A| + H(q),    u = (f, z) drawn from the guide

    All entries of f and z are shifted and scaled, after the guide has drawn z given its own f. So the search starts at
    the guide itself, whatever its family, and keeps the dependence of z on f and on the past. For a guide of
    independent normals the search covers all such normals, and closes the amortisation gap. Gradients flow through the
    model only. To be called within `pyro_dsvae.inference.estimation.evaluation`.

    Sources: Cremer, Li & Duvenaud, "Inference suboptimality in variational autoencoders", ICML 2018; Kim et al.,
    "Semi-amortized variational autoencoders", ICML 2018.

    Args:
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x), from which u is drawn.
        batch: The sequences.
        options: Steps, draws and learning rate.
    """
    joint, base = Joint(model, batch), Proposal(guide, batch)
    exists = batch.steps.valid
    seen, _ = base.draw(options.check)
    centre = Latents(*(v.mean(0) for v in seen))
    spread = Latents(*(v.std(0).clamp(min=1e-6) for v in seen))
    shifts = Latents(*(torch.zeros_like(v, requires_grad=True) for v in centre))
    log_scales = Latents(*(torch.zeros_like(v, requires_grad=True) for v in centre))

    def affine_map() -> AffineMap:
        shift = Latents(*(s * m for s, m in zip(spread, shifts, strict=True)))
        return AffineMap(centre, shift, log_scales, exists)

    optimizer = torch.optim.Adam([*shifts, *log_scales], lr=options.rate)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * half_cosine(step, options.steps)
        u, _ = base.draw(options.draws)
        with torch.enable_grad():
            map_ = affine_map()
            bound = joint.at(map_(u)).log_joint.mean(0) + map_.log_det
            parameters = [*shifts, *log_scales]
            # Adam treats every entry on its own, so a sum over sequences refines each as if it were alone.
            gradients = torch.autograd.grad(-bound.sum(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
    return _checked(joint, base, affine_map(), options.check)


def _checked(joint: Joint, base: Proposal, found: AffineMap, count: int) -> Refined:
    """The map where it is worth something along fresh draws, the identity elsewhere."""
    u, _ = base.draw(count)
    gained = joint.at(found(u)).log_joint + found.log_det - joint.at(u).log_joint
    mean, error = gained.mean(0), gained.std(0) / math.sqrt(count)
    # False where the search ran into what is not a number, too.
    better = mean > 0
    zero = torch.zeros_like(mean)

    def kept(values: Latents) -> Latents:
        f, z = values.f.detach(), values.z.detach()
        return Latents(
            torch.where(better[:, None], f, torch.zeros_like(f)),
            torch.where(better[:, None, None], z, torch.zeros_like(z)),
        )

    affine_map = AffineMap(found.centre, kept(found.shift), kept(found.log_scale), found.exists)
    return Refined(affine_map, torch.where(better, mean, zero), torch.where(better, error, zero))
