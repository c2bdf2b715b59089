"""One fit or comparison, told to a tracker that may fail."""

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.trackers.tracker import Parameter, Tracker


class Tracking:
    """A block in which a tracker, where there is one, is told.

    One that fails is left alone from then on, which a `Remark` says.

    Args:
        tracker: Or None.
        folder: Of the fit or comparison.
        config: Its options, as config.yaml has them.
        step: The steps that are done.
        new: Whether nothing is done yet, so that the folder is removed where the tracker cannot begin.
    """

    def __init__(
        self, tracker: Tracker | None, folder: Path, config: Mapping[str, Any], step: int = 0, new: bool = False
    ) -> None:
        self.tracker, self.folder, self.config, self.step, self.new = tracker, folder, config, step, new
        self.finished = False

    def __enter__(self) -> "Tracking":
        """Begin.

        Raises:
            UsageError: Where the tracker cannot.
        """
        if self.tracker is not None:
            try:
                self.tracker.begin(self.folder, dict(flat(self.config)), self.step)
            except Exception as error:  # whatever the client of a server raises
                if self.new:
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise UsageError(
                    f"{type(self.tracker).__name__} cannot begin: {_one_line(error)}", "tracker"
                ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._tell(lambda tracker: tracker.end(self.finished))

    def row(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.csv."""
        terms = {name: value for name, value in row.items() if name not in ("step", "split")}
        self.metrics(row["step"], {f"{row['split']}/{name}": value for name, value in terms.items()})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        self._tell(lambda tracker: tracker.metrics(step, values))

    def results(self, folder: Path, names: Iterable[str], step: int) -> None:
        """At the end of the work: the pictures in ``folder``/figures, and files of these names that there are."""
        for picture in sorted((folder / "figures").glob("*.png")):
            self._tell(partial(_figure, picture, step))
        for file in (folder / name for name in names):
            if file.is_file():
                self._tell(partial(_file, file))
        self.finished = True

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            what(self.tracker)
        except Exception as error:  # whatever the client of a server raises
            said = f"{type(self.tracker).__name__} is told no more, since it failed: {_one_line(error)}; all is in the folder"
            self.tracker = None
            warnings.warn(said, Remark, stacklevel=3)


def _figure(picture: Path, step: int, tracker: Tracker) -> None:
    tracker.figure(picture.stem, picture, step)


def _file(path: Path, tracker: Tracker) -> None:
    tracker.file(path)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"


def flat(config: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Parameter]]:
    """Options by their names on the command line; a part is the name of its class, and its options follow.

    Example:
        >>> from pyro_dsvae.trackers.tracking import flat
        >>> dict(flat({"steps": 5, "prior": {"class_path": "a.b.LSTM", "init_args": {"size": 3}}}))
        {'steps': 5, 'prior': 'LSTM', 'prior.size': 3}
    """
    for name, value in config.items():
        if isinstance(value, Mapping) and "class_path" in value:
            yield above + name, str(value["class_path"]).rpartition(".")[2]
            yield from flat(value.get("init_args", {}), f"{above}{name}.")
        elif isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield above + name, str(value) if isinstance(value, list | tuple) else value
