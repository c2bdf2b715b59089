"""The table of a comparison, what it says in words, and in which forms: terminal, Markdown, CSV, HTML."""

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

from pyro_dsvae.comparison.measurement import FORECASTS, Evaluation, Measure
from pyro_dsvae.comparison.row import Row
from pyro_dsvae.inference.model_comparison.comparison import Comparison
from pyro_dsvae.runs.evaluations import times

# Verdicts of so many pairs are read; of more, only those with the best are printed.
MOST_VERDICTS = 10


class Column(NamedTuple):
    """A heading that says the unit, and a candidate's value in words."""

    head: str
    show: Callable[[Row], str]


def _tables(rows: Sequence[Row]) -> list[tuple[str, list[Column]]]:
    """The table in three parts, as screens are narrow."""
    name = Column("candidate", lambda r: r.candidate)
    evidence = [
        name,
        Column("log p(x) ± s.e.", lambda r: _error(r.log_evidence, r.log_evidence_error)),
        Column("to the best ± paired s.e.", lambda r: _error(r.difference, r.difference_error)),
        Column("s.d. over seeds", lambda r: _number(r.seed_spread)),
        Column("stacking weight", lambda r: f"{r.stacking_weight:.2f}"),
        Column("k-hat > .7", lambda r: f"{r.k_hat_above:.0%}"),
    ]
    if any(row.bits_per_dimension is not None for row in rows):
        evidence.append(Column("bits per value", lambda r: _number(r.bits_per_dimension, 3)))
    if any(row.gap_closed is not None for row in rows):
        evidence.append(Column("gap closed", lambda r: _number(r.gap_closed)))
    if any(row.annealed_difference is not None for row in rows):
        evidence.append(
            Column("annealed − this ± s.e.", lambda r: _maybe_error(r.annealed_difference, r.annealed_error))
        )
    latents = [
        name,
        Column("KL of f", lambda r: _number(r.kl_f)),
        Column("KL of z", lambda r: _number(r.kl_z)),
        Column("distortion", lambda r: _number(r.distortion)),
        Column("active f", lambda r: f"{r.active_f:g} of {r.size_f}"),
        Column("active z", lambda r: f"{r.active_z:g} of {r.size_z}"),
        Column("KL of f, z by", lambda r: f"{r.estimator_f}, {r.estimator_z}"),
        Column("weights", lambda r: f"{r.parameters:,}"),
        Column("seconds", lambda r: f"{r.seconds:,.0f}"),
    ]
    motion = [
        name,
        Column("forecast log p ± s.e.", lambda r: _maybe_error(r.forecast, r.forecast_error)),
        Column("to the best ± paired s.e.", lambda r: _maybe_error(r.forecast_difference, r.forecast_difference_error)),
        Column("forecast CRPS ± s.e.", lambda r: _maybe_error(r.crps, r.crps_error, 4)),
        Column("to the best ± paired s.e.", lambda r: _maybe_error(r.crps_difference, r.crps_difference_error, 4)),
        Column("drawn motion", lambda r: r.motion_verdict),
        Column("real: drawn / true / wrong", lambda r: f"{r.motion:.0%} / {r.motion_true:.0%} / {r.motion_wrong:.0%}"),
        *(
            Column(
                f"sure of {label}: drawn / true",
                lambda r, label=label: f"{r.sure_generated[label]:.0%} / {r.sure_true[label]:.0%}",  # type: ignore[misc]
            )
            for label in rows[0].sure_generated
        ),
    ]
    return [
        ("Evidence of held-out sequences, nats per sequence; more is better", evidence),
        ("Rates (KL), distortion E[−log p(x | f, z)] and latents in use; nats per sequence", latents),
        (
            "What the dynamics know: forecasts, log p in nats per sequence; drawn motion, shares of clips",
            motion,
        ),
    ]


@dataclass(frozen=True)
class Report:
    """All that is said of a comparison.

    Attributes:
        rows: The candidates, the largest mean first, which is no ranking: only verdicts tell who is better.
        verdicts: A sentence for every pair, on evidence; forecast_verdicts and crps_verdicts the same on forecasts, by
            the log probability of what came and by how close their draws come.
        notes: How it was measured, and what to beware of.
    """

    comparison: Comparison
    rows: tuple[Row, ...]
    verdicts: tuple[str, ...]
    forecast_verdicts: tuple[str, ...]
    crps_verdicts: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a terminal of at least 100 characters, or a file."""
        stream = io.StringIO()
        here = Console()
        console = Console(
            file=stream,
            width=max(100, here.width) if here.is_terminal else 140,
            highlight=False,
            markup=False,
            emoji=False,
        )
        for title, columns in _tables(self.rows):
            table = RichTable(title=title, title_justify="left", padding=(0, 0))
            for number, column in enumerate(columns):
                right = "right" if number else "left"
                table.add_column(column.head, justify=right, vertical="bottom", overflow="fold")  # type: ignore[arg-type]
            for row in self.rows:
                table.add_row(*(column.show(row) for column in columns))
            console.print(table)
        for title, verdicts in self._verdicts:
            console.print(f"{title}:")
            shown = verdicts if len(verdicts) <= MOST_VERDICTS else verdicts[: len(self.rows) - 1]
            for verdict in shown:
                console.print(f"  {verdict}", soft_wrap=True)
            if len(shown) < len(verdicts):
                console.print(f"  … all {len(verdicts)} pairs are in comparison.md")
        for note in self.notes:
            console.print(f"note: {note}", soft_wrap=True)
        return stream.getvalue()

    @property
    def markdown(self) -> str:
        """For comparison.md."""
        lines = ["# Comparison"]
        for title, columns in _tables(self.rows):
            lines += ["", f"## {title}", "", _line(c.head for c in columns), _line("---" for _ in columns)]
            lines += [_line(column.show(row) for column in columns) for row in self.rows]
        for title, verdicts in self._verdicts:
            lines += ["", f"## {title}", "", *(f"- {verdict}" for verdict in verdicts)]
        return "\n".join([*lines, "", "## Notes", "", *(f"- {note}" for note in self.notes), ""])

    @property
    def html(self) -> str:
        """For a notebook."""
        parts = []
        for title, columns in _tables(self.rows):
            head = "".join(f"<th>{html.escape(c.head)}</th>" for c in columns)
            body = "".join(
                "<tr>" + "".join(f"<td>{html.escape(c.show(row))}</td>" for c in columns) + "</tr>" for row in self.rows
            )
            parts.append(
                f"<table><caption>{html.escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            )
        for title, verdicts in self._verdicts:
            items = "".join(f"<li>{html.escape(verdict)}</li>" for verdict in verdicts)
            parts.append(f"<p>{html.escape(title)}</p><ul>{items}</ul>")
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "".join(parts) + f"<details><summary>notes</summary><ul>{notes}</ul></details>"

    @property
    def csv(self) -> str:
        """One line per candidate, plain numbers."""
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(self.rows[0].flat()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.flat() for row in self.rows)
        return stream.getvalue()

    @property
    def _verdicts(self) -> list[tuple[str, tuple[str, ...]]]:
        joint = "jointly " if len(self.comparison.differences) > 1 else ""
        sure = f"{joint}at {100 * self.comparison.confidence:g} % confidence"
        titles = (
            ("Who explains the sequences better", self.verdicts),
            ("Who forecasts better, by log p", self.forecast_verdicts),
            ("Who forecasts better, by CRPS", self.crps_verdicts),
        )
        return [(f"{title}, {sure}", verdicts) for title, verdicts in titles if verdicts]


def make_report(
    comparison: Comparison,
    forecast: Comparison | None,
    crps: Comparison | None,
    evaluations: Mapping[str, Sequence[Evaluation]],
    measure: Measure,
    size: int,
    length: int,
    crps_unit: str,
    looks: Mapping[str, int],
) -> Report:
    """The report of all fits, by candidate.

    Args:
        size: Sequences in the split, of which ``measure`` took some.
        length: The number of steps, T.
        crps_unit: In words.
        looks: From a candidate to how often the test split of one of its fits has been evaluated, at most.
    """
    foretold, close = ({} if c is None else {one.name: one for one in c.candidates} for c in (forecast, crps))
    rows = tuple(Row.of(c, foretold.get(c.name), close.get(c.name), evaluations[c.name]) for c in comparison.candidates)
    return Report(
        comparison,
        rows,
        tuple(d.sentence for d in comparison.differences),
        () if forecast is None else tuple(d.sentence for d in forecast.differences),
        () if crps is None else tuple(d.sentence for d in crps.differences),
        (*_notes(comparison, rows, measure, size, length, crps_unit), *_evaluated(looks, measure)),
    )


def _evaluated(looks: Mapping[str, int], measure: Measure) -> list[str]:
    """What the test split was asked before."""
    notes = []
    if measure.split == "test":
        notes.append("choose on the validation split; the test split is for the candidate that was chosen")
    counts = set(looks.values())
    if counts == {0}:
        return notes
    if len(counts) == 1:
        return [*notes, f"the test split of each of these runs has been evaluated {times(counts.pop())}"]
    told = ", ".join(f"{name} {times(count)}" for name, count in looks.items())
    return [*notes, f"the test split of these runs has been evaluated: {told}"]


def _notes(
    comparison: Comparison, rows: Sequence[Row], measure: Measure, size: int, length: int, crps_unit: str
) -> list[str]:
    n = comparison.sequences
    seeds = sorted({row.seeds for row in rows})
    which = "all there are" if n == size else f"of {size}, evenly spaced"
    notes = [
        f"log p(x) by {measure.draws} importance-weighted draws for each of {n} sequences of the {measure.split} "
        f"split ({which}), mean over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'}; standard errors are "
        "over sequences and leave seeds out, verdicts take both in; all figures are of the guide itself (raw codes)"
    ]
    worst = max(row.k_hat_above for row in rows)
    if worst > 0.5:
        notes.append(
            f"k-hat is above .7 for up to {worst:.0%} of the sequences: these values are lower bounds, not estimates, and a "
            "candidate whose guide fits worse is put at a disadvantage; to tighten them take more draws (--draws 1000), a "
            "wider proposal (--scale 1.2) or a posterior refined per sequence (--refine 100)"
        )
    if rows[0].forecast is not None:
        given, horizon = measure.given, length - measure.given
        notes.append(
            f"forecast log p is of the last {horizon} frame{'' if horizon == 1 else 's'} given the first {given}, by draws "
            f"that the evidences of both share; k-hat is above .7 for up to {max(r.forecast_k_hat_above for r in rows):.0%} of "
            "the sequences. Both evidences are loose there, so a forecast may be off in either direction. Most of it is how "
            "well a frame is drawn, the same for any motion. The CRPS asks how close "
            f"{FORECASTS} drawn futures come, {crps_unit}; less is better, and verdicts take its negative"
        )
        notes.append(
            "evidence, forecasts by log p and forecasts by CRPS are three families of verdicts: the confidence is that of each "
            "family by itself, not of all three together"
        )
    notes.append(
        "a classifier of temporal order, trained on this model's own reconstructions of training clips, says which share of "
        "held-out clips moves for real: with z drawn from the prior (drawn), their own z (true), z in disorder (wrong)"
    )
    if any(row.annealed_difference is not None for row in rows):
        notes.append(
            f"annealed importance sampling from the guide on {min(measure.annealed, n)} of the sequences: where it is far "
            "above the importance weights, these are loose"
        )
    return notes


def write_report(report: Report, out: Path, write: Callable[[Path, str], None]) -> None:
    """comparison.md and comparison.csv."""
    write(out / "comparison.md", report.markdown)
    write(out / "comparison.csv", report.csv)


def _number(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _error(value: float, error: float, decimals: int = 1) -> str:
    return f"{_number(value, decimals)} ± {_number(error, decimals)}"


def _maybe_error(value: float | None, error: float | None, decimals: int = 1) -> str:
    return "–" if value is None or error is None else _error(value, error, decimals)


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
