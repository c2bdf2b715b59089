"""One line of the table of a comparison: all that is said of one candidate, in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pyro_dsvae.comparison.measurement import Evaluation
from pyro_dsvae.inference.inference_data import UNRELIABLE
from pyro_dsvae.inference.model_comparison.comparison import Candidate
from pyro_dsvae.inference.sequences import evenly_spaced
from pyro_dsvae.judges.motion import JudgedMotion


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate. Nats per sequence unless said otherwise; means over seeds.

    Attributes:
        log_evidence, log_evidence_error: Mean over sequences, and its standard error over sequences.
        difference, difference_error: To the best candidate, at most 0, and its standard error, paired by sequence.
        seed_spread: Standard deviation over seeds of a fit's mean, None with one seed.
        seeds: How many fits.
        stacking_weight: In the mixture of candidates that predicts best, 0 to 1.
        monte_carlo_error, effective_draws: Standard error by finite draws; median effective number of draws.
        k_hat_above: Share of sequences whose evidence is a loose lower bound.
        bits_per_dimension: None where the likelihood is no probability of 8-bit values.
        gap_closed: ELBO gained by refinement, None without.
        kl_f, kl_z, distortion: Rates, and E_q[-log p(x | f, z)].
        active_f, active_z: Dimensions in use, mean over seeds.
        size_f, size_z: Of how many.
        estimator_f, estimator_z: How the KL is computed.
        parameters, seconds: Of one fit, mean over seeds.
        forecast, forecast_error: log p(last frames | first frames) and its standard error over sequences; None where
            fewer than two sequences have last frames.
        forecast_difference, forecast_difference_error: To the best candidate at that.
        forecast_k_hat_above: Share of sequences.
        crps, crps_error: Of forecasts of the last frames, less is better; standard error over sequences.
        crps_difference, crps_difference_error: To the best candidate at that, at least 0.
        motion, motion_true, motion_wrong: Share of clips the motion judge takes for real: z from the prior; the
            controls.
        motion_verdict: Right, partly right, wrong, cannot tell.
        sure_generated, sure_true: Label -> share of clips in which the judge of labels is sure of a class.
        annealed_difference, annealed_error: Annealed importance sampling minus importance weights where both were
            asked, None without.
    """

    candidate: str
    log_evidence: float
    log_evidence_error: float
    difference: float
    difference_error: float
    seed_spread: float | None
    seeds: int
    stacking_weight: float
    monte_carlo_error: float
    effective_draws: float
    k_hat_above: float
    bits_per_dimension: float | None
    gap_closed: float | None
    kl_f: float
    kl_z: float
    distortion: float
    active_f: float
    active_z: float
    size_f: int
    size_z: int
    estimator_f: str
    estimator_z: str
    parameters: int
    seconds: float
    forecast: float | None
    forecast_error: float | None
    forecast_difference: float | None
    forecast_difference_error: float | None
    forecast_k_hat_above: float
    crps: float | None
    crps_error: float | None
    crps_difference: float | None
    crps_difference_error: float | None
    motion: float
    motion_true: float
    motion_wrong: float
    motion_verdict: str
    sure_generated: Mapping[str, float]
    sure_true: Mapping[str, float]
    annealed_difference: float | None
    annealed_error: float | None

    @classmethod
    def of(cls, c: Candidate, foretold: Candidate | None, close: Candidate | None, fits: Sequence[Evaluation]) -> "Row":
        """Of what was found for all fits of one candidate: log evidence, log p of forecasts, their negative CRPS."""
        motion = _mean_motion([fit.motion for fit in fits])
        annealed_difference, annealed_error = _annealed(fits)
        known = [fit for fit in fits if fit.bits is not None]
        closed = [fit.gap_closed for fit in fits if fit.gap_closed is not None]
        return cls(
            candidate=c.name,
            log_evidence=c.mean,
            log_evidence_error=c.data_error,
            difference=c.difference,
            difference_error=c.difference_error,
            seed_spread=c.seed_spread,
            seeds=c.seeds,
            stacking_weight=c.weight,
            monte_carlo_error=c.monte_carlo_error,
            effective_draws=float(torch.cat([fit.effective_sample_size for fit in fits]).median()),
            k_hat_above=_share(torch.cat([fit.k_hat for fit in fits])),
            bits_per_dimension=_mean(fit.bits.mean() for fit in known if fit.bits is not None) if known else None,
            gap_closed=_mean(gap.mean() for gap in closed) if closed else None,
            kl_f=_mean(fit.kl_f.mean() for fit in fits),
            kl_z=_mean(fit.kl_z.mean() for fit in fits),
            distortion=_mean(fit.distortion.mean() for fit in fits),
            active_f=_mean(fit.active_f[0] for fit in fits),
            active_z=_mean(fit.active_z[0] for fit in fits),
            size_f=fits[0].active_f[1],
            size_z=fits[0].active_z[1],
            estimator_f=fits[0].estimators.get("f", ""),
            estimator_z=fits[0].estimators.get("z", ""),
            parameters=fits[0].parameters,
            seconds=_mean(fit.seconds for fit in fits),
            forecast=None if foretold is None else foretold.mean,
            forecast_error=None if foretold is None else foretold.data_error,
            forecast_difference=None if foretold is None else foretold.difference,
            forecast_difference_error=None if foretold is None else foretold.difference_error,
            forecast_k_hat_above=_share(torch.cat([fit.forecast_k_hat[fit.foretold] for fit in fits])),
            crps=None if close is None else -close.mean,
            crps_error=None if close is None else close.data_error,
            crps_difference=None if close is None else -close.difference,
            crps_difference_error=None if close is None else close.difference_error,
            motion=motion.generated,
            motion_true=motion.reconstructed,
            motion_wrong=motion.wrong,
            motion_verdict=motion.verdict,
            sure_generated={name: pair[0] for name, pair in motion.confident.items()},
            sure_true={name: pair[1] for name, pair in motion.confident.items()},
            annealed_difference=annealed_difference,
            annealed_error=annealed_error,
        )

    def flat(self) -> dict[str, Any]:
        """For CSV: one value per column."""
        values = asdict(self)
        for kind in ("sure_generated", "sure_true"):
            values |= {f"{kind}_{name}": share for name, share in values.pop(kind).items()}
        return values


def _mean_motion(motions: Sequence[JudgedMotion]) -> JudgedMotion:
    """Shares over the clips of all fits."""
    names = motions[0].confident
    return JudgedMotion(
        _mean(m.generated for m in motions),
        _mean(m.reconstructed for m in motions),
        _mean(m.wrong for m in motions),
        sum(m.clips for m in motions),
        {n: (_mean(m.confident[n][0] for m in motions), _mean(m.confident[n][1] for m in motions)) for n in names},
    )


def _annealed(fits: Sequence[Evaluation]) -> tuple[float | None, float | None]:
    """Mean over sequences and fits of annealed minus importance-weighted, and its standard error."""
    differences, errors = [], []
    for fit in fits:
        if fit.annealed is None or fit.annealed_error is None:
            return None, None
        places = evenly_spaced(len(fit.log_evidence), len(fit.annealed))
        differences.append(fit.annealed - fit.log_evidence[places])
        errors.append(fit.annealed_error.square() + fit.error[places].square())
    count = sum(len(d) for d in differences)
    return float(torch.cat(differences).mean()), float(torch.cat(errors).sum().sqrt()) / count


def _mean(values: Any) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)


def _share(k_hat: torch.Tensor) -> float:
    return float((k_hat > UNRELIABLE).double().mean()) if len(k_hat) else 0.0
