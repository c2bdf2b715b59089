"""Predictive checks in plain words: one sentence per discrepancy, which part of the model makes it, and whether noise does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from pyro_dsvae.checks.label_discrepancies import is_share
from pyro_dsvae.inference.calibration.intervals import Calibration, Calibrations
from pyro_dsvae.inference.finding import Finding, Severity
from pyro_dsvae.inference.predictive_checks.checks import Check, PredictiveChecks, by_key
from pyro_dsvae.inference.predictive_checks.replications import Level
from pyro_dsvae.inference.predictive_checks.sentences import MOST_PERCENT, SUBJECT
from pyro_dsvae.judges.caveats import FEW_CLIPS

# From how many standard deviations over clips on a difference is a warning, and serious; of shares of clips likewise.
WARNING, SERIOUS = 0.5, 1.5
SHARE_WARNING, SHARE_SERIOUS = 0.1, 0.3
# A difference that shrinks to less than this without observation noise is made by it.
MADE_BY_NOISE = 0.5
# Levels at which a difference is at least this share of the largest are where it shows.
COMPARABLE = 0.5
# A note on a difference of less than this, in %, is left out where findings are read.
SMALL = 1.0

NOISE = "observation noise"
FREQUENCIES, CONFIDENCE = "label frequencies in", "the judge's confidence in"

# Which part of the model makes a difference, and how that is known.
Origin = Literal["likelihood", "decoder", "dynamic prior", "static prior", "both priors together", "either prior"]
ORIGINS: Mapping[Origin, str] = {
    "likelihood": "it concerns p(x | f, z): the likelihood, or a guide that misses the posterior, and not the priors",
    "decoder": "it shows already where only frames are new: the decoder and its noise make it, not the priors",
    "dynamic prior": "it comes with new motion, not with new appearances: the dynamic prior makes it",
    "static prior": "it comes with new appearances, not with new motion: the static prior makes it, or appearances that the "
    "decoder never saw",
    "both priors together": "it shows only where f and z are both new: the priors together make it",
    "either prior": "it comes with new motion and with new appearances, not with new frames: the priors make it, not the noise",
}


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
    means = by_key(without_noise)
    wrong = differences(checks)
    found = []
    for name, group in wrong.items():
        worst = group[0]
        said = [worst.sentence, ORIGINS[origin(group)]]
        mean = means.get(worst.key)
        if mean is not None:
            said.append(_beside(worst, mean))
        found.append(_finding(worst, name, "; ".join(said)))
    agreeing = [name for name in dict.fromkeys(c.name for c in checks.checks) if name not in wrong]
    if agreeing:
        found.append(_unseen("predictive checks", "no difference found in", agreeing, checks.sequences))
    if without_noise is not None:
        found += _without_noise(wrong, without_noise)
        shrunk = made_by_noise(checks, without_noise)
        if shrunk:
            found.append(_noise_finding(shrunk, sum(g[0].key in means for g in wrong.values()), found))
    return found


def _unseen(subject: str, words: str, names: Sequence[str], count: int) -> Finding:
    """That nothing differs in these respects; with few clips that is no agreement, and so not as it should be."""
    if count < FEW_CLIPS:
        return Finding("note", subject, f"no difference could be seen with {count} clips in {', '.join(names)}")
    return Finding("good", subject, f"{words} {', '.join(names)}")


def differences(checks: PredictiveChecks) -> Mapping[str, list[Check]]:
    """The checks that found a difference, by discrepancy, the most severe first."""
    groups: dict[str, list[Check]] = {}
    for check in sorted(checks.checks, key=lambda c: -c.severity):
        if check.finding:
            groups.setdefault(check.name, []).append(check)
    return groups


def origin(wrong: Sequence[Check]) -> Origin:
    """Which part of the model makes a difference, by the levels at which it shows.

    Args:
        wrong: The checks of one discrepancy that found it, the most severe first.
    """
    worst = wrong[0]
    if worst.values.realised:
        return "likelihood"
    same = [c for c in wrong if c.statistic == worst.statistic and c.severity >= COMPARABLE * worst.severity]
    levels = {c.level for c in same}
    if "frames" in levels:
        return "decoder"
    if "dynamic" in levels and "static" not in levels:
        return "dynamic prior"
    if "static" in levels and "dynamic" not in levels:
        return "static prior"
    return "both priors together" if levels == {"population"} else "either prior"


def made_by_noise(checks: PredictiveChecks, without_noise: PredictiveChecks) -> list[str]:
    """Discrepancies that shrink to less than half, or turn round, in decoder means; none where most of them do not."""
    means = by_key(without_noise)
    pairs = [(g[0], means[g[0].key]) for g in differences(checks).values() if g[0].key in means]
    shrunk = [
        worst.name for worst, mean in pairs if _turned(worst, mean) or mean.severity < MADE_BY_NOISE * worst.severity
    ]
    return shrunk if len(shrunk) >= 3 and 2 * len(shrunk) >= len(pairs) else []


def _finding(check: Check, subject: str, sentence: str) -> Finding:
    severity = severity_of(check)
    small = severity == "note" and check.percent is not None and abs(check.percent) < SMALL
    return Finding(severity, subject, sentence, small=small)


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


def _without_noise(wrong: Mapping[str, list[Check]], without: PredictiveChecks) -> list[Finding]:
    """Differences that only decoder means show."""
    found = []
    for name, group in differences(without).items():
        if name not in wrong:
            sentence = (
                f"in decoder means, without observation noise, {group[0].sentence}; with noise there is no difference"
            )
            found.append(replace(_finding(group[0], f"{name}, decoder means", sentence), severity="note"))
    return found


def _noise_finding(shrunk: Sequence[str], compared: int, others: Sequence[Finding]) -> Finding:
    severity = max((f for f in others if f.subject in shrunk), key=lambda f: f.rank).severity
    return Finding(
        severity,
        NOISE,
        f"the likelihood puts more noise on the frames than the data have: of {compared} differences {len(shrunk)} shrink to "
        "less than half, or change their sign, where decoder means (the pictures that one looks at) replace draws with "
        "observation noise (what the model says a frame looks like); try a likelihood with a smaller scale or, for 8-bit "
        "images, DiscretizedLogistic",
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
        subject = f"{FREQUENCIES if kind == 'shares' else CONFIDENCE} {SUBJECT[level]}"
        if not wrong:
            quiet.append(subject)
            continue
        worst = max(wrong, key=lambda c: abs(c.replicated - c.observed))
        names = {c.name for c in group}
        of = "classes" if kind == "shares" else "labels"
        said = [worst.sentence, f"{len({c.name for c in wrong})} of {len(names)} {of} differ"]
        mean = means.get(worst.key)
        if mean is not None:
            said.append(f"in decoder means, without observation noise, it is {mean.replicated:.3g}")
        found.append(_finding(worst, subject, "; ".join(said)))
    if quiet:
        found.append(_unseen("labels under the judge", "the judge finds no difference in", quiet, checks.sequences))
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
        more = f"; likewise {others} {'frames' if others != '1' else 'frame'} ahead" if others else ""
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
