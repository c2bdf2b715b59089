"""Which finding explains which, the verdict of two lines, and the one form of p-values."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pyro_dsvae.checks.findings import CONFIDENCE, FREQUENCIES, NOISE, check_findings, label_findings
from pyro_dsvae.checks.folding import FRAMES, GUIDES, PATHS_OF_Z, PRIOR_OF_F, STEPS_OF_Z, folded
from pyro_dsvae.checks.report import adjusted
from pyro_dsvae.checks.result import Judged
from pyro_dsvae.checks.verdict import verdict
from pyro_dsvae.inference.finding import Finding, p_equals, p_value
from pyro_dsvae.inference.predictive_checks.checks import Check, PredictiveChecks, Statistic
from pyro_dsvae.inference.predictive_checks.replications import Level
from pyro_dsvae.inference.predictive_checks.values import Values

NONE = torch.zeros(1)


def check(name: str, level: Level = "population", percent: float | None = 20.0, **more: object) -> Check:
    """A check that found a difference of two standard deviations, upwards."""
    fields = {
        "name": name,
        "level": level,
        "statistic": "mean",
        "observed": 1.0,
        "replicated": 1.2,
        "percent": percent,
        "effect": 2.0,
        "severity": 2.0,
        "p": 2 / 10_001,
        "p_error": 0.0,
        "adjusted_p": 0.0126,
        "tail": NONE,
        "uniformity_p": 0.5,
        "uses_data_twice": False,
        "finding": True,
        "sentence": f"{name} is too high",
        "values": Values(NONE, NONE, realised=name in ("residual size", "surprise", "largest residual")),
    }
    return Check(**{**fields, **more})  # type: ignore[arg-type]


def checks(*some: Check) -> PredictiveChecks:
    return PredictiveChecks(
        checks=some,
        failures=(),
        sequences=1,
        draws=1,
        rounds=10_000,
        alpha=0.05,
        held_out=True,
        seed=0,
        noise=True,
    )


def explained(
    findings: list[Finding], noisy: PredictiveChecks, means: PredictiveChecks | None = None
) -> dict[str, str]:
    """From each subject that is folded to that of its cause."""
    found = folded(findings, Judged(noisy, None), Judged(means or checks(), None))
    assert sorted(f.subject for f in found) == sorted(f.subject for f in findings)
    assert [f.rank for f in found] == sorted((f.rank for f in found), reverse=True)
    return {f.subject: f.explained_by for f in found if f.explained_by}


def test_noise_explains_what_decoder_means_do_not_show() -> None:
    noisy = checks(*(check(name, "frames") for name in ("a", "b", "c", "d")))
    means = checks(
        *(check(name, "frames", severity=0.1, finding=False) for name in ("a", "b", "c")), check("d", "frames")
    )
    assert explained(check_findings(noisy, means), noisy, means) == dict.fromkeys(("a", "b", "c"), NOISE)


def test_sizes_of_residuals_are_one_finding() -> None:
    noisy = checks(check("residual size", severity=3.0), check("surprise"), check("residual autocorrelation"))
    assert explained(check_findings(noisy, None), noisy) == {"surprise": "residual size"}


@pytest.mark.parametrize(("wrong", "cause"), [("warning", PRIOR_OF_F), ("good", "")])
def test_a_prior_that_is_wrong_explains_what_comes_with_new_appearances(wrong: str, cause: str) -> None:
    """And a cause is as severe as what it explains; one that is right explains nothing."""
    noisy = checks(check("motion energy", "static"))
    findings = [*check_findings(noisy, None), Finding(wrong, PRIOR_OF_F, "f: spread")]  # type: ignore[arg-type]
    assert explained(findings, noisy).get("motion energy", "") == cause
    if cause:
        first = folded(findings, Judged(noisy, None), Judged(checks(), None))[0]
        assert (first.subject, first.severity) == (PRIOR_OF_F, "serious")


def test_a_chain_ends_at_its_first_cause() -> None:
    noisy = checks(check("motion energy", "dynamic"))
    findings = [*check_findings(noisy, None), Finding("note", PATHS_OF_Z, "p"), Finding("note", STEPS_OF_Z, "s")]
    assert explained(findings, noisy) == {"motion energy": STEPS_OF_Z, PATHS_OF_Z: STEPS_OF_Z}


def test_a_collapsed_latent_has_nothing_as_it_should_be() -> None:
    """That q(f) passes and that f is spread as the prior says is certain where f is the prior."""
    findings = [
        Finding("serious", "use of f", "f has collapsed"),
        Finding("good", PRIOR_OF_F, "f: no difference"),
        Finding("good", GUIDES[0], "q(f) passes"),
        Finding("good", "f and z", "f predicts nothing"),
        Finding("good", GUIDES[1], "q(z) passes"),
    ]
    assert explained(findings, checks()) == dict.fromkeys((PRIOR_OF_F, GUIDES[0], "f and z"), "use of f")


def test_forecasts_that_are_wrong_as_frames_are_follow_from_them() -> None:
    wide = "intervals of single values are too wide (those of 50 % hold 80 ± 1 %)"
    findings = [
        Finding("warning", FRAMES, f"{FRAMES}: {wide}"),
        Finding("serious", "forecasts 4 frames ahead", f"forecasts 4 frames ahead: {wide}; likewise 1, 2 frames ahead"),
    ]
    assert explained(findings, checks()) == {"forecasts 4 frames ahead": FRAMES}
    narrow = replace(findings[1], sentence="forecasts 4 frames ahead: intervals of a frame's mean are too narrow (…)")
    assert explained([findings[0], narrow], checks()) == {}


def test_a_judge_that_is_unsure_of_all_replications_is_one_finding() -> None:
    levels: tuple[Level, ...] = ("dynamic", "static", "population")
    seen = checks(
        *(check("the judge's confidence in hair", level, severity=1 + i) for i, level in enumerate(levels)),
        *(check("share seen as hair red", level, replicated=1.5) for level in levels),
    )
    found = explained(label_findings(seen, None), checks())
    assert len([subject for subject in found if subject.startswith(CONFIDENCE)]) == 2
    assert [subject for subject in found if subject.startswith(FREQUENCIES)] == [f"{FREQUENCIES} generated clips"]


@pytest.mark.parametrize(
    ("percent", "severity", "small"),
    [(0.4, 0.1, True), (-0.4, 0.1, True), (1.1, 0.1, False), (0.4, 2.0, False), (None, 0.1, False)],
)
def test_sure_differences_of_less_than_a_percent_are_small(percent: float | None, severity: float, small: bool) -> None:
    noisy = checks(check("mean value", percent=percent, severity=severity))
    assert [f.small for f in check_findings(noisy, None)] == [small]


@pytest.mark.parametrize(
    ("p", "least", "words"),
    [
        (2 / 10_001, 2 / 10_001, "< .0002"),
        (2 / 22_401, 2 / 22_401, "< .00009"),
        (0.01, 0.01, "< .01"),
        (0.00999, 0.00999, "< .01"),
        (1.0, 1.0, "< 1"),
        (0.3, 0.0, ".300"),
        (0.0119, 0.0, ".012"),
        (0.00025, 0.0, "< .001"),
        (0.001, 0.0, ".001"),
        (0.9999, 0.0, "1"),
        (1.0, 0.0, "1"),
        (math.nan, 0.0, "–"),
    ],
)
def test_p_values_have_one_form(p: float, least: float, words: str) -> None:
    assert p_value(p, least) == words
    if not least and words != "–":
        assert p_equals(p) == (f"p {words}" if words.startswith("<") else f"p = {words}")


def test_an_adjusted_p_of_the_smallest_p_is_a_bound() -> None:
    assert adjusted(check("a"), 2 / 10_001) == "< .02"
    assert adjusted(check("a", p=0.01), 2 / 10_001) == ".013"


def test_shares_of_negative_numbers_are_not_told() -> None:
    """From -1.62 to -1.54 is no percentage: the zero of a log density means nothing."""
    from pyro_dsvae.inference.predictive_checks.checks import checks_of

    torch.manual_seed(0)
    values = Values(torch.randn(1, 30).double() - 9, torch.randn(5, 30).double() - 8, realised=False)
    found = {c.statistic: c.percent for c in checks_of({"population": {"surprise": values}}, 200)}
    mean: Statistic = "mean"
    assert found[mean] is None
    assert found["spread"] is not None


@pytest.mark.parametrize(("count", "severity"), [(6, "note"), (49, "note"), (50, "good")])
def test_what_few_clips_do_not_show_is_no_agreement(count: int, severity: str) -> None:
    seen = replace(checks(replace(check("motion energy"), finding=False)), sequences=count)
    labels = replace(checks(replace(check("share seen as hair red"), finding=False)), sequences=count)
    for found in (check_findings(seen, None), label_findings(labels, None)):
        (one,) = found
        assert one.severity == severity
        assert (f"no difference could be seen with {count} clips in" in one.sentence) == (severity == "note")
    judged = Judged(seen, labels)
    result = SimpleNamespace(
        checks=judged, means=judged, findings=(), use=None, latents=None, simulated=None, calibration=None
    )
    (line,) = verdict(result)  # type: ignore[arg-type]
    assert f"with {count} clips" in line.sentence
    assert ("as often as in the data" in line.sentence) == (severity == "good")
