"""What is done for every fit of a comparison, by this process or another."""

import contextlib
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from pyro_dsvae.comparison.candidates import Candidate, Fit
from pyro_dsvae.comparison.measurement import Evaluation, Measure, evaluate
from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.reading import read_again
from pyro_dsvae.fit import fit_watched
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.loading import Run, load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import Stopped
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.fit_journal import Ended, Watch

FITTING = 0.8  # of a task, about; the rest measures


@dataclass(frozen=True)
class Task:
    """One fit of a comparison: how it is made, and where what is measured of it is kept.

    Attributes:
        candidate: None for a run that is finished.
    """

    fit: Fit
    candidate: Candidate | None
    evidence: Path
    measure: Measure

    def do(self, data: SequenceData, device: str, title: str) -> tuple[Evaluation, Run]:
        """Fit, where that is not done, and measure what is not measured.

        Raises:
            KeyboardInterrupt: Where the user stopped.
        """
        self.fitted(data, title)
        run = load(self.fit.path, device=device)
        with Bar(f"{title}: evidence and motion") as bar:
            return evaluate(self.fit, run, data, self.measure, self.evidence, bar), run

    def share(self) -> float:
        """How much of it is done, 0 to 1, as its files say, whichever process works on it."""
        if self.candidate is None:
            return 0.0
        if (self.fit.path / "summary.json").is_file():
            return FITTING
        with contextlib.suppress(UsageError):  # there is nothing yet
            if rows := RunDirectory(self.fit.path).metrics():
                budget = Budget(self.candidate.config["steps"], self.candidate.config["minutes"])
                return FITTING * min(1.0, budget.progress(rows[-1]["step"], rows[-1]["seconds"]))
        return 0.0

    def saved(self) -> tuple[int, ...]:
        """When each file to go on from was written last: other numbers mean that it has come further."""
        files = (self.fit.path / "checkpoint.pt", self.fit.path / "summary.json", self.evidence)
        return tuple(file.stat().st_mtime_ns for file in files if file.is_file())

    def fitted(self, data: SequenceData, title: str, watch: Watch | None = None) -> bool:
        """Fit, where that is not done; return False where ``watch`` has ended it.

        Raises:
            KeyboardInterrupt: Where the user stopped.
        """
        path, candidate = self.fit.path, self.candidate
        if candidate is None or (path / "summary.json").is_file():
            return True
        Console(stderr=True, markup=False, emoji=False).print(f"{title}: fitting", highlight=False)
        # Standard output is for the comparison.
        with contextlib.redirect_stdout(sys.stderr):
            options = replace(candidate.options(), out=path, seed=self.fit.seed, resume=path.exists())
            if isinstance(options.data, InMemory):  # which a configuration does not hold
                options = replace(options, data=options.data.holding(data))
            result = fit_watched(options, watch)
        if not result.finished and not isinstance(result.stopped, Ended):
            raise result.stopped or Stopped()
        return result.finished


@dataclass(frozen=True)
class Work:
    """All tasks of a comparison, as other processes are told of them.

    Attributes:
        tasks: One for every fit.
        source: Of the data; None: those of the first task's run.
        device: "cuda", "cpu", "mps", or "auto" for what the process finds.
    """

    tasks: Sequence[Task]
    source: DataSource | None
    device: str

    def data(self) -> SequenceData:
        """The data, read by another process again."""
        if self.source is None:
            return load(self.tasks[0].fit.path, device="cpu").sequences()
        return read_again(self.source)

    def title(self, number: int) -> str:
        """What a task is called where it is told of; they count from 0."""
        fit = self.tasks[number].fit
        return f"[{number + 1}/{len(self.tasks)}] {fit.candidate}, seed {fit.seed}"

    def standing(self, done: Collection[int]) -> tuple[float, str]:
        """The share of the whole that is done, and in words how far every fit is that has begun."""
        shares = [1.0 if number in done else task.share() for number, task in enumerate(self.tasks)]
        begun = [
            f"{task.fit.candidate} seed {task.fit.seed} {share:.0%}"
            for number, (task, share) in enumerate(zip(self.tasks, shares, strict=True))
            if share > 0 and number not in done
        ]
        return sum(shares) / len(shares), ", ".join([f"{len(done)} of {len(shares)} done", *begun])
