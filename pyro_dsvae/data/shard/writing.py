"""A data set as shards: each file whole or not there, and what says that all are there last."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.shard.array import EXTRA, ShardedArray, file_system
from pyro_dsvae.data.shard.manifest import ENTITIES, NAME, Manifest, checksum, sharded, small
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.models.errors import UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from zarr import Group

# Of which data the shards are that are there before all are.
BEGUN = "begun.json"
# How the names of files end that zarr was writing when it was killed.
PARTIAL = ".partial"
# Bytes of a shard before they are compressed.
BYTES = 1 << 26
LEVEL = 3


def default_size(data: SequenceData) -> int:
    """Sequences of a shard of 64 MiB."""
    return max(1, BYTES // (data.frames.shape[1:].numel() * data.frames.element_size()))


def check_place(place: str) -> None:
    """Check, before the data are read, that shards may be written to ``place``, or gone on with.

    Raises:
        UsageError: Where it holds a finished set, or other files.
    """
    files, path = file_system(place)
    if files.exists(f"{path}/{NAME}"):
        raise UsageError(f"{place} exists: name another folder", "out")
    if not files.exists(f"{path}/{BEGUN}") and files.exists(path) and files.find(path):
        raise UsageError(f"{place} holds other files: name an empty folder", "out")


def write(data: SequenceData, place: str, size: int, progress: Callable[[float], object] | None = None) -> None:
    """Write sequences as shards, or go on with what an earlier call began.

    Args:
        data: The sequences.
        place: A folder, or a URL that fsspec writes to.
        size: Sequences of a shard.
        progress: Told the share that is written.

    Raises:
        UsageError: Where ``place`` holds a finished set, one of other data, or anything else, and where it cannot be written.
    """
    zarr = needed("zarr", EXTRA, "a sharded data set")
    files, path = file_system(place)
    try:
        _begin(files, path, place, {"data": data.fingerprint(), "size": size})
        group = zarr.open_group(place, mode="a")
        arrays = sharded(data)
        for name, values in arrays.items():
            # The mask, if there is one, is compressed to next to nothing.
            _write_array(group, files, f"{path}/{name}", name, values, size, progress if name == "frames" else None)
        for name, values in small(data).items():
            group.create_array(name, data=values.numpy(), overwrite=True)
        if data.names is not None:
            files.pipe_file(f"{path}/{ENTITIES}", json.dumps(data.names.entities).encode())
        for name in files.find(path):
            if name.endswith(PARTIAL):
                files.rm_file(name)
        there = sorted(name.removeprefix(path + "/") for name in files.find(path))
        sums = {name: checksum(files, f"{path}/{name}") for name in there if name != BEGUN}
        files.pipe_file(f"{path}/{NAME}", Manifest.of(data, size, sums).text().encode())
        files.rm_file(f"{path}/{BEGUN}")
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or type(error).__name__}", "out") from error


def _begin(files: "AbstractFileSystem", path: str, place: str, record: dict[str, object]) -> None:
    """Keep of which data the shards are. Raises `UsageError` where ``place`` holds anything but shards of these."""
    check_place(place)
    begun = f"{path}/{BEGUN}"
    if files.exists(begun):
        if json.loads(files.cat_file(begun)) != record:
            raise UsageError(
                f"{place} holds shards of other data, or of another size, that are unfinished: remove it", "out"
            )
        return
    files.makedirs(path, exist_ok=True)
    files.pipe_file(begun, json.dumps(record).encode())


def _write_array(
    group: "Group",
    files: "AbstractFileSystem",
    path: str,
    name: str,
    values: Tensor,
    size: int,
    progress: Callable[[float], object] | None,
) -> None:
    """The shards that are not there yet."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    written = set(files.find(path)) if files.exists(path) else set()
    if f"{path}/zarr.json" not in written:
        group.create_array(
            name,
            shape=tuple(values.shape),
            dtype=torch.empty(0, dtype=values.dtype).numpy().dtype,
            chunks=(1, *values.shape[1:]),
            shards=(size, *values.shape[1:]),
            compressors=[ZstdCodec(level=LEVEL), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
    array = group[name]
    like = ShardedArray(path, tuple(values.shape), values.dtype, size, "")
    for shard, rows in enumerate(torch.arange(len(values)).split(size)):
        if f"{path}/{like.file(shard)}" not in written:
            array[int(rows[0]) : int(rows[-1]) + 1] = values[rows].numpy()
        if progress is not None:
            progress((int(rows[-1]) + 1) / len(values))
