"""The split of each row of a table: as the table says, by entity, or by time."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.data.tables.rows import Rows
from pyro_dsvae.models.errors import UsageError

By = Literal["entity", "time"]


@dataclass(frozen=True)
class Splits:
    """How rows are split where their table does not say.

    Attributes:
        by: "entity" draws entities at random; "time" has the earliest rows for training, the next for validation and the
            latest for the test. None is "entity" for a table of several, else "time".
        validation, test: Fractions.
        seed: Of the random entities.
    """

    by: By | None = None
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_fractions(self.validation, self.test, self.seed)

    def of(self, rows: Rows) -> NDArray[np.uint8]:
        """(n,) index into `SPLITS` of each row.

        Raises:
            UsageError: Where entities are too few.
        """
        if rows.split is not None:
            return rows.split
        return self._by_entity(rows) if self.chosen(rows) == "entity" else self._by_time(rows)

    def chosen(self, rows: Rows) -> By:
        """By what rows are split."""
        return self.by or ("entity" if len(np.unique(rows.entity)) > 1 else "time")

    def in_words(self, rows: Rows) -> str:
        """By what they are split."""
        if rows.split is not None:
            return f"as column {rows.roles.split!r} says"
        return f"by entity, seed {self.seed}" if self.chosen(rows) == "entity" else "by time"

    def _by_entity(self, rows: Rows) -> NDArray[np.uint8]:
        here = np.unique(rows.entity)
        drawn = drawn_split(len(here), self.validation, self.test, self.seed)
        if len(np.unique(drawn)) < len(SPLITS):
            raise UsageError(
                f"validation = {self.validation} and test = {self.test} of {len(here)} entities leave an empty split; "
                f"{enough(len(here), 'entity', 'entities')}, split by time, or name a column that says",
                "data.by",
                "data.split",
            )
        return drawn[np.searchsorted(here, rows.entity)]

    def _by_time(self, rows: Rows) -> NDArray[np.uint8]:
        ordered = np.sort(rows.times)
        borders = [ordered[min(len(ordered) - 1, round(len(ordered) * share))] for share in self._until]
        return sum((rows.times >= border).astype(np.uint8) for border in borders)

    @property
    def _until(self) -> tuple[float, float]:
        return 1 - self.validation - self.test, 1 - self.test


def check_fractions(validation: float, test: float, seed: int) -> None:
    """Raises `UsageError` for fractions of splits that leave one empty, and for a seed that is none."""
    for name, value in (("validation", validation), ("test", test)):
        if not 0 < value < 1:  # also refuses nan
            raise UsageError(f"{name} = {value}; it is a fraction between 0 and 1, and 0 leaves that split empty")
    if validation + test >= 1:
        raise UsageError(f"validation + test = {validation + test:g} leaves nothing to train on; keep it below 1")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed = {seed}; it must lie in 0..{2**32 - 1}")


def enough(n: int, one: str, many: str) -> str:
    """What gives each of the three splits one of n things, in words."""
    if n < len(SPLITS):
        return f"give {len(SPLITS)} {many} or more"
    share = math.ceil(100 / n) / 100
    return f"validation = {share:g} and test = {share:g} give each split {'an' if one[0] in 'aeiou' else 'a'} {one}"


def drawn_split(n: int, validation: float, test: float, seed: int) -> NDArray[np.uint8]:
    """(n,) index into `SPLITS`: each fraction of n, rounded, in random places; the rest is "train"."""
    held = [round(n * validation), round(n * test)]
    split = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [max(0, n - sum(held)), *held])[:n]
    order = np.random.RandomState(seed).permutation(n)  # its stream is the same in every NumPy
    return split[order.argsort()]
