"""The clips of a folder tree: video files, animated images, and folders of frames."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pyro_dsvae.data.files.pictures import IMAGE_SUFFIXES, is_animated
from pyro_dsvae.data.folders.tree import Finder, Kind

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp")


class ClipFinder(Finder):
    """Finds clips."""

    def __init__(self) -> None:
        super().__init__("VideoFolder", "clips")

    def sources(
        self, folder: Path, subfolders: list[str], files: list[str], others: Counter[str]
    ) -> Iterator[tuple[str, Kind]]:
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
