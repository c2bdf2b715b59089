"""The clips of a folder tree: video files, animated images, and folders of frames."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from unicodedata import category

from pyro_dsvae.data.files.pictures import IMAGE_SUFFIXES, images_in, is_animated, natural_order
from pyro_dsvae.models.errors import UsageError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp")
Kind = Literal["video", "animation", "frames"]


@dataclass(frozen=True)
class Source:
    """One clip.

    Attributes:
        name: Its path below the root, with "/" between folders.
        kind: A video file, an animated image, or a folder with an image for each frame.
        signature: Of sizes and times of change; another one means that the clip may have changed.
    """

    name: str
    kind: Kind
    signature: str

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders between the root and the clip."""
        return tuple(self.name.split("/")[:-1])

    @property
    def suffix(self) -> str:
        """What it is, for counts: ".mp4", or "folders of frames"."""
        return "folders of frames" if self.kind == "frames" else Path(self.name).suffix.lower()


@dataclass
class Found:
    """What a folder tree holds.

    Attributes:
        sources: The clips in the natural order of their names.
        others: Files that are no clips, by their endings.
        unnameable: Names that are no text, and so neither names nor labels of clips.
        empty: Folders without a clip, the topmost of each branch.
    """

    sources: list[Source] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unnameable: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def find(root: Path) -> Found:
    """The clips below a folder. Hidden files and folders are passed over; links are followed.

    Raises:
        UsageError: Where there is no such folder.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UsageError(f"{what}; VideoFolder takes the folder that holds the clips, in sub-folders or not")
    found, visited = Found(), []
    for folder, subfolders, files in _walk(root):
        place = folder.relative_to(root).as_posix()
        visited.append(place)
        for name, kind in _clips(folder, subfolders, files, found.others):
            # With the root itself as one clip.
            path = name if place == "." else f"{place}/{name}".removesuffix("/")
            if any(category(character) in ("Cc", "Cs") for character in path):
                found.unnameable.append(repr(path)[1:-1])
            else:
                found.sources.append(Source(path or ".", kind, signature(root / path, kind)))
    found.sources.sort(key=lambda source: natural_order(source.name))
    found.empty = _without_clips(visited, [*(source.name for source in found.sources), *found.unnameable])
    return found


def signature(path: Path, kind: Kind) -> str:
    """Sizes and times of change of the files of a clip; empty where they cannot be read."""
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


def _clips(folder: Path, subfolders: list[str], files: list[str], others: Counter[str]) -> Iterator[tuple[str, Kind]]:
    """The clips that lie directly in a folder, and "" where the folder itself is one."""
    suffixes = {name: Path(name).suffix.lower() for name in files}
    videos = [name for name in files if suffixes[name] in VIDEO_SUFFIXES]
    images = [name for name in files if suffixes[name] in (*IMAGE_SUFFIXES, ".apng")]
    # Of a folder of thousands of frames one tells.
    some = next((name for name in images if suffixes[name] in (".png", ".webp")), None)
    animated = some is not None and is_animated(folder / some)
    moving = {".gif", ".apng", *((".png", ".webp") if animated else ())}
    clips = [name for name in images if suffixes[name] in moving]
    stills = [name for name in images if name not in set(clips)]
    yield from ((name, "video") for name in videos)
    yield from ((name, "animation") for name in clips)
    if stills and not (videos or clips or subfolders):
        yield "", "frames"
    else:
        others.update(suffixes[name] for name in stills)
    others.update(suffixes[name] or name for name in files if name not in {*videos, *images})


def _without_clips(visited: list[str], clips: list[str]) -> list[str]:
    """The topmost folders that neither are nor hold a clip."""
    holding = {parent for name in clips for parent in (name, *_above(name))}
    empty = [place for place in visited if place not in holding and place != "."]
    return [place for place in empty if not any(parent in empty for parent in _above(place))]


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]
