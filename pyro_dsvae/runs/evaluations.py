"""How often the test split of a run has been evaluated, and by which command.

Who changes a model after a look at its test figures fits it to them. So every evaluation of the test split leaves a line in
test-evaluations.jsonl of the run (`results_folder`), and later calls say how many there are. Nothing counts what is done with
`Run` in Python.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pyro_dsvae.pretrained import results_folder

FILE = "test-evaluations.jsonl"


class Evaluated(NamedTuple):
    """One evaluation of the test split.

    Attributes:
        command: Which: evaluate, compare, ppc, latents forecast.
        when: The time, in UTC.
        wrote: The folder with the figures.
    """

    command: str
    when: str
    wrote: str


def evaluations(run: Path) -> list[Evaluated]:
    """The evaluations of the test split of ``run``, in order; a line that cannot be read counts as one."""
    try:
        lines = (results_folder(run) / FILE).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [_read(line) for line in lines if line.strip()]


def record(run: Path, command: str, wrote: Path, again: bool = True) -> str:
    """Add an evaluation of the test split of ``run``, and say how many there are.

    Args:
        run: The run directory.
        command: Which one evaluates.
        wrote: The folder with the figures, in full in the record.
        again: Whether another evaluation into the same folder counts; False for a command that goes on where it was.

    Returns:
        A sentence.
    """
    one = Evaluated(command, datetime.now(UTC).isoformat(timespec="seconds"), os.path.abspath(wrote))
    if again or not any((done.command, done.wrote) == (one.command, one.wrote) for done in evaluations(run)):
        try:
            # A line at a time, so that two commands may add theirs side by side.
            if results_folder(run) != run:
                results_folder(run).mkdir(exist_ok=True)
            with (results_folder(run) / FILE).open("a") as file:
                file.write(json.dumps(one._asdict()) + "\n")
        except OSError as error:
            return f"{said(run, [one])} This one could not be recorded in {run}: {error.strerror}."
    return said(run)


def said(run: Path, more: Sequence[Evaluated] = ()) -> str:
    """How often the test split of ``run`` has been evaluated, as a sentence; empty where it never was.

    Args:
        run: The run directory.
        more: Evaluations that are not recorded.
    """
    by = Counter(one.command for one in (*evaluations(run), *more))
    if not by:
        return ""
    commands = ", ".join(f"{command} {count}" for command, count in by.items())
    return f"The test split of this run has been evaluated {times(by.total())} ({commands})."


def times(count: int) -> str:
    """``1 time``, ``2 times``."""
    return f"{count} time{'' if count == 1 else 's'}"


def _read(line: str) -> Evaluated:
    try:
        found = json.loads(line)
        return Evaluated(*(str(found[name]) for name in Evaluated._fields))
    except (ValueError, TypeError, LookupError):
        return Evaluated("unknown", "", "")
