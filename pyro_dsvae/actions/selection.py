"""The clips that a command names: clips of the run's data, by position, or a user's own files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pyro_dsvae.clips.films import Film
from pyro_dsvae.clips.reading import Reading, read_with_film
from pyro_dsvae.clips.sounds import read_sound
from pyro_dsvae.data.arrays import named_layout
from pyro_dsvae.data.dataset import SequenceData, Split
from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.location import existing
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.series_table import read_more
from pyro_dsvae.data.speech.recordings import SUFFIXES, Recording
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.tables.reading import is_table
from pyro_dsvae.data.video_folder import VideoFolder
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.inference.sequences import evenly_spaced
from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.runs.run import Progress, Run

ARRAYS = (".npz", ".npy")
CANDIDATES = 400  # of a split, among which clips that differ are looked for


@dataclass(frozen=True)
class Selection:
    """Some clips, in one layout whatever they were read from.

    Attributes:
        batch: The n clips with their masks, lengths and times as in `Run`, on the CPU.
        names: (n,) what to call each in a picture: "clip 3", or the name of its file.
        indices: (n,) int64 position in the split, -1 for a clip from a file.
        labels: Name -> `Label`, where the data have labels and all clips are of the data.
        table: The names in the table that all clips come from, if they come from one.
        films: Of each clip, what the file says beside its frames; empty where none of them is a `Film`.
        recordings: Of each clip, the sound that it was made of; empty where none is known.
    """

    batch: Batch
    names: tuple[str, ...]
    indices: Tensor
    labels: Mapping[str, Label] = field(default_factory=dict)
    table: Names | None = None
    films: tuple[Film | None, ...] = ()
    recordings: tuple[Recording | None, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def frame_counts(self) -> list[int]:
        """How many frames each clip has."""
        whole, lengths = self.batch.x.shape[1], self.batch.lengths
        return [whole] * len(self) if lengths is None else lengths.tolist()

    def film(self, i: int) -> Film | None:
        """That of one clip, if it is one."""
        return self.films[i] if self.films else None

    def recording(self, i: int) -> Recording | None:
        """That of one clip, if it is known."""
        return self.recordings[i] if self.recordings else None

    def until(self, stop: int) -> "Selection":
        """Their first ``stop`` steps."""
        return replace(self, batch=self.batch.until(stop))

    def encode(
        self, run: Run, draws: int = 0, seed: int = 0, progress: Progress | None = None, anchored: bool = False
    ) -> Codes:
        """Their codes.

        Raises:
            UsageError: Where nothing was observed of one, so that it has none.
        """
        self._check_observed()
        return run.encode(*self.batch, draws, seed, progress, anchored)

    def encode_whole(self, run: Run, seed: int = 0) -> Codes:
        """Their codes, of those that are longer than what the run was fitted to from windows (`encode_whole`).

        Raises:
            UsageError: As `encode`.
        """
        self._check_observed()
        return run.encode_whole(*self.batch, seed)

    def _check_observed(self) -> None:
        empty = ~self.batch.observed.flatten(1).any(1)
        if empty.any():
            names = ", ".join(self.names[i] for i in empty.nonzero().flatten().tolist())
            raise UsageError(
                f"mask leaves no observed value of {names}, so there is nothing to encode; impute can fill it"
            )


@dataclass(frozen=True)
class Source:
    """Where clips come from: a run's data, read when first asked for, and files."""

    run: Run
    split: Split = "validation"
    resize: bool = False

    @cached_property
    def data(self) -> SequenceData:
        """The data of the run. Raises as `Run.sequences`."""
        return self.run.sequences()

    @cached_property
    def rows(self) -> Tensor:
        """(n,) the sequences of the split."""
        return self.data.rows(self.split)

    def rate(self, clips: Selection | None) -> float | None:
        """Frames a second: of the first film among clips, or those that the run's clips were brought to; None where unknown."""
        films = () if clips is None else clips.films
        own = self.run.data.rate if isinstance(self.run.data, VideoFolder) else None
        return next((film.rate for film in films if film is not None), own)

    def named(self, text: str) -> Selection:
        """The clips in ``text``: positions in the split ("3"), ranges ("0:4", without the last) and paths, with commas.

        Raises:
            UsageError: For a position that the split has not, and for what `read_clips` refuses.
        """
        text = text.strip()
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if text and Path(text).exists():
            parts = [text]  # with a comma in its name, perhaps
        if not parts:
            raise UsageError("no clip is named; give positions in the split, such as 3,7 or 0:4, or the paths of files")
        found = []
        for part in parts:
            positions = _positions(part)
            if positions is None:
                found.append(self._of_file(Path(part).expanduser()))
            else:
                self._check(positions, part)
                found.append(self.at(torch.tensor(positions)))
        return joined(found)

    def named_or_varied(self, text: str | None, count: int, role: Role, seed: int) -> Selection:
        """The clips in ``text``, or where there is none ``count`` that differ in labels of this role."""
        if text is not None:
            return self.named(text)
        check_count("count", count)
        return self.at(self._varied(count, role, seed))

    def at(self, positions: Tensor) -> Selection:
        """Clips of the split by position (n,)."""
        part = self.data.take(self.rows[positions])
        x = self.run.model.likelihood.to_model_units(part.frames)
        names = tuple(f"clip {i}" for i in positions.tolist())
        return Selection(Batch(x, part.mask, part.lengths, part.times), names, positions, part.labels, part.names)

    def spread(self, count: int) -> Tensor:
        """At most ``count`` positions at equal distances over the split."""
        return evenly_spaced(len(self.rows), count)

    def _of_table(self, path: Path) -> Selection:
        if len(self.run.frame_shape) == 3:
            raise UsageError(
                f"{path} is a table, and the frames of this run are images: give a video, a GIF, a PNG strip, a folder of "
                "frames or an .npz"
            )
        if self.data.names is None or not self.data.names.columns:
            raise UsageError(f"{path} is a table, and the data of this run are none: give an .npz")
        data = read_more(path, self.data.names, self.run.data)
        assert data.names is not None
        batch = Batch(data.frames, data.mask, data.lengths, data.times)
        return Selection(batch, data.names.entities, torch.full((len(data),), -1), table=data.names)

    def _of_file(self, path: Path) -> Selection:
        data = self.run.data
        if isinstance(data, SpeechSource) and path.suffix.lower() not in ARRAYS:
            return self._of_sound(path, data)
        if path.is_file() and is_table(path):
            return self._of_table(path)
        if path.is_file() and path.suffix.lower() in SUFFIXES and not isinstance(data, SpeechSource):
            raise UsageError(f"{path} is a recording, and this run was fitted to {type(data).__name__}, not to speech")
        how = Reading(self.run.frame_shape, named_layout(data))
        if isinstance(data, VideoFolder):
            folder = self.run.config.get("data_folder")
            how = replace(
                how, cutting=data.cutting(), root=existing(data.path, None if folder is None else Path(folder))
            )
        clips, film = read_with_film(path, how, self.resize)
        frames, mask, lengths, times = clips.stored()
        n = len(frames)
        names = tuple(path.stem if n == 1 else f"{path.stem} {i}" for i in range(n))
        x = self.run.model.likelihood.to_model_units(frames)
        films = () if film is None else (film,)
        return Selection(Batch(x, mask, lengths, times), names, torch.full((n,), -1), films=films)

    def _of_sound(self, path: Path, data: SpeechSource) -> Selection:
        clips, recording = read_sound(path, data.segmenting())
        x = self.run.model.likelihood.to_model_units(clips.frames)
        return Selection(Batch(x, None, None, None), (path.stem,), torch.tensor([-1]), recordings=(recording,))

    def _check(self, positions: Sequence[int], part: str) -> None:
        count = len(self.rows)
        if not positions:
            raise UsageError(f"the range {part} holds no clip")
        wrong = next((i for i in positions if not 0 <= i < count), None)
        if wrong is not None:
            raise UsageError(f"there is no clip {wrong}: the {self.split} split has {count} clips, 0 to {count - 1}")

    def _varied(self, count: int, role: Role, seed: int) -> Tensor:
        """(count,) positions, one after the other the one that differs most, in labels of the role, from those before it."""
        n = len(self.rows)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:CANDIDATES]
        labels = [label for label in self.data.labels.values() if label.role == role] or list(self.data.labels.values())
        if not labels:
            return order[:count].sort().values
        values = torch.stack([label.values[self.rows[order]] for label in labels], dim=1)
        chosen = [0]
        while len(chosen) < min(count, len(order)):
            differ = (values[:, None] != values[chosen]).sum(-1).float()
            nearest, total = differ.min(1).values, differ.mean(1)
            nearest[chosen] = -1
            chosen.append(int((nearest + total / 1000).argmax()))
        return order[chosen]


def _positions(part: str) -> list[int] | None:
    """Positions in "3", "-1" or "0:4"; None for anything else."""
    if re.fullmatch(r"-?\d+", part):
        return [int(part)]
    if match := re.fullmatch(r"(\d+):(\d+)", part):
        return list(range(int(match[1]), int(match[2])))
    return None


def joined(parts: Sequence[Selection]) -> Selection:
    """Several selections as one, as long as the longest clip; what shorter ones lack does not exist."""
    if len(parts) == 1:
        return parts[0]
    labels = {
        name: replace(label, values=torch.cat([part.labels[name].values for part in parts]))
        for name, label in parts[0].labels.items()
        if all(name in part.labels for part in parts)
    }
    return Selection(
        _stacked([part.batch for part in parts]),
        tuple(name for part in parts for name in part.names),
        torch.cat([part.indices for part in parts]),
        labels,
        _one_table([part.table for part in parts]),
        tuple(part.film(i) for part in parts for i in range(len(part))),
        tuple(part.recording(i) for part in parts for i in range(len(part))),
    )


def _one_table(tables: Sequence[Names | None]) -> Names | None:
    """Their names as one; None unless all have the same columns and clock."""
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or len({(table.columns, table.clock) for table in known}) > 1:
        return None
    return replace(known[0], entities=tuple(name for table in known for name in table.entities))


def _stacked(parts: Sequence[Batch]) -> Batch:
    length = max(part.x.shape[1] for part in parts)
    parts = [_padded(part, length) for part in parts]
    lengths, mask, times = None, None, None
    if any(part.lengths is not None for part in parts):
        lengths = torch.cat([_or(part.lengths, torch.full((len(part.x),), length)) for part in parts])
    if any(part.mask is not None for part in parts):
        mask = torch.cat([part.observed for part in parts])
    if any(part.times is not None for part in parts):
        times = torch.cat([_or(part.times, torch.arange(length).double().expand(len(part.x), -1)) for part in parts])
    return Batch(torch.cat([part.x for part in parts]), mask, lengths, times)


def _padded(part: Batch, length: int) -> Batch:
    """The same sequences among ``length`` steps, of which those beyond their own do not exist."""
    x, mask, lengths, times = part
    count, own = x.shape[:2]
    more = length - own
    if more == 0:
        return part
    x = torch.cat([x, x.new_zeros(count, more, *x.shape[2:])], dim=1)
    if mask is not None:
        mask = torch.cat([mask, mask.new_zeros(count, more, *mask.shape[2:])], dim=1)
    if times is not None:
        times = torch.cat([times, times[:, -1:] + torch.arange(1, more + 1)], dim=1)
    return Batch(x, mask, _or(lengths, torch.full((count,), own)), times)


def _or(values: Tensor | None, default: Tensor) -> Tensor:
    return default if values is None else values
