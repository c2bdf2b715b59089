"""The progress of long work, and the journal of a fit."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pyro_dsvae.inference.estimation import part_of
from pyro_dsvae.inference.training.journal import REFIT, UNDONE
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.profiling import StepProfile

REFITTED = "after refitting the static prior"


class FitJournal:
    """The journal of one fit: files of the run directory, and a progress bar with the ELBO and the time left.

    On a terminal the bar moves in place; elsewhere one line is printed per held-out evaluation. ``stopping`` set to True
    ends the fit after the step it is in. Of several processes only one has a bar that is ``shown``.
    """

    def __init__(
        self,
        run: RunDirectory,
        budget: Budget,
        step: int,
        fingerprint: str,
        shown: bool = True,
        profile: StepProfile | None = None,
    ) -> None:
        self.profile = profile
        self.run, self.budget, self.step, self.fingerprint = run, budget, step, fingerprint
        self.stopping = False
        self.first: tuple[float, float] | None = None
        self.console = Console(file=sys.stderr)
        self.bar = Progress(
            TextColumn("fitting"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
        )
        self.task = self.bar.add_task("fitting", total=1.0, status="")

    def __enter__(self) -> "FitJournal":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.append_metrics(row)
        self.step = row["step"]
        when = {"validation": f"step {row['step']}", REFIT: REFITTED, UNDONE: REFITTED}.get(row["split"])
        if when is not None:
            undone = ". That is no better than before, so the prior stays as it was" if row["split"] == UNDONE else ""
            self.console.print(
                f"{when}: held-out ELBO {row['elbo']:,.1f} nats per sequence"
                f" (reconstruction {row['reconstruction']:,.1f},"
                f" KL of f {row['kl_static']:.1f}, KL of z {row['kl_dynamic']:.1f}){undone}",
                highlight=False,
                soft_wrap=True,
            )

    def save(self, state: Mapping[str, Any]) -> None:
        self.run.save("checkpoint.pt", {**state, "data": self.fingerprint})

    def save_best(self, state: Mapping[str, Any]) -> None:
        kept = ("step", "best", "frame_shape", "length", "objective")
        self.run.save("best.pt", {**{key: state[key] for key in kept}, "data": self.fingerprint})

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        if self.first is None:
            self.first = (progress, seconds)
        gained = progress - self.first[0]
        # The rate of this process: what went before a resume may have run on another machine.
        left = "" if gained <= 0 else f", {_clock((1 - progress) / gained * (seconds - self.first[1]))} left"
        status = f"step {self.step}, ELBO {elbo:,.1f} nats per sequence{left}"
        self.bar.update(self.task, completed=min(progress, 1.0), status=status)

    def stop(self) -> bool:
        if self.profile is not None:
            self.profile.step()
        return self.stopping


class Bar:
    """A progress bar on standard error for work that reports its share, with the time left.

    ``Bar`` itself is what such work takes as ``progress``: ``bar(0.3)``. It prints nothing unless it is on a terminal.

    Args:
        what: The work, in a few words.
    """

    def __init__(self, what: str) -> None:
        console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.task = self.bar.add_task(what, total=1.0)

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, share: float) -> None:
        """``share`` (0 to 1) of the work is done."""
        self.bar.update(self.task, completed=share)

    def part(self, start: float, stop: float) -> Callable[[float], None]:
        """What a part of the work takes as ``progress``: its 0 is ``start`` of the whole, its 1 ``stop``."""
        return part_of(self, start, stop)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
