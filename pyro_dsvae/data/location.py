"""Where the files of a data source are, when its relative paths are read in another folder than they were written in."""

import copy
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyro_dsvae.data.dataset import DataSource

# How far above a run its data are looked for: a run of a comparison lies four folders below the project's.
LEVELS = 5


def places(folder: Path | None, run: Path | None = None) -> list[Path]:
    """The folders that relative paths may count from, the first choice first.

    Args:
        folder: The one in which they were written; None where it is not known.
        run: The run directory that names them, which may have been moved with its data.
    """
    above = [] if run is None else [run.resolve(), *run.resolve().parents][:LEVELS]
    return [Path.cwd(), *([] if folder is None else [folder]), *above]


def located(source: DataSource, folders: Iterable[Path]) -> Iterator[tuple[DataSource, Path]]:
    """The source with its relative paths counted from each of the folders in which they exist, and that folder.

    A source without relative paths, or with paths that exist nowhere, comes once, as it is, with the first folder: it says best
    what is wrong.
    """
    folders = list(dict.fromkeys(folders))
    names = inspect.signature(type(source)).parameters
    values = {name: vars(source).get(name) for name in names}
    paths = {name: value for name, value in values.items() if isinstance(value, Path) and not value.is_absolute()}
    found = [folder for folder in folders if all((folder / path).exists() for path in paths.values())]
    if not paths or not found:
        yield source, folders[0]
        return
    for folder in found:
        moved = copy.copy(source)
        if folder != Path.cwd():
            vars(moved).update({name: folder / path for name, path in paths.items()})
        yield moved, folder


def existing(path: Path, folder: Path | None) -> Path:
    """The path where it exists here or is absolute; else counted from ``folder``, where it exists there."""
    if folder is None or path.exists() or path.is_absolute() or not (folder / path).exists():
        return path
    return folder / path
