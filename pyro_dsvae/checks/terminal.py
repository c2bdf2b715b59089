"""What predictive checks print."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape as rich_escape
from rich.table import Table

from pyro_dsvae.checks.figures import NAMES, worst_checks
from pyro_dsvae.checks.findings_html import WORDS
from pyro_dsvae.checks.html import number, sentence
from pyro_dsvae.checks.label_discrepancies import is_share
from pyro_dsvae.checks.report import adjusted
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.inference.finding import Severity
from pyro_dsvae.inference.predictive_checks.checks import Check

COLOURS: Mapping[Severity, str] = {"serious": "red", "warning": "yellow", "note": "cyan", "good": "green"}


def print_summary(result: PPCResult, console: Console) -> None:
    """Print the verdict, the worst discrepancies, and the findings that no other explains, the most severe first."""
    if not result.held_out:
        console.print("[bold]Training data:[/bold] every check uses the data twice and is conservative.")
    for line in result.verdict:
        console.print(f"[bold {COLOURS[line.severity]}]{line.about}:[/] {rich_escape(line.sentence)}.")
    shown = Table(
        title=f"the worst discrepancies, values {result.pooled_unit}".removesuffix(", values "), title_justify="left"
    )
    least = 2 / (result.checks.frames.rounds + 1)
    columns: tuple[tuple[str, Callable[[Check], str]], ...] = (
        ("discrepancy", lambda c: c.name),
        ("replications", lambda c: NAMES[c.level]),
        ("data", lambda c: number(c.observed)),
        ("model", lambda c: number(c.replicated)),
        ("in sd", lambda c: f"{c.severity:.2f}"),
        ("adjusted p", lambda c: adjusted(c, least)),
    )
    for name, _ in columns:
        shown.add_column(name, justify="left" if name in ("discrepancy", "replications") else "right")
    labels = result.checks.labels
    worst = worst_checks(result.checks.frames, 10)
    if labels is not None:
        worst += [c for c in worst_checks(labels, 2) if is_share(c.name)]
    for check in worst:
        shown.add_row(*(rich_escape(show(check)) for _, show in columns))
    if worst:
        console.print(shown)
    _print_findings(result, console)
    for reason in result.left_out:
        console.print(f"[dim]Left out: {rich_escape(reason)}.[/]")


def _print_findings(result: PPCResult, console: Console) -> None:
    """Those that no other explains, with the names of those that they explain; what is good in one paragraph."""
    seen = [f for f in result.findings if not f.small]
    for finding in seen:
        if finding.explained_by or finding.severity == "good":
            continue
        explains = [f.subject for f in seen if f.explained_by == finding.subject]
        more = f" Explains {len(explains)} more: {', '.join(explains)}." if explains else ""
        word = f"[bold {COLOURS[finding.severity]}]{WORDS[finding.severity]}.[/]"
        console.print(f"{word} {rich_escape(sentence(finding.sentence) + more)}")
    good = [f.sentence for f in seen if f.severity == "good" and not f.explained_by]
    if good:
        console.print(f"[bold green]{WORDS['good']}:[/] {rich_escape('; '.join(good))}.")
    small = len(result.findings) - len(seen)
    if small:
        console.print(f"[dim]Sure, but less than 1 %, and not shown: {small}; ppc.json has all.[/]")
