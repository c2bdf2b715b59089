"""One task of a comparison in a process of its own, which a worker of a cluster starts.

Workers import this module alone, so that nothing heavy is loaded into them. The process saves and ends when the comparison has
stopped or died, which it sees by a file in the shared folder.
"""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pyro_dsvae.runs.versions import code_version

# done; stopped: all is saved, to go on from; died: nothing is known but what is in the files; failed: what can be put right.
Outcome = Literal["done", "stopped", "died", "failed"]
# The folder, inside that of the comparison, through which it and its workers know of each other, and its files.
SHARED, BEGUN, TASKS, ALIVE = ".cluster", "begun.json", "tasks.pkl", "alive"
STOP = "stop"  # what the last holds then; else the token, and a count that rises
# Seconds: between two looks at a file; until a comparison that says nothing is taken for dead; for which a run that another
# process still holds is waited for, as after a worker was lost; until a file that another machine wrote has come through.
LOOK, SILENT, HELD, ARRIVAL = 1.0, 180.0, 60.0, 10.0


def unfit(folder: str, token: str) -> str:
    """Why this worker cannot take tasks, to be said after its name; empty where it can.

    Args:
        folder: Of the comparison.
        token: Of this call of it.
    """
    limit = time.monotonic() + ARRIVAL
    while (begun := _begun(folder)) is None or begun["token"] != token:
        if time.monotonic() > limit:
            return f"does not see {folder}; name a folder with --out that all machines share, by the same path"
        time.sleep(LOOK)
    if (own := code_version()) != begun["code"]:
        return f"has pyro_dsvae {own}, this machine {begun['code']}; install the same version on all"
    return ""


def begin(folder: str, number: int, token: str, here: str) -> tuple[Outcome, str]:
    """In a worker: do a task, and return how it ended and what was said.

    Args:
        folder: Of the comparison.
        number: Of the task, from 0.
        token: Of this call of the comparison.
        here: The folder in which it was called.
    """
    if _read(Path(folder) / SHARED / ALIVE) == STOP:
        return "stopped", ""
    if said := unfit(folder, token):
        return "failed", f"the worker on {socket.gethostname()} {said}"
    log = Path(folder) / f"worker-{socket.gethostname()}-{os.getpid()}.log"
    command = [sys.executable, "-m", __name__, folder, str(number), token]
    place = here if Path(here).is_dir() else folder  # paths that are relative are so to where the comparison was called
    pipe = subprocess.PIPE
    with (
        log.open("a") as err,
        subprocess.Popen(command, cwd=place, stdin=pipe, stdout=pipe, stderr=err, text=True) as child,
    ):
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
    if child.returncode == 0 and lines:
        outcome, said = json.loads(lines[-1])
        return outcome, said
    return ("stopped" if child.returncode == -signal.SIGTERM else "died"), f"{log} tells how far it came"


def main(arguments: Sequence[str]) -> None:
    """Do one task; the last line of standard output is how it ended."""
    folder, number, token = Path(arguments[0]), int(arguments[1]), arguments[2]
    threading.Thread(target=_follow_worker, daemon=True).start()
    threading.Thread(target=_follow_comparison, args=(folder / SHARED / ALIVE, token), daemon=True).start()
    print(json.dumps(_outcome(folder / SHARED / TASKS, number)), flush=True)


def _outcome(file: Path, number: int) -> tuple[Outcome, str]:
    from pyro_dsvae.comparison.spread.tasks import Work
    from pyro_dsvae.lock import TakenError
    from pyro_dsvae.models.errors import UsageError
    from pyro_dsvae.process import listening, raise_stopped

    limit = time.monotonic() + HELD
    try:
        with listening(raise_stopped):
            with file.open("rb") as stream:
                work: Work = pickle.load(stream)
            data = work.data()
            while True:
                try:
                    work.tasks[number].do(data, work.device, work.title(number))
                    return "done", ""
                except TakenError:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(LOOK)
    except KeyboardInterrupt:
        return "stopped", ""
    except UsageError as error:
        return "failed", " ".join(str(error).split())
    except Exception as error:  # whatever it is, it is told where the comparison was called; here it is in a log
        traceback.print_exc()
        return "failed", f"{work.title(number)}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _begun(folder: str) -> dict[str, str] | None:
    """What the comparison says of itself; None where that cannot be seen."""
    said = _read(Path(folder) / SHARED / BEGUN)
    return None if said is None else dict(json.loads(said))


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None


def _follow_worker() -> None:
    """When the worker has died, end, since another may be given the task; but let what was asked to stop save."""
    from pyro_dsvae.process import was_asked

    os.read(0, 1)  # returns when the other end of the pipe is gone
    time.sleep(LOOK)
    if not was_asked():
        os._exit(1)


def _follow_comparison(alive: Path, token: str) -> None:
    """Ask this process to stop when the comparison has stopped, has died, or was begun anew."""
    last, heard, missed = "", time.monotonic(), 0
    while missed < 3 and time.monotonic() - heard < SILENT:
        time.sleep(LOOK)
        said = _read(alive)
        if said is None:  # it may be replaced in this moment
            missed += 1
        elif not said.startswith(token):
            break
        else:
            missed = 0
            if said != last:
                last, heard = said, time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
