"""Sequences in shards, of which only those that are needed are read."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.shard.array import EXTRA, ShardedArray, file_system
from pyro_dsvae.data.shard.manifest import ENTITIES, Manifest, tensor
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.models.errors import Remark, UsageError


class Shards(DataSource):
    """Sequences in shards that ``python -m pyro_dsvae.data.shard`` wrote, which may be more than the memory holds.

    A set of shards is a group of Zarr, version 3, which other programs read, too: an array ``frames`` of which each sequence is
    a chunk, and beside it what is known of the sequences. Frames are read when they are needed, and in a fit by a process of
    their own. What has a value for each sequence or step (split, lengths, labels, times, masks of whole frames) is kept in
    memory.

    Args:
        path: A folder, or the URL of a folder that fsspec opens, such as s3://bucket/clips or gs://bucket/clips.
        check: Before each use every file is compared with its checksum ("contents"), or only its number of bytes ("sizes").
            Damage that "sizes" does not find ends a fit as soon as it is met.
        damaged: Of a shard that is damaged or missing: "refuse" the data, or "skip" its sequences.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae import Arrays, Shards
        >>> from pyro_dsvae.shard import shard
        >>> shard(Arrays("clips.npz"), out="shards", size=4)
        'shards'
        >>> data = Shards("shards").load()
        >>> data.part("train").frames.shape == Arrays("clips.npz").load().part("train").frames.shape
        True
    """

    def __init__(
        self,
        path: str,
        check: Literal["contents", "sizes"] = "contents",
        damaged: Literal["refuse", "skip"] = "refuse",
    ) -> None:
        # A relative folder is looked for where the run's other files are (`located`).
        self.path = path if is_url(str(path)) else Path(path).expanduser()
        self.check = check
        self.damaged = damaged

    def load(self) -> SequenceData:
        """The sequences, of which none is read.

        Raises:
            UsageError: Where there is no such set, or a file of it is damaged.
        """
        where = str(self.path)
        files, path = file_system(where)
        manifest = Manifest.read(files, path, where)
        wrong = manifest.wrong(files, path, self.check == "contents")
        rows = self._kept(manifest, wrong)
        group = needed("zarr", EXTRA, "a sharded data set").open_group(where, mode="r")
        fields: dict[str, Any] = {
            name: tensor(group, name)[rows]
            for name in ("split", "lengths", "times", "mask", "recordings")
            if name in manifest.small
        }
        fields |= {name: Stored(self._array(manifest, name, rows)) for name in manifest.arrays}
        names = manifest.names_of(lambda: files.cat_file(f"{path}/{ENTITIES}"))
        return SequenceData(
            **fields,
            labels={name: replace(v, values=v.values[rows]) for name, v in manifest.labels_of(group).items()},
            quantities={name: replace(v, values=v.values[rows]) for name, v in manifest.quantities_of(group).items()},
            names=names if names is None else replace(names, entities=tuple(names.entities[i] for i in rows.tolist())),
        )

    def _kept(self, manifest: Manifest, wrong: Mapping[str, str]) -> Tensor:
        """(N,) the sequences of sound shards. Raises `UsageError` where others are not to be skipped, or nothing is left."""
        rows = torch.arange(manifest.count)
        if not wrong:
            return rows
        said = f"{self.path}/{next(iter(wrong))} is damaged: {next(iter(wrong.values()))}"
        said += f", and {len(wrong) - 1:,} more files are" if len(wrong) > 1 else ""
        shards = [re.fullmatch(rf"({'|'.join(manifest.arrays)})/c/(\d+)(/0)*", name) for name in wrong]
        if self.damaged == "refuse" or None in shards:
            skip = ", or leave out the sequences of damaged shards: fit into another --out with --data.damaged skip"
            raise UsageError(f"{said}; restore it{'' if None in shards else skip}")
        bad = torch.tensor(sorted({int(found[2]) for found in shards if found is not None}))
        rows = rows[~torch.isin(rows // manifest.size, bad)]
        if len(rows) == 0:
            raise UsageError(f"{said}: no sequence is left")
        left_out = f"{manifest.count - len(rows):,} of {manifest.count:,} sequences are left out"
        warnings.warn(Remark(f"{said}; {left_out}"), stacklevel=3)
        return rows

    def _array(self, manifest: Manifest, name: str, rows: Tensor) -> ShardedArray:
        shape, kind = manifest.arrays[name]
        whole = len(rows) == manifest.count
        shards = "" if whole else f" {(rows // manifest.size).unique().tolist()}"
        return ShardedArray(
            f"{self.path}/{name}",
            (len(rows), *shape[1:]),
            getattr(torch, kind),
            manifest.size,
            f"{manifest.fingerprint} {name}{shards}",
            None if whole else rows,
        )


def is_url(place: str) -> bool:
    """Whether it is a URL, and no folder of this machine."""
    return "://" in place
