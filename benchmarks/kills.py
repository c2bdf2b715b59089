"""Kill fits and comparisons at random moments, go on with them, and compare with ones that were left alone.

  python benchmarks/kills.py                 # 20 SIGTERM and 20 SIGKILL: prints and writes the page, half an hour
  python benchmarks/kills.py --kills 4

A fit or a comparison of a few seconds is started and gets the signal at a random moment between its start and the end that
it would have had. The same command is then given to its end (a fit goes on with --resume where there is a run). What it
leaves must be what an undisturbed one leaves: the same weights to the bit, the same rows of metrics, the same table, and
no other file. Each kill is a line of kills.csv when it is done; the command goes on with those that are missing.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
FIT = [*SMALL, "--steps=150", "--optimisation.evaluations=4"]
COMPARE = [
    *(option for option in SMALL if "dynamic_prior" not in option),
    *("--vary=dynamic_prior=IID,RandomWalk", "--seeds=1", "--steps=40", "--sequences=4", "--draws=30"),
]
# Which command is killed by the first pair of signals, the second, …
ORDER = ["fit", "fit", "fit", "compare", "compare --devices 2"]


@dataclass(frozen=True)
class Job:
    """A command that is killed, and what tells whether it came to the right end."""

    verb: str
    options: Sequence[str]

    def command(self, out: Path) -> list[str]:
        """The command to begin with, and to go on with."""
        resume = ["--resume"] if self.verb == "fit" and out.exists() else []
        return [sys.executable, "-m", f"pyro_dsvae.{self.verb}", *self.options, f"--out={out}", *resume]

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


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, err = process.communicate(timeout=600)
    return process.returncode, err


def started(command: Sequence[str]) -> subprocess.Popen[str]:
    """The command, in a session of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


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
    process = started(job.command(out))
    time.sleep(moment)
    late = process.poll() is not None
    process.send_signal(number)
    status, err = ended(process)
    if late:
        return None
    assert "Traceback" not in err, err
    # Python itself takes a moment to start, and after the last result a moment to end.
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
            status, err = ended(started(job.command(out)))
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
            phase = killed(job, out, number, chance.uniform(0.5, self.seconds[title]))
        status, err = ended(started(job.command(out)))
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
    parser.add_argument("--kills", type=int, default=40, help="half of them SIGTERM, half SIGKILL")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    records = options.out / "kills.csv"
    known = {int(row[0]): row[1:] for row in csv.reader(records.open())} if records.exists() else {}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool, records.open("a") as file:
        missing = [count for count in range(options.kills) if count not in known]
        trials = Trials(Path(name), options.seed) if missing else None
        done = {pool.submit(trials.trial, count): count for count in missing} if trials else {}
        for future in as_completed(done):
            known[done[future]] = list(future.result())
            csv.writer(file, lineterminator="\n").writerow([done[future], *known[done[future]]])
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
