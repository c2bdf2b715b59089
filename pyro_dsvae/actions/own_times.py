"""Times of one's own, at which values are wanted: in the units of the data, or as dates where these are dates."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.configuration.catalogue import DYNAMIC_PRIORS
from pyro_dsvae.data.names import UNITS, Clock, Names
from pyro_dsvae.data.tables.cells import times as cells_as_times
from pyro_dsvae.data.tables.reading import needed, read_table
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError

Times = NDArray[np.float64]
# Times this near, of their size, are one: a file in single precision has 0.1 as 0.10000000149.
SAME = 1e-6


def own_times(text: str, prior: DynamicPrior, names: Names | None) -> Times:
    """The times (n,) in ``text``, in order, each once: with commas between them, or the path of a file with a column of them.

    Args:
        text: What the user gave.
        prior: Of the run, which must be in continuous time.
        names: Of the table that the clips come from; None where there is none, and times are numbers.

    Raises:
        UsageError: For what are no times, and for a prior that counts steps.
    """
    if not prior.continuous_time:
        able = ", ".join(name for name, kind in DYNAMIC_PRIORS.items() if kind.continuous_time)
        raise UsageError(
            f"--times needs a dynamic prior in continuous time, and {type(prior).__name__} counts steps: fit with one of {able}"
        )
    known = names or Names((), ())
    try:
        if Path(text).is_file():
            found = _of_file(Path(text), known)
        else:
            found = _of_words([part.strip() for part in text.split(",") if part.strip()], known.clock)
    except UsageError as error:
        raise UsageError(f"--times {text}: {error}") from None
    return np.unique(found)


def _of_words(words: list[str], clock: Clock) -> Times:
    if not words:
        raise UsageError(
            "no time is named; give times with commas between them, or the path of a file with a column of them"
        )
    if clock.unit:
        return _on_clock(needed("pandas", "series", "a date").DataFrame({"times": words}), "times", clock)
    try:
        found = np.array([float(word) for word in words])
    except ValueError:
        raise UsageError(
            "neither the path of a file nor numbers with commas between them, such as 0.5,1.5; times of the data are numbers"
        ) from None
    if not np.isfinite(found).all():
        raise UsageError("a time is finite")
    return found


def _of_file(path: Path, names: Names) -> Times:
    table = read_table(path)
    columns = list(table.columns)
    column = names.time if names.time in columns else columns[0]
    if len(columns) > 1 and column != names.time:
        raise UsageError(
            f"has the columns {', '.join(map(str, columns))}; that of times is called {names.time!r}, as in the data"
        )
    return _on_clock(table, column, names.clock)


def _on_clock(table: Any, column: str, clock: Clock) -> Times:
    """A column of a table as times of the data."""
    values, utc = cells_as_times(table, column)
    dates = values.dtype.kind != "f"
    if dates != bool(clock.unit):
        raise UsageError(f"times are {'dates' if dates else 'numbers'}, and those of the data are {clock.in_words()}")
    if not dates:
        return values
    if (utc is None) != (clock.origin is None) or bool(utc) != clock.utc:
        raise UsageError(f"times of the data are {clock.in_words()}; give times like these")
    return (values - (clock.origin or 0)) / UNITS[clock.unit]


def with_times(chosen: Selection, wanted: Times) -> tuple[Selection, Tensor]:
    """The clips with a step at each wanted time, at which nothing was observed where the clip has none of its own.

    Args:
        chosen: n clips.
        wanted: In order, each once.

    Returns:
        The clips, and (n, T) bool, which of their steps were asked for.
    """
    x, times = chosen.batch.x, chosen.batch.times
    observed = chosen.batch.observed
    clocks = torch.arange(x.shape[1]).double().expand(len(x), -1) if times is None else times.double()
    merged = []
    for own, count in zip(clocks.numpy(), chosen.frame_counts, strict=True):
        # But never as much as lies between two steps: seconds since 1970 are large, and steps may be microseconds.
        same = np.minimum(SAME * np.maximum(1, np.abs(wanted)), 0.01 * np.diff(own[:count]).min())
        near = np.abs(wanted[:, None] - own[None, :count]) <= same[:, None]
        new = wanted[~near.any(1)]
        order = np.argsort(np.r_[own[:count], new], kind="stable")
        asked = np.r_[near.any(0), np.ones(len(new), dtype=bool)]
        merged.append((np.r_[own[:count], new][order], np.argsort(order)[:count], asked[order]))
    lengths = torch.tensor([len(each) for each, _, _ in merged])
    most = int(lengths.max())
    frames = x.new_zeros(len(x), most, *x.shape[2:])
    seen = torch.zeros(frames.shape, dtype=torch.bool)
    kept = torch.zeros(len(x), most, dtype=torch.bool)
    at = torch.zeros(len(x), most, dtype=torch.float64)
    for i, (each, places, asked) in enumerate(merged):
        rows = torch.from_numpy(places)
        frames[i, rows], seen[i, rows] = x[i, : len(rows)], observed[i, : len(rows)]
        kept[i, : len(each)] = torch.from_numpy(asked)
        # Steps that do not exist go on, so that times rise.
        at[i] = torch.from_numpy(np.r_[each, each[-1] + 1 + np.arange(most - len(each))])
    return replace(chosen, batch=Batch(frames, seen, lengths, at)), kept


def say_extrapolated(source: Source, chosen: Selection, wanted: Times) -> None:
    """Print a line where a clip that has the wanted times, too, lasts longer than any sequence of the fit."""
    try:
        data = source.data
    except UsageError:
        return  # clips of files need no data
    rows = data.rows("train")
    times, lengths = (None if values is None else values[rows] for values in (data.times, data.lengths))
    starts, ends = _ends(len(rows), data.length, times, lengths)
    first, last = _ends(len(chosen), chosen.batch.x.shape[1], chosen.batch.times, chosen.batch.lengths)
    longest = float((ends - starts).max())
    spans = np.maximum(last, wanted[-1]) - np.minimum(first, wanted[0])
    if spans.max() > longest * (1 + SAME):
        unit = "units of time" if chosen.table is None else chosen.table.clock.unit or "units of time"
        print(
            f"with --times {chosen.names[int(spans.argmax())]} lasts {_short(spans.max())} {unit}, and the longest sequence of "
            f"the fit {_short(longest)}: what is beyond is extrapolated"
        )


def _short(much: float) -> str:
    return f"{much:,.0f}" if much >= 1000 else f"{much:.4g}"


def _ends(count: int, length: int, times: Tensor | None, lengths: Tensor | None) -> tuple[Times, Times]:
    """When each of some sequences begins and ends, both (n,); without times, by the numbers of the steps."""
    last = torch.full((count,), length) - 1 if lengths is None else lengths - 1
    if times is None:
        return np.zeros(count), last.double().numpy()
    return times[:, 0].double().numpy(), times.gather(1, last[:, None])[:, 0].double().numpy()


def ahead(chosen: Selection, wanted: Times, given: int) -> Tensor:
    """(n, H) the wanted times, all of which must come after the ``given`` steps of every clip.

    Raises:
        UsageError: Where one does not.
    """
    times = chosen.batch.times
    last = np.full(len(chosen), given - 1.0) if times is None else times[:, given - 1].double().numpy()
    late = int(last.argmax())
    if wanted[0] <= last[late]:
        clock = Clock() if chosen.table is None else chosen.table.clock
        first, end = clock.written(np.array([wanted[0], last[late]]))
        raise UsageError(
            f"--times begins at {first}, and {chosen.names[late]} is given until {end}: forecasts come after that; "
            "impute takes any time"
        )
    return torch.from_numpy(wanted).expand(len(chosen), -1)
