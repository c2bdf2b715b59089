"""The arrays in an ``.npz`` or ``.npy`` file. Pickled objects are never read."""

import shlex
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.tables.reading import is_table
from pyro_dsvae.inference.memory import physical_memory
from pyro_dsvae.models.errors import Remark, UsageError, did_you_mean

Array = NDArray[Any]

_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    MemoryError,  # a damaged header may claim any size
    NotImplementedError,  # zip compression that Python lacks
    RuntimeError,  # encrypted zip
    zipfile.BadZipFile,
    zlib.error,
)
# Arrays beside the frames.
FIELDS = ("lengths", "mask", "times", "split", "recordings")
# What a file may hold for each name that a first array has given.
FACTORS = {"labels_": ("labels_", "role_", "classes_"), "quantities_": ("quantities_", "components_", "unit_")}
PREFIXES = tuple(prefix for prefixes in FACTORS.values() for prefix in prefixes)
# Sequences of different lengths in a list, as one array.
PAD = (
    "T = max(map(len, clips)); np.savez('clips.npz', frames=np.stack([np.pad(c, [(0, T - len(c))] + [(0, 0)] * (c.ndim - 1)) "
    "for c in clips]), lengths=[len(c) for c in clips])"
)


def frames_in(arrays: Mapping[str, Array]) -> str:
    """The key of the sequences: ``frames``, or that of the only array that may be meant, which is said.

    Raises:
        UsageError: Where there is none, or several may be meant.
    """
    if "frames" in arrays:
        return "frames"
    found = [
        key for key, value in arrays.items() if key not in FIELDS and not key.startswith(PREFIXES) and value.ndim > 1
    ]
    if len(found) == 1:
        warnings.warn(
            Remark(f"there is no array 'frames'; {found[0]!r} {arrays[found[0]].shape} is taken for it"), stacklevel=2
        )
        return found[0]
    if found:
        raise UsageError(f"has no 'frames', and {', '.join(map(repr, found))} may each be meant; give one that name")
    raise UsageError(f"has no 'frames'; it holds {', '.join(arrays) or 'nothing'}: name the array of sequences so")


def as_frames(name: str, raw: Array) -> Array:
    """Frames under this name: uint8 as they are, booleans and floating types as float32.

    Raises:
        UsageError: For another type.
    """
    if raw.dtype == np.uint8:
        return raw
    if raw.dtype.kind not in "bf":
        raise UsageError(f"{name} are {raw.dtype}; convert them to uint8 (0..255) or float32")
    # What float32 cannot hold becomes infinite, which is reported with its place.
    with np.errstate(over="ignore"):
        return raw.astype(np.float32, copy=False)


def as_values(name: str, raw: Array, where: str) -> Array:
    """Frames under this name: uint8 as they are, all other numbers as float32, images of 16 bit as intensities.

    Raises:
        UsageError: For what is no number.
    """
    if raw.dtype.kind not in "iu" or raw.dtype == np.uint8:
        return as_frames(name, raw)
    if raw.dtype == np.uint16 and raw.ndim > 3 and raw.max(initial=0) >= 2**15:
        warnings.warn(Remark(f"{where}: images of uint16 are taken as intensities, x / 65535"), stacklevel=2)
        return (raw / np.float32(2**16 - 1)).astype(np.float32)
    return raw.astype(np.float32)


def as_mask(mask: Array) -> Array:
    """A mask as booleans.

    Raises:
        UsageError: Where it holds other values than True and False, or 1 and 0.
    """
    if mask.dtype.kind not in "iub" or not np.isin(mask, (0, 1)).all():
        raise UsageError("mask must be boolean (or integers 0 and 1), True where a value was observed")
    return mask.astype(bool)


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of the file by its key; that of a ``.npy`` file is "frames"."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except FileNotFoundError:
        folder = path.parent
        if not folder.is_dir():
            raise UsageError(f"no such file, nor its folder {folder}") from None
        raise UsageError("no such file" + did_you_mean(path.name, (p.name for p in folder.iterdir()))) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}") from None
    _check_kind(path, start)
    arrays: dict[str, Array] = {}
    try:
        # Opened here: NumPy leaves the file open where a broken archive makes it fail.
        with path.open("rb") as file:
            if start[:2] != b"PK":
                # Read piece by piece. What is written goes into memory of its own, not into the file.
                mapped = np.load(path, allow_pickle=False, mmap_mode="c")
                if mapped.dtype not in (np.uint8, np.float32):
                    _check_room(mapped.size * np.dtype(np.float32).itemsize)
                return {"frames": mapped}
            with zipfile.ZipFile(path) as archive:
                _check_room(sum(member.file_size for member in archive.infolist()))
            loaded = np.load(file, allow_pickle=False)
            with loaded:
                for key in loaded.files:
                    arrays[key] = loaded[key]
    except UsageError:
        raise
    except _UNREADABLE as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            key = "frames" if start[:2] != b"PK" else next(key for key in loaded.files if key not in arrays)
            raise UsageError(_objects(key)) from None
        raise UsageError(f"is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None
    # Members of an ordinary zip archive come back as bytes.
    other = next((key for key, value in arrays.items() if not isinstance(value, np.ndarray)), None)
    if other is not None:
        raise UsageError(f"is a zip archive with {other!r}, which is no array; save arrays with numpy.savez")
    return arrays


def _check_kind(path: Path, start: bytes) -> None:
    """Raises `UsageError` for a file that begins like no file of arrays."""
    if is_table(path):
        table = f"--data SeriesTable --data.path {shlex.quote(str(path))}"
        raise UsageError(f"is a table, which Arrays does not read: {table}")
    if start[:1] == b"\x80":
        raise UsageError("is a pickle, which may run any code and is never read; save arrays with numpy.savez")
    if start != b"\x93NUMPY" and start[:2] != b"PK":
        raise UsageError("is neither an .npz nor an .npy file; save arrays with numpy.savez")


def _check_room(size: int) -> None:
    """Raises `UsageError` for arrays of so many bytes, where this machine has less memory."""
    memory = physical_memory()
    if size > memory:
        raise UsageError(
            f"takes {size / 2**30:,.1f} GiB of memory, and this machine has {memory / 2**30:,.1f}: save frames as float32 or "
            "uint8 with numpy.save into a .npy file, which is read piece by piece"
        )


def _objects(key: str) -> str:
    """What to do with an array of Python objects, as NumPy makes of what has no common shape."""
    said = f"holds Python objects in {key!r}; these are pickled, may run any code and are never read: "
    if key in ("frames", "x"):
        return f"{said}sequences of different lengths are padded, with lengths beside them: {PAD}"
    words = key.startswith(("labels_", "classes_", "role_", "split", "recordings"))
    return f"{said}save {key}.astype({'str' if words else 'float'})"
