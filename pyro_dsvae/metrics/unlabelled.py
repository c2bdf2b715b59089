"""Measures of a model that need no labels: its bound, its reconstructions, its evidence."""

import math
from dataclasses import dataclass

import torch

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.anchored import Anchored
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.standardisation import IN_SD, column_sd


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Means over held-out sequences.

    Attributes:
        elbo, reconstruction, kl_static, kl_dynamic: Unweighted, nats per sequence, one draw for each sequence.
        unanchored_elbo: After anchored inference, the same ELBO under the guide itself; None otherwise.
        estimators: Site -> how its KL was computed.
        comparable: Whether ``elbo`` bounds the evidence.
        squared_error: Mean squared error of frames decoded from posterior means, per observed value; of standardised series in
            variances of each column.
        squared_error_unit: That of its square root.
        bits_per_dimension: -elbo in bits per observed value, None for densities.
    """

    elbo: float
    reconstruction: float
    kl_static: float
    kl_dynamic: float
    unanchored_elbo: float | None
    estimators: dict[str, str]
    comparable: bool
    squared_error: float
    bits_per_dimension: float | None
    squared_error_unit: str = "in units of the frames"


@dataclass(frozen=True)
class EvidenceSummary:
    """Importance-weighted log evidence of some held-out sequences, nats per sequence (`estimate_evidence`).

    Attributes:
        sequences: How many, drawn without replacement.
        draws: Importance weights for each.
        mean: Mean log evidence.
        standard_error: Of that mean over sequences.
        elbo: Mean ELBO of the same sequences, from the same weights.
        unreliable_share: Share with k-hat above .7, whose value is a loose bound.
    """

    sequences: int
    draws: int
    mean: float
    standard_error: float
    elbo: float
    unreliable_share: float


def measure_terms(
    model: DSVAE, guide: Posterior, sequences: Sequences, latents: Latents, seed: int, device: torch.device
) -> Terms:
    """The ELBO's terms and the error of reconstructions; ``latents`` are the posterior means of ``sequences``.

    Args:
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x).
        sequences: Held-out sequences.
        latents: Their posterior means.
        seed: Of the noise.
        device: Where model and guide are.
    """
    objective = Objective(model, guide)
    terms = held_out_terms(objective, sequences, device, seed)
    unanchored_elbo = None
    if isinstance(guide, Anchored):
        unanchored_elbo = held_out_terms(Objective(model, guide.guide), sequences, device, seed)["elbo"]
    error, observed = _squared_error(Sampler(model, guide, device), sequences, latents)
    bits = -terms["elbo"] * len(sequences) / (math.log(2) * observed) if model.likelihood.discrete else None
    return Terms(
        **terms,
        unanchored_elbo=unanchored_elbo,
        estimators=objective.estimators,
        comparable=guide.comparable,
        squared_error=error,
        bits_per_dimension=bits,
        squared_error_unit=Terms.squared_error_unit if column_sd(model.standardisation) is None else IN_SD,
    )


def _squared_error(sampler: Sampler, sequences: Sequences, latents: Latents) -> tuple[float, int]:
    """Mean squared error per observed value, and how many were observed."""
    total, count = 0.0, 0
    sd = column_sd(sampler.model.standardisation)
    with sampler.evaluation(0):
        for positions, batch in sampler.chunks(sequences):
            error = decode(sampler.model, *(v.to(sampler.device) for v in latents.rows(positions))) - batch.x
            error = error if sd is None else error / sd
            total += float(batch._replace(x=error.square()).visible.sum(dtype=torch.float64))
            count += int(batch.observed_count().sum())
    return total / count, count


def measure_evidence(sampler: Sampler, sequences: Sequences, number: int, draws: int, seed: int) -> EvidenceSummary:
    """Evidence of ``number`` of the sequences, all where there are fewer.

    Raises:
        UsageError: As `estimate_evidence`.
    """
    if number < 2:
        raise UsageError(f"evidence of {number} sequences has no standard error; take at least 2, or 0 for none")
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(seed))
    some = sequences.take(order[:number].sort().values)
    found = estimate_evidence(sampler, some, draws, seed=seed)
    error = float(found.log_evidence.std()) / math.sqrt(len(some))
    means = float(found.log_evidence.mean()), error, float(found.elbo.mean()), found.unreliable_share
    return EvidenceSummary(len(some), draws, *means)
