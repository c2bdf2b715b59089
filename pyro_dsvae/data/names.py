"""What the owner of a table calls its entities, its times and its columns, so that results can be written in the same terms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# Units of time in nanoseconds, the largest first.
UNITS = {
    "days": 86_400 * 10**9,
    "hours": 3_600 * 10**9,
    "minutes": 60 * 10**9,
    "seconds": 10**9,
    "milliseconds": 10**6,
    "microseconds": 10**3,
}


@dataclass(frozen=True)
class Clock:
    """What a time of the data, a floating number, is for its owner.

    Attributes:
        unit: One of `UNITS`, or empty for times that were numbers.
        origin: Nanoseconds from 1970 to time 0; None for times that are no dates.
        utc: Whether the owner's dates said that they are in UTC.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.names import Clock
        >>> Clock("hours", origin=0).written(np.array([0.0, 25.5]))
        ['1970-01-01T00:00:00', '1970-01-02T01:30:00']
        >>> Clock().written(np.array([0.0, 25.5]))
        ['0', '25.5']
    """

    unit: str = ""
    origin: int | None = None
    utc: bool = False

    def written(self, times: NDArray[np.float64]) -> list[str]:
        """Times (n,) as the owner writes them: dates in ISO 8601, all equally exact, or numbers."""
        if self.origin is None:
            return [np.format_float_positional(time, trim="-") for time in times]
        # Floating numbers of large times are exact to less than a microsecond.
        elapsed = np.round(times * (UNITS[self.unit] / 1000)).astype("timedelta64[us]")
        dates = np.datetime64(self.origin, "ns").astype("datetime64[us]") + elapsed
        units = ("s", "ms", "us") if self.utc else ("D", "s", "ms", "us")  # a day has no place for the Z
        exact = next(unit for unit in units if (dates.astype(f"datetime64[{unit}]") == dates).all())
        texts = [str(date) for date in dates.astype(f"datetime64[{exact}]")]
        return [f"{text}Z" for text in texts] if self.utc else texts

    def in_words(self) -> str:
        """The unit and where it counts from."""
        if self.origin is None:
            return f"in {self.unit}" if self.unit else "in its own unit"
        return f"in {self.unit} from {self.written(np.zeros(1))[0]}"


@dataclass(frozen=True)
class Names:
    """The names in a table, or of clips, from which sequences were made.

    Attributes:
        columns: (P,) of the channels; empty for images.
        entities: (N,) the entity that each sequence is of.
        entity: Of the column of entities.
        time: Of the column of times.
        clock: What times are.
        understood: How the table was understood, a line for each matter.
    """

    columns: tuple[str, ...]
    entities: tuple[str, ...]
    entity: str = "entity"
    time: str = "time"
    clock: Clock = Clock()
    understood: tuple[str, ...] = ()

    def take(self, rows: Tensor) -> "Names":
        """Those of the sequences with these indices."""
        return replace(self, entities=tuple(self.entities[i] for i in rows.tolist()), understood=())


def listed(names: Sequence[object], most: int = 8) -> str:
    """The names with commas between them, of many the first and how many more there are."""
    rest = len(names) - most
    return ", ".join(str(name) for name in names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
