"""Write a data set as shards, which a fit reads without holding them in memory.

  python -m pyro_dsvae.data.shard --data Sprites --out shards
  python -m pyro_dsvae.data.shard --data Arrays --data.path clips.npy --out s3://bucket/clips
  python -m pyro_dsvae.fit --data Shards --data.path shards

Any data source is written with its splits, labels, quantities, masks, lengths and times. Each file is there whole or not at
all; the same command goes on with a set that it was stopped at. Prints the place as the last line: wrote: DIR.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("shard")

from collections.abc import Sequence

from pyro_dsvae import cli
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.reading import read_first
from pyro_dsvae.data.shard.writing import default_size, write
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.models.errors import UsageError, check_count
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
    sequences = read_first(data)
    size = default_size(sequences) if size is None else size
    check_count("size", size)
    with Bar("writing shards") as bar:
        write(sequences, out, size, bar)
    return out


def main(arguments: Sequence[str]) -> int:
    """The command: 0."""
    parser = cli.parser_for(shard, __doc__)
    parser.prog = "python -m pyro_dsvae.data.shard"
    print(f"wrote: {shard(**cli.values(parser, arguments))}")
    return 0
