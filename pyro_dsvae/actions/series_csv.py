"""Series as CSV, with the names of the table that the data come from: a line for each entity, time and channel."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.names import Names
from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.inference.latent_space.imputation import Imputation
from pyro_dsvae.runs.run import Run

LEVEL = 0.9
# Draws of the noise for each draw of the latents: a quantile needs many.
NOISE = 50


@dataclass(frozen=True)
class Keys:
    """What n sequences and their steps are called.

    Attributes:
        entity, time: Names of the two columns.
        entities: (n,) of each sequence.
        times: (n,) of each sequence, the times of its steps as they are written.
        channels: (P,).
    """

    entity: str
    time: str
    entities: tuple[str, ...]
    times: tuple[tuple[str, ...], ...]
    channels: tuple[str, ...]

    @classmethod
    def of(cls, names: Names | None, called: tuple[str, ...], times: Tensor | None, steps: int, size: int) -> "Keys":
        """Those of sequences (n, ``steps``, ``size``).

        Args:
            names: Of the table they come from; None where there is none. Then sequences are ``called``, and channels numbered.
            called: (n,) of the sequences.
            times: (n, steps), or None where steps are numbered.
            steps, size: T and P.
        """
        known = names or Names(
            tuple(str(i) for i in range(size)), called, "clip", "time" if times is not None else "step"
        )
        if times is None:
            times = torch.arange(steps).double().expand(len(called), -1)
        # All on one clock, so that dates are equally exact.
        written = known.clock.written(times.double().reshape(-1).cpu().numpy())
        rows = tuple(tuple(written[i * steps : (i + 1) * steps]) for i in range(len(called)))
        return cls(known.entity, known.time, known.entities, rows, known.columns)


def write_series(
    path: Path,
    keys: Keys,
    values: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    kept: Tensor | None = None,
) -> None:
    """A line for each entity, time and channel.

    Args:
        path: The file.
        keys: Of the sequences.
        values: Name of a column -> (n, T, P), floating or bool.
        lengths: (n,) steps of each sequence; None where all have T.
        kept: (n, T) bool, which steps to write; None for all.
    """
    columns = {name: v.detach().cpu().numpy() for name, v in values.items()}

    def lines() -> Iterator[list[object]]:
        for i, (entity, times) in enumerate(zip(keys.entities, keys.times, strict=True)):
            for t in range(len(times) if lengths is None else int(lengths[i])):
                if kept is not None and not kept[i, t]:
                    continue
                for p, channel in enumerate(keys.channels):
                    yield [entity, times[t], channel, *(_written(v[i, t, p]) for v in columns.values())]

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([keys.entity, keys.time, "channel", *columns])
        writer.writerows(lines())


def time_in_words(names: Names | None) -> str:
    """What the axis of time is called."""
    if names is None:
        return "time"
    return f"{names.time}, {names.clock.in_words()}" if names.clock.unit else names.time


def imputed_interval(run: Run, found: Imputation, level: float = LEVEL, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Bounds (B, T, P) between which each missing value lies with this probability, noise included; observed ones are known.

    Quantiles of draws x ~ p(x | f, z), many for each posterior draw of f and z.

    Args:
        run: The model.
        found: Its draws of f and z.
        level: Of the interval.
        seed: Of the noise.
    """
    shares = torch.tensor([(1 - level) / 2, (1 + level) / 2], device=run.device)
    bounds = []
    with evaluation(run.model, run.guide, seed, run.device):
        for i in range(len(found.x)):
            draws = run.model.frames(found.f[:, i], found.z[:, i]).sample((NOISE,)).flatten(0, 1)
            # More than a few million numbers are too many for one call.
            bounds.append(
                torch.stack([torch.quantile(step, shares.to(step), dim=0) for step in draws.unbind(1)], dim=1)
            )
    low, high = torch.stack(bounds, dim=1)
    return torch.where(found.observed, found.x, low), torch.where(found.observed, found.x, high)


def _written(value: np.generic) -> object:
    # The fewest digits that tell a number from all others of its precision: 21.3, not 21.2999992.
    return int(value) if value.dtype.kind == "b" else str(value)
