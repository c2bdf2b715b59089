"""Decoded windows in one file that is mapped into memory, and that is made in steps which no interruption spoils."""

import contextlib
import hashlib
import io
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import DTypeLike
from torch import Tensor

from pyro_dsvae.data.files.mapped import mapped
from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.folders.tree import Source, signature
from pyro_dsvae.lock import FolderLock, TakenError
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.progress import Bar

VERSION = b"pyrodsv2"  # the last bytes of a whole file; raise it when decoding or the layout of the file changes
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """What the file holds of one source.

    Attributes:
        name, signature: Of its `Source`, before it was read.
        windows: How many.
        first: Steps from the beginning of the source to that of each window, (windows,).
        about: What else its reader found; what JSON can hold.
        sha256: Of its windows' bytes.
        refused: Why there are none, if so.
    """

    name: str
    signature: str
    windows: int = 0
    first: tuple[int, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = hashlib.sha256().hexdigest()
    refused: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Entry":
        """From JSON, which knows lists only."""
        return cls(**values | {"first": tuple(values["first"])})


class Reading(Protocol):
    """One source that was read.

    Attributes:
        first: As in `Entry`.
        about: As in `Entry`.
    """

    @property
    def first(self) -> tuple[int, ...]: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def windows(self) -> Iterator[Array]:
        """Each window; one at a time is in memory."""


class Reader(ABC):
    """How sources become windows.

    Args:
        root: The folder that sources are below.
        thing: What a source is, as "clip".
        shape: Of a window, ``(T, *frame)``.
        dtype: Of its values.
    """

    def __init__(self, root: Path, thing: str, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.root, self.thing, self.shape, self.dtype = root, thing, shape, np.dtype(dtype)

    @abstractmethod
    def prepare(self, sources: Sequence[Source]) -> None:
        """Before any is read. Raises `UsageError` where a library is missing."""

    @abstractmethod
    def read(self, source: Source, scratch: BinaryIO) -> Reading:
        """Read a source.

        Args:
            source: Which.
            scratch: A file for what is too large for the memory. What it holds is lost.

        Raises:
            UsageError: Where the source cannot be read or has no window, in words that follow its name.
            OSError: Where the scratch file cannot be written.
        """


class WindowCache:
    """The windows of the sources of a folder, in a file.

    Windows lie one after the other, in the order of the sources. Behind them is an index with the digest of each source's
    windows. While the file is made its name is another, and a journal holds the index. A source is in the journal once its
    windows are written: who comes after an interruption goes on there. Sources of an older file that are as they were are
    copied from it.

    Args:
        folder: Where the file lies.
        reader: How sources become windows.
    """

    def __init__(self, folder: Path, reader: Reader) -> None:
        self.folder, self.reader = folder, reader
        self.file, self.part, self.journal = (folder / name for name in ("clips", "clips.part", "journal"))
        self.window_bytes = int(np.prod(reader.shape)) * reader.dtype.itemsize

    def load(self, sources: Sequence[Source]) -> tuple[Tensor, list[Entry]]:
        """The windows ``(N, T, *frame)`` of all sources, mapped, and what they are of. What is not there is read.

        Raises:
            UsageError: Where the file cannot be written, or no source has a window.
        """
        thing = self.reader.thing
        entries = self._whole(sources)
        try:
            if entries is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    entries = self._whole(sources) or self._make(sources)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot take the decoded {thing}s: {error.strerror or error}; make room, or set "
                "XDG_CACHE_HOME to another folder. What is decoded is kept"
            ) from None
        count = sum(entry.windows for entry in entries)
        if count == 0:
            why = next((f": {entry.name} {entry.refused}" for entry in entries if entry.refused), "")
            raise UsageError(f"no {thing} of {len(entries)} can be used{why}")
        shape = (count, *self.reader.shape)
        return mapped(self.file, self.reader.dtype, shape), entries

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
        """The index of a file that is whole and of these sources, or None."""
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
        self.reader.prepare(sources)
        older, place = {}, 0
        for entry in self._index():
            older[entry.name, entry.signature] = entry, place
            place += entry.windows * self.window_bytes
        self.part.touch()
        scratch = self.folder / "scratch"
        try:
            with self.part.open("r+b") as part, scratch.open("w+b") as file:
                entries = self._resumed(part, sources)
                place = part.tell()
                with (
                    self.journal.open("w") as journal,
                    Bar(f"decoding the {self.reader.thing}s of {self.reader.root}") as bar,
                ):
                    journal.writelines(f"{json.dumps(asdict(entry))}\n" for entry in entries)
                    journal.flush()
                    try:
                        for i, source in enumerate(sources[len(entries) :], len(entries)):
                            bar(i / len(sources), f"{i} of {len(sources)} {self.reader.thing}s")
                            known = older.get((source.name, source.signature))
                            copied = self._copied(*known, part) if known else None
                            entries.append(copied or self._decoded(source, part, cast(BinaryIO, file)))
                            part.flush()
                            place = part.tell()
                            journal.write(f"{json.dumps(asdict(entries[-1]))}\n")
                            journal.flush()
                    except OSError:
                        part.truncate(place)  # no half of a source stays on a full disk
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
        """The sources that an interrupted process finished. The part is cut behind them."""
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
        """A source of the older file, where it is sound."""
        with self.file.open("rb") as file:
            file.seek(place)
            if self._digest(file, entry) != entry.sha256:
                return None
            file.seek(place)
            for _ in range(entry.windows):
                part.write(file.read(self.window_bytes))
        return entry

    def _decoded(self, source: Source, part: BinaryIO, scratch: BinaryIO) -> Entry:
        place = part.tell()
        try:
            reading = self.reader.read(source, scratch)
        except UsageError as error:
            return Entry(source.name, source.signature, refused=str(error))
        digest = hashlib.sha256()
        for window in reading.windows():
            content = np.ascontiguousarray(window, self.reader.dtype).tobytes()
            part.write(content)
            digest.update(content)
        if signature(self.reader.root / source.name, source.kind) != source.signature:
            part.seek(place)
            part.truncate()
            return Entry(source.name, source.signature, refused="changed while it was read")
        first, about = reading.first, dict(reading.about)
        return Entry(source.name, source.signature, len(first), first, about, digest.hexdigest())
