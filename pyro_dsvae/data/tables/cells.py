"""The cells of a table as numbers, texts and times, each refused with its row and column where it is none."""

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.names import UNITS, Clock
from pyro_dsvae.models.errors import Remark, UsageError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]

# Cells that say that nothing was measured, in any case of letters.
MISSING = ("", "na", "nan", "n/a", "<na>", "#n/a", "null", "none", "nil")
# Numbers that often say so.
CODES = (-99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0)
_ZONE = re.compile(r"[T ]\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


def place(row: int, column: str) -> str:
    """What a sentence calls a cell. Rows count from 1, below the header."""
    return f"row {row + 1}, column {column!r}"


def numbers(table: "pd.DataFrame", column: str) -> NDArray[np.float64]:
    """A column of measurements; NaN where nothing was measured.

    Raises:
        UsageError: For the first cell that is no finite number.
    """
    import pandas as pd

    cells = table[column]
    if pd.api.types.is_datetime64_any_dtype(cells) or pd.api.types.is_timedelta64_dtype(cells):
        raise UsageError(f"column {column!r} holds times; name it as the column of times, or leave it out", *_OTHER)
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_complex_dtype(cells):
        values = cells.to_numpy(np.float64, na_value=np.nan)
    else:
        missing, texts = _stripped(cells)
        values = pd.to_numeric(texts.where(~missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = np.isnan(values) & ~missing.to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            _check_comma(texts.iloc[row], row, column)
            raise UsageError(
                f"{place(row, column)}: {texts.iloc[row]!r} is no number; leave the cell empty where nothing was measured. A "
                "column of words is a label, or is left out of the channels",
                *_OTHER,
            )
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise UsageError(
            f"{place(row, column)}: {values[row]} is not finite; leave the cell empty, which means missing"
        )
    _tell_codes(values, column)
    return values


def _check_comma(cell: str, row: int, column: str) -> None:
    """Raises `UsageError` for a number with a decimal comma."""
    if _DECIMAL_COMMA.fullmatch(cell):
        raise UsageError(
            f"{place(row, column)}: {cell!r} has a comma; numbers have a point: pandas.read_csv(FILE, sep=';', "
            "decimal=',').to_csv(FILE, index=False) writes them so"
        )


def _tell_codes(values: NDArray[np.float64], column: str) -> None:
    """Say a `Remark` where a column holds a usual code for missing, far from all other values: three times their range."""
    others = values[~np.isin(values, CODES) & ~np.isnan(values)]
    if len(others) == 0:
        return
    low, high = float(others.min()), float(others.max())
    for code in CODES:
        coded = int((values == code).sum())
        if coded and max(low - code, code - high) > 3 * (high - low):
            count = f"{coded:,} row{'s' if coded > 1 else ''}"
            said = f"column {column!r} holds {code:g} in {count}, and else values from {low:g} to {high:g}"
            warnings.warn(Remark(f"{said}; where that means missing, leave the cells empty"), stacklevel=2)


_OTHER = ("data.static", "data.dynamic", "data.channels")


def texts(table: "pd.DataFrame", column: str) -> Array:
    """A column of names: (n,) strings, whole numbers without a point.

    Raises:
        UsageError: For the first cell without one.
    """
    import pandas as pd

    cells = table[column]
    if pd.api.types.is_float_dtype(cells) and bool((cells.dropna() % 1 == 0).all()):
        cells = cells.astype("Int64")
    missing, stripped = _stripped(cells)
    if missing.any():
        raise UsageError(f"{place(int(missing.to_numpy().argmax()), column)} is empty; every row needs a name there")
    return stripped.to_numpy(dtype=str)


def times(table: "pd.DataFrame", column: str) -> tuple[Array, bool | None]:
    """A column of times. Those of time zones, or with an offset such as +01:00, are brought to UTC.

    Returns:
        Either (n,) float64 with None, or nanoseconds (n,) int64 with whether they are in UTC; of durations with None, too.

    Raises:
        UsageError: For the first cell that is neither a number nor a date in ISO 8601, or has no zone where others have one.
    """
    import pandas as pd

    cells = table[column]
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        return _nanoseconds(cells.dt.tz_convert(None), column), True
    if pd.api.types.is_datetime64_any_dtype(cells):
        return _nanoseconds(cells, column), False
    if pd.api.types.is_timedelta64_dtype(cells):
        return _nanoseconds(cells, column), None
    missing, stripped = _stripped(cells)
    if missing.any():
        raise UsageError(f"{place(int(missing.to_numpy().argmax()), column)} is empty; every row needs a time")
    numeric = pd.to_numeric(stripped, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    dates = bool(stripped.str.fullmatch(_DATE).all())
    if not np.isnan(numeric).any() and not dates:
        infinite = np.isinf(numeric)
        if infinite.any():
            raise UsageError(f"{place(int(infinite.argmax()), column)}: a time is finite")
        return numeric, None
    zoned = stripped.str.contains(_ZONE).to_numpy()
    if zoned.any() and not zoned.all():
        row = int((~zoned).argmax())
        raise UsageError(
            f"{place(row, column)}: {stripped.iloc[row]} has no time zone, and others have one; write it for all, such as "
            "2024-02-01T13:00Z or 2024-02-01T14:00+01:00, or for none"
        )
    found = pd.to_datetime(stripped, format="ISO8601", errors="coerce", utc=bool(zoned.any())).dt.tz_localize(None)
    if found.isna().any():
        # Among numbers the first that is none, among dates the first that is none.
        neither = found.isna().to_numpy() & np.isnan(numeric)
        row = int((neither if neither.any() else found.isna().to_numpy()).argmax())
        _check_comma(stripped.iloc[row], row, column)
        raise UsageError(
            f"{place(row, column)}: {stripped.iloc[row]!r} is neither a number nor a date in ISO 8601, such as "
            "2024-02-01T13:00; write times so"
        )
    return _nanoseconds(found, column), bool(zoned.any())


def on_clock(
    values: Array, utc: bool | None, same: NDArray[np.bool_], unit: str | None = None
) -> tuple[NDArray[np.float64], Clock]:
    """Times as floating numbers, and what they are.

    Dates are in the largest unit that is no larger than the usual interval, so that steps are about one unit apart.

    Args:
        values, utc: As `times` gives them, in the order of entities and times.
        same: (n - 1,) whether a row is of the same entity as the one before.
        unit: That of other dates, to be taken here, too; empty for times that are numbers.

    Raises:
        UsageError: For numbers instead of dates, and the reverse.
    """
    if unit is not None and (unit == "") != (values.dtype.kind == "f"):
        what = "numbers" if unit == "" else "dates"
        raise UsageError(
            f"times are {'dates' if unit == '' else 'numbers'}, and those that the run was fitted to are {what}"
        )
    if values.dtype.kind == "f":
        return values, Clock()
    intervals = np.diff(values)[same]
    intervals = intervals[intervals > 0]  # rows of a long table share times
    usual = float(np.median(intervals)) if len(intervals) else 1.0
    unit = unit or next((name for name, size in UNITS.items() if size <= usual), "microseconds")
    origin = 0 if utc is None else int(values.min())
    return (values - origin) / UNITS[unit], Clock(unit, None if utc is None else origin, bool(utc))


def _nanoseconds(cells: "pd.Series", column: str) -> NDArray[np.int64]:
    if cells.isna().any():
        raise UsageError(f"{place(int(cells.isna().to_numpy().argmax()), column)} is empty; every row needs a time")
    kind = "timedelta64[ns]" if cells.dtype.kind == "m" else "datetime64[ns]"
    return cells.to_numpy().astype(kind).astype(np.int64)


def _stripped(cells: "pd.Series") -> tuple["pd.Series", "pd.Series"]:
    """Which cells say nothing, and all as texts without space around them."""
    stripped = cells.astype(str).str.strip()
    return cells.isna() | stripped.str.lower().isin(MISSING), stripped
