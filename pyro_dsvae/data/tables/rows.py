"""The rows of a table in the order of entities and times, as arrays."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.data.names import Clock
from pyro_dsvae.data.tables.cells import numbers, on_clock, place, texts, times
from pyro_dsvae.data.tables.roles import Roles
from pyro_dsvae.models.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """n rows, sorted by entity, then by time.

    Attributes:
        roles: What the columns are; channels are complete.
        number: (n,) of the row in the table, from 0.
        entities: Names of the entities, in their order.
        entity: (n,) index into ``entities``.
        times: (n,), increasing within an entity.
        clock: What times are.
        values: (n, P), NaN where nothing was measured.
        static: Name -> (n,) text, the same within an entity.
        dynamic: Name -> (n,) text.
        split: (n,) uint8 index into `SPLITS`, where the table says.
        unsorted: Whether rows of an entity were in another order than that of their times; of a wide table.
        count: Rows of the table.
    """

    roles: Roles
    number: Integers
    entities: tuple[str, ...]
    entity: Integers
    times: NDArray[np.float64]
    clock: Clock
    values: NDArray[np.float64]
    static: dict[str, Array]
    dynamic: dict[str, Array]
    split: NDArray[np.uint8] | None
    unsorted: bool
    count: int

    @classmethod
    def of(cls, table: "pd.DataFrame", roles: Roles, alone: str, unit: str | None = None) -> "Rows":
        """The rows of a table.

        Args:
            table: With a column for each name.
            roles: What the columns are.
            alone: The name of the only entity of a table without a column of entities.
            unit: As in `on_clock`.

        Raises:
            UsageError: With row and column, for the first cell that is not what its column holds.
        """
        names = np.full(len(table), alone) if roles.entity is None else texts(table, roles.entity)
        entities = _ordered(names)
        place_of = {name: i for i, name in enumerate(entities)}
        entity = np.array([place_of[name] for name in names.tolist()], dtype=np.int64)
        when, utc = times(table, roles.time)
        order = np.lexsort((np.arange(len(table)), when, entity))
        by_entity = np.argsort(entity, kind="stable")
        unsorted = roles.variable is None and bool(
            (np.diff(when[by_entity])[np.diff(entity[by_entity]) == 0] < 0).any()
        )
        number, entity, when = order.astype(np.int64), entity[order], when[order]
        same = np.diff(entity) == 0
        at, clock = on_clock(when, utc, same, unit)
        labels = {name: texts(table, name)[order] for name in (*roles.static, *roles.dynamic)}
        split = None if roles.split is None else _split(table, roles.split)[order]
        if roles.variable is None:
            values = np.stack([numbers(table, name)[order] for name in roles.channels], axis=1)
        else:
            values = np.empty((len(table), 0))
        rows = cls(
            roles,
            number,
            entities,
            entity,
            at,
            clock,
            values,
            {name: labels[name] for name in roles.static},
            {name: labels[name] for name in roles.dynamic},
            split,
            unsorted,
            len(table),
        )
        if roles.variable is not None:
            rows = rows._spread(table)
        rows._check()
        return rows

    def take(self, kept: NDArray[np.bool_]) -> "Rows":
        """Some of them; entities keep their indices."""
        return self._picked(np.flatnonzero(kept), self.values[kept], self.roles)

    def named(self, row: int) -> str:
        """A row in words: "patient p1 at time 3"."""
        who = "" if self.roles.entity is None else f"{self.roles.entity} {self.entities[self.entity[row]]} at "
        return f"{who}{self.roles.time} {self.clock.written(self.times[row : row + 1])[0]}"

    def _picked(self, rows: Integers, values: NDArray[np.float64], roles: Roles) -> "Rows":
        return replace(
            self,
            roles=roles,
            number=self.number[rows],
            entity=self.entity[rows],
            times=self.times[rows],
            values=values,
            static={name: label[rows] for name, label in self.static.items()},
            dynamic={name: label[rows] for name, label in self.dynamic.items()},
            split=None if self.split is None else self.split[rows],
        )

    def _spread(self, table: "pd.DataFrame") -> "Rows":
        """A long table as a wide one: a row for each entity and time, a column for each name that occurs.

        Raises:
            UsageError: For a measurement that is there twice, and for a channel that is not there.
        """
        assert self.roles.variable is not None
        assert self.roles.value is not None
        names = texts(table, self.roles.variable)
        found = sorted(set(names.tolist()))
        channels = self.roles.channels or tuple(found)
        absent = next((name for name in channels if name not in found), None)
        if absent is not None:
            said = f"column {self.roles.variable!r} never says {absent!r}{did_you_mean(absent, found)}"
            raise UsageError(said, "data.channels")
        used = np.isin(names, channels)
        measured = table.assign(**{self.roles.value: table[self.roles.value].where(used)})
        cells = numbers(measured, self.roles.value)[self.number]
        names, used = names[self.number], used[self.number]
        starts = np.r_[True, (np.diff(self.entity) != 0) | (np.diff(self.times) != 0)]
        row, first = np.cumsum(starts) - 1, np.flatnonzero(starts)
        for name, label in self.dynamic.items():
            other = np.flatnonzero(label != label[first][row])
            if len(other):
                said = f"{str(label[other[0]])!r}, where another row of {self.named(other[0])} has another"
                raise UsageError(f"{place(self.number[other[0]], name)}: {said}; a time has one")
        values = np.full((len(first), len(channels)), np.nan)
        for place_of, name in enumerate(channels):
            here = np.flatnonzero(names == name)
            again = np.flatnonzero(np.diff(row[here]) == 0)
            if len(again):
                one, other = (self.number[here[again[0] + i]] + 1 for i in (0, 1))
                raise UsageError(
                    f"rows {one} and {other}, column {self.roles.variable!r}: both are {name!r} of "
                    f"{self.named(here[again[0]])}; keep one, or average them"
                )
            values[row[here], place_of] = cells[here]
        return self._picked(first, values, replace(self.roles, channels=channels))

    def _check(self) -> None:
        """Raises `UsageError` for rows at one time, and for labels of an entity that change."""
        same = np.diff(self.entity) == 0
        again = np.flatnonzero(same & (np.diff(self.times) == 0))
        if len(again):
            first, second = sorted(self.number[again[0] : again[0] + 2] + 1)
            key = self.roles.time if self.roles.entity is None else f"{self.roles.entity}, {self.roles.time}"
            raise UsageError(
                f"rows {first} and {second}, columns {key}: both are of {self.named(again[0])}; keep one, or average them. A "
                "table with a row for each measurement is long",
                "data.variable",
                "data.value",
            )
        for name, label in self.static.items():
            changes = np.flatnonzero(same & (label[1:] != label[:-1]))
            if len(changes):
                row = changes[0] + 1
                raise UsageError(
                    f"{place(self.number[row], name)}: {str(label[row])!r}, where the same {self.roles.entity} has "
                    f"{str(label[row - 1])!r} before; a label that changes within an entity is dynamic",
                    "data.dynamic",
                )


def _ordered(names: Array) -> tuple[str, ...]:
    """The names that occur, in an order that rows do not determine: whole numbers by size, others by letter."""
    found = np.unique(names).tolist()
    return tuple(sorted(found, key=int) if all(name.isdecimal() for name in found) else found)


def _split(table: "pd.DataFrame", column: str) -> NDArray[np.uint8]:
    """(n,) from names of splits. Raises `UsageError` for any other name."""
    names = np.char.lower(texts(table, column))
    unknown = ~np.isin(names, SPLITS)
    if unknown.any():
        row = int(unknown.argmax())
        near = did_you_mean(str(names[row]), SPLITS)
        raise UsageError(
            f"{place(row, column)}: there is no split {str(table[column].iloc[row])!r}{near}; it is one of {', '.join(SPLITS)}"
        )
    return sum((names == name) * np.uint8(i) for i, name in enumerate(SPLITS))
