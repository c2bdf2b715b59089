"""Tables from files: CSV, Parquet, NetCDF."""

import bz2
import csv
import gzip
import lzma
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_dsvae.models.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import xarray

CSV = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
NETCDF = (".nc", ".nc4", ".netcdf")
_KINDS = f"a table is CSV ({', '.join(CSV)}), Parquet ({', '.join(PARQUET)}) or NetCDF ({', '.join(NETCDF)})"


def needed(module: str, extra: str, why: str) -> Any:
    """A module of an optional dependency.

    Raises:
        UsageError: With the line that installs it, where it is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(f"{why} needs {package}, which is not installed: pip install 'pyro-dsvae[{extra}]'") from error


def is_table(path: Path) -> bool:
    """Whether the name of a file is that of a table, compressed or not."""
    return _suffix(path) in (*CSV, *PARQUET, *NETCDF)


def read_table(path: Path) -> "pd.DataFrame":
    """The table in a file, a column for each name. Cells of CSV are texts.

    Raises:
        UsageError: Where it cannot be read.
    """
    pandas = needed("pandas", "series", "a table")
    if path.is_dir():
        raise UsageError("is a folder, and a table is one file; name the file")
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in path.parent.iterdir())) if path.parent.is_dir() else ""
        raise UsageError(f"no such file{near}")
    suffix = _suffix(path)
    if suffix in (".npz", ".npy"):
        raise UsageError(f"holds arrays, not a table: --data Arrays --data.path {shlex.quote(str(path))}")
    try:
        if suffix in CSV:
            return _read_csv(pandas, path)
        if suffix in PARQUET:
            needed("pyarrow", "series", "a Parquet file")
            return of_frame(pandas.read_parquet(path))
        if suffix in NETCDF:
            return of_dataset(path)
    except UsageError:
        raise
    except (OSError, ValueError, KeyError) as error:  # pandas' and pyarrow's own are among them
        raise UsageError(f"cannot be read as {suffix[1:]}: {' '.join(str(error).split())[:200]}") from error
    raise UsageError(f"is no table by its name; {_KINDS}")


def of_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A frame with its index as columns, where that says anything, and texts as names of columns.

    Raises:
        UsageError: For columns of one name.
    """
    named = frame.index.nlevels > 1 or frame.index.name is not None
    try:
        found = frame.reset_index() if named else frame.reset_index(drop=True)
    except ValueError as error:
        raise UsageError(f"the index of the frame and a column have one name: {error}; rename either") from error
    return _checked(found.set_axis([str(name) for name in found.columns], axis=1))


def of_dataset(source: "Path | xarray.Dataset") -> "pd.DataFrame":
    """A Dataset of xarray, or a file of one, as a table: a row for each entity and time.

    A variable with one more dimension than entities and times has a column for each place along it. Steps at the beginning
    and at the end of an entity of which nothing was measured fill the grid up, and are left out.

    Raises:
        UsageError: For variables that no table holds.
    """
    import xarray

    if isinstance(source, Path):
        with xarray.open_dataset(source) as opened:
            return of_dataset(opened.load())
    depth = {name: variable.ndim for name, variable in source.data_vars.items()}
    if not depth or max(depth.values()) > 3:
        raise UsageError(
            f"the dataset has variables of {listed_shapes(source)}; they are (entity, time), (time,) or (entity, time, channel)"
        )
    wide = xarray.Dataset(coords={name: c for name, c in source.coords.items() if c.ndim == 1})
    for name, variable in source.data_vars.items():
        if variable.ndim < 3:
            wide[name] = variable
            continue
        last = variable.dims[-1]
        for place in range(variable.sizes[last]):
            label = str(variable[last].values[place])
            single = sum(size == 3 for size in depth.values()) == 1
            wide[label if single else f"{name}_{label}"] = variable.isel({last: place}, drop=True)
    extra = [dim for dim in wide.dims if not any(dim in v.dims for v in wide.data_vars.values())]
    wide = wide.drop_dims(extra)
    frame = of_frame(wide.to_dataframe())
    return _without_ends(frame, list(wide.data_vars.values()))


def listed_shapes(source: "xarray.Dataset") -> str:
    """The dimensions of its variables."""
    return ", ".join(f"{name} {variable.dims}" for name, variable in source.data_vars.items()) or "none"


def _without_ends(frame: "pd.DataFrame", variables: "list[xarray.DataArray]") -> "pd.DataFrame":
    """The rows from the first to the last of each entity in which a variable of two dimensions has a value."""
    grid = [v for v in variables if v.ndim == 2]
    if not grid:
        return frame
    entity = str(grid[0].dims[0])
    measured = frame[[str(v.name) for v in grid]].notna().any(axis=1)
    groups = measured.groupby(frame[entity])
    begun, going = groups.cummax(), measured[::-1].groupby(frame[entity][::-1]).cummax()[::-1]
    return frame[begun & going].reset_index(drop=True)


def _read_csv(pandas: Any, path: Path) -> "pd.DataFrame":
    separator = ","
    try:
        separator = _separator(pandas, path)
        frame = pandas.read_csv(path, sep=separator, dtype=str, na_filter=False, header=None, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except pandas.errors.EmptyDataError as error:
        raise UsageError("is empty; a table has a header and rows") from error
    except pandas.errors.ParserError:
        _check_cells(path, separator)
        raise
    if (frame.iloc[:, -1] == "").any():  # empty, or the row ends before it
        _check_cells(path, separator)
    names = [str(name).strip() for name in frame.iloc[0]]
    frame = frame.iloc[1:].reset_index(drop=True)
    if len(frame) == 0:
        raise UsageError(f"has a header ({', '.join(names)}) and no row")
    if names[0] == "" and list(frame[0]) == [str(i) for i in range(len(frame))]:
        frame, names = frame.iloc[:, 1:], names[1:]  # the index that pandas writes
    return _checked(frame.set_axis(names, axis=1))


def _check_cells(path: Path, separator: str) -> None:
    """Raises `UsageError` for the first row with another number of cells than the header, which pandas fills up."""
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opened = openers.get(path.suffix.lower(), open)
    if path.suffix.lower() in (".zip", ".zst"):
        return
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = (cells for cells in csv.reader(file, delimiter=separator) if len(cells) > 1 or "".join(cells).strip())
        names = next(rows)
        for row, cells in enumerate(rows, 1):
            if len(cells) > len(names):
                raise UsageError(
                    f"row {row} has {len(cells)} cells, and the header names {len(names)} columns; a cell that holds "
                    f"{separator!r} stands in quotes, and numbers have a decimal point"
                )
            if len(cells) < len(names):
                raise UsageError(
                    f"row {row}, column {names[len(cells)].strip()!r}: the row ends before it; write {separator!r} between all "
                    "columns, and nothing between two where nothing was measured"
                )


def _separator(pandas: Any, path: Path) -> str:
    """Of comma, semicolon and tab the one that makes most of the header."""

    def columns(separator: str) -> int:
        read = pandas.read_csv(path, sep=separator, dtype=str, nrows=1, header=None, encoding="utf-8-sig")
        return int(read.shape[1])

    return max(",;\t", key=columns)


def _checked(frame: "pd.DataFrame") -> "pd.DataFrame":
    names = list(frame.columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"has two columns {twice!r}; give each a name of its own")
    if "" in names:
        raise UsageError(f"column {names.index('') + 1} has no name; give it one in the header")
    return frame


def _suffix(path: Path) -> str:
    """In lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".bz2", ".xz", ".zip", ".zst"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
