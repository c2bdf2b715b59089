"""The progress of long work: a bar on a terminal; elsewhere a line per stage, and one a minute."""

import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from pyro_dsvae.inference.estimation import part_of

# Where there is no terminal: seconds of work that nothing is said of, and then between lines.
PATIENCE, INTERVAL = 5.0, 60.0


class Bar:
    """The progress, on standard error, of work that reports its share.

    ``Bar`` itself is what such work takes as ``progress``: ``bar(0.3)``. On a terminal a bar moves in place, with the time
    left. Elsewhere (a pipe, a file, a job of a cluster) work that is over within seconds is silent. Of longer work the name
    of each stage is a line when it begins, and a line a minute says how far it is, whether the work reports or not. The
    first stage of work that is not announced has no line of its own; the line that says how far it is comes at once.

    Args:
        stage: The work, or its first stage, in a few words.
        shown: Whether anything is printed.
        announced: Whether the first stage has a line, too; not where the work prints lines of its own.
    """

    def __init__(self, stage: str, shown: bool = True, announced: bool = True) -> None:
        self.console = Console(file=sys.stderr)
        self.terminal, self.shown, self.announced = self.console.is_terminal, shown, announced
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=self.console, disable=not (shown and self.terminal), transient=True)
        self.task = self.bar.add_task(stage, total=1.0, note="")
        self.name, self.note, self.share, self.told = stage, "", 0.0, ""
        self.first: tuple[float, float] | None = None
        self.began = time.monotonic()
        self.over = threading.Event()
        self.clock = threading.Thread(target=self._say_every_interval, daemon=True)

    def __enter__(self) -> "Bar":
        self.bar.start()
        if self.shown and not self.terminal:
            if self.announced:
                self._announce()
            self.clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.bar.stop()

    def __call__(self, share: float, note: str = "", stage: str | None = None) -> None:
        """``share`` (0 to 1) of the work is done; ``note`` is shown beside it, and ``stage`` begins."""
        if stage is not None:
            self.name = stage
            self.bar.update(self.task, description=stage)
            self._announce()
        now = time.monotonic()
        if self.first is None:
            self.first = share, now
        self.share = share
        # The rate of this process: what went before a resume may have run on another machine.
        gained = share - self.first[0]
        left = f"{_clock((1 - share) / gained * (now - self.first[1]))} left" if gained > 0 else ""
        self.note = ", ".join(part for part in (note, left) if part)
        self.bar.update(self.task, completed=min(share, 1.0), note=self.note)

    def part(self, start: float, stop: float, stage: str | None = None) -> Callable[[float], None]:
        """What a part of the work takes as ``progress``: its 0 is ``start`` of the whole, its 1 ``stop``.

        Args:
            start, stop: Shares of the whole.
            stage: A name of the part, which begins now.
        """
        if stage is not None:
            self(start, stage=stage)
        return part_of(self, start, stop)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _announce(self) -> None:
        """The name of the stage, unless it was told, or the work is too young."""
        piped = self.shown and not self.terminal
        if piped and self.told != self.name and time.monotonic() - self.began >= PATIENCE:
            self.told = self.name
            self.say(self.name)

    def _say_every_interval(self) -> None:
        if self.announced and not self.over.wait(PATIENCE):
            self._announce()
        wait = INTERVAL if self.announced else PATIENCE
        while not self.over.wait(wait):
            wait = INTERVAL
            so_far = _clock(time.monotonic() - self.began)
            done = [f"{self.share:.0%} of the whole after {so_far}" if self.share else f"{so_far} so far"]
            self.say(": ".join([self.name, ", ".join(done + [self.note] * bool(self.note))]))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
