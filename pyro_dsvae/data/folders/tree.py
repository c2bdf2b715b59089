"""The sources of windows below a folder, and what else is there."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from unicodedata import category

from pyro_dsvae.data.files.pictures import images_in, natural_order
from pyro_dsvae.models.errors import UsageError

Kind = Literal["video", "animation", "frames", "sound"]


@dataclass(frozen=True)
class Source:
    """One clip or recording.

    Attributes:
        name: Its path below the root, with "/" between folders.
        kind: A video file, an animated image, a folder with an image for each frame, or a sound file.
        signature: Of sizes and times of change; another one means that it may have changed.
    """

    name: str
    kind: Kind
    signature: str

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders between the root and the source."""
        return tuple(self.name.split("/")[:-1])

    @property
    def suffix(self) -> str:
        """What it is, for counts: ".mp4", or "folders of frames"."""
        return "folders of frames" if self.kind == "frames" else Path(self.name).suffix.lower()


@dataclass
class Found:
    """What a folder tree holds.

    Attributes:
        sources: In the natural order of their names.
        others: Files that are no sources, by their endings.
        unnameable: Names that are no text, and so neither names nor labels.
        empty: Folders without a source, the topmost of each branch.
    """

    sources: list[Source] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unnameable: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


class Finder(ABC):
    """Which files and folders are sources.

    Args:
        asking: The data source that looks for them, as messages call it.
        things: What they are, as "clips".
    """

    def __init__(self, asking: str, things: str) -> None:
        self.asking, self.things = asking, things

    @abstractmethod
    def sources(
        self, folder: Path, subfolders: list[str], files: list[str], others: Counter[str]
    ) -> Iterator[tuple[str, Kind]]:
        """Names and kinds of those that lie directly in a folder, "" where the folder itself is one.

        Args:
            folder: The folder.
            subfolders: Names of the folders in it.
            files: Names of the files in it.
            others: Counts files that are none, by their endings.
        """

    def find(self, root: Path) -> Found:
        """The sources below a folder. Hidden files and folders are passed over; links are followed.

        Raises:
            UsageError: Where there is no such folder.
        """
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise UsageError(
                f"{what}; {self.asking} takes the folder that holds the {self.things}, in sub-folders or not"
            )
        found, visited = Found(), []
        for folder, subfolders, files in _walk(root):
            place = folder.relative_to(root).as_posix()
            visited.append(place)
            for name, kind in self.sources(folder, subfolders, files, found.others):
                # With the root itself as one source.
                path = name if place == "." else f"{place}/{name}".removesuffix("/")
                if any(category(character) in ("Cc", "Cs") for character in path):
                    found.unnameable.append(repr(path)[1:-1])
                else:
                    found.sources.append(Source(path or ".", kind, signature(root / path, kind)))
        found.sources.sort(key=lambda source: natural_order(source.name))
        found.empty = _without(visited, [*(source.name for source in found.sources), *found.unnameable])
        return found


def signature(path: Path, kind: Kind) -> str:
    """Sizes and times of change of the files of a source; empty where they cannot be read."""
    try:
        if kind != "frames":
            state = path.stat()
            return f"{state.st_size}-{state.st_mtime_ns}"
        digest = hashlib.sha256()
        for file in images_in(path):
            state = file.stat()
            digest.update(f"{file.name!r} {state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]
    except OSError:
        return ""


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        yield Path(folder), subfolders, sorted(name for name in files if not name.startswith("."))


def _without(visited: list[str], names: list[str]) -> list[str]:
    """The topmost folders that neither are nor hold a source."""
    holding = {parent for name in names for parent in (name, *_above(name))}
    empty = [place for place in visited if place not in holding and place != "."]
    return [place for place in empty if not any(parent in empty for parent in _above(place))]


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]
