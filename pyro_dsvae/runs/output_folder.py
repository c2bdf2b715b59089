"""Where verbs write: a folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_dsvae.models.errors import UsageError


def next_free(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, … that does not exist."""
    return next(path for n in range(1, 10**6) if not (path := Path("runs") / f"{name}-{n:03}").exists())


def check_free(path: Path, overwrite: bool = False) -> None:
    """Check, before the work begins, that ``path`` may be written.

    Raises:
        UsageError: Where it exists and may not be replaced.
    """
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise UsageError(f"{path} exists; name another place with --out, or replace it with --overwrite true")


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes ``path`` when all went well and is removed when something did not.

    What was at ``path`` before stays until then.

    Raises:
        UsageError: Where it exists and ``overwrite`` is False, or where nothing can be written.
    """
    check_free(path, overwrite)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.mkdir(parents=True)
        yield part
        if overwrite and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif overwrite:
            path.unlink(missing_ok=True)
        part.rename(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
