"""What a set of shards is: its arrays, what is known of its sequences, and each of its files."""

import hashlib
import json
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.factors import Label, Quantity
from pyro_dsvae.data.names import Clock, Names
from pyro_dsvae.models.errors import UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from zarr import Group

SCHEMA = 1
# It is written last: a set without it is unfinished.
NAME = "shards.json"
# Of entities, where the sequences have some.
ENTITIES = "entities.json"
# Files whose checksums are computed at once, and bytes of one at a time.
THREADS, BLOCK = 4, 1 << 22


@dataclass(frozen=True)
class Manifest:
    """What a set of shards says of itself.

    Attributes:
        size: Sequences of a shard.
        small: The names of arrays that are kept in memory.
        arrays: Of each sharded array, its shape and the name of its type: of ``frames``, and of a ``mask`` of single values.
        labels, quantities, names: As in `SequenceData`, without what has a value for each sequence.
        files: Of each file, its bytes and their SHA-256.
    """

    size: int
    small: list[str]
    arrays: dict[str, tuple[list[int], str]]
    labels: dict[str, dict[str, Any]]
    quantities: dict[str, dict[str, Any]]
    names: dict[str, Any] | None
    files: dict[str, tuple[int, str]]

    @classmethod
    def of(cls, data: SequenceData, size: int, files: dict[str, tuple[int, str]]) -> "Manifest":
        """That of ``data`` in shards of ``size`` sequences."""
        names = None if data.names is None else {**asdict(data.names), "entities": None}
        return cls(
            size,
            list(small(data)),
            {name: (list(v.shape), str(v.dtype).removeprefix("torch.")) for name, v in sharded(data).items()},
            {name: {**vars(v), "values": None} for name, v in data.labels.items()},
            {name: {**vars(v), "values": None} for name, v in data.quantities.items()},
            names,
            files,
        )

    @classmethod
    def read(cls, files: "AbstractFileSystem", path: str, where: str) -> "Manifest":
        """That of the set at ``path``.

        Raises:
            UsageError: Where there is none, or it is damaged.
        """
        try:
            state = json.loads(files.cat_file(f"{path}/{NAME}"))
            if state.pop("schema") != SCHEMA:
                raise UsageError(f"{where} was written by another version; write it again", "data.path")
            return cls(**state)
        except FileNotFoundError:
            said = "is no finished set of shards" if files.exists(path) else "does not exist"
            command = f"python -m pyro_dsvae.data.shard --data … --out {shlex.quote(where)}"
            raise UsageError(f"{where} {said}: {command} writes one, or goes on with it", "data.path") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}/{NAME} is damaged ({type(error).__name__}): restore it", "data.path") from error

    def text(self) -> str:
        """Itself as it is written."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    @property
    def count(self) -> int:
        """N, of sequences."""
        return self.arrays["frames"][0][0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it, and so of every file."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def wrong(self, files: "AbstractFileSystem", path: str, contents: bool) -> dict[str, str]:
        """The files that are not as they were written, and why.

        Args:
            contents: Whether to read every byte. Else files are known by their number of bytes.
        """
        there = {name.removeprefix(path + "/"): about["size"] for name, about in files.find(path, detail=True).items()}
        found = {name: "it is missing" for name in self.files if name not in there}
        for name, (size, _) in self.files.items():
            if there.get(name, size) != size:
                found[name] = f"it has {there[name]:,} bytes instead of {size:,}"
        if contents:
            names = [name for name in self.files if name not in found]
            with ThreadPoolExecutor(THREADS) as pool:
                sums = pool.map(lambda name: checksum(files, f"{path}/{name}")[1], names)
            found |= {
                name: "its checksum is wrong"
                for name, sha in zip(names, sums, strict=True)
                if sha != self.files[name][1]
            }
        return dict(sorted(found.items()))

    def labels_of(self, group: "Group") -> dict[str, Label]:
        """The labels of all sequences."""
        made = {}
        for number, (name, about) in enumerate(self.labels.items()):
            lists = {key: tuple(about[key]) for key in ("classes", "numbered", "numbers")}
            made[name] = Label(**{**about, **lists, "values": tensor(group, f"label_{number}")})
        return made

    def quantities_of(self, group: "Group") -> dict[str, Quantity]:
        """The quantities of all sequences."""
        return {
            name: Quantity(tensor(group, f"quantity_{number}"), tuple(about["components"]), about["unit"])
            for number, (name, about) in enumerate(self.quantities.items())
        }

    def names_of(self, entities: Callable[[], bytes]) -> Names | None:
        """The names of all sequences; ``entities`` reads their file."""
        if self.names is None:
            return None
        lists = {key: tuple(value) for key, value in self.names.items() if isinstance(value, list)}
        clock = Clock(**self.names["clock"])
        return Names(**{**self.names, **lists, "entities": tuple(json.loads(entities())), "clock": clock})


def sharded(data: SequenceData) -> dict[str, torch.Tensor]:
    """The arrays that are as large as the frames, by name."""
    found = {"frames": data.frames}
    if data.mask is not None and data.mask.ndim > 2:
        found["mask"] = data.mask
    return found


def small(data: SequenceData) -> dict[str, torch.Tensor]:
    """The other arrays, which are kept in memory, by name. Labels and quantities may have names that no file can have."""
    arrays = {"split": data.split, "lengths": data.lengths, "times": data.times}
    arrays["recordings"] = data.recordings
    if "mask" not in sharded(data):
        arrays["mask"] = data.mask
    arrays |= {f"label_{number}": label.values for number, label in enumerate(data.labels.values())}
    arrays |= {f"quantity_{number}": each.values for number, each in enumerate(data.quantities.values())}
    return {name: values for name, values in arrays.items() if values is not None}


def tensor(group: "Group", name: str) -> torch.Tensor:
    """A small array."""
    return torch.from_numpy(np.asarray(group[name][:]))


def checksum(files: "AbstractFileSystem", name: str) -> tuple[int, str]:
    """How many bytes a file has, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with files.open(name, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
