"""Sequences from the rows of a table."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.names import Names, listed
from pyro_dsvae.data.tables.rows import Array, Integers, Rows
from pyro_dsvae.data.tables.splits import Splits
from pyro_dsvae.data.tables.windows import Windows, stretches
from pyro_dsvae.models.errors import Remark, UsageError


def sequences_of(rows: Rows, splits: Splits | None, windows: Windows) -> SequenceData:
    """The sequences of a table, and how it was understood.

    Args:
        rows: Of the table.
        splits: How they are split; None for one split of all.
        windows: How they are cut.

    Raises:
        UsageError: Where entities are too short, or a split has no sequence.
    """
    if rows.unsorted:
        _remark(f"rows were not in the order of column {rows.roles.time!r}; they are sorted by it")
    if not np.isfinite(rows.values).any():
        columns = f"column{'s' if len(rows.roles.channels) > 1 else ''} {listed(rows.roles.channels)}"
        raise UsageError(f"nothing was measured in {columns}; name channels that have values", "data.channels")
    kept, short = windows.long_enough(rows)
    rows = _measured(rows.take(kept))
    if len(rows.number) == 0:
        raise UsageError(f"no entity is left{f'; {short}' if short else ''}", "data.window")
    split = np.zeros(len(rows.number), np.uint8) if splits is None else splits.of(rows)
    starts, sizes = windows.cut(*stretches(rows, split))
    seen = np.isfinite(rows.values)
    empty = np.array([not seen[i : i + size].any() for i, size in zip(starts, sizes, strict=True)], dtype=bool)
    if empty.any():
        _nothing(f"{int(empty.sum()):,} of {len(empty):,} sequences", [rows.named(i) for i in starts[empty]])
    starts, sizes = starts[~empty], sizes[~empty]
    if splits is not None:
        _check_splits(split[starts], splits.in_words(rows))
    unused = len(rows.number) - _covered(starts, sizes, len(rows.number))
    others = [short] if short else []
    if unused:
        labels = f" ({listed([*rows.dynamic])})" if rows.dynamic else ""
        share = unused / len(rows.number)
        others.append(
            f"{unused:,} rows ({share:.0%}) fill no sequence between the borders of entities, splits and labels{labels}"
            + ("; shorter windows leave fewer" if share > 0.2 and windows.window else "")
        )
    if splits is not None:
        others.insert(0, _split_in_words(rows, split, starts, splits))
    understood = (_understood(rows, sizes, windows), *others)
    return _built(rows, split, starts, sizes, understood)


def _built(
    rows: Rows, split: NDArray[np.uint8], starts: Integers, sizes: Integers, understood: tuple[str, ...]
) -> SequenceData:
    length = int(sizes.max())
    steps = np.arange(length)
    exists = steps < sizes[:, None]
    where = starts[:, None] + np.minimum(steps, sizes[:, None] - 1)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is reported
        values = rows.values[where].astype(np.float32)
    seen = np.isfinite(rows.values[where]) & exists[..., None]
    times = rows.times[where]
    # Steps that do not exist go on with the last interval.
    last = times[np.arange(len(sizes)), sizes - 1] - times[np.arange(len(sizes)), sizes - 2]
    times = times + np.maximum(steps - sizes[:, None] + 1, 0) * last[:, None]
    ragged = bool((sizes < length).any())
    labels = {**_labels(rows.static, "static", starts), **_labels(rows.dynamic, "dynamic", starts)}
    names = Names(
        rows.roles.channels,
        tuple(rows.entities[i] for i in rows.entity[starts]),
        rows.roles.entity or "entity",
        rows.roles.time,
        rows.clock,
        understood,
    )
    return SequenceData(
        torch.from_numpy(np.where(seen, values, np.float32(0))),
        torch.from_numpy(split[starts]),
        lengths=torch.from_numpy(sizes) if ragged else None,
        mask=None if (seen | ~exists[..., None]).all() else torch.from_numpy(seen),
        times=torch.from_numpy(times),
        labels=labels,
        names=names,
        recordings=torch.from_numpy(rows.entity[starts].astype(np.int64)),
    )


def _labels(columns: dict[str, Array], role: Role, starts: Integers) -> dict[str, Label]:
    found = {}
    for name, texts in columns.items():
        classes, numbers = np.unique(texts[starts], return_inverse=True)
        found[name] = Label.occurring(numbers, tuple(classes.tolist()), role)
    return found


def _check_splits(split: NDArray[np.uint8], how: str) -> None:
    """Raises `UsageError` where one is empty."""
    counts = {name: int((split == i).sum()) for i, name in enumerate(SPLITS)}
    if min(counts.values()) == 0:
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UsageError(
            f"rows are split {how}, which leaves a split without a sequence ({said}); take shorter windows, or split otherwise",
            "data.window",
            "data.by",
            "data.split",
        )


def _covered(starts: Integers, sizes: Integers, n: int) -> int:
    """How many rows are in a sequence."""
    ends = np.zeros(n + 1, dtype=np.int64)
    np.add.at(ends, starts, 1)
    np.add.at(ends, starts + sizes, -1)
    return int((np.cumsum(ends)[:n] > 0).sum())


def _understood(rows: Rows, sizes: Integers, windows: Windows) -> str:
    """What the table holds: the first line that a fit prints."""
    entities, channels = len(rows.entities), rows.roles.channels
    who = f"{entities:,} {'entity' if entities == 1 else 'entities'}"
    who += "" if rows.roles.entity is None else f" ({rows.roles.entity})"
    what = f"{len(channels)} channel{'s' if len(channels) > 1 else ''} ({listed(channels, 12)})"
    missing = float(np.isnan(rows.values).mean())
    if windows.window is None:
        low, high = int(sizes.min()), int(sizes.max())
        cut = f"{len(sizes):,} sequence{'s' if len(sizes) > 1 else ''} of {low if low == high else f'{low} to {high}'} steps"
    else:
        apart = "" if windows.stride in (None, windows.window) else f", {windows.stride} apart"
        cut = f"{len(sizes):,} window{'s' if len(sizes) > 1 else ''} of {windows.window} steps{apart}"
    return (
        f"{who}, {rows.count:,} rows, {what}, {rows.roles.time} {rows.clock.in_words()}, {cut}, "
        f"{missing:.1%} of the values missing"
    )


def _split_in_words(rows: Rows, split: NDArray[np.uint8], starts: Integers, splits: Splits) -> str:
    counts = ", ".join(f"{int((split[starts] == i).sum()):,} {name}" for i, name in enumerate(SPLITS))
    return f"split {splits.in_words(rows)}: {counts}"


def _measured(rows: Rows) -> Rows:
    """Those of entities of which anything was measured."""
    seen = np.zeros(len(rows.entities), dtype=bool)
    seen[rows.entity[np.isfinite(rows.values).any(1)]] = True
    without = np.setdiff1d(rows.entity, np.flatnonzero(seen))
    if len(without) == 0:
        return rows
    _nothing(rows.roles.entity or "entity", [rows.entities[i] for i in without])
    return rows.take(seen[rows.entity])


def _nothing(what: str, names: list[str]) -> None:
    _remark(f"left out, since nothing was measured: {what} {listed(names)}")


def _remark(said: str) -> None:
    warnings.warn(Remark(said), stacklevel=2)
