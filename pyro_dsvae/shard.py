"""Write a data set as shards, which a fit reads without holding them in memory.

  python -m pyro_dsvae.data.shard --data Sprites --out shards
  python -m pyro_dsvae.data.shard --data Arrays --data.path clips.npy --out s3://bucket/clips
  python -m pyro_dsvae.fit --data Shards --data.path shards

Any data source is written with its splits, labels, quantities, masks, lengths and times. What it recommends is not;
a line says which options of a fit that is. Each file is there whole or not at all; the same command goes on with a set that it
was stopped at. Prints the place as the last line: wrote: DIR.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("shard")

import warnings
from collections.abc import Sequence
from functools import partial

from pyro_dsvae import cli
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.data.dataset import DataSource, Recommended
from pyro_dsvae.data.reading import read_first
from pyro_dsvae.data.shard.writing import check_place, default_size, write
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.models.errors import Remark, UsageError, check_count
from pyro_dsvae.progress import Bar

__all__ = ["shard"]


def shard(data: DataSource = Sprites(), out: str | None = None, size: int | None = None) -> str:
    """Write a data set as shards.

    Args:
        data: where the sequences come from
        out: a new folder, or the URL of one that fsspec writes to, such as s3://bucket/clips
        size: sequences of a shard; by default as many as take 64 MiB before they are compressed

    Returns:
        The place.

    Raises:
        UsageError: For anything the caller can put right.

    Example:
        >>> from pyro_dsvae import Arrays
        >>> from pyro_dsvae.shard import shard
        >>> shard(Arrays("clips.npz"), out="clips-shards")
        'clips-shards'
    """
    if out is None:
        raise UsageError("--out names the folder to write")
    check_place(out)
    sequences = read_first(data)
    size = default_size(sequences) if size is None else size
    check_count("size", size)
    with Bar("writing shards") as bar:
        write(sequences, out, size, bar)
    if data.recommended is not None:
        name, options = type(data).__name__, _as_options(data.recommended)
        said = f"shards keep no advice of their source; a fit to them is one to {name} with {options}"
        warnings.warn(said, Remark, stacklevel=2)
    return out


def _as_options(recommended: Recommended) -> str:
    """What a source recommends, as one types it."""
    parts = {name: getattr(recommended, name) for name in ("decoder", "encoder", "likelihood")}
    typed = []
    for name, part in parts.items():
        if (kind := part_class(part)) is not None:
            typed.append(f"--{name} {kind.__name__}")
            given = part.keywords if isinstance(part, partial) else {}
            typed += [f"--{name}.{option} {value}" for option, value in given.items()]
    return " ".join([*typed, f"--posterior.views {recommended.views}"])


def main(arguments: Sequence[str]) -> int:
    """The command: 0."""
    parser = cli.parser_for(shard, __doc__)
    parser.prog = "python -m pyro_dsvae.data.shard"
    print(f"wrote: {shard(**cli.values(parser, arguments))}")
    return 0
