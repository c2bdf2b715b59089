"""Which column of a table is what: named by the user, or by what such columns are usually called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pyro_dsvae.data.names import listed
from pyro_dsvae.models.errors import UsageError, did_you_mean

ENTITIES = (
    "entity",
    "entity_id",
    "id",
    "series",
    "series_id",
    "unique_id",
    "item_id",
    "subject",
    "subject_id",
    "patient",
    "patient_id",
)
TIMES = ("time", "timestamp", "datetime", "date", "ds", "t")
SPLIT, VARIABLE, VALUE = "split", "variable", "value"


@dataclass(frozen=True)
class Roles:
    """The columns of a table by what they hold.

    Attributes:
        entity: Whose measurement a row is; None where the table is one entity.
        time: When it was made.
        channels: What was measured, in order.
        static, dynamic: Labels of entities, and labels that may change from row to row.
        split: To which split a row belongs, if the table says.
        variable, value: Of a long table, the name of what was measured, and its value. Its channels are the names that occur.
    """

    entity: str | None
    time: str
    channels: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    split: str | None = None
    variable: str | None = None
    value: str | None = None

    @property
    def keys(self) -> list[str]:
        """The columns that are no measurements."""
        found = (self.entity, self.time, *self.static, *self.dynamic, self.split)
        return [name for name in found if name is not None]


def find_roles(columns: Sequence[str], given: Roles, entity_needed: bool) -> Roles:
    """Complete the roles of a table's columns.

    Args:
        columns: Of the table.
        given: What was named, with an empty string as the time where it was not.
        entity_needed: Whether a table without a column of entities is refused; else it is one entity.

    Raises:
        UsageError: Where a column is named that there is not, or one that is needed cannot be told.
    """
    for option, name in _named(given):
        if name not in columns:
            near = did_you_mean(name, columns)
            raise UsageError(
                f"there is no column {name!r}{near}; the columns are {listed(columns, 20)}", f"data.{option}"
            )
    twice = [name for name in dict.fromkeys(given.keys) if given.keys.count(name) > 1]
    if twice:
        raise UsageError(f"column {twice[0]!r} is named for two things; a column has one")
    taken = {name for _, name in _named(given)}
    free = [name for name in columns if name not in taken]
    time = given.time or _usual(free, TIMES, "time", "times")
    if time is None:
        raise UsageError(f"none of the columns {listed(columns, 20)} is called {' or '.join(TIMES[:2])}", "data.time")
    entity = given.entity or _usual(free, ENTITIES, "entity", "entities")
    if entity is None and entity_needed:
        raise UsageError(
            f"none of the columns {listed(columns, 20)} is called entity or id: name that which says whose measurement a row "
            "is, or cut a table of one entity into windows",
            "data.entity",
            "data.window",
        )
    variable, value = given.variable, given.value
    if variable is None and value is None and {VARIABLE, VALUE} <= set(free) and not given.channels:
        variable, value = VARIABLE, VALUE
    if (variable is None) != (value is None):
        raise UsageError(
            "a long table has a column of names and one of values; name both", "data.variable", "data.value"
        )
    split = given.split or (SPLIT if SPLIT in free else None)
    found = Roles(entity, time, given.channels, given.static, given.dynamic, split, variable, value)
    if variable is not None or given.channels:
        return found
    others = tuple(name for name in columns if name not in found.keys)
    if not others:
        raise UsageError(f"the columns {listed(columns, 20)} leave none for measurements", "data.channels")
    return replace(found, channels=others)


def _named(given: Roles) -> Iterable[tuple[str, str]]:
    """Option and column of what was named."""
    for option in ("entity", "time", "split", "variable", "value"):
        name = getattr(given, option)
        if name:
            yield option, name
    for option in ("static", "dynamic"):
        yield from ((option, name) for name in getattr(given, option))
    if given.variable is None:  # else they are names in that column
        yield from (("channels", name) for name in given.channels)


def _usual(columns: Sequence[str], names: Sequence[str], option: str, what: str) -> str | None:
    """The column with one of the usual names, if there is one. Raises `UsageError` where there are several."""
    found = [name for name in columns if name.strip().lower() in names]
    if len(found) > 1:
        raise UsageError(f"the columns {listed(found)} may each hold {what}; name the one that does", f"data.{option}")
    return found[0] if found else None
