"""From what was measured of every fit to the table, the verdicts and the files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pyro_dsvae.comparison.candidates import Fit
from pyro_dsvae.comparison.folder import Folder
from pyro_dsvae.comparison.measurement import Evaluation, Measure
from pyro_dsvae.comparison.report import Report, make_report, write_report
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.inference_data import UNRELIABLE, comparison_tree, save_tree
from pyro_dsvae.inference.model_comparison.comparison import Comparison, compare_evidence
from pyro_dsvae.loading import Run


@dataclass(frozen=True)
class ComparisonResult:
    """What `compare` returns; it prints, and shows in a notebook, as the table.

    Attributes:
        out: The folder with everything.
        comparison: Of the evidence: candidates, differences of all pairs, verdicts.
        forecast: The same of log p(last frames | first frames); None where fewer than two sequences have last frames.
        crps: The same of the negative CRPS of forecasts, in units of the frames.
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


def concluded(
    folder: Folder,
    found: Mapping[str, Sequence[Evaluation]],
    fits: Sequence[Fit],
    shown: Mapping[str, Run],
    data: SequenceData,
    measure: Measure,
    confidence: float,
) -> ComparisonResult:
    """Compare what was found, and write it."""
    # matplotlib takes a second to import.
    from pyro_dsvae.comparison import figures as comparison_figures
    from pyro_dsvae.figures.arviz import plot_comparison, plot_k_hats

    def stacked(values: Callable[[Evaluation], Tensor]) -> dict[str, Tensor]:
        return {name: torch.stack([values(one) for one in evaluations]) for name, evaluations in found.items()}

    log_evidence, error = stacked(lambda e: e.log_evidence), stacked(lambda e: e.error)
    k_hat = stacked(lambda e: e.k_hat)
    loose = {name: float((values > UNRELIABLE).double().mean()) for name, values in k_hat.items()}
    comparison = compare_evidence(log_evidence, error, confidence, loose)
    foretold = next(iter(found.values()))[0].foretold
    forecasts = stacked(lambda e: e.forecast[foretold])
    forecast = crps = None
    if int(foretold.sum()) >= 2:
        forecast = compare_evidence(forecasts, stacked(lambda e: e.forecast_error[foretold]), confidence)
    drawn = ~next(iter(found.values()))[0].crps.isnan()
    if int(drawn.sum()) >= 2:
        # Draws scatter less than sequences by far, and are part of what scatters over them.
        closeness = stacked(lambda e: -e.crps[drawn])
        exact = {name: torch.zeros_like(values) for name, values in closeness.items()}
        crps = compare_evidence(closeness, exact, confidence, unit="in CRPS")
    size = len(data.rows(measure.split))
    report = make_report(comparison, forecast, crps, found, measure, size, data.length)
    out = folder.path
    tree = comparison_tree(
        log_evidence,
        error,
        stacked(lambda e: e.effective_sample_size),
        k_hat,
        stacked(lambda e: e.kl_f),
        stacked(lambda e: e.kl_z),
        stacked(lambda e: e.distortion),
        stacked(lambda e: e.forecast.masked_fill(~foretold, math.nan)),
        stacked(lambda e: e.crps),
        {name: [one.seed for one in fits if one.candidate == name] for name in found},
        measure.rows(data),
        {"split": measure.split, "draws": measure.draws, "given": measure.given, "data": data.fingerprint()},
    )
    save_tree(tree, out / "comparison.nc")
    write_report(report, out, folder.files.write_text)
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
    figures = out / "figures"
    plot_comparison(comparison, figures / "comparison.png")
    plot_k_hats(k_hat, figures / "k_hat.png")
    points = {
        name: [(float((e.kl_f + e.kl_z).mean()), float(e.distortion.mean())) for e in evaluations]
        for name, evaluations in found.items()
    }
    comparison_figures.rate_distortion(points, figures / "rate_distortion.png")
    comparison_figures.drawn_motion(shown, data, measure.chosen(data), measure.seed, figures / "motion.png")
    return ComparisonResult(out, comparison, forecast, crps, report)
