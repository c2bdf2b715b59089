"""A lock of a folder: one process at a time writes into it. The system frees it when the process ends, however it ends."""

import errno
import os
import socket
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TextIO

from pyro_dsvae.models.errors import Remark, UsageError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
MOUNTS = Path("/proc/self/mountinfo")  # of Linux
# Mounted so, network file systems (NFS, Lustre) keep locks to the machine that took them.
LOCAL = ("nolock", "local_lock=all", "local_lock=flock", "localflock")


class TakenError(UsageError):
    """Another process writes into the folder, or something is there already."""


class FolderLock:
    """The lock of one folder, held from `take` to `release` or to the end of the process.

    It is that of the operating system (``flock``) on the file .lock in the folder, which names the process that holds it. So a
    lock never outlives its process. Network file systems that know such locks tell processes on other machines, too; a `Remark`
    says where they do not.

    Args:
        folder: A folder that exists.

    Attributes:
        folder: Where the lock is; to be set where the folder was renamed.
        taken: Whether this process holds it.
        known: False where the file system has no locks, so that nothing is known of other processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken, self.known = False, True
        self.stream: TextIO | None = None

    def take(self, path: Path | None = None) -> None:
        """Lock the folder.

        Args:
            path: What to call it in a message, where it has another name as yet.

        Raises:
            TakenError: Where another process holds the lock; it is named.
            OSError: Where the folder cannot be written.
        """
        while not self.taken:
            try:
                stream = (self.folder / LOCK).open("a+")
            except FileNotFoundError:  # another process has renamed it in this moment
                raise TakenError(f"{path or self.folder} was written by another process just now") from None
            try:
                self.known = _lock(stream)
                # The process before may have removed the file after it was opened here.
                with suppress(FileNotFoundError):
                    self.taken = os.path.samestat(os.fstat(stream.fileno()), (self.folder / LOCK).stat())
            except (BlockingIOError, PermissionError):  # the latter on some network file systems
                stream.seek(0)
                who = " ".join(stream.read().split()) or "another process"
                said = f"{path or self.folder} is being written by {who}; wait for its end, or stop it"
                raise TakenError(said) from None
            finally:
                if not self.taken:
                    stream.close()
        self.stream = stream
        stream.truncate(0)
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {when}\n")
        stream.flush()

    def release(self) -> None:
        """Remove the file, then free the lock; nothing where it is not held."""
        if self.stream is not None:
            (self.folder / LOCK).unlink(missing_ok=True)
            self.stream.close()
        self.taken, self.stream = False, None


def _lock(stream: TextIO) -> bool:
    """Lock an open file, or return False where no file can be locked. Raises `OSError` where another process has locked it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        warnings.warn(
            f"{stream.name}: this file system has no locks ({error.strerror}), so start no second process that writes there",
            Remark,
            stacklevel=4,
        )
        return False
    if (kept := local_locks(Path(stream.name))) is not None:
        said = f"{stream.name}: this file system is mounted with {kept}, so its locks hold on this machine only"
        warnings.warn(f"{said}; start no process on another machine that writes there", Remark, stacklevel=4)
    return True


def local_locks(path: Path) -> str | None:
    """The option with which the file system of ``path`` is mounted, where it keeps locks to this machine; else None."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:  # no Linux
        return None
    # The fifth word is where, with spaces written as \\040; the last are the options of the file system.
    holding = [(words[4].replace("\\040", " "), words[-1].split(",")) for words in mounts]
    over = [each for each in holding if path.resolve().is_relative_to(each[0])]
    options = max(over, key=lambda each: len(each[0]), default=("", []))[1]
    return next((each for each in options if each in LOCAL), None)
