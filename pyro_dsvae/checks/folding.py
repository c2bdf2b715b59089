"""Which finding explains which, so that a report shows causes and folds what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyro_dsvae.checks.findings import CONFIDENCE, FREQUENCIES, NOISE, Origin, differences, made_by_noise, origin
from pyro_dsvae.checks.result import Judged
from pyro_dsvae.inference.finding import SEVERITIES, Finding
from pyro_dsvae.inference.predictive_checks.sentences import SUBJECT

# Three views of how large residuals are; a fourth, their autocorrelation, asks something else.
RESIDUALS = ("residual size", "largest residual", "surprise")
PRIOR_OF_F, STEPS_OF_Z, PATHS_OF_Z = (
    f"{what} of real sequences against the prior" for what in ("f", "single steps of z", "paths of z")
)
# A prior that real sequences do not follow makes the differences that come with what is drawn from it.
PRIORS: Mapping[Origin, tuple[str, ...]] = {
    "static prior": (PRIOR_OF_F,),
    "dynamic prior": (STEPS_OF_Z, PATHS_OF_Z),
    "both priors together": (PRIOR_OF_F, STEPS_OF_Z, PATHS_OF_Z),
    "either prior": (PRIOR_OF_F, STEPS_OF_Z, PATHS_OF_Z),
}
GUIDES = ("q(f) on data of the model itself", "q(z) on data of the model itself")
# What says nothing, good as it looks, of a latent that has collapsed.
ABOUT: Mapping[str, tuple[str, ...]] = {
    "use of f": (PRIOR_OF_F, GUIDES[0], "f and z"),
    "use of z": (STEPS_OF_Z, PATHS_OF_Z, GUIDES[1], "what z keeps within a clip"),
}
FRAMES, FORECASTS = "frames given their latents", "forecasts "


def folded(findings: Sequence[Finding], checks: Judged, means: Judged) -> tuple[Finding, ...]:
    """All findings, each with the one that explains it, the most severe first; a cause is as severe as what it explains.

    Args:
        findings: Of all parts of the checks.
        checks: Of replications with observation noise.
        means: Of decoder means.
    """
    known = {f.subject: f for f in findings}
    causes: dict[str, str] = {}
    for subject, candidates in _candidates(findings, checks, means).items():
        for cause in candidates:
            # A cause must be wrong, and seen, itself.
            wrong = cause in known and known[cause].severity != "good" and not known[cause].small
            if subject in known and wrong and cause != subject:
                causes[subject] = cause
                break
    found = [replace(f, explained_by=_root(f.subject, causes)) for f in findings]
    ranks = {f.subject: f.rank for f in found}
    for f in found:
        if f.explained_by:
            ranks[f.explained_by] = max(ranks[f.explained_by], f.rank)
    found = [replace(f, severity=SEVERITIES[ranks[f.subject]]) for f in found]
    # Of equally severe ones the cause that explains most comes first.
    weight = {f.subject: sum(other.explained_by == f.subject for other in found) for f in found}
    return tuple(sorted(found, key=lambda f: (-f.rank, bool(f.explained_by), -weight[f.subject])))


def _root(subject: str, causes: Mapping[str, str]) -> str:
    """The last cause, or nothing."""
    seen = [subject]
    while causes.get(seen[-1], seen[0]) not in seen:
        seen.append(causes[seen[-1]])
    return seen[-1] if len(seen) > 1 else ""


def _candidates(findings: Sequence[Finding], checks: Judged, means: Judged) -> dict[str, tuple[str, ...]]:
    """From subjects to those of findings that would explain them."""
    wrong = differences(checks.frames)
    found = {name: PRIORS.get(origin(group), ()) for name, group in wrong.items()}
    found |= dict.fromkeys(made_by_noise(checks.frames, means.frames), (NOISE,))
    residuals = [name for name in wrong if name in RESIDUALS]
    found |= dict.fromkeys(residuals[1:], tuple(residuals[:1]))
    found |= _labels(findings)
    found |= _intervals(findings)
    found[PATHS_OF_Z] = (STEPS_OF_Z,)
    found["log p(x, f, z) on data of the model itself"] = GUIDES
    collapsed = [use for use in ABOUT if any(f.subject == use and f.severity == "serious" for f in findings)]
    for use in collapsed:
        found |= dict.fromkeys(ABOUT[use], (use,))
    return found


def _labels(findings: Sequence[Finding]) -> dict[str, tuple[str, ...]]:
    """What a judge sees at one level follows from another level.

    It is unsure of all replications for one reason, the worst one. Frequencies in generated clips are those with new motion
    and those with new appearances.
    """
    unsure = sorted((f for f in findings if f.subject.startswith(CONFIDENCE)), key=lambda f: -f.rank)
    found = {f.subject: (unsure[0].subject,) for f in unsure[1:]}
    new_f, new_z, both = (f"{FREQUENCIES} {SUBJECT[level]}" for level in ("static", "dynamic", "population"))
    return found | {both: (new_f, new_z), new_f: (PRIOR_OF_F,), new_z: (STEPS_OF_Z, PATHS_OF_Z)}


def _intervals(findings: Sequence[Finding]) -> dict[str, tuple[str, ...]]:
    """Intervals of a forecast follow from those of frames given their latents, or of a worse forecast, that are wrong alike."""
    found = {}
    seen = [f for f in findings if f.subject == FRAMES]
    for forecast in sorted((f for f in findings if f.subject.startswith(FORECASTS)), key=lambda f: -f.rank):
        found[forecast.subject] = tuple(f.subject for f in seen if _ways(forecast) <= _ways(f))
        seen.append(forecast)
    return found


def _ways(finding: Finding) -> set[str]:
    """In which ways intervals are wrong, without the numbers."""
    parts = finding.sentence.partition(": ")[2].split("; ")
    return {part.partition(" (")[0] for part in parts if not part.startswith("likewise")}
