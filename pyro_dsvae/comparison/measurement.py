"""What is measured of every fit of a comparison, and the file that stores it."""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_dsvae.comparison.candidates import Fit
from pyro_dsvae.data.dataset import SequenceData, Split
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.estimation import Progress, part_of
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.files import DAMAGE, replacing
from pyro_dsvae.inference.forecasting.log_prob import forecast_log_prob
from pyro_dsvae.inference.forecasting.paired import NoStepsError, paired_forecast
from pyro_dsvae.inference.forecasting.scores import forecast_errors
from pyro_dsvae.inference.latent_checks.usage import latent_usage
from pyro_dsvae.inference.sampling.annealed_importance_sampling import annealed_evidence
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sequences import Sequences, evenly_spaced
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.motion import JudgedMotion, judge_motion
from pyro_dsvae.loading import Run
from pyro_dsvae.models.standardisation import IN_SD
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.output_folder import writing

# Raise it when the meaning of what is kept changes: files of another number are computed anew.
SCHEMA = 1
# Draws of every forecast whose CRPS is taken.
FORECASTS = 25

Stage = Callable[[Progress], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How every fit is measured; all that decides the figures but the fit and the data.

    Attributes:
        split: The held-out sequences.
        sequences: Of them, at most, evenly spaced.
        draws: Of each estimate of log evidence.
        given: Frames that a forecast is given.
        scale: Of the proposal, defensive its share of draws from the prior (`estimate_evidence`).
        refine: Steps of refinement per sequence, 0 for none.
        annealed: Sequences on which annealed importance sampling is asked, 0 for none.
        seed: Of all noise.
    """

    split: Split
    sequences: int
    draws: int
    given: int
    scale: float
    defensive: float
    refine: int
    annealed: int
    seed: int

    def rows(self, data: SequenceData) -> Tensor:
        """(N,) the sequences, the same on every call."""
        rows = data.rows(self.split)
        return rows[evenly_spaced(len(rows), self.sequences)]

    def chosen(self, data: SequenceData) -> Sequences:
        """The sequences as model and guide take them."""
        return replace(data.sequences(self.split), rows=self.rows(data))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Measurements of one fit. Per sequence (N,), float64, in nats, unless said otherwise.

    Attributes:
        log_evidence, error, effective_sample_size, k_hat: Of the importance-weighted evidence (`Evidence`).
        bits: Per dimension, None where the likelihood is no probability of 8-bit values.
        gap_closed: ELBO gained by refinement, None without.
        kl_f, kl_z, distortion: Rates and E_q[-log p(x | f, z)] (`LatentUsage`).
        active_f, active_z: How many dimensions of each are in use, of how many: two pairs of numbers.
        estimators: How the KL of f and of z is computed.
        forecast, forecast_error, forecast_k_hat: log p(last frames | first frames); 0 where a sequence has no last
            frames.
        foretold: (N,) bool, which have.
        crps: Of forecasts of the last frames, in the unit that `crps_unit` says; NaN where there are none.
        motion: The motion judge on clips drawn from the prior.
        annealed, annealed_error: (n,) by annealed importance sampling for the first n sequences, evenly spaced; or
            None.
        parameters, seconds: Of the fit.
    """

    log_evidence: Tensor
    error: Tensor
    effective_sample_size: Tensor
    k_hat: Tensor
    bits: Tensor | None
    gap_closed: Tensor | None
    kl_f: Tensor
    kl_z: Tensor
    distortion: Tensor
    active_f: tuple[int, int]
    active_z: tuple[int, int]
    estimators: Mapping[str, str]
    forecast: Tensor
    forecast_error: Tensor
    forecast_k_hat: Tensor
    foretold: Tensor
    crps: Tensor
    motion: JudgedMotion
    annealed: Tensor | None
    annealed_error: Tensor | None
    parameters: int
    seconds: float


def evaluate(fit: Fit, run: Run, data: SequenceData, measure: Measure, file: Path, progress: Progress) -> Evaluation:
    """Measure a fit, or read what an earlier call has left in ``file``. It is written after every stage, in one step.

    What is there is used only if the fit's weights, the data and ``measure`` are the same, to the last bit.

    Raises:
        UsageError: Where it cannot be written.
    """
    kept = _Kept(file, _key(run, data, measure))
    summary = RunDirectory.open(fit.path).summary()
    stages = _Stages(run, data, measure, measure.chosen(data))
    start, found = 0.0, dict[str, Any]()
    for name, (stage, share) in stages.shares.items():
        if name not in kept.state:
            kept.add(name, stage(part_of(progress, start, start + share)))
        found |= kept.state[name]
        start += share
        progress(start)
    found["motion"] = JudgedMotion(**found["motion"])
    return Evaluation(**found, parameters=summary["parameters"], seconds=summary["seconds"])


def log_evidence(run: Run, data: SequenceData, measure: Measure, file: Path, progress: Progress) -> Tensor:
    """(N,) of the sequences of ``measure``: the first stage of `evaluate` alone, kept for it and by it.

    Raises:
        UsageError: Where it cannot be written.
    """
    kept = _Kept(file, _key(run, data, measure))
    if "evidence" not in kept.state:
        kept.add("evidence", _Stages(run, data, measure, measure.chosen(data)).evidence(progress))
    found: Tensor = kept.state["evidence"]["log_evidence"]
    return found


@dataclass(frozen=True)
class _Stages:
    """The stages of a measurement; each returns some of the fields of `Evaluation`."""

    run: Run
    data: SequenceData
    measure: Measure
    sequences: Sequences

    @property
    def shares(self) -> dict[str, tuple[Stage, float]]:
        """The stages in order, by the names under which they are kept, and about which share of the time each takes."""
        return {
            "evidence": (self.evidence, 0.4),
            "forecast": (self.forecast, 0.2),
            "crps": (self.crps, 0.1),
            "use": (self.use, 0.1),
            "motion": (self.motion, 0.2),
            "annealed": (self.annealed, 0.0),
        }

    @property
    def column_sd(self) -> Tensor | None:
        """(P,) of series over the training split, the same for every candidate; None for images."""
        if len(self.data.frame_shape) != 1:
            return None
        unit = self.run.model.likelihood.bytes_per_unit if self.data.frames.dtype == torch.uint8 else 1
        return ColumnMoments.of(self.data.sequences("train")).sd / unit

    def evidence(self, progress: Progress) -> dict[str, Any]:
        refinement = Refinement(steps=self.measure.refine) if self.measure.refine else None
        options = (self.measure.draws, self.measure.scale, self.measure.defensive, refinement, self.measure.seed)
        found = estimate_evidence(self.run.sampler(progress), self.sequences, *options)
        return {
            "log_evidence": found.log_evidence,
            "error": found.standard_error,
            "effective_sample_size": found.effective_sample_size,
            "k_hat": found.k_hat,
            "bits": found.bits_per_dimension,
            "gap_closed": found.gap_closed,
        }

    def forecast(self, progress: Progress) -> dict[str, Any]:
        sampler, measure = self.run.sampler(progress), self.measure
        options, seed = (self.sequences, measure.given, measure.draws), measure.seed + 1
        try:
            found = paired_forecast(sampler, *options, measure.scale, seed)
        except NoStepsError:
            found = forecast_log_prob(sampler, *options, seed)
        return {
            "forecast": found.log_prob,
            "forecast_error": found.standard_error,
            "forecast_k_hat": found.k_hat,
            "foretold": found.scored,
        }

    def crps(self, progress: Progress) -> dict[str, Any]:
        seed = self.measure.seed + 2
        drawn = forecast_errors(
            self.run.sampler(progress), self.sequences, self.measure.given, FORECASTS, seed, self.column_sd
        )
        return {"crps": drawn.crps}

    def use(self, progress: Progress) -> dict[str, Any]:
        found = latent_usage(self.run.sampler(progress), self.sequences, self.measure.seed)
        return {
            "kl_f": found.kl_static,
            "kl_z": found.kl_dynamic,
            "distortion": -found.reconstruction,
            "active_f": (int(found.active_static.sum()), len(found.active_static)),
            "active_z": (int(found.active_dynamic.sum()), len(found.active_dynamic)),
            "estimators": dict(found.estimators),
        }

    def motion(self, progress: Progress) -> dict[str, Any]:
        model, guide, data, device = self.run.model, self.run.guide, self.data, self.run.device
        moving = any(label.role == "dynamic" for label in data.labels.values())
        judge = load_or_train_judge(data, model.likelihood.to_model_units, device=device) if moving else None
        judged = judge_motion(model, guide, data, self.measure.split, judge, self.measure.seed, device, progress)
        return {"motion": asdict(judged)}

    def annealed(self, progress: Progress) -> dict[str, Any]:
        if self.measure.annealed == 0:
            return {"annealed": None, "annealed_error": None}
        some = self.sequences.take(evenly_spaced(len(self.sequences), self.measure.annealed))
        found = annealed_evidence(self.run.sampler(progress), some, 8, 100, 3, "guide", self.measure.seed)
        return {"annealed": found.log_evidence, "annealed_error": found.standard_error}


def crps_unit(data: SequenceData) -> str:
    """The unit of the CRPS of these data, in words: columns of series have units of their own."""
    return IN_SD if len(data.frame_shape) == 1 else "in units of the frames"


def _key(run: Run, data: SequenceData, measure: Measure) -> str:
    """What decides the figures, in one line."""
    weights = hashlib.sha256((run.path / "best.pt").read_bytes()).hexdigest()
    # What was kept of series before has the CRPS in units of the frames.
    crps = {"crps": unit} if (unit := crps_unit(data)) == IN_SD else {}
    return json.dumps({"weights": weights, "data": data.fingerprint(), **crps, **asdict(measure)}, sort_keys=True)


class _Kept:
    """The stages that are done, in a file of tensors and plain values. One that is damaged, or of another key, is replaced."""

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key
        self.state: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(*DAMAGE):
            saved = torch.load(file, map_location="cpu", weights_only=True)
            if saved["schema"] == SCHEMA and saved["key"] == key:
                self.state = saved["stages"]

    def add(self, stage: str, values: dict[str, Any]) -> None:
        self.state[stage] = values
        buffer = io.BytesIO()
        torch.save({"schema": SCHEMA, "key": self.key, "stages": self.state}, buffer)
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file) as part:
                part.write_bytes(buffer.getbuffer())
