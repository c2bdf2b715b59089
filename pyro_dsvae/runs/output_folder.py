"""Where verbs write: a folder that appears whole or not at all, under a name that no other process takes."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pyro_dsvae.lock import LOCK, FolderLock, TakenError
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import held_back, note_written

Made = TypeVar("Made")


def numbered(parent: Path, name: str) -> Iterator[Path]:
    """Those of PARENT/NAME-001, PARENT/NAME-002, … that do not exist."""
    return (path for n in range(1, 10**6) if not (path := parent / f"{name}-{n:03}").exists())


def in_next_free(out: Path | None, name: str, make: Callable[[Path], Made]) -> Made:
    """What ``make`` makes in ``out``, or where that is None in the first runs/NAME-NNN that no other process takes.

    Args:
        out: The folder that the user named.
        name: Of folders without a name of their own.
        make: Called with a folder; raises `TakenError` where it is taken.
    """
    if out is not None:
        return make(out)
    for path in numbered(Path("runs"), name):
        with suppress(TakenError):
            return make(path)
    raise UsageError(f"there are too many folders runs/{name}-NNN; name one with --out")


def check_free(path: Path, overwrite: bool = False, option: str = "--out") -> None:
    """Check, before the work begins, that ``path``, which ``option`` names, may be written.

    Raises:
        TakenError: Where it exists and may not be replaced.
    """
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise TakenError(f"{path} exists; name another place with {option}, or replace it with --overwrite true")
    check_parents(path, option)


def check_parents(path: Path, option: str = "--out") -> None:
    """Check, before the work begins, that what is to hold ``path`` is a folder, or can be made one.

    Raises:
        UsageError: Where a file is in the way, or the folder may not be written.
    """
    nearest = next((parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink()), None)
    if nearest is not None and not nearest.is_dir():
        raise UsageError(f"cannot write {path}: {nearest} is a file; name another place with {option}")
    if nearest is not None and not os.access(nearest, os.W_OK):
        raise UsageError(f"cannot write {path}: {nearest} may not be written; name another place with {option}")


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes ``path`` when all went well and is removed when something did not.

    What was at ``path`` before stays until then. What a killed process left of its work at ``path`` is removed.

    Raises:
        UsageError: Where it exists and ``overwrite`` is False, another process is writing it, or nothing can be written.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    part = FolderLock(path.with_name(f".{path.name}.part"))  # one name, so that leftovers do not pile up
    with writing(path):
        try:
            with held_back():
                _begin(part, path, overwrite)
            yield part.folder
            if overwrite and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif overwrite:
                path.unlink(missing_ok=True)
            part.folder = part.folder.rename(path)
            note_written(path)
        except BaseException:
            if part.taken:
                shutil.rmtree(part.folder, ignore_errors=True)
            # One that could not be locked, and parents that were made for it; those of another process are not empty.
            for left in (part.folder, *missing):
                with suppress(OSError):
                    left.rmdir()
            raise
        finally:
            part.release()


@contextmanager
def new_numbered_folder(parent: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """The first PARENT/NAME-NNN that no other process takes, and the folder to write into (`new_folder`)."""
    with ExitStack() as stack:
        for path in numbered(parent, name):
            with suppress(TakenError):
                folder = stack.enter_context(new_folder(path))
                break
        yield path, folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A block in which this process alone writes into a folder that exists.

    Raises:
        TakenError: Where another process does; it is named.
        UsageError: Where it cannot be written.
    """
    lock = FolderLock(folder)
    try:
        with writing(folder), held_back():
            lock.take()
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write into one line that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _begin(part: FolderLock, path: Path, overwrite: bool) -> None:
    """Make, lock and empty the hidden folder in which ``path`` is made.

    Raises:
        TakenError: Where ``path`` exists, or another process makes it.
    """
    check_free(path, overwrite)
    folder = part.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
        found = False
    except FileExistsError:
        found = True
    part.take(path)
    if found and not part.known:
        part.release()
        raise TakenError(f"{path} is being written by another process, or was when that died; if so remove {folder}")
    _check_renames(folder, path)
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()
    check_free(path, overwrite)


def _check_renames(folder: Path, path: Path) -> None:
    """Check, before the work begins, that a folder can be renamed where ``path`` is to be made.

    Raises:
        UsageError: On a file system that cannot, such as some that show an object store as folders.
    """
    probe = folder / ".probe"
    probe.mkdir(exist_ok=True)
    try:
        probe = probe.rename(folder / ".renamed")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: the file system cannot rename folders ({error.strerror}), so nothing could appear there "
            "whole; name a place on another one with --out, and copy what is finished"
        ) from error
    finally:
        probe.rmdir()
