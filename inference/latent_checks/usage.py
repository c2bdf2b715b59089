"""Latent usage: rate, distortion, active units, and the information in every dimension."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.elbo import kl_of
from pyro_dsvae.inference.estimation import Guide, Sampler
from pyro_dsvae.inference.handlers import traced
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sampling.proposal import Joint
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

# A dimension whose posterior mean moves less than this, relative to the prior's variance, is not used.
ACTIVE = 0.01
# Draws that are decoded: pictures cost far more than latents, and every sequence adds its own to the mean.
DECODED = 4


@dataclass(frozen=True, kw_only=True)
class LatentUsage:
    """Rate, distortion and active units over N sequences, float64 on the CPU; nats per sequence.

    Attributes:
        kl_static: (N,) KL(q(f | x) || p(f)), the rate of f.
        kl_dynamic: (N,) E_q[KL(q(z | f, x) || p(z | f))], the rate of z.
        reconstruction: (N,) E_q[log p(x | f, z)]; its negative is the distortion.
        estimators: Site "f", "z" -> how its KL was computed (`pyro_dsvae.inference.elbo.kl_of`).
        variance_static: (F,) variance over sequences of E_q[f | x], relative to the prior's variance of f.
        variance_dynamic: (D,) variance over sequences and their steps of E_q[z_t | x], relative to the prior's, which
            is pooled over the same steps.
        active_static: (F,) bool, ``variance_static`` above ``threshold``.
        active_dynamic: (D,) bool, ``variance_dynamic`` above ``threshold``.
        kl_static_per_dimension: (F,) information that a dimension alone has about which sequence it is (`latent_usage`).
        kl_dynamic_per_dimension: (D,) the same for z, summed over the steps of a sequence.
        threshold: Of the active units.
    """

    kl_static: Tensor
    kl_dynamic: Tensor
    reconstruction: Tensor
    estimators: Mapping[str, str]
    variance_static: Tensor
    variance_dynamic: Tensor
    active_static: Tensor
    active_dynamic: Tensor
    kl_static_per_dimension: Tensor
    kl_dynamic_per_dimension: Tensor
    threshold: float

    @property
    def elbo(self) -> Tensor:
        """(N,) reconstruction - kl_static - kl_dynamic."""
        return self.reconstruction - self.kl_static - self.kl_dynamic


def latent_usage(
    sampler: Sampler,
    sequences: Sequences,
    seed: int = 0,
    draws: int = 32,
    threshold: float = ACTIVE,
) -> LatentUsage:
    """KL terms, reconstruction, active units and information per dimension, for ``sequences``.

    Dimension u is an active unit (Burda et al. 2016) where

        Var_x(E_q[u | x]) > threshold Var_p(u)

    The information per dimension is defined in the same way for every posterior and prior. With m and v the mean and
    variance of q(u | x), and M and V those of the aggregated posterior, the mean over x of q(u | x), it is

        mean over x of KL(N(m, v) || N(M, V)) = (log V - mean over x of log v) / 2

    This is the mutual information of u and the index of the sequence where all of these are normal. For z, "x" runs
    over all steps of all sequences, and the mean over steps is multiplied by their mean number per sequence. The prior
    does not enter. Information that several dimensions or steps share is counted for each of them, so the sum is not
    the KL.

    The moments of q are exact given f where it is normal, and otherwise those of draws; the noise that draws add to the
    variance of means is subtracted.

    Source: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, section 5 (active units).

    Args:
        sampler: Model and guide, any posterior but `Delta`.
        sequences: At least two. Missing values, lengths and times are taken into account; steps that do not exist are not
            counted.
        seed: Of the draws.
        draws: Of f and z per sequence, at least two; the first 4 are decoded for ``reconstruction``.
        threshold: Of the active units.

    Raises:
        UsageError: For a posterior that is a point, fewer than two sequences or draws, and for a threshold that is not
            positive.
    """
    _check(sampler.guide, sequences, draws, threshold)
    model, work = sampler.model, sampler.work(len(sequences))
    kl: dict[str, list[Tensor]] = {"f": [], "z": []}
    reconstruction, estimators = [], {}
    pools = {"f": _Pool(), "z": _Pool()}
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences, draws):
            posterior = _traced(sampler.guide, batch, draws)
            latents = Latents(posterior["f"].value, posterior["z"].value)
            prior_f = model.static_prior().expand(latents.f.shape[:-1])
            prior = {"f": prior_f, "z": model.dynamic_prior(latents.f, batch.steps)}
            some = Latents(*(v[:DECODED] for v in latents))
            reconstruction.append(Joint(model, batch).at(some).log_likelihood.mean(0).cpu())
            f = prior_f.sample()
            generated = {"f": f, "z": model.dynamic_prior(f, batch.steps).sample()}
            for site, q in posterior.items():
                value, estimators[site] = kl_of(q.distribution, prior[site], q.value)
                kl[site].append(value.double().mean(0).cpu())
                exists = None if site == "f" else batch.steps.valid
                pools[site].add(q, generated[site], exists)
            work.did(len(positions))
    f_pool, z_pool = pools["f"], pools["z"]
    variance = {site: pool.relative_variance() for site, pool in pools.items()}
    return LatentUsage(
        kl_static=torch.cat(kl["f"]),
        kl_dynamic=torch.cat(kl["z"]),
        reconstruction=torch.cat(reconstruction),
        estimators=estimators,
        variance_static=variance["f"],
        variance_dynamic=variance["z"],
        active_static=variance["f"] > threshold,
        active_dynamic=variance["z"] > threshold,
        kl_static_per_dimension=f_pool.information(),
        kl_dynamic_per_dimension=z_pool.information() * z_pool.count / len(sequences),
        threshold=threshold,
    )


def _check(guide: Guide, sequences: Sequences, draws: int, threshold: float) -> None:
    if isinstance(guide, Posterior) and not guide.comparable:
        raise UsageError(
            f"the posterior {type(guide).__name__} is a point and has no KL, so nothing tells how its latents are used; "
            "fit any other posterior"
        )
    if len(sequences) < 2:
        raise UsageError(f"latent usage needs at least 2 sequences, not {len(sequences)}")
    if draws < 2:
        raise UsageError(f"latent usage needs at least 2 draws per sequence, not {draws}")
    if not 0 < threshold < math.inf:
        raise UsageError(f"the threshold of active units must be positive, not {threshold}")


class _Site(NamedTuple):
    """A latent's distribution under the guide, batch (K, B), and K draws of it (K, B, ...)."""

    distribution: Any
    value: Tensor


def _traced(guide: Guide, batch: Batch, draws: int) -> dict[str, _Site]:
    nodes = traced(guide, batch, draws).nodes
    return {site: _Site(nodes[site]["fn"], nodes[site]["value"]) for site in ("f", "z")}


def _moments(q: Any) -> tuple[Tensor, Tensor] | None:
    """Means and variances of every entry, or None where the distribution does not state them."""
    try:
        variance = q.variance
    except NotImplementedError:
        return None
    # In this order: what has no variance may have a central value that it calls its mean.
    return q.mean, variance


class _Pool:
    """Sums over sequences, or over all their steps, of what the moments of one latent are made of; each (size,), float64."""

    def __init__(self) -> None:
        self.count = 0
        self.prior_count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, q: _Site, generated: Tensor, exists: Tensor | None) -> None:
        """Draws (K, B, size) or (K, B, T, size) of q and of the prior, and (B, T), which steps exist."""
        draws = len(q.value)
        known = _moments(q.distribution)
        loc, within = (q.value, torch.zeros_like(q.value)) if known is None else known
        loc, within = (v.double().expand(q.value.shape) for v in (loc, within))
        mean = loc.mean(0)
        # Not by var(), which warns of a latent without dimensions.
        spread = (loc - mean).square().sum(0) / (draws - 1)
        variance = (within.mean(0) + spread).clamp(min=torch.finfo(torch.float64).tiny)
        # The logarithm of a variance of K normal draws is too small by this, in expectation.
        half = torch.tensor((draws - 1) / 2, dtype=torch.float64)
        missing = half.log() - half.digamma() if known is None else half.new_zeros(())
        parts = {
            "mean": mean,
            "square": mean.square(),
            "noise": spread / draws,
            "within": variance,
            "log_within": variance.log() + missing.to(variance.device),
            "prior": generated.double().sum(0),
            "prior_square": generated.double().square().sum(0),
        }
        for name, values in parts.items():
            counted = values.flatten(0, -2) if exists is None else values[exists]
            self.sums[name] = self.sums.get(name, 0) + counted.sum(0).cpu()
        self.count += mean.shape[:-1].numel() if exists is None else int(exists.sum())
        self.prior_count = draws * self.count

    def _between(self) -> Tensor:
        """Variance of the posterior means, without what the noise of draws adds."""
        square = self.sums["square"] - self.sums["mean"].square() / self.count
        return (square / max(self.count - 1, 1) - self.sums["noise"] / self.count).clamp(min=0)

    def relative_variance(self) -> Tensor:
        prior = self.sums["prior_square"] / self.prior_count - (self.sums["prior"] / self.prior_count).square()
        return self._between() / prior.clamp(min=torch.finfo(torch.float64).tiny)

    def information(self) -> Tensor:
        """Per sequence or step, in nats."""
        total = self._between() + self.sums["within"] / self.count
        return (0.5 * (total.log() - self.sums["log_within"] / self.count)).clamp(min=0)
