"""Series from a table: CSV, Parquet, NetCDF, or a frame of pandas in memory."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.tables.reading import of_dataset, of_frame, read_table
from pyro_dsvae.data.tables.roles import VALUE, VARIABLE, Roles, find_roles
from pyro_dsvae.data.tables.rows import Rows
from pyro_dsvae.data.tables.sequences import sequences_of
from pyro_dsvae.data.tables.splits import By, Splits
from pyro_dsvae.data.tables.windows import Short, Windows
from pyro_dsvae.models.errors import Remark, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray


@dataclass
class SeriesTable(DataSource):
    """Series from a table with a column of entities, one of times, and channels.

    A wide table has a row for each entity and time and a column for each channel. A long one has a row for each measurement,
    with its name in one column and its value in another. Empty cells mean that nothing was measured. Times are numbers or
    dates in ISO 8601, need not be regular, and reach the priors as they are. An entity is one sequence, or is cut into windows.
    No sequence crosses the border of an entity or a split, nor a row at which a dynamic label changes. The order of the rows
    changes nothing.

    What a column is can be named. Where it is not, its own name tells: entity, id, subject and the like; time, timestamp, date
    and the like; split; variable and value in a long table. All others are channels.

    Args:
        path: The file, by its name CSV, Parquet or NetCDF; None where `read` is given a frame.
        entity: The column that says whose measurement a row is.
        time: The column of times. Dates with a time zone or an offset, such as +01:00, are brought to UTC.
        channels: The columns that were measured, with commas, or as a list; by default all that are nothing else. Of a long
            table, names of measurements.
        static: Columns of labels of entities, which do not change within one.
        dynamic: Columns of labels of rows.
        split: The column that says train, validation or test.
        variable: Of a long table, the column with the name of what was measured.
        value: Of a long table, the column with its value.
        by: How rows are split where no column says: by entity at random, or by time, the latest for the test. By default by
            entity, or by time where there is one only.
        validation: Fraction of the entities, or of the rows by time, for the validation split.
        test: Fraction for the test split.
        seed: Of the random split.
        window: Steps of each sequence; by default an entity is one.
        stride: Steps from one window to the next; by default ``window``, so that windows do not overlap.
        short: What becomes of entities with less than a window, or one row: refuse, or drop.

    Example:
        >>> import pandas as pd
        >>> from pyro_dsvae import SeriesTable
        >>> rows = [(who, hour, 36 + who / 9 + hour / 5) for who in range(9) for hour in range(5)]
        >>> pd.DataFrame(rows, columns=["patient", "hour", "temperature"]).to_csv("fever.csv", index=False)
        >>> data = SeriesTable("fever.csv", time="hour").load()
        >>> data.frames.shape, data.names.columns, data.names.entities[:3]
        (torch.Size([9, 5, 1]), ('temperature',), ('0', '1', '2'))
    """

    path: Path | None = None
    entity: str | None = None
    time: str | None = None
    channels: list[str] | str | None = None
    static: list[str] | str | None = None
    dynamic: list[str] | str | None = None
    split: str | None = None
    variable: str | None = None
    value: str | None = None
    by: By | None = None
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    window: int | None = None
    stride: int | None = None
    short: Short = "refuse"

    def __post_init__(self) -> None:
        self.path = None if self.path is None else Path(self.path).expanduser()
        # Told before a file is read.
        self._splits()
        self._windows()

    def load(self) -> SequenceData:
        """The sequences of the file.

        Raises:
            UsageError: Where they cannot be read.
        """
        if self.path is None:
            raise UsageError("SeriesTable needs the file of a table", "data.path")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", Remark)
                data = self._sequences(read_table(self.path))
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", *error.options) from None
        for each in told:
            warnings.warn(Remark(f"{self.path}: {each.message}"), stacklevel=2)
        return data

    def read(self, table: "pd.DataFrame | xarray.Dataset") -> SequenceData:
        """The sequences of a table in memory.

        Raises:
            UsageError: For what is no table of series.

        Example:
            >>> import numpy as np, pandas as pd
            >>> from pyro_dsvae import SeriesTable
            >>> frame = pd.DataFrame({"id": np.repeat(range(9), 5), "t": np.tile(range(5), 9), "x": range(45)})
            >>> SeriesTable().read(frame).frames.shape
            torch.Size([9, 5, 1])
        """
        from xarray import Dataset

        return self._sequences(of_dataset(table) if isinstance(table, Dataset) else of_frame(table))

    def _sequences(self, table: "pd.DataFrame") -> SequenceData:
        given = Roles(
            self.entity,
            self.time or "",
            _names(self.channels),
            _names(self.static),
            _names(self.dynamic),
            self.split,
            self.variable,
            self.value,
        )
        roles = find_roles(list(table.columns), given, entity_needed=self.window is None)
        alone = "table" if self.path is None else self.path.stem
        return sequences_of(Rows.of(table, roles, alone), self._splits(), self._windows())

    def _splits(self) -> Splits:
        return Splits(self.by, self.validation, self.test, self.seed)

    def _windows(self) -> Windows:
        return Windows(self.window, self.stride, self.short)


def read_more(path: Path, names: Names, source: DataSource) -> SequenceData:
    """Other entities for a run that was fitted to a table: each of them one sequence, in the columns and the unit of that one.

    Args:
        path: A table with the same columns.
        names: Of the table of the run.
        source: The data of the run.

    Raises:
        UsageError: For a table that has not these columns.
    """
    variable, value = (source.variable, source.value) if isinstance(source, SeriesTable) else (None, None)
    try:
        table = read_table(path)
        columns = list(table.columns)
        if variable is None and not set(names.columns) <= set(columns) and {VARIABLE, VALUE} <= set(columns):
            variable, value = VARIABLE, VALUE
        entity = names.entity if names.entity in columns else None
        given = Roles(entity, names.time, names.columns, variable=variable, value=value)
        roles = find_roles(columns, given, entity_needed=False)
        return sequences_of(Rows.of(table, roles, path.stem, names.clock.unit), None, Windows())
    except UsageError as error:
        raise UsageError(f"{path}: {error}", *error.options) from None


def _names(given: list[str] | str | None) -> tuple[str, ...]:
    """The names of columns, given as a list or with commas."""
    if given is None:
        return ()
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(name.strip() for name in parts if name.strip())
