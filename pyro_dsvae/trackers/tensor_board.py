"""TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pyro_dsvae.trackers.tracker import Parameter, Tracker, check_installed


class TensorBoard(Tracker):
    """Scalars, pictures and the options as event files, for ``tensorboard --logdir runs``.

    Needs the extra `trackers`.

    Args:
        folder: Where the event files go; by default the folder tensorboard of each run. Several runs in one folder each have a
            folder of their own in it, of the run's name.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae import Arrays
        >>> from pyro_dsvae.fit import fit
        >>> from pyro_dsvae.trackers import TensorBoard
        >>> data, out = Arrays("clips.npz"), Path("runs/told")
        >>> result = fit(data=data, steps=2, tracker=TensorBoard(), out=out)  # doctest: +IGNORE_OUTPUT
        >>> len(list((out / "tensorboard").glob("events.*")))
        1
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        check_installed("tensorboard", self)
        self._writer: Any = None

    def begin(self, folder: Path, parameters: Mapping[str, Parameter], step: int) -> None:
        """See `Tracker.begin`. What a killed process told of later steps is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        place = folder / "tensorboard" if self.folder is None else Path(self.folder) / folder.name
        self._writer = SummaryWriter(str(place), purge_step=step + 1 if step else None)
        rows = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
        self._writer.add_text("options", f"| option | value |\n|---|---|\n{rows}", step)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, name: str, picture: Path, step: int) -> None:
        """See `Tracker.figure`."""
        with Image.open(picture) as opened:
            self._writer.add_image(name, np.asarray(opened.convert("RGB")), step, dataformats="HWC")

    def file(self, path: Path) -> None:
        """TensorBoard keeps no files."""

    def end(self, finished: bool) -> None:
        """See `Tracker.end`."""
        self._writer.close()
