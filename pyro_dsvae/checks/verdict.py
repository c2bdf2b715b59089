"""The report of predictive checks in two lines: the model, and what is inferred with it."""

from collections.abc import Mapping, Sequence

from pyro_dsvae.checks.findings import FREQUENCIES, differences, made_by_noise
from pyro_dsvae.checks.folding import ABOUT, FORECASTS, FRAMES, GUIDES, PATHS_OF_Z, PRIOR_OF_F, STEPS_OF_Z
from pyro_dsvae.checks.result import PPCResult, Verdict
from pyro_dsvae.inference.calibration.ranks import RankTest
from pyro_dsvae.inference.finding import SEVERITIES, Finding, Severity
from pyro_dsvae.judges.caveats import FEW_CLIPS


def verdict(result: PPCResult) -> tuple[Verdict, ...]:
    """One line on the clips that the model makes, one on guide, intervals and latents."""
    others = {*GUIDES, *ABOUT, *(s for some in ABOUT.values() for s in some), FRAMES}
    behind = [f for f in result.findings if f.subject in others or f.subject.startswith(FORECASTS)]
    rest = [f for f in result.findings if f not in behind]
    lines = [Verdict("The model", _most(rest), _model(result))]
    said = _inference(result, {f.subject: f for f in behind})
    return (*lines, Verdict("Guide and latents", _most(behind), "; ".join(said))) if said else tuple(lines)


def _most(findings: Sequence[Finding]) -> Severity:
    return SEVERITIES[max((f.rank for f in findings if not f.small), default=0)]


def _model(result: PPCResult) -> str:
    frames = result.checks.frames
    total, wrong = len({c.name for c in frames.checks}), differences(frames)
    count = frames.sequences
    few = count < FEW_CLIPS
    said = f"nothing tells its clips from the data in {total} respects, with {count} clips"
    if few:
        said = f"no difference could be seen with {count} clips, in {total} respects"
    if wrong:
        worst = next(iter(wrong.values()))[0]
        most = f"most in {worst.name} ({worst.severity:.1f} standard deviations)"
        said = f"its clips differ from the data in {len(wrong)} of {total} respects with {count} clips, {most}"
        made = made_by_noise(frames, result.means.frames)
        said += f"; observation noise makes {len(made)} of the differences" if made else ""
    seen = [f for f in result.findings if f.subject.startswith(FREQUENCIES)]
    if result.checks.labels is not None:
        if seen or not few:
            said += f"; a judge sees classes {'more or less often than' if seen else 'as often as'} in the data"
        else:
            said += f"; no difference could be seen with {count} clips in how often a judge sees classes"
    return said


def _inference(result: PPCResult, found: Mapping[str, Finding]) -> list[str]:
    """What is known of the latents, their priors, the guide and intervals."""
    said = []
    if result.use is not None:
        empty = [use[-1] for use in ABOUT if use in found and found[use].severity == "serious"]
        names = [use[-1] for use in ABOUT if use in found]
        said.append(f"{' and '.join(empty)} collapsed" if empty else f"{' and '.join(names)} {_are(names)} used")
    if result.latents is not None:
        priors = {PRIOR_OF_F: "p(f)", STEPS_OF_Z: "p(z)", PATHS_OF_Z: "p(z)"}
        off = list(dict.fromkeys(name for subject, name in priors.items() if _wrong(found, subject)))
        if off:
            said.append(f"real sequences are not spread as {' and '.join(off)}")
        else:
            few = result.checks.frames.sequences < FEW_CLIPS
            said.append(
                "no difference of real sequences from the priors could be seen"
                if few
                else "real sequences are spread as the priors say"
            )
    if result.simulated is not None:
        tests = zip("fz", (result.simulated.static, result.simulated.dynamic), strict=True)
        parts = [f"q({name}) is {way}" for name, test in tests for way in _ways(test)]
        said.append(", ".join(parts) if parts else "the guide finds what the model drew")
    if result.calibration is not None:
        wrong = any(_wrong(found, s) for s in found if s == FRAMES or s.startswith(FORECASTS))
        said.append(f"intervals {'do not ' if wrong else ''}hold what they promise")
    return said


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _wrong(found: Mapping[str, Finding], subject: str) -> bool:
    return subject in found and found[subject].severity != "good"


def _ways(test: RankTest) -> list[str]:
    """In what way a guide is wrong in most of its dimensions that are."""
    ways = {"too narrow": test.narrow, "too wide": test.wide, "biased": test.biased}
    counts = {way: int(which.sum()) for way, which in ways.items()}
    most = max(counts, key=lambda way: counts[way])
    return [most] if counts[most] else []
