"""Clips that the reader of a page uploads: read once, never executed, and kept nowhere."""

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.models.errors import UsageError

LARGEST, LARGEST_UNPACKED = 16_000_000, 500_000_000  # bytes
PICTURES = (".gif", ".png", ".apng", ".webp")
SUFFIXES = (".npz", *PICTURES, ".mp4", ".webm", ".wav", ".csv")


def read_upload(name: str, content: bytes, source: Source, convert: bool = False) -> Selection:
    """The first clip in an uploaded file.

    Args:
        name: That of the file. Only its suffix says how the file is read.
        content: The file.
        source: The run whose clips it is to go with.
        convert: Bring images of another size or channel count to those of the run.

    Raises:
        UsageError: For files that are too large, of another kind, not what their suffix says, or of another shape.
    """
    suffix = Path(name).suffix.lower()
    shown = Path(name.replace("\\", "/")).name[:80]
    if suffix not in SUFFIXES:
        raise UsageError(f"{shown}: a clip is one of {', '.join(SUFFIXES)}")
    if len(content) > LARGEST:
        raise UsageError(f"{shown} has {len(content) / 1e6:,.1f} MB; at most {LARGEST / 1e6:.0f} MB can be uploaded")
    with tempfile.TemporaryDirectory() as folder:
        # A name of our own: the reader's may hold commas or look like a position.
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(content)
        try:
            _check_unpacked(path)
            found = replace(source, resize=convert).named(str(path))
        except UsageError as error:
            raise UsageError(str(error).replace(str(path), shown)) from None
    first = found.batch.rows(slice(0, 1)).until(found.frame_counts[0])
    name = shown if len(found) == 1 else f"{shown}: the first of {len(found)} clips"
    return Selection(first, (name,), found.indices[:1])


def _check_unpacked(path: Path) -> None:
    """Raises `UsageError` for a small file that takes much memory: a few kB can hold hours of one colour, or GB of zeros."""
    size = 0
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        elif path.suffix in PICTURES:
            with Image.open(path) as image:
                size = 4 * image.width * image.height * getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, ValueError, EOFError, zipfile.BadZipFile, Image.DecompressionBombError):
        return  # who reads it says what is wrong with it
    if size > LARGEST_UNPACKED:
        raise UsageError(
            f"{path} takes {size / 1e6:,.0f} MB when it is unpacked; at most {LARGEST_UNPACKED / 1e6:,.0f} MB can be uploaded"
        )


def convertible(name: str, content: bytes, source: Source) -> bool:
    """Whether a file that was refused is one clip of another size or channel count."""
    try:
        read_upload(name, content, source, convert=True)
    except UsageError:
        return False
    return True
