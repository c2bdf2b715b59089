"""Files that appear whole or not at all, and what a damaged one raises."""

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

# What `torch.load` and `load_state_dict` raise on a file that was cut off, overwritten or made by something else.
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


@contextlib.contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[Path]:
    """A file to write instead of ``path``, which it replaces in one step at the end of the block.

    If the block raises, that file is removed and ``path`` stays as it was.

    Args:
        path: The file to replace or to make; its folder exists.
        shared: Whether several processes may write ``path`` at the same time. Each then has a part of its own. Else the part
            has one name, so that what a killed process left is overwritten instead of piling up.

    Yields:
        A path beside ``path``.

    Raises:
        OSError: Where the part cannot be written or ``path`` cannot be replaced.
    """
    part = path.with_name(f".{path.name}.{f'{os.getpid()}.' if shared else ''}part")
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
