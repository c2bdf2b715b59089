"""What the Sprites benchmark has measured so far: sprites.json, which grows run by run.

Hours of fitting may be spread over days and machines, so what a run has shown is kept apart from the run's directory.
"""

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIT = ("steps", "seconds", "device", "threads", "versions")  # what is kept of summary.json
PATHS = ("path", "run")  # what is not kept of evaluation.json


CODE = (":/pyro_dsvae", ":/models", ":/inference", ":/benchmarks/sprites")


@dataclass(frozen=True)
class Record:
    """One run.

    row, seed   which; a row says under which guide its fits are evaluated (`rows`)
    commands    what fits and evaluates it, the folder of the sheets as DIR and that of the run as RUN
    commit      of the project when it was begun
    fit         steps, seconds, device, threads and versions, of summary.json
    evaluation  evaluation.json without its paths
    """

    row: str
    seed: int
    commands: tuple[str, ...]
    commit: str
    fit: dict[str, Any]
    evaluation: dict[str, Any]


def commit() -> str:
    """The commit of the project, with a + where the code differs from it; "unknown" outside a clone."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Records:
    """The runs in ``file``, which is read anew each time: two commands may add to it side by side."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def all(self) -> list[Record]:
        """In the order in which they were added; none where there is no file."""
        if not self.file.exists():
            return []
        runs = json.loads(self.file.read_text())["runs"]
        return [Record(**{**run, "commands": tuple(run["commands"])}) for run in runs]

    def add(self, record: Record) -> None:
        """Put the run in the place of one of its row and seed, or at the end; all or nothing is written."""
        runs = [run for run in self.all() if (run.row, run.seed) != (record.row, record.seed)]
        lines = ",\n".join(json.dumps(asdict(run)) for run in [*runs, record])
        self.file.parent.mkdir(parents=True, exist_ok=True)
        whole = self.file.with_suffix(".json.new")
        whole.write_text(f'{{"runs": [\n{lines}\n]}}\n')
        os.replace(whole, self.file)
