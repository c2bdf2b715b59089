"""The clips of a run among which a page lets its reader choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.actions.series_csv import time_in_words
from pyro_dsvae.data.factors import Label
from pyro_dsvae.explorer.curves import Axes
from pyro_dsvae.figures.run import seen
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.runs.run import Run

OFFERED = 200


@dataclass(frozen=True)
class Library:
    """At most `OFFERED` clips of a split, at equal distances over it, and their codes.

    All that is read is in memory after the first use, so that a page goes on when the folder of its run is gone.

    Attributes:
        source: The run and its data.
    """

    source: Source

    @property
    def run(self) -> Run:
        """The run."""
        return self.source.run

    @property
    def image(self) -> bool:
        """Whether frames are images."""
        return len(self.run.frame_shape) == 3

    @cached_property
    def positions(self) -> Tensor:
        """(n,) in the split."""
        return self.source.spread(OFFERED)

    @cached_property
    def clips(self) -> Selection:
        """All n clips."""
        return self.source.at(self.positions)

    @cached_property
    def codes(self) -> Codes:
        """Their codes: f (n, F), z (n, T, D)."""
        return self.clips.encode(self.run)

    @cached_property
    def titles(self) -> dict[str, int]:
        """What each clip is called, with the classes of its labels -> its place among the n."""
        return {self._title(place): place for place in range(len(self.positions))}

    @property
    def labels(self) -> Mapping[str, Label]:
        """Of the n clips."""
        return self.clips.labels

    @cached_property
    def axes(self) -> Axes | None:
        """What clips of vectors are drawn against; None for images."""
        if self.image:
            return None
        batch, table = self.clips.batch, self.source.data.names
        values = [channel[channel.isfinite()] for channel in seen(batch).flatten(0, 1).unbind(1)]
        ranges = tuple((float(v.min()), float(v.max())) if len(v) else (0.0, 1.0) for v in values)
        time = "frame" if batch.times is None else time_in_words(table)
        return Axes(self.source.data.column_names or unnamed(len(ranges)), ranges, time)

    def clip(self, title: str) -> Selection:
        """The clip of this title, alone."""
        place = self.titles[title]
        found = self.source.at(self.positions[place : place + 1])
        return found.until(found.frame_counts[0])

    def differing(self) -> tuple[str, str]:
        """Titles of the first clip and of the one that differs from it in most labels, or the last."""
        titles = list(self.titles)
        of = [label.values for label in self.labels.values()]
        if not of:
            return titles[0], titles[-1]
        values = torch.stack(of, 1)
        return titles[0], titles[int((values != values[0]).sum(1).argmax())]

    def _title(self, place: int) -> str:
        table, position = self.clips.table, int(self.positions[place])
        said = [] if table is None else [table.entities[place]]
        said += [label.classes[int(label.values[place])] for label in self.labels.values()]
        return f"{position}: {', '.join(said)}" if said else f"clip {position}"


def unnamed(count: int) -> tuple[str, ...]:
    """Names of channels that have none."""
    return tuple(f"channel {i}" for i in range(count))
