"""The result of an evaluation, as a page and as JSON."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.judges.caveats import caveats
from pyro_dsvae.judges.quantity_errors import QuantityErrors
from pyro_dsvae.metrics import tables
from pyro_dsvae.metrics.factors import parts_of, with_parts
from pyro_dsvae.metrics.generation import Entropies
from pyro_dsvae.metrics.labelled import Judged, Scores
from pyro_dsvae.metrics.pixel_swaps import PixelSwaps
from pyro_dsvae.metrics.probes import Probe
from pyro_dsvae.metrics.series import SeriesScores
from pyro_dsvae.metrics.speech import SpeechScores
from pyro_dsvae.metrics.tables import Table
from pyro_dsvae.metrics.unlabelled import EvidenceSummary, Terms
from pyro_dsvae.runs.json_values import json_values

MARKS = (
    "The judge was trained by this project. Published figures were given by other judges, so these do not compare with them.",
    "A dynamic label belongs to z by convention, even where it includes what never changes within a clip, such as the "
    "direction a figure looks in. Where its classes are pairs of words, its two parts have rows of their own.",
)
# What codes are called, and what that means.
RAW = "raw codes", "Raw codes: every figure is of the guide itself, q(f, z | x)."
ANCHORED = (
    "anchored codes",
    "Anchored codes: each latent was inferred from the model's own decoding of it, beside the other latent of one anchor clip. "
    "Figures of the guide itself are those of an evaluation without --anchored true.",
)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What `pyro_dsvae.evaluate.evaluate` measured, and where it is.

    Attributes:
        path: The folder with evaluation.json, evaluation.md and the figures.
        run: The run directory.
        sequences: How many were evaluated.
        options: Split, judge, judge_epochs, draws, evidence, evidence_draws, seed, anchored.
        terms: Bound and reconstruction.
        evidence: None where not asked for.
        accuracy: Label -> the judge's share of right answers on the true clips; empty without labels.
        certainty: Label -> IS, H(y|x) and H(y) of the same answers: what generated clips can at best be expected to
            have.
        judged: Generation and swaps, None without labels.
        probes: "means" and "draws" of the posterior -> "f" and "z" -> label -> probe; empty without labels.
        quantities: Quantity -> distances in swaps; empty where the data have none.
        scores: DCI, MIG and SAP, None without labels or without scikit-learn.
        notes: What could not be had, and why.
        pixel_swaps: What swaps do to pixels; of images without labels.
        series: Static label of series -> who tells it, and equal error rates; empty for images and for speech.
        speech: Of whole recordings; None for other data, and for recordings without a label of speakers.
    """

    path: Path
    run: Path
    sequences: int
    options: dict[str, Any]
    terms: Terms
    evidence: EvidenceSummary | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    certainty: dict[str, Entropies] = field(default_factory=dict)
    judged: Judged | None = None
    probes: dict[str, dict[str, dict[str, Probe]]] = field(default_factory=dict)
    scores: Scores | None = None
    notes: tuple[str, ...] = ()
    quantities: dict[str, QuantityErrors] = field(default_factory=dict)
    series: dict[str, SeriesScores] = field(default_factory=dict)
    pixel_swaps: PixelSwaps | None = None
    speech: SpeechScores | None = None

    def json(self) -> str:
        """All of it; null for what is not finite."""
        return json.dumps(json_values(self), indent=2) + "\n"

    def tables(self, data: SequenceData) -> list[Table]:
        """All tables, the judge's own accuracy first where there is one; ``data`` are the evaluated sequences.

        The titles of all others say under which guide they are.
        """
        codes = self._codes[0]
        found = [table._replace(title=f"{table.title} ({codes})") for table in self._tables(data)]
        if not self.accuracy:
            return found
        judge, split = self.options["judge"], self.options["split"]
        return [tables.judge_table(judge, self.accuracy, self.certainty, split, self.sequences), *found]

    @property
    def _codes(self) -> tuple[str, str]:
        return ANCHORED if self.options["anchored"] else RAW

    def _tables(self, data: SequenceData) -> list[Table]:
        """Those that depend on the guide."""
        found = [tables.terms_table(self.terms, self.evidence, self.options["split"])]
        labels = with_parts(data, parts_of(data.labels)).labels
        if self.judged is not None:
            draws = self.options["draws"]
            found += tables.generation_tables("motion", self.judged.fixed_motion, draws)
            found += tables.generation_tables("content", self.judged.fixed_content, draws)
            anew = [h for heads in (self.judged.fixed_motion, self.judged.fixed_content) for h in heads.items()]
            found.append(tables.distribution_table(anew, labels))
            if self.judged.swaps is not None:
                found.append(tables.swap_table(self.judged.swaps, labels, caveats(self.sequences, self.accuracy)))
        if self.pixel_swaps is not None:
            found.append(tables.pixel_table(self.pixel_swaps))
        if self.quantities:
            found.append(tables.quantity_table(self.quantities))
        found += [tables.probe_table(probes, labels, source) for source, probes in self.probes.items()]
        if self.series:
            found.append(tables.series_table(self.series, self.options["split"], self.sequences))
        if self.speech is not None:
            found.append(tables.speech_table(self.speech))
        if self.scores is not None:
            found.append(tables.score_table(self.scores))
        return found

    def remarks(self) -> list[str]:
        """What has to be said beside the tables."""
        return [self._codes[1], *self.notes, *(MARKS if self.accuracy else ())]

    def page(self, data: SequenceData) -> str:
        """evaluation.md."""
        options = [word for name, value in self.options.items() for word in (f"--{name}", str(value))]
        head = [
            f"# Evaluation of {self.run.name}",
            "",
            f"    python -m pyro_dsvae.evaluate {shlex.join([str(self.run), *options])}",
            "",
            *(f"- {remark}" for remark in self.remarks()),
            "",
        ]
        pictures = [f"![{what}]({name}.png)\n" for name, what in self._figures()]
        return "\n".join([*head, *(table.markdown() for table in self.tables(data)), *pictures])

    def _figures(self) -> list[tuple[str, str]]:
        found = []
        if self.judged is not None and self.judged.swaps is not None:
            found.append(("swaps", "Random swaps, none left out"))
        if self.judged is not None:
            found.append(("confusion", "Confusion matrices of the judge"))
        if self.probes:
            found.append(("probes", "Probes of each latent"))
        return found
