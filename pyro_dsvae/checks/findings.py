"""Predictive checks in plain words: one sentence per discrepancy, where it arises, and whether noise causes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from pyro_dsvae.checks.label_discrepancies import is_share
from pyro_dsvae.inference.calibration.intervals import Calibration, Calibrations
from pyro_dsvae.inference.finding import Finding, Severity
from pyro_dsvae.inference.predictive_checks.checks import Check, PredictiveChecks, by_key
from pyro_dsvae.inference.predictive_checks.replications import Level
from pyro_dsvae.inference.predictive_checks.sentences import MOST_PERCENT, SUBJECT

# From how many standard deviations over clips on a difference is a warning, and serious; of shares of clips likewise.
WARNING, SERIOUS = 0.5, 1.5
SHARE_WARNING, SHARE_SERIOUS = 0.1, 0.3
# A difference that shrinks to less than this without observation noise is made by it.
MADE_BY_NOISE = 0.5
# Levels at which a difference is at least this share of the largest are where it shows.
COMPARABLE = 0.5

NOISE = "observation noise"


def severity_of(check: Check) -> Severity:
    """Severity by the size of the difference, not by p: with many clips every difference is significant."""
    size, limits = check.severity, (SERIOUS, WARNING)
    if is_share(check.name):
        size, limits = abs(check.replicated - check.observed), (SHARE_SERIOUS, SHARE_WARNING)
    return "serious" if size >= limits[0] else "warning" if size >= limits[1] else "note"


def check_findings(checks: PredictiveChecks, without_noise: PredictiveChecks | None) -> list[Finding]:
    """One finding per discrepancy that differs, from its most severe check; and what agrees, in one sentence.

    Args:
        without_noise: The same checks of decoder means.
    """
    by_name = _by_name(checks.checks)
    means = by_key(without_noise)
    found, shrunk, compared = [], [], 0
    for name, group in by_name.items():
        wrong = [c for c in group if c.finding]
        if not wrong:
            continue
        worst = max(wrong, key=lambda c: c.severity)
        said = [worst.sentence, _where(worst, wrong)]
        mean = means.get(worst.key)
        if mean is not None:
            compared += 1
            if _turned(worst, mean) or mean.severity < MADE_BY_NOISE * worst.severity:
                shrunk.append(name)
            said.append(_beside(worst, mean))
        found.append(Finding(severity_of(worst), name, "; ".join(part for part in said if part)))
    agreeing = [name for name, group in by_name.items() if not any(c.finding for c in group)]
    if agreeing:
        found.append(Finding("good", "predictive checks", "no difference found in " + ", ".join(agreeing)))
    if without_noise is not None:
        found += _without_noise(by_name, without_noise)
    if len(shrunk) >= 3 and 2 * len(shrunk) >= compared:
        found.append(_noise_finding(shrunk, compared, found))
    return found


def _by_name(checks: Sequence[Check]) -> Mapping[str, list[Check]]:
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.name, []).append(check)
    return groups


def _where(worst: Check, wrong: Sequence[Check]) -> str:
    """Which part of the model makes the difference, by the levels at which it shows."""
    if worst.values.realised:
        return "this is about p(x | f, z), so the likelihood, or a guide that misses the posterior, not the priors"
    same = [c for c in wrong if c.statistic == worst.statistic and c.severity >= COMPARABLE * worst.severity]
    levels = {c.level for c in same}
    if "frames" in levels:
        return "new frames of the same clips differ already, so decoder and noise make it, not the priors"
    if "dynamic" in levels and "static" not in levels:
        return "it comes with new motion, not with new appearances: the dynamic prior"
    if "static" in levels and "dynamic" not in levels:
        return "it comes with new appearances, not with new motion: the static prior, or appearances that the decoder never saw"
    if "population" in levels and len(levels) == 1:
        return "only where both f and z are new: the priors together"
    return (
        "new motion and new appearances both bring it, new frames of the same clips do not: the priors, not the noise"
    )


def _beside(worst: Check, mean: Check) -> str:
    """What decoder means show in the same respect."""
    if not mean.finding:
        return f"without observation noise (decoder means) no sure difference is left: {mean.replicated:.3g}"
    more = mean.replicated > mean.observed
    amount = "" if mean.percent is None or abs(mean.percent) > MOST_PERCENT else f"{abs(mean.percent):.0f} % "
    words = ("vary", "varies", "much", "little") if mean.statistic == "spread" else ("are", "is", "high", "low")
    are, is_, *size = words
    wrong = f"{amount}too {size[0] if more else size[1]}"
    if _turned(worst, mean):
        return f"without observation noise (decoder means) it {is_} {wrong} instead: {mean.replicated:.3g}"
    if mean.severity < MADE_BY_NOISE * worst.severity:
        return f"most of it is observation noise: decoder means {are} {wrong}, {mean.replicated:.3g}"
    return f"decoder means, without observation noise, {are} {wrong}, too: {mean.replicated:.3g}"


def _turned(worst: Check, mean: Check) -> bool:
    """Whether the difference has the other sign, surely, without noise."""
    return mean.finding and (mean.replicated > mean.observed) != (worst.replicated > worst.observed)


def _without_noise(by_name: Mapping[str, list[Check]], without: PredictiveChecks) -> list[Finding]:
    """Differences that only decoder means show."""
    found = []
    for name, group in _by_name(without.checks).items():
        wrong = [c for c in group if c.finding]
        if wrong and not any(c.finding for c in by_name.get(name, [])):
            worst = max(wrong, key=lambda c: c.severity)
            sentence = f"decoder means, without observation noise: {worst.sentence}; with noise there is no difference"
            found.append(Finding("note", f"{name}, decoder means", sentence))
    return found


def _noise_finding(shrunk: Sequence[str], compared: int, others: Sequence[Finding]) -> Finding:
    severity = max((f for f in others if f.subject in shrunk), key=lambda f: f.rank).severity
    return Finding(
        severity,
        NOISE,
        f"the likelihood puts more noise on the frames than the data have: of {compared} differences {len(shrunk)} shrink to "
        "less than half, or turn round, when decoder means (the pictures that one looks at) take the place of draws with "
        f"observation noise (what the model says of a frame): {', '.join(shrunk)}; a likelihood with a smaller scale, or one "
        "of 8-bit values, is what to try",
    )


def label_findings(checks: PredictiveChecks, without_noise: PredictiveChecks | None) -> list[Finding]:
    """One finding per label and kind, from the judge's answers: the worst class, and how many differ."""
    means = by_key(without_noise)
    groups: dict[tuple[str, Level], list[Check]] = {}
    for check in checks.checks:
        kind = "shares" if is_share(check.name) else "confidence"
        groups.setdefault((kind, check.level), []).append(check)
    found, quiet = [], []
    for (kind, level), group in groups.items():
        wrong = [c for c in group if c.finding and c.statistic == "mean"]
        subject = f"{'label frequencies' if kind == 'shares' else 'the confidence'} of {SUBJECT[level]}"
        if not wrong:
            quiet.append(subject)
            continue
        worst = max(wrong, key=lambda c: abs(c.replicated - c.observed))
        names = {c.name for c in group}
        said = [worst.sentence, f"{len({c.name for c in wrong})} of {len(names)} such numbers differ at this level"]
        mean = means.get(worst.key)
        if mean is not None:
            said.append(f"seen in decoder means, without observation noise: {mean.replicated:.3g}")
        found.append(Finding(severity_of(worst), subject, "; ".join(said)))
    if quiet:
        found.append(Finding("good", "labels under the judge", "the judge finds no difference in " + ", ".join(quiet)))
    return found


def calibration_findings(found: Calibrations) -> list[Finding]:
    """Findings on the intervals of frames given their latents, and of forecasts, by the horizon that is furthest off."""
    given, *ahead = found.findings
    groups: dict[Severity, list[int]] = {}
    for place, finding in enumerate(ahead):
        groups.setdefault(finding.severity, []).append(place)
    merged = [given]
    for places in groups.values():
        worst = max(places, key=lambda i: _off(found.forecasts[i]))
        others = ", ".join(str(found.forecasts[i].horizon) for i in places if i != worst)
        more = f"; likewise {others} ahead" if others else ""
        merged.append(replace(ahead[worst], sentence=ahead[worst].sentence + more))
    return merged


def _off(found: Calibration) -> float:
    """How far the coverage of any interval is from what it promises."""
    levels = torch.tensor(found.values.levels, dtype=torch.float64)
    return max(float((c.coverage - levels).abs().max()) for c in (found.values, found.frame_means))


def failure_findings(*checks: PredictiveChecks | None) -> list[Finding]:
    """Discrepancies that were left out, and why."""
    reasons = {f.name: f.reason for some in checks if some is not None for f in some.failures}
    return [Finding("warning", f"failed: {name}", f"{name} was left out: {why}") for name, why in reasons.items()]


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The most severe first; equally severe ones in their order, but the one about noise before the differences it causes."""
    return tuple(sorted(findings, key=lambda f: (-f.rank, f.subject != NOISE)))
