"""What every tracker is told."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pyro_dsvae.models.errors import UsageError

Parameter = str | int | float | bool | None


class Tracker(ABC):
    """Who is told of fits and comparisons: `begin`, then any number of the others, then `end`; again for the next fit.

    A constructor keeps its arguments under their names, as those of other parts do, and connects to nothing. What a tracker
    raises after `begin` is said once, and the fit goes on without it.
    """

    @abstractmethod
    def begin(self, folder: Path, parameters: Mapping[str, Parameter], step: int) -> None:
        """A fit or a comparison begins, or goes on.

        Args:
            folder: Where it is written; of a fit that is resumed the same as before.
            parameters: Its options, flat: ``{"latent_size": 8, "dynamic_prior": "LSTM", "dynamic_prior.hidden_size": 256}``.
            step: The steps that are done; of those that follow some may have been told before, by a process that was killed.
        """

    @abstractmethod
    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step, such as ``{"validation/elbo": -120.5}``, in nats per sequence."""

    @abstractmethod
    def figure(self, name: str, picture: Path, step: int) -> None:
        """A picture, a PNG file."""

    @abstractmethod
    def file(self, path: Path) -> None:
        """A small file of the results."""

    @abstractmethod
    def end(self, finished: bool) -> None:
        """The fit ended, or was stopped before its end."""


def check_installed(package: str, tracker: Tracker) -> None:
    """Check, before the work begins, that what a tracker needs is there; it is not imported as yet.

    Raises:
        UsageError: Where it is not installed.
    """
    if find_spec(package) is None:
        name = type(tracker).__name__
        raise UsageError(f"{name} needs the package {package}, which is not here: pip install 'pyro-dsvae[trackers]'")
