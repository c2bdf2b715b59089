"""The journal of a fit: the files of its run directory, and its progress."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from signal import SIGINT
from typing import Any

from pyro_dsvae.inference.training.distributed import is_rank_zero, lost_process
from pyro_dsvae.inference.training.journal import REFIT, UNDONE
from pyro_dsvae.inference.training.read_ahead import lost_reader
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import Stopped, written
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.profiling import StepProfile
from pyro_dsvae.trackers.tracking import Tracking

REFITTED = "after refitting the static prior"

# Is told of every row of metrics.csv, and returns whether the fit is to go on.
Watch = Callable[[Mapping[str, Any]], bool]


class Ended(Stopped):
    """What watched the fit has ended it."""


@contextmanager
def losses_told() -> Iterator[None]:
    """A block in which it is one line that another process of the fit, or the one that reads for it, has ended.

    Raises:
        UsageError: In the first process.
        SystemExit: In the others.
    """
    try:
        yield
    except RuntimeError as error:
        who = "the process that reads the data" if lost_reader(error) else "another process of this fit"
        if not lost_reader(error) and not lost_process(error):
            raise
        if not is_rank_zero():
            raise SystemExit(2) from error
        kept = f"what was saved is kept: go on with --out {shlex.quote(str(written()))} --resume"
        raise UsageError(f"{who} has ended, of too little memory perhaps, so this one ends, too; {kept}") from error


class FitJournal:
    """The journal of one fit: files of the run directory, a line per held-out evaluation, and a `Bar`.

    Args:
        run: The run directory.
        step: The step that the fit begins after.
        plan: When the fit ends, in words.
        fingerprint: Of the data.
        shown: Whether progress is printed; of several processes only one does.
        profile: Of the first steps.
        tracking: Told of every row, too.
        watch: Likewise; where it returns False the fit ends after the step it is in.

    Attributes:
        stopped: The request to stop, which ends the fit after the step it is in.
    """

    def __init__(
        self,
        run: RunDirectory,
        step: int,
        plan: str,
        fingerprint: str,
        shown: bool = True,
        profile: StepProfile | None = None,
        tracking: Tracking | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.profile, self.tracking, self.watch = profile, tracking, watch
        self.run, self.step, self.fingerprint = run, step, fingerprint
        self.stopped: Stopped | None = None
        self.bar = Bar(f"fitting {plan}", shown, announced=False)

    def __enter__(self) -> "FitJournal":
        self.bar.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.bar.__exit__(*raised)

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.append_metrics(row)
        if self.tracking is not None:
            self.tracking.row(row)
        if self.watch is not None and not self.watch(row):
            self.stopped = self.stopped or Ended()
        self.step = row["step"]
        when = {"validation": f"step {row['step']}", REFIT: REFITTED, UNDONE: REFITTED}.get(row["split"])
        if when is not None:
            undone = ". That is no better than before, so the prior stays as it was" if row["split"] == UNDONE else ""
            self.bar.say(
                f"{when}: held-out ELBO {row['elbo']:,.1f} nats per sequence"
                f" (reconstruction {row['reconstruction']:,.1f},"
                f" KL of f {row['kl_static']:.1f}, KL of z {row['kl_dynamic']:.1f}){undone}"
            )

    def save(self, state: Mapping[str, Any]) -> None:
        self.run.save("checkpoint.pt", {**state, "data": self.fingerprint})

    def save_best(self, state: Mapping[str, Any]) -> None:
        kept = ("step", "best", "frame_shape", "length", "objective")
        self.run.save("best.pt", {**{key: state[key] for key in kept}, "data": self.fingerprint})

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        self.bar(progress, f"step {self.step}, ELBO {elbo:,.1f} nats per sequence")

    def stop(self) -> bool:
        if self.profile is not None:
            self.profile.step()
        return self.stopped is not None

    def ask_to_stop(self, number: int) -> None:
        """End the fit after the step it is in. A second Ctrl-C, and no other signal, stops it at once."""
        if self.stopped is not None and number == SIGINT:
            raise Stopped(number)
        self.stopped = self.stopped or Stopped(number)
