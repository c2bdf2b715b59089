"""The report of predictive checks: one HTML file that needs nothing else, and a summary for the terminal."""

import math
from pathlib import Path

from pyro_dsvae.checks.figures import NAMES, worst_checks
from pyro_dsvae.checks.findings_html import findings_section, verdict_section
from pyro_dsvae.checks.html import document, folded, number, picture, sentence, table, text
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.inference.calibration.intervals import Calibration
from pyro_dsvae.inference.calibration.ranks import RankTest
from pyro_dsvae.inference.finding import p_equals, p_value
from pyro_dsvae.inference.predictive_checks.checks import Check, PredictiveChecks, by_key

TOP = 12


def page(result: PPCResult, figures: Path) -> str:
    """The whole file; ``figures`` is the folder that `pyro_dsvae.checks.figures.draw` filled."""
    sections = [
        verdict_section(result),
        findings_section(result.findings),
        _clips(figures),
        _discrepancies(result, figures),
        _labels(result, figures),
        _calibration(result, figures),
        _simulated(result, figures),
        _latents(result, figures),
        _failures(result),
        _checked(result),
        _reading(),
    ]
    title = f"Predictive checks of {result.run.name}"
    return document(title, [section for section in sections if section])


def _checked(result: PPCResult) -> str:
    options, checks = result.options, result.checks.frames
    rows = {
        "run": str(result.run),
        "sequences": f"{options['sequences']} of the {options['split']} split, a random choice",
        "guide": "the guide itself (raw codes), not anchored inference",
        "replications": f"{options['draws']} of every sequence at every level; {result.means.frames.draws} decoder means",
        "tests": f"{len(checks.checks)} checks by {checks.rounds:,} random exchanges, adjusted after Holm, "
        f"alpha {checks.alpha:g}",
        "seed": str(options["seed"]),
        "versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        "time": f"{result.seconds:.0f} s",
    }
    if options["discrepancies"]:
        rows["your discrepancies"] = ", ".join(options["discrepancies"])
    if result.evidence is not None:
        e = result.evidence
        error = float(e.log_evidence.std()) / math.sqrt(len(e.log_evidence))
        rows["log p(x)"] = (
            f"{float(e.log_evidence.mean()):,.1f} ± {error:,.1f} nats per sequence by {e.draws} importance weights; k-hat "
            f"above .7 for {e.unreliable_share:.0%} of the sequences, for which it is a lower bound"
        )
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows.items())
    return f"<section><h2>What was checked</h2><dl>{items}</dl></section>"


def _clips(figures: Path) -> str:
    shown = picture(
        figures / "clips.png",
        "Clips and their replications at every level",
        "Clips of the data, and one replication of each: decoder means, and where it says so a draw with observation noise.",
        film=True,
    )
    return f"<section><h2>What is compared</h2>{shown}{LEVELS_IN_WORDS}</section>" if shown else ""


LEVELS_IN_WORDS = (
    "<dl><dt>new frames</dt><dd>f and z inferred from the clip, frames drawn anew: the decoder and its noise</dd>"
    "<dt>new motion</dt><dd>f of the clip, z from its prior: the dynamic prior, too</dd>"
    "<dt>new appearances</dt><dd>z of the clip, f from its prior: the static prior, too</dd>"
    "<dt>generated</dt><dd>f and z from their priors: all of the model</dd></dl>"
    "<p>The first three use each clip twice, to make its replications and to judge them: their p-values are conservative, too "
    "large rather than too small, and marked &sup2; below. Those of generated clips are exact for held-out data.</p>"
    "<p><strong>With and without observation noise.</strong> A draw with noise is what the model literally says a frame looks "
    "like. The decoder mean E[x | f, z] is the picture that one usually looks at. Where data have noise like the likelihood's, "
    "draws must agree and means must not; where data are clean, as drawn art is, a likelihood with noise is wrong by that "
    "noise, and means tell whether the rest is right.</p>"
)


def _discrepancies(result: PPCResult, figures: Path) -> str:
    checks, means = result.checks.frames, result.means.frames
    worst = worst_checks(checks)
    pictures = "".join(
        picture(
            figures / f"discrepancy-{i}.png",
            f"Distribution over clips of {c.name}, {NAMES[c.level]}",
            sentence(c.sentence),
        )
        for i, c in enumerate(worst, 1)
    )
    statistics = picture(
        figures / "statistics.png",
        "Means over clips of replicated sets and of the data",
        "Mean over clips: the data (orange, on the axis) and every replicated set (blue).",
        wide=True,
    )
    overview = picture(
        figures / "effects.png",
        "Differences of all discrepancies at all levels",
        "Filled: with observation noise. Hollow: decoder means.",
        wide=True,
    )
    units = f", values {result.pooled_unit}" if result.pooled_unit else ""
    listed = _check_table(f"Discrepancies{units}", checks, means)
    return (
        f'<section><h2>Discrepancies</h2>{overview}{listed}<h3>The worst</h3><div class="grid">{pictures}</div>{statistics}'
        "</section>"
    )


def _check_table(title: str, checks: PredictiveChecks, means: PredictiveChecks | None) -> str:
    beside = by_key(means)
    least = 2 / (checks.rounds + 1)
    rows = [_check_row(c, beside.get(c.key), least) for c in checks.checks]
    found = [c.finding for c in checks.checks]
    head = ("discrepancy", "replications", "of", "data", "model", "without noise", "%", "in sd", "p", "adjusted p")
    words = (1, 2)
    caption = (
        f"{title}: {sum(found)} of {len(found)} checks differ. In sd: the difference in standard deviations over clips."
    )
    first = table(caption, head, rows[:TOP], words, found[:TOP])
    if len(rows) <= TOP:
        return first
    rest = table(f"The other {len(rows) - TOP}", head, rows[TOP:], words, found[TOP:])
    return f"{first}{folded(f'All {len(rows)} checks', rest)}"


def _check_row(c: Check, mean: Check | None, least: float) -> tuple[str, ...]:
    error = f" ± {p_value(c.p_error)}" if c.p > least and c.p_error >= 0.001 else ""
    return (
        c.name,
        NAMES[c.level] + ("²" if c.uses_data_twice else ""),
        c.statistic,
        number(c.observed),
        number(c.replicated),
        "–" if mean is None else number(mean.replicated),
        "–" if c.percent is None else f"{c.percent:+,.0f}",
        "∞" if math.isinf(c.severity) else f"{c.severity:.2f}",
        p_value(c.p, least) + error,
        adjusted(c, least),
    )


def adjusted(check: Check, least: float) -> str:
    """The adjusted p-value, an upper bound where p is the smallest that the test can give."""
    return p_value(check.adjusted_p, check.adjusted_p if check.p <= least else 0.0)


def _labels(result: PPCResult, figures: Path) -> str:
    if result.checks.labels is None:
        return ""
    shown = picture(figures / "labels.png", "Label frequencies under the judge", "What the judge sees.", wide=True)
    listed = _check_table("Labels", result.checks.labels, result.means.labels)
    return (
        "<section><h2>What a judge sees</h2><p>A small classifier, trained on true training clips, is asked what held-out and "
        "replicated clips show: how often each class, and how sure it is. True clips are judged by it, too, so its own "
        "errors count on both sides. It is adjusted for as a family of its own.</p>"
        f"{shown}{listed}</section>"
    )


def _calibration(result: PPCResult, figures: Path) -> str:
    found = result.calibration
    if found is None:
        return ""
    rows = [_coverage_row("frames given their latents", found.given_latents)]
    rows += [_coverage_row(f"forecast, {c.horizon} ahead", c) for c in found.forecasts]
    levels = [f"{100 * level:.0f} % intervals hold" for level in found.given_latents.values.levels]
    listed = table(
        f"Share of held values, in %, ± standard error over {found.sequences} sequences; forecasts start from "
        f"{found.context} frames",
        ("prediction", *levels, "of frame means", "mean PIT", "p uniform"),
        rows,
    )
    pictures = "".join(
        picture(figures / f"{name}-{i}.png", f"PIT {what} {i}", "")
        for i in range(3)
        for name, what in (("pit", "ECDF"), ("pit-histogram", "histogram"))
    )
    return (
        "<section><h2>Do intervals hold what they promise?</h2><p>PIT is the share of the prediction that lies below the true "
        "value. If predictions are calibrated it is uniform: the line stays in the grey band, the bars are level. A bulge "
        "in the middle of the bars means intervals that are too wide, high ends mean too narrow ones.</p>"
        f'{listed}<div class="grid">{pictures}</div></section>'
    )


def _coverage_row(name: str, c: Calibration) -> tuple[str, ...]:
    values = zip(c.values.coverage.tolist(), c.values.coverage_error.tolist(), strict=True)
    means = " / ".join(f"{100 * share:.0f}" for share in c.frame_means.coverage.tolist())
    return (
        name,
        *(f"{100 * share:.1f} ± {100 * error:.1f}" for share, error in values),
        means,
        f"{c.values.mean:.2f}",
        p_value(c.values.p_value),
    )


def _simulated(result: PPCResult, figures: Path) -> str:
    found = result.simulated
    if found is None:
        return ""
    pictures = "".join(
        picture(figures / f"sbc-{name}.png", f"Ranks of {what}", "")
        for name, what in (("f", "f"), ("z", "z"), ("joint", "the log joint density"))
    )
    rows = [
        (name, str(len(test.width)), *_ranks_row(test))
        for name, test in (("f", found.static), ("z", found.dynamic))
        if len(test.width)
    ]
    listed = table(
        "Of how many dimensions", ("latent", "dimensions", "biased", "too narrow", "too wide", "median width"), rows
    )
    return (
        "<section><h2>Does the guide find what the model drew?</h2><p>Simulation-based calibration: the model draws f, z and "
        f"frames {len(found.dynamic.ranks)} times; the guide infers f and z from the frames. If it is the posterior, the "
        "rank of a true value among the guide's draws is uniform, and its line stays in the grey band. A line that lies "
        "above the band, or below it, means bias; one that falls from above to below a guide that is too narrow, one that "
        "rises a guide that is too wide. This says how good the guide is, not the model.</p>"
        f'{listed}<div class="grid">{pictures}</div></section>'
    )


def _ranks_row(test: RankTest) -> tuple[str, ...]:
    counts = (int(test.biased.sum()), int(test.narrow.sum()), int(test.wide.sum()))
    return (*map(str, counts), f"{float(test.width.median()):.2f}")


def _latents(result: PPCResult, figures: Path) -> str:
    pictures = [
        picture(figures / f"aggregated-{name}.png", f"{what} of real sequences and of the prior", "")
        for name, what in (("f", "f"), ("z-steps", "steps of z"), ("z-paths", "paths of z"))
    ]
    pictures += [
        picture(figures / f"kl-{name}.png", f"Information in each dimension of {name}", "") for name in ("f", "z")
    ]
    rows = []
    if result.latents is not None:
        for a in (result.latents.static, result.latents.steps, result.latents.paths):
            if a is not None:
                spread = f"{float(a.spread.median()):.2f}" if len(a.spread) else "–"
                rows.append((a.what, f"{a.mmd_squared:.4f}", p_value(a.p_value), spread))
    listed = table(
        "Real sequences against the prior; sd: over the prior's, median dimension", ("latent", "MMD²", "p", "sd"), rows
    )
    facts = []
    if result.use is not None:
        u = result.use
        for name, kl, active in (("f", u.kl_static, u.active_static), ("z", u.kl_dynamic, u.active_dynamic)):
            facts.append((f"KL of {name}", f"{float(kl.mean()):,.2f} nats per sequence"))
            facts.append((f"active units of {name}", f"{int(active.sum())} of {len(active)}"))
    if result.latents is not None and result.latents.dependence is not None:
        d = result.latents.dependence
        facts.append(("f predicts mean z", f"R² {d.r_squared:.2f} (prior {d.under_prior:.2f}), {p_equals(d.p_value)}"))
    terms = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    if not any(pictures):
        return ""
    return (
        "<section><h2>Latents</h2><p>Draws for real sequences, all together, must look like draws from the prior: what is "
        "generated comes from there. Bars say how much each dimension alone tells about its sequence.</p>"
        f'<dl>{terms}</dl>{listed if rows else ""}<div class="grid">{"".join(pictures)}</div></section>'
    )


def _failures(result: PPCResult) -> str:
    reasons = [f.sentence for f in result.findings if f.subject.startswith("failed: ")]
    reasons += list(result.left_out)
    if not reasons:
        return ""
    items = "".join(f"<li>{text(sentence(reason))}</li>" for reason in reasons)
    return f"<section><h2>What was left out</h2><ul>{items}</ul></section>"


def _reading() -> str:
    return (
        "<section><h2>How to read this</h2><ul>"
        "<li>p is the share of random exchanges between clips and replications that differ as much; ± is its Monte Carlo "
        "error. &lt; marks the smallest p that so many exchanges can give. With many checks some p are small by chance, so the "
        "adjusted p (Holm) decides what is called a difference.</li>"
        "<li>A small p says that a difference is there, not that it matters. With enough clips every model is wrong: look at "
        "the column in standard deviations, and at the pictures.</li>"
        "<li>² marks replications made from the clip itself, or from data the model was fitted to: conservative.</li>"
        "<li>p of several discrepancies depend on each other: one fault often shows in many of them.</li>"
        "<li>Nothing here is a reason to trust a model in respects that no discrepancy looks at. Add your own: "
        "<code>--discrepancies my_module.my_function</code>.</li>"
        "<li>All numbers are in <code>ppc.json</code>, draws in <code>predictive.nc</code>, pictures in "
        "<code>figures/</code>.</li></ul></section>"
    )
