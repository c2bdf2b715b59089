"""Decoded windows in one file that is mapped into memory, and that is made in steps which no interruption spoils."""

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.video.sources import Source, signature
from pyro_dsvae.data.video.windows import Cutting, read_clip
from pyro_dsvae.lock import FolderLock, TakenError
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.progress import Bar

VERSION = b"pyrodsv1"  # the last bytes of a whole file; raise it when decoding or the layout of the file changes
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """What the file holds of one clip.

    Attributes:
        name, signature: Of its `Source`, before it was read.
        windows: How many.
        first: Steps from the beginning of the clip to that of each window, (windows,).
        rate: Steps a second; None where the clip has no times.
        size: Height and width of its pictures.
        sha256: Of its windows' bytes.
        refused: Why there are none, if so.
    """

    name: str
    signature: str
    windows: int = 0
    first: tuple[int, ...] = ()
    rate: float | None = None
    size: tuple[int, int] = (0, 0)
    sha256: str = hashlib.sha256().hexdigest()
    refused: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Entry":
        """From JSON, which knows lists only."""
        return cls(**values | {"first": tuple(values["first"]), "size": tuple(values["size"])})


class ClipCache:
    """The windows of the clips of a folder, in a file.

    Frames of all windows lie one after the other, in the order of the clips; behind them is an index with the digest of each
    clip's. While the file is made its name is another, and a journal holds the index. A clip is in the journal once its windows
    are written: who comes after an interruption goes on there. Clips of an older file that are as they were are copied from it.

    Args:
        folder: Where the file lies.
        root: The folder of the clips.
        cutting: How clips become windows.
    """

    def __init__(self, folder: Path, root: Path, cutting: Cutting) -> None:
        self.folder, self.root, self.cutting = folder, root, cutting
        self.file, self.part, self.journal = (folder / name for name in ("clips", "clips.part", "journal"))
        self.window_bytes = cutting.window * int(np.prod(cutting.shape))

    def load(self, sources: Sequence[Source]) -> tuple[Tensor, list[Entry]]:
        """The windows (N, T, C, H, W) uint8 of all clips, mapped, and what they are of. What is not there is decoded.

        Raises:
            UsageError: Where the file cannot be written, or no clip has a window.
        """
        entries = self._whole(sources)
        try:
            if entries is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    entries = self._whole(sources) or self._make(sources)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot take the decoded clips: {error.strerror or error}; make room, or set XDG_CACHE_HOME to "
                "another folder. What is decoded is kept"
            ) from None
        count = sum(entry.windows for entry in entries)
        if count == 0:
            why = next((f": {entry.name} {entry.refused}" for entry in entries if entry.refused), "")
            raise UsageError(f"no clip of {len(entries)} can be used{why}")
        shape = (count, self.cutting.window, *self.cutting.shape)
        # Writing to the tensor leaves the file as it is.
        return torch.from_numpy(np.asarray(np.memmap(self.file, np.uint8, mode="c", shape=shape))), entries

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """While no other process makes the file."""
        lock = FolderLock(self.folder)
        while not lock.taken:
            try:
                lock.take()
            except TakenError:
                time.sleep(0.2)
        try:
            yield
        finally:
            lock.release()

    def _whole(self, sources: Sequence[Source]) -> list[Entry] | None:
        """The index of a file that is whole and of these clips, or None."""
        entries = self._index()
        if [(entry.name, entry.signature) for entry in entries] != [(s.name, s.signature) for s in sources]:
            return None
        with self.file.open("rb") as file:
            return entries if self._sound(file, entries) == len(entries) else None

    def _index(self) -> list[Entry]:
        """The index of the file; empty where it has none."""
        try:
            with self.file.open("rb") as file:
                file.seek(-len(VERSION) - 8, io.SEEK_END)
                size = int.from_bytes(file.read(8))
                if file.read() != VERSION:
                    return []
                file.seek(-len(VERSION) - 8 - size, io.SEEK_END)
                place, entries = file.tell(), [Entry.of(values) for values in json.loads(file.read(size))]
        except (OSError, ValueError, TypeError, KeyError):
            return []
        return entries if place == self.window_bytes * sum(entry.windows for entry in entries) else []

    def _sound(self, file: BinaryIO, entries: Sequence[Entry]) -> int:
        """How many entries, from the first on, have the windows that their digests are of."""
        file.seek(0)
        for i, entry in enumerate(entries):
            if self._digest(file, entry) != entry.sha256:
                return i
        return len(entries)

    def _digest(self, file: BinaryIO, entry: Entry) -> str:
        digest, left = hashlib.sha256(), entry.windows * self.window_bytes
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        return digest.hexdigest()

    def _make(self, sources: Sequence[Source]) -> list[Entry]:
        if any(source.kind == "video" for source in sources):
            needed("av", "video", "a video file")
        older, place = {}, 0
        for entry in self._index():
            older[entry.name, entry.signature] = entry, place
            place += entry.windows * self.window_bytes
        self.part.touch()
        scratch = self.folder / "pictures"
        try:
            with self.part.open("r+b") as part, scratch.open("w+b") as pictures:
                entries = self._resumed(part, sources)
                place = part.tell()
                with self.journal.open("w") as journal, Bar(f"decoding the clips of {self.root}") as bar:
                    journal.writelines(f"{json.dumps(asdict(entry))}\n" for entry in entries)
                    journal.flush()
                    try:
                        for i, source in enumerate(sources[len(entries) :], len(entries)):
                            bar(i / len(sources), f"{i} of {len(sources)} clips")
                            known = older.get((source.name, source.signature))
                            copied = self._copied(*known, part) if known else None
                            entries.append(copied or self._decoded(source, part, cast(BinaryIO, pictures)))
                            part.flush()
                            place = part.tell()
                            journal.write(f"{json.dumps(asdict(entries[-1]))}\n")
                            journal.flush()
                    except OSError:
                        part.truncate(place)  # no half of a clip stays on a full disk
                        raise
                index = json.dumps([asdict(entry) for entry in entries]).encode()
                part.write(index + len(index).to_bytes(8) + VERSION)
                part.flush()
                os.fsync(part.fileno())
        finally:
            scratch.unlink(missing_ok=True)
        os.replace(self.part, self.file)
        self.journal.unlink()
        return entries

    def _resumed(self, part: BinaryIO, sources: Sequence[Source]) -> list[Entry]:
        """The clips that an interrupted process finished. The part is cut behind them."""
        entries: list[Entry] = []
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            for line, source in zip(self.journal.read_text().splitlines(), sources, strict=False):
                entry = Entry.of(json.loads(line))
                if (entry.name, entry.signature) != (source.name, source.signature):
                    break
                entries.append(entry)
        entries = entries[: self._sound(part, entries)]
        part.seek(self.window_bytes * sum(entry.windows for entry in entries))
        part.truncate()
        return entries

    def _copied(self, entry: Entry, place: int, part: BinaryIO) -> Entry | None:
        """A clip of the older file, where it is sound."""
        with self.file.open("rb") as file:
            file.seek(place)
            if self._digest(file, entry) != entry.sha256:
                return None
            file.seek(place)
            for _ in range(entry.windows):
                part.write(file.read(self.window_bytes))
        return entry

    def _decoded(self, source: Source, part: BinaryIO, pictures: BinaryIO) -> Entry:
        place = part.tell()
        try:
            clip = read_clip(self.root, source, self.cutting, pictures)
        except UsageError as error:
            return Entry(source.name, source.signature, refused=str(error))
        digest = hashlib.sha256()
        for window in clip.windows():
            part.write(window.data)
            digest.update(window.data)
        if signature(self.root / source.name, source.kind) != source.signature:
            part.seek(place)
            part.truncate()
            return Entry(source.name, source.signature, refused="changed while it was read")
        first = tuple(clip.starts.tolist())
        return Entry(source.name, source.signature, len(first), first, clip.rate, clip.size, digest.hexdigest())
