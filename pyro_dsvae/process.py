"""A command as a process: how it begins, and how it is asked to stop. SIGTERM, SIGUSR1 and SIGHUP do what Ctrl-C does.

Nothing heavy is imported here, so that a command answers from its first moment on.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

# Windows has only the first two. Schedulers send SIGTERM, or SIGUSR1 where the job script says so, before they take a job down.
SIGNALS = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")]
# Seconds within which further signals are the same request: a process is often told twice, alone and as one of its group.
ONE_REQUEST = 0.5

# What PyTorch's profiler and allocator write to the terminal of their own accord. The profiler ranks that above its errors.
QUIET = {"KINETO_LOG_LEVEL": "6", "TORCH_CPP_LOG_LEVEL": "ERROR"}
# For how many rounds a thread without work asks for some before it sleeps. GNU's runtime has 300,000: beside another busy
# process a step of two threads then took three times as long as one of one thread, with 1,000 rounds no longer than that.
SLEEPY = {"GOMP_SPINCOUNT": "1000"}

_command = [False]
_last = [-math.inf]  # when the last request came
_written: list[Path] = []  # what this command has written that is whole


def run_verb(verb: str, arguments: Sequence[str] | None = None) -> None:
    """Run a verb on its arguments, by default those of the command line, and exit with its status.

    A request to stop during the seconds of imports is answered like any other.
    """
    for name, value in (QUIET if "OMP_WAIT_POLICY" in os.environ else QUIET | SLEEPY).items():
        os.environ.setdefault(name, value)
    _command[0] = True
    with listening(end_at_once):
        cli = import_module("pyro_dsvae.cli")
        cli.main(import_module(f"pyro_dsvae.{verb}").main, arguments)


def is_command() -> bool:
    """Whether this process is a command of the package, and no script or notebook that uses it."""
    return _command[0]


def unguarded() -> bool:
    """Whether a script is calling from outside ``if __name__ == "__main__":``, so that to import it is to run it."""
    import ast

    frame: FrameType | None = sys._getframe()
    while frame is not None and not (
        frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name == "<module>"
    ):
        frame = frame.f_back
    if frame is None or _command[0] or not Path(frame.f_code.co_filename).is_file():
        return False
    tree = ast.parse(Path(frame.f_code.co_filename).read_text())
    at = [each for each in tree.body if each.lineno <= frame.f_lineno <= (each.end_lineno or 0)]
    return not any(isinstance(each, ast.If) and "__name__" in ast.unparse(each.test) for each in at)


class Stopped(KeyboardInterrupt):
    """The process was asked to stop.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that shells expect: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

        It is 143 after SIGUSR1, too: either says that the job is pre-empted, and a script that submits it again asks for one.
        """
        return 128 + (signal.SIGTERM if signal.Signals(self.number).name == "SIGUSR1" else self.number)

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"


def as_stopped(error: KeyboardInterrupt) -> Stopped:
    """The interrupt with its signal; one that names none was Ctrl-C."""
    return error if isinstance(error, Stopped) else Stopped()


def listen(answer: Callable[[int], None]) -> None:
    """From now on every request to stop calls ``answer`` with the number of the signal. Only in the main thread.

    A signal that this process was started to ignore (``nohup``) stays ignored.
    """
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def handle(number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGHUP":
            _without(terminals)
        before, _last[0] = _last[0], time.monotonic()
        if _last[0] - before > ONE_REQUEST:
            answer(number)

    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, handle)


@contextmanager
def listening(answer: Callable[[int], None]) -> Iterator[None]:
    """`listen` within a block. In another thread than the main one, which signals do not reach, nothing is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        listen(answer)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def was_asked() -> bool:
    """Whether this process was asked to stop."""
    return _last[0] > -math.inf


def raise_stopped(number: int) -> None:
    """An answer: raise `Stopped` where the process is, so that what it has begun is cleaned up."""
    raise Stopped(number)


def end_at_once(number: int) -> None:
    """An answer for a process that has not begun anything: one line, and the exit status.

    An exception would be lost now and then: Python swallows those that are raised in its callbacks, of which imports have many.
    """
    os.write(2, f"{Stopped(number)}\n".encode())
    os._exit(Stopped(number).status)


@contextmanager
def held_back() -> Iterator[None]:
    """Requests to stop wait until the block is over; in processes that it starts, until these let them in."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def note_written(path: Path) -> None:
    """A request to stop that comes from now on says that ``path`` is there."""
    _written.append(path)


def written() -> Path | None:
    """The last that this command has written and that is whole; None while there is nothing."""
    return _written[-1] if _written else None


@contextmanager
def stoppable(command: str) -> Iterator[None]:
    """A command's work: a request to stop raises `Stopped` in it, and is one line and an exit status after it.

    The line says whether anything was written.

    Args:
        command: Starts the work again.

    Raises:
        SystemExit: After a request to stop.
    """
    others = sys.unraisablehook

    def again(raised: "sys.UnraisableHookArgs") -> None:
        # Swallowed by a destructor, or by the callback of a weak reference: ask once more, when that is over.
        if isinstance(raised.exc_value, Stopped):
            _last[0] = -math.inf
            threading.Timer(0.05, os.kill, (os.getpid(), raised.exc_value.number)).start()
        else:
            others(raised)

    sys.unraisablehook = again
    _written.clear()
    try:
        with listening(raise_stopped):
            yield
    except KeyboardInterrupt as error:
        left = f"{written()} was written" if _written else f"nothing was written; start again with: {command}"
        print(f"{as_stopped(error)}; {left}", file=sys.stderr)
        sys.exit(as_stopped(error).status)
    finally:
        sys.unraisablehook = others


def _without(terminals: list[int]) -> None:
    """After the terminal was closed: what is printed goes nowhere, instead of failing."""
    for fd in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, fd)
        os.close(nowhere)
