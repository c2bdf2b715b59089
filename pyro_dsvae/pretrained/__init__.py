"""Runs that come with the package: one folder each, whose name stands wherever a command or `load` takes a run."""

import warnings
from pathlib import Path

from pyro_dsvae.models.errors import Remark

FOLDER = Path(__file__).parent
# A folder that holds one of these is a run, or what is left of one.
OF_RUNS = ("config.yaml", "best.pt", "checkpoint.pt", "metrics.csv", "summary.json")


def names() -> list[str]:
    """What ``pyro_dsvae.load(NAME)`` opens without a fit."""
    return sorted(file.parent.name for file in FOLDER.glob("*/config.yaml"))


def resolved(run: Path) -> Path:
    """The folder of a run: ``run`` itself, or that of the package where ``run`` is one of `names` and no run is there.

    A `Remark` says so where a folder of something else has that name.
    """
    if str(run) not in names() or (run.is_symlink() and not run.exists()):
        return run
    if run.exists():
        if not run.is_dir() or any((run / name).exists() for name in OF_RUNS):
            return run
        said = f"the folder {run} here holds no run, so {run} is the run that comes with the package"
        warnings.warn(said, Remark, stacklevel=3)
    return FOLDER / run


def results_folder(run: Path) -> Path:
    """Where results on a run go: into its own folder, or for a run of the package into ./NAME-results.

    The package may be installed where nothing can be written, and is replaced by the next version.
    """
    return Path(f"{run.name}-results") if run.resolve().parent == FOLDER.resolve() else run


def default_out(run: Path) -> Path:
    """`results_folder`, with a `Remark` where it is another than the run's own."""
    folder = results_folder(run)
    if folder != run:
        warnings.warn(f"the run {run.name} is part of the package, so results go to {folder}", Remark, stacklevel=2)
    return folder
