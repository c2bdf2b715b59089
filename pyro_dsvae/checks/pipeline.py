"""The parts of the predictive checks of one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from pyro_dsvae.checks.findings import calibration_findings, check_findings, failure_findings, label_findings
from pyro_dsvae.checks.folding import folded
from pyro_dsvae.checks.label_discrepancies import LABEL_LEVELS, label_discrepancies
from pyro_dsvae.checks.result import Judged, PPCResult
from pyro_dsvae.checks.verdict import verdict
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.calibration.intervals import calibration
from pyro_dsvae.inference.calibration.sbc import simulation_based_calibration
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.latent_checks.checks import collapse_findings, latent_checks
from pyro_dsvae.inference.latent_checks.usage import latent_usage
from pyro_dsvae.inference.predictive_checks.checks import PredictiveChecks, checks_of
from pyro_dsvae.inference.predictive_checks.columns import MOST_COLUMNS, column_discrepancies
from pyro_dsvae.inference.predictive_checks.discrepancies import applicable
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy
from pyro_dsvae.inference.predictive_checks.draws import PredictiveDraws, predictive_draws
from pyro_dsvae.inference.predictive_checks.palette import palette_distance
from pyro_dsvae.inference.predictive_checks.replications import LEVELS
from pyro_dsvae.inference.predictive_checks.values import discrepancy_values
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.loading import Run
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.standardisation import pooled_unit
from pyro_dsvae.progress import Bar

ALPHA = 0.05
# The smallest adjusted p-value that rounds allow is this share of alpha.
RESOLUTION = 0.2
FEWEST_ROUNDS = 10_000
# Of decoder means, which vary less than draws with noise, fewer replications say as much.
DRAWS_WITHOUT_NOISE = 2
# Bytes of frames in predictive.nc: draws with noise from posterior and prior, and the posterior's decoder means.
FRAME_BYTES, FRAME_VARIABLES, MOST_FRAMES_OF = 45_000_000, 3, 8

T = TypeVar("T")


class Checking:
    """The parts of the checks of one run, one after the other, each with its share of the bar.

    Attributes:
        left_out: Parts that this run cannot have, and why.
    """

    def __init__(
        self, run: Run, data: SequenceData, chosen: Sequences, device: torch.device, seed: int, bar: Bar
    ) -> None:
        self.run, self.data, self.chosen, self.device, self.seed, self.bar = run, data, chosen, device, seed, bar
        self.left_out: list[str] = []

    def result(self, path: Path, options: Mapping[str, Any], own: Sequence[Discrepancy]) -> PPCResult:
        run, chosen, seed, bar = self.run, self.chosen, self.seed, self.bar
        draws, simulations, weights = (options[n] for n in ("draws", "simulations", "evidence_draws"))
        held_out = options["split"] != "train"
        frames, labels = self._discrepancies(own), self._labels()
        fewer = max(2, draws // DRAWS_WITHOUT_NOISE)
        noisy = self._checks(frames, labels, draws, held_out, True, bar.part(0.1, 0.35, "replications"))
        means = self._checks(frames, labels, fewer, held_out, False, bar.part(0.35, 0.45, "replications without noise"))
        calibrated = self._tried(
            "calibration",
            lambda: calibration(
                run.sampler(bar.part(0.45, 0.6, "calibration")), chosen, at_most=len(chosen), seed=seed
            ),
        )
        simulated = None
        if simulations:
            simulated = self._tried(
                "simulation-based calibration",
                lambda: simulation_based_calibration(
                    run.sampler(bar.part(0.6, 0.75, "simulation-based calibration")),
                    chosen,
                    simulations=simulations,
                    seed=seed,
                ),
            )
        told = bar.part(0.75, 0.78, "latents")
        latents = self._tried("latents", lambda: latent_checks(run.sampler(told), chosen, seed=seed))
        told = bar.part(0.78, 0.82, "latent usage")
        use = self._tried("latent usage", lambda: latent_usage(run.sampler(told), chosen, seed))
        evidence = None
        if weights:
            evidence = self._tried(
                "evidence",
                lambda: estimate_evidence(run.sampler(bar.part(0.82, 0.95, "evidence")), chosen, weights, seed=seed),
            )
        findings = [
            *check_findings(noisy.frames, means.frames),
            *(label_findings(noisy.labels, means.labels) if noisy.labels is not None else ()),
            *failure_findings(noisy.frames, means.frames, noisy.labels, means.labels),
            *(calibration_findings(calibrated) if calibrated is not None else ()),
            *(simulated.findings if simulated is not None else ()),
            *(collapse_findings(use) if use is not None else ()),
            *(latents.findings if latents is not None else ()),
        ]
        result = PPCResult(
            path=path,
            run=self.run.path,
            options=options,
            held_out=held_out,
            checks=noisy,
            means=means,
            calibration=calibrated,
            simulated=simulated,
            latents=latents,
            use=use,
            evidence=evidence,
            findings=folded(findings, noisy, means),
            left_out=tuple(self.left_out),
        )
        return replace(result, verdict=verdict(result), pooled_unit=pooled_unit(run.model.standardisation))

    def draws(self, count: int) -> PredictiveDraws:
        """What predictive.nc holds: frames of as many sequences as its size allows."""
        size = 4 * count * FRAME_VARIABLES * self.chosen.frames[0].numel()
        few = max(1, min(MOST_FRAMES_OF, len(self.chosen), FRAME_BYTES // size))
        told = self.bar.part(0.95, 1.0, "draws for predictive.nc")
        return predictive_draws(self.run.sampler(told), self.chosen, count, few, self.seed)

    def _discrepancies(self, own: Sequence[Discrepancy]) -> list[Discrepancy]:
        """Those that apply, of images the distance from the palette of the training data, of series those of each column, and
        the user's own.
        """
        shape = self.run.frame_shape
        found = applicable(shape)
        if len(shape) == 3 and shape[0] <= 3:
            palette = self._tried(
                "distance from the palette", lambda: palette_distance(self.run.model, self.data.sequences("train"))
            )
            found += [] if palette is None else [palette]
        if len(shape) == 1:
            found += self._of_columns()
            if shape[0] > MOST_COLUMNS:
                self.left_out.append(
                    f"single columns: {shape[0]} are more than the {MOST_COLUMNS} that are checked one by one"
                )
        return found + [d for d in own if d.applies(shape)]

    def _of_columns(self) -> list[Discrepancy]:
        """Of each column of series; none of images."""
        shape = self.run.frame_shape
        if len(shape) == 3:
            return []
        return column_discrepancies(self.data.column_names or [f"column {n}" for n in range(shape[0])])

    def _labels(self) -> list[Discrepancy]:
        if not self.data.labels:
            return []
        to_model_units = self.run.model.likelihood.to_model_units
        judge = self._tried(
            "labels",
            lambda: load_or_train_judge(
                self.data,
                to_model_units,
                seed=self.seed,
                device=self.device,
                progress=self.bar.part(0.0, 0.1, "judge of labels: trained once for these data, then kept"),
            ),
        )
        classes = {name: label.classes for name, label in self.data.labels.items()}
        return [] if judge is None else label_discrepancies(judge, classes)

    def _checks(
        self,
        frames: Sequence[Discrepancy],
        labels: Sequence[Discrepancy],
        draws: int,
        held_out: bool,
        noise: bool,
        progress: Callable[[float], None],
    ) -> Judged:
        """Both families of checks from one set of replications; each is adjusted for its own number."""
        values, failures = discrepancy_values(
            self.run.sampler(progress),
            self.chosen,
            [*frames, *labels],
            LEVELS,
            draws,
            self.seed,
            noise,
        )
        families = []
        # What is wrong in one column is told of generated sequences; which part makes it, the others tell.
        single = {d.name for d in self._of_columns()}
        for some, levels in ((frames, LEVELS), (labels, LABEL_LEVELS)):
            names = {d.name for d in some}
            own = {
                level: {
                    n: v for n, v in values[level].items() if n in (names if level == "population" else names - single)
                }
                for level in levels
            }
            count = 2 * sum(len(named) for named in own.values())
            rounds = max(FEWEST_ROUNDS, round(2 * count / (RESOLUTION * ALPHA)))
            checks = checks_of(own, rounds, ALPHA, held_out, self.seed) if count else []
            # The spread of what is 0 or 1, and of a confidence near 1, says what its mean says.
            kept = tuple(c for c in checks if some is not labels or c.statistic == "mean")
            failed = tuple(f for f in failures if f.name in names)
            families.append(
                PredictiveChecks(
                    checks=kept,
                    failures=failed,
                    sequences=len(self.chosen),
                    draws=draws,
                    rounds=rounds,
                    alpha=ALPHA,
                    held_out=held_out,
                    seed=self.seed,
                    noise=noise,
                )
            )
        return Judged(families[0], families[1] if labels else None)

    def _tried(self, what: str, work: Callable[[], T]) -> T | None:
        """The result, or None where this run cannot have it, which is said."""
        try:
            return work()
        except UsageError as error:
            self.left_out.append(f"{what}: {error}")
            return None
