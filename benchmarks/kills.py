"""Kill fits and comparisons at random moments, go on with them, and compare with ones that were left alone.

  python benchmarks/kills.py                 # 50 SIGTERM and 50 SIGKILL: prints and writes the page, a quarter of an hour
  python benchmarks/kills.py --kills 4

A fit or a comparison of a few seconds is started and gets the signal at a random moment between its start and the end that
it would have had. Commands are forked from this process, which has imported what they need, so that the moments are those
of their work; `tests/commands/test_process.py` stops commands that are still importing. The same command is then given to its
end (a fit goes on with --resume where there is a run). What it leaves must be what an undisturbed one leaves: the same weights
to the bit, the same rows of metrics, the same table, and no other file. Each kill is a line of kills.csv when it is done; the
command goes on with those that are missing.
"""

import argparse
import csv
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What commands import, before they are forked; a comparison imports what a fit does.
import pyro_dsvae.compare  # noqa: F401
from pyro_dsvae.process import run_verb
from pyro_dsvae.runs.directory import RunDirectory

SMALL = [
    *(
        "--static_size=2",
        "--latent_size=2",
        "--dynamic_prior.hidden_size=4",
        "--posterior.hidden_size=4",
        "--device=cpu",
    ),
    *("--posterior.feature_size=4", "--optimisation.batch_size=4", "--optimisation.checkpoint_seconds=0.2"),
]
FIT = [*SMALL, "--steps=75", "--optimisation.evaluations=4"]
COMPARE = [
    *(option for option in SMALL if "dynamic_prior" not in option),
    *("--vary=dynamic_prior=IID,RandomWalk", "--seeds=1", "--steps=25", "--sequences=4", "--draws=30"),
]
# Which command is killed by the first pair of signals, the second, …
ORDER = ["fit", "compare", "fit", "compare", "fit", "compare", "fit", "compare", "fit", "compare --devices 2"]


@dataclass(frozen=True)
class Job:
    """A command that is killed, and what tells whether it came to the right end."""

    verb: str
    options: Sequence[str]

    def arguments(self, out: Path) -> list[str]:
        """What follows the verb, to begin with and to go on with."""
        resume = ["--resume"] if self.verb == "fit" and out.exists() else []
        return [*self.options, f"--out={out}", *resume]

    def start(self, out: Path) -> "Process":
        """The command, forked."""
        return Process(self.verb, self.arguments(out), out.parent.parent / f"{out.parent.name}.err")

    def result(self, out: Path, with_rows: bool) -> dict[str, Any]:
        """What must be the same: weights and metrics of all runs, tables, names of files."""
        found: dict[str, Any] = {"files": sorted(str(path.relative_to(out)) for path in out.rglob("*"))}
        for run in [out] if self.verb == "fit" else sorted((out / "runs").iterdir()):
            for name in ("checkpoint.pt", "best.pt"):
                weights = torch.load(run / name, weights_only=True)["objective"]
                found[f"{run.name if run != out else ''}{name}"] = {
                    key: value.tolist() if torch.is_tensor(value) else value for key, value in weights.items()
                }
            kept = ("train", "validation") if with_rows else ("validation",)
            rows = [row for row in RunDirectory(run).metrics() if row["split"] in kept]
            found[f"{run.name if run != out else ''}rows"] = [{**row, "seconds": None} for row in rows]
        if self.verb == "compare":
            with (out / "comparison.csv").open(newline="") as file:
                found["table"] = [{**row, "seconds": None} for row in csv.DictReader(file)]
            found["files"] = [name for name in found["files"] if not name.startswith("device-")]
        return found


class Process:
    """A command in a process and a session of its own.

    Args:
        verb: Of the command.
        arguments: Its options.
        err: The file for its standard error.
    """

    def __init__(self, verb: str, arguments: Sequence[str], err: Path) -> None:
        self.err, self.status = err, None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(verb, arguments)

    def _run(self, verb: str, arguments: Sequence[str]) -> None:
        status = 1
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(self.err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
            run_verb(verb, arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)

    def over(self) -> bool:
        """Whether it has ended by now."""
        pid, status = os.waitpid(self.pid, os.WNOHANG) if self.status is None else (0, 0)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def ended(self) -> tuple[int, str]:
        """Exit status and standard error, when it has ended."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status, self.err.read_text() if self.err.exists() else ""


def survivors(session: int) -> int:
    """How many processes of a session are alive, half a minute after its first one ended at most."""
    limit = time.monotonic() + 30
    while True:
        alive = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            alive += int(fields[3]) == session and fields[0] != "Z"
        if not alive or time.monotonic() > limit:
            return alive
        time.sleep(0.1)


def killed(job: Job, out: Path, number: signal.Signals, moment: float) -> str | None:
    """Start the job and kill it. Returns in which phase that was, None where it had ended before."""
    process = job.start(out)
    time.sleep(moment)
    if process.over():
        return None
    os.kill(process.pid, number)
    status, err = process.ended()
    assert "Traceback" not in err, err
    # A process takes a moment to listen, and after the last result a moment to end.
    begun = out.exists()
    done = (out / ("summary.json" if job.verb == "fit" else "comparison.csv")).exists()
    expected = {128 + number, 0} | ({-number} if number == signal.SIGKILL or not begun or done else set())
    assert status in expected, (status, err)
    assert survivors(process.pid) == 0, "processes are left"
    if number == signal.SIGTERM and status == 128 + number:
        hidden = [path for path in out.parent.rglob("*") if path.name.startswith(".")]
        assert not hidden, hidden
    if not begun:
        return "before the folder was there"
    return "after the last result" if done else "at work"


class Trials:
    """The jobs, what they lead to when they are left alone, and one kill after the other.

    Args:
        folder: To work in.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        frames = np.random.default_rng(0).normal(size=(30, 4, 3)).cumsum(1).astype(np.float32)
        np.savez(folder / "walks.npz", frames=frames)
        data = ["--data=Arrays", f"--data.path={folder / 'walks.npz'}"]
        self.jobs = {
            "fit": Job("fit", [*data, *FIT]),
            "compare": Job("compare", [*data, *COMPARE]),
            "compare --devices 2": Job("compare", [*data, *COMPARE, "--devices=2"]),
        }
        self.right: dict[tuple[str, bool], dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        for title, job in self.jobs.items():
            begun, out = time.monotonic(), folder / "right" / title / "out"
            out.parent.mkdir(parents=True)
            status, err = job.start(out).ended()
            assert status == 0, err
            self.seconds[title] = time.monotonic() - begun
            for rows in (True, False):
                self.right[title, rows] = job.result(out, rows)

    def trial(self, count: int) -> tuple[str, str, str]:
        """One kill and what follows: the command, the signal, and when it came. Raises `AssertionError`."""
        chance = random.Random(f"{self.seed} {count}")
        number = (signal.SIGTERM, signal.SIGKILL)[count % 2]
        title = ORDER[count // 2 % len(ORDER)]
        job, phase, out = self.jobs[title], None, self.folder
        while phase is None:  # again where it had ended before
            out = Path(tempfile.mkdtemp(dir=self.folder)) / "out"
            phase = killed(job, out, number, chance.uniform(0.05, self.seconds[title]))
        status, err = job.start(out).ended()
        assert status == 0, err
        # A stop adds a row of training metrics where it came and shortens the next mean.
        # So do the processes of a comparison that was killed: they stop by themselves.
        rows = number == signal.SIGKILL and title != "compare --devices 2"
        found = job.result(out, rows)
        for what, value in self.right[title, rows].items():
            assert found[what] == value, (title, number, what)
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        return title, number.name, phase


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="half of them SIGTERM, half SIGKILL")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    records = options.out / "kills.csv"
    known = {int(row[0]): row[1:] for row in csv.reader(records.open())} if records.exists() else {}
    missing = [count for count in range(options.kills) if count not in known]
    if missing:
        with tempfile.TemporaryDirectory() as name, records.open("a") as file:
            trials = Trials(Path(name), options.seed)
            for count in missing:
                known[count] = list(trials.trial(count))
                csv.writer(file, lineterminator="\n").writerow([count, *known[count]])
                file.flush()
    counts = Counter((command, name, phase) for command, name, phase in known.values())
    lines = [
        "# Killed at random moments",
        "",
        f"`python benchmarks/kills.py`: {options.kills} kills, seed {options.seed}. After each the same command was given to "
        "its end and held against one that was left alone. All ended with the same bits of both checkpoints, the same rows of "
        "metrics (after SIGTERM: held-out ones, since a stop adds a row), the same table and the same files; no process, "
        "no hidden folder and no lock was left.",
        "",
        "| command | signal | came | kills |",
        "|---|---|---|---:|",
        *(f"| `{title}` | {number} | {phase} | {n} |" for (title, number, phase), n in sorted(counts.items())),
    ]
    (options.out / "kills.md").write_text("\n".join(lines) + "\n")
    print(f"wrote: {options.out / 'kills.md'}")


if __name__ == "__main__":
    main()
