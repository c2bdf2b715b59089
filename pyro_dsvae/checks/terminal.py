"""What predictive checks print."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape as rich_escape
from rich.table import Table

from pyro_dsvae.checks.figures import NAMES, worst_checks
from pyro_dsvae.checks.html import number, p_value, sentence
from pyro_dsvae.checks.label_discrepancies import is_share
from pyro_dsvae.checks.report import WORDS
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.inference.finding import Severity
from pyro_dsvae.inference.predictive_checks.checks import Check

COLOURS: Mapping[Severity, str] = {"serious": "red", "warning": "yellow", "note": "cyan", "good": "green"}


def print_summary(result: PPCResult, console: Console) -> None:
    """Print the findings, the most severe first, and the worst discrepancies."""
    if not result.held_out:
        console.print("[bold]Training data:[/bold] every check uses the data twice and is conservative.")
    shown = Table(title="the worst discrepancies", title_justify="left")
    columns: tuple[tuple[str, Callable[[Check], str]], ...] = (
        ("discrepancy", lambda c: c.name),
        ("replications", lambda c: NAMES[c.level]),
        ("data", lambda c: number(c.observed)),
        ("model", lambda c: number(c.replicated)),
        ("in sd", lambda c: f"{c.severity:.2f}"),
        ("adjusted p", lambda c: p_value(c.adjusted_p)),
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
    for finding in result.findings:
        colour = COLOURS[finding.severity]
        console.print(f"[bold {colour}]{WORDS[finding.severity]}.[/] {rich_escape(sentence(finding.sentence))}")
    for reason in result.left_out:
        console.print(f"[dim]Left out: {rich_escape(reason)}.[/]")
