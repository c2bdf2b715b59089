"""What predictive checks of a run found, as numbers."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_dsvae.inference.calibration.intervals import Calibrations
from pyro_dsvae.inference.calibration.sbc import SimulationBasedCalibration
from pyro_dsvae.inference.evidence import Evidence
from pyro_dsvae.inference.finding import Finding
from pyro_dsvae.inference.latent_checks.checks import LatentChecks
from pyro_dsvae.inference.latent_checks.usage import LatentUse
from pyro_dsvae.inference.predictive_checks.checks import PredictiveChecks
from pyro_dsvae.runs.versions import installed

LIBRARIES = ("pyro-dsvae", "torch", "pyro-ppl", "arviz-base", "arviz-stats", "arviz-plots", "xarray")
# What a reader of the numbers cannot use, or finds in predictive.nc.
LEFT_OUT = ("values", "extremes")


@dataclass(frozen=True)
class Judged:
    """Checks of one set of replications.

    frames  by the discrepancies of frames and latents
    labels  by what the judge sees; None where the data have no labels
    """

    frames: PredictiveChecks
    labels: PredictiveChecks | None


@dataclass(frozen=True)
class PPCResult:
    """What `pyro_dsvae.ppc.ppc` found. What is None was left out, ``left_out`` says why.

    path, run      the report's folder, and the run's
    options        what was asked for: split, sequences, draws, discrepancies, simulations, evidence_draws, seed
    held_out       whether the model was not fitted to these sequences
    checks         replications as the model makes them, with observation noise
    means          decoder means in their place
    calibration    of predictive intervals
    simulated      simulation-based calibration of the guide
    latents        of real sequences against their priors
    use            how much the latents carry
    evidence       log p(x) of every sequence
    findings       in plain words, the gravest first
    left_out       parts that this run cannot have
    seconds        that all of it took
    """

    path: Path
    run: Path
    options: Mapping[str, Any]
    held_out: bool
    checks: Judged
    means: Judged
    calibration: Calibrations | None
    simulated: SimulationBasedCalibration | None
    latents: LatentChecks | None
    use: LatentUse | None
    evidence: Evidence | None
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    seconds: float = math.nan

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of Python and the libraries."""
        return {name: installed(name) for name in LIBRARIES} | {"python": platform.python_version()}

    def json(self) -> str:
        """Every number; null for what is not finite."""
        return json.dumps({**plain(self), "versions": self.versions}, indent=1) + "\n"


def plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and strings in place of data classes and tensors; None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in LEFT_OUT}
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): plain(v) for name, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
        case Path():
            return str(value)
    return value
