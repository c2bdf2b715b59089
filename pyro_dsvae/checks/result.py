"""What predictive checks of a run found, as numbers."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyro_dsvae.inference.calibration.intervals import Calibrations
from pyro_dsvae.inference.calibration.sbc import SimulationBasedCalibration
from pyro_dsvae.inference.evidence import Evidence
from pyro_dsvae.inference.finding import Finding, Severity
from pyro_dsvae.inference.latent_checks.checks import LatentChecks
from pyro_dsvae.inference.latent_checks.usage import LatentUsage
from pyro_dsvae.inference.predictive_checks.checks import PredictiveChecks
from pyro_dsvae.runs.json_values import json_values
from pyro_dsvae.runs.versions import installed

LIBRARIES = ("pyro-dsvae", "torch", "pyro-ppl", "arviz-base", "arviz-stats", "arviz-plots", "xarray")
# What a reader of the numbers cannot use, or finds in predictive.nc.
LEFT_OUT = ("values", "extremes")


@dataclass(frozen=True)
class Judged:
    """Checks of one set of replications.

    Attributes:
        frames: By the discrepancies of frames and latents.
        labels: By what the judge sees; None where the data have no labels.
    """

    frames: PredictiveChecks
    labels: PredictiveChecks | None


@dataclass(frozen=True)
class Verdict:
    """One line of the verdict that a report begins with.

    Attributes:
        about: What it is about.
        severity: Of the most severe finding behind it.
        sentence: What is so.
    """

    about: str
    severity: Severity
    sentence: str


@dataclass(frozen=True, kw_only=True)
class PPCResult:
    """The result of `pyro_dsvae.ppc.ppc`. A part that was left out is None, and ``left_out`` gives the reason.

    Attributes:
        path: The report's folder.
        run: The run's folder.
        options: The options: split, sequences, draws, discrepancies, simulations, evidence_draws, seed.
        held_out: Whether the model was not fitted to these sequences.
        checks: Of replications as the model makes them, with observation noise.
        means: Of decoder means in their place.
        calibration: Of predictive intervals.
        simulated: Simulation-based calibration of the guide.
        latents: Latents of real sequences against their priors.
        use: How much information the latents carry.
        evidence: log p(x) of every sequence, nats.
        findings: In plain words, the most severe first; some are explained by others, and some are small.
        verdict: Two lines that say the most of it (`pyro_dsvae.checks.verdict.verdict`).
        left_out: Parts that this run cannot have.
        seconds: Time of the whole.
        pooled_unit: Unit of discrepancies that pool the columns of series; empty where that is the data's.
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
    use: LatentUsage | None
    evidence: Evidence | None
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    verdict: tuple[Verdict, ...] = ()
    seconds: float = math.nan
    pooled_unit: str = ""

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of Python and the libraries."""
        return {name: installed(name) for name in LIBRARIES} | {"python": platform.python_version()}

    def json(self) -> str:
        """Every number; null for what is not finite."""
        return json.dumps({**json_values(self, LEFT_OUT), "versions": self.versions}, indent=1) + "\n"
