"""Clips that the reader of a page uploads: read once, never executed, and kept nowhere."""

import tempfile
from dataclasses import replace
from pathlib import Path

from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.models.errors import UsageError

LARGEST = 16_000_000  # bytes
SUFFIXES = (".npz", ".gif", ".png", ".apng", ".webp", ".mp4", ".webm", ".wav")


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
            found = replace(source, resize=convert).named(str(path))
        except UsageError as error:
            raise UsageError(str(error).replace(str(path), shown)) from None
    first = found.batch.rows(slice(0, 1)).until(found.frame_counts[0])
    return Selection(first, (shown,), found.indices[:1])


def convertible(name: str, content: bytes, source: Source) -> bool:
    """Whether a file that was refused is one clip of another size or channel count."""
    try:
        read_upload(name, content, source, convert=True)
    except UsageError:
        return False
    return True
