"""The verdict and the findings of predictive checks in HTML."""

from collections.abc import Mapping, Sequence

from pyro_dsvae.checks.html import folded, sentence, text
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.inference.finding import Finding, Severity

WORDS: Mapping[Severity, str] = {"serious": "Serious", "warning": "Warning", "note": "Note", "good": "As it should be"}
TRAINING = (
    '<p class="mark"><strong>Training data.</strong> The model was fitted to these sequences, so every check uses the data '
    "twice and is conservative: what differs does differ, but what agrees may still be wrong on new data. Held-out sequences "
    "are the default.</p>"
)


def verdict_section(result: PPCResult) -> str:
    """What is above everything else: the verdict, and whether the data are those of the fit."""
    lines = "".join(
        f'<li class="{v.severity}"><span class="word">{text(v.about)}:</span> {text(v.sentence)}.</li>'
        for v in result.verdict
    )
    return f'<section>{"" if result.held_out else TRAINING}<ul class="findings verdict">{lines}</ul></section>'


def findings_section(findings: Sequence[Finding]) -> str:
    """Findings that no other explains; what they explain and what is as it should be is folded, what is small is counted."""
    seen = [f for f in findings if not f.small]
    shown = [f for f in seen if not f.explained_by]
    items = "".join(_item(f, [o for o in seen if o.explained_by == f.subject]) for f in shown if f.severity != "good")
    good = [f for f in shown if f.severity == "good"]
    right = ""
    if good:
        listed = f'<ul class="findings">{"".join(_item(f, ()) for f in good)}</ul>'
        right = folded(f"As it should be: {_count(len(good), 'finding')}", listed)
    return (
        "<section><h2>Findings</h2><p>The most severe first; what another one explains is folded under it. Serious: a "
        "difference of 1.5 standard deviations over clips and more, or what rests on it is not to be trusted. Warning: half "
        "of one and more. Note: sure, but small.</p>"
        f'<ul class="findings">{items}</ul>{right}'
        f"{_left_out(len(findings) - len(seen))}</section>"
    )


def _item(finding: Finding, explains: Sequence[Finding]) -> str:
    """A finding, with those that it explains folded."""
    under = ""
    if explains:
        listed = "".join(f"<li>{text(sentence(f.sentence))}</li>" for f in explains)
        under = folded(f"Explains {len(explains)} more: {', '.join(f.subject for f in explains)}", f"<ul>{listed}</ul>")
    word = f'<span class="word">{WORDS[finding.severity]}.</span>'
    return f'<li class="{finding.severity}">{word} {text(sentence(finding.sentence))}{under}</li>'


def _left_out(count: int) -> str:
    if not count:
        return ""
    is_ = "is" if count == 1 else "are"
    what = f"{_count(count, 'sure difference')} of less than 1 % {is_} not shown"
    return f'<p class="soft">{what}; <code>ppc.json</code> has all findings.</p>'


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
