"""From what was measured of every fit to the table, the verdicts and the files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_dsvae.comparison.candidates import Fit
from pyro_dsvae.comparison.folder import Folder
from pyro_dsvae.comparison.measurement import Evaluation, Measure, crps_unit
from pyro_dsvae.comparison.report import Report, make_report, write_report
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.inference_data import UNRELIABLE, comparison_tree, save_tree
from pyro_dsvae.inference.model_comparison.comparison import Comparison, compare_evidence
from pyro_dsvae.loading import Run
from pyro_dsvae.models.standardisation import IN_SD
from pyro_dsvae.runs.evaluations import evaluations

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class ComparisonResult:
    """What `compare` returns; it prints, and shows in a notebook, as the table.

    Attributes:
        out: The folder with everything.
        comparison: Of the evidence: candidates, differences of all pairs, verdicts.
        forecast: The same of log p(last frames | first frames); None where fewer than two sequences have last frames.
        crps: The same of the negative CRPS of forecasts, in the unit that `crps_unit` says.
        report: The table row by row, verdicts in words, notes.
    """

    out: Path
    comparison: Comparison
    forecast: Comparison | None
    crps: Comparison | None
    report: Report

    def __str__(self) -> str:
        return self.report.text

    def _repr_html_(self) -> str:
        return self.report.html


Found = Mapping[str, Sequence[Evaluation]]


def concluded(
    folder: Folder,
    found: Found,
    fits: Sequence[Fit],
    shown: Mapping[str, Run],
    data: SequenceData,
    measure: Measure,
    confidence: float,
    notes: Sequence[str] = (),
) -> ComparisonResult:
    """Compare what was found, and write it, with ``notes`` before those on how it was measured."""
    unit = crps_unit(data)
    comparison, forecast, crps = _comparisons(found, confidence, unit)
    size, looks = len(data.rows(measure.split)), dict.fromkeys(found, 0)
    for one in fits:
        looks[one.candidate] = max(looks[one.candidate], len(evaluations(one.path)))
    report = make_report(comparison, forecast, crps, found, measure, size, data.length, unit, looks)
    report = replace(report, notes=(*notes, *report.notes))
    seeds = {name: [one.seed for one in fits if one.candidate == name] for name in found}
    about = {"split": measure.split, "draws": measure.draws, "given": measure.given, "data": data.fingerprint()}
    save_tree(_tree(found, seeds, measure.rows(data), about), folder.path / "comparison.nc")
    write_report(report, folder.path, folder.files.write_text)
    folder.files.write_summary(
        {
            "candidates": [asdict(row) for row in report.rows],
            "differences": [asdict(d) | {"verdict": d.verdict, "sentence": d.sentence} for d in comparison.differences],
            "forecast_verdicts": list(report.forecast_verdicts),
            "crps_verdicts": list(report.crps_verdicts),
            "leaders": list(comparison.leaders),
            "notes": list(report.notes),
            "measure": asdict(measure) | {"sequences": comparison.sequences},
            "confidence": confidence,
        }
    )
    _draw(comparison, found, shown, data, measure, folder.path / "figures")
    return ComparisonResult(folder.path, comparison, forecast, crps, report)


def _stacked(found: Found, values: Callable[[Evaluation], Tensor]) -> dict[str, Tensor]:
    """Candidate -> (S, N) values of its S fits."""
    return {name: torch.stack([values(one) for one in evaluations]) for name, evaluations in found.items()}


def _comparisons(
    found: Found, confidence: float, crps_unit: str
) -> tuple[Comparison, Comparison | None, Comparison | None]:
    """Of evidence, of log p of the last frames, and of their CRPS; the latter None below two sequences that have them."""
    k_hat = _stacked(found, lambda e: e.k_hat)
    loose = {name: float((values > UNRELIABLE).double().mean()) for name, values in k_hat.items()}
    log_evidence, error = _stacked(found, lambda e: e.log_evidence), _stacked(found, lambda e: e.error)
    comparison = compare_evidence(log_evidence, error, confidence, loose)
    first = next(iter(found.values()))[0]
    foretold, drawn = first.foretold, ~first.crps.isnan()
    forecast = crps = None
    if int(foretold.sum()) >= 2:
        log_prob = _stacked(found, lambda e: e.forecast[foretold])
        forecast = compare_evidence(log_prob, _stacked(found, lambda e: e.forecast_error[foretold]), confidence)
    if int(drawn.sum()) >= 2:
        # Draws scatter less than sequences by far, and are part of what scatters over them.
        closeness = _stacked(found, lambda e: -e.crps[drawn])
        exact = {name: torch.zeros_like(values) for name, values in closeness.items()}
        crps = compare_evidence(
            closeness, exact, confidence, unit="standard deviations in CRPS" if crps_unit == IN_SD else "in CRPS"
        )
    return comparison, forecast, crps


def _tree(
    found: Found, seeds: Mapping[str, Sequence[int]], rows: Tensor, about: Mapping[str, str | int]
) -> "xarray.DataTree":
    """All values per sequence, from which the table can be computed again."""
    foretold = next(iter(found.values()))[0].foretold
    return comparison_tree(
        _stacked(found, lambda e: e.log_evidence),
        _stacked(found, lambda e: e.error),
        _stacked(found, lambda e: e.effective_sample_size),
        _stacked(found, lambda e: e.k_hat),
        _stacked(found, lambda e: e.kl_f),
        _stacked(found, lambda e: e.kl_z),
        _stacked(found, lambda e: e.distortion),
        _stacked(found, lambda e: e.forecast.masked_fill(~foretold, math.nan)),
        _stacked(found, lambda e: e.crps),
        seeds,
        rows,
        about,
    )


def _draw(
    comparison: Comparison,
    found: Found,
    shown: Mapping[str, Run],
    data: SequenceData,
    measure: Measure,
    folder: Path,
) -> None:
    # matplotlib takes a second to import.
    from pyro_dsvae.comparison import figures
    from pyro_dsvae.figures.arviz import plot_comparison, plot_k_hats

    plot_comparison(comparison, folder / "comparison.png")
    plot_k_hats(_stacked(found, lambda e: e.k_hat), folder / "k_hat.png")
    points = {
        name: [(float((e.kl_f + e.kl_z).mean()), float(e.distortion.mean())) for e in evaluations]
        for name, evaluations in found.items()
    }
    figures.rate_distortion(points, folder / "rate_distortion.png")
    figures.drawn_motion(shown, data, measure.chosen(data), measure.seed, folder / "motion.png")
