"""Whether a result can be held at all. It is asked before the work: a process that takes too much memory is killed silently."""

import math
import os

from pyro_dsvae.models.errors import UsageError

BYTES = 4  # of a number, float32


def physical_memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return math.inf


def check_memory(what: str, *shape: int) -> None:
    """Refuse a result that is larger than the memory of this machine.

    Args:
        what: Words for the result, such as "a sample of 3 clips of 8 frames".
        shape: How many numbers it holds.

    Raises:
        UsageError: Where it takes more memory than there is.

    Example:
        >>> from pyro_dsvae.inference.memory import check_memory
        >>> check_memory("a sample of 3 clips of 8 frames", 3, 8, 3, 32, 32)
    """
    size, memory = BYTES * math.prod(shape), physical_memory()
    if size > memory:
        raise UsageError(
            f"{what} takes {size / 2**30:,.0f} GiB, and this machine has {memory / 2**30:,.0f}: ask for fewer, or in parts"
        )
