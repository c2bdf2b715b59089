"""Numbers in a file as a tensor, without reading them."""

import math
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

# Python names it from 3.13 on. Without it Linux refuses to map more than the memory of the machine: each page might be changed.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def mapped(path: Path, dtype: DTypeLike, shape: tuple[int, ...], offset: int = 0) -> Tensor:
    """The numbers of a file, which may be larger than memory. Writing to the tensor leaves the file as it is.

    Args:
        path: The file.
        dtype: Of its numbers.
        shape: Of the tensor, not empty.
        offset: Bytes before the first number.

    Raises:
        OSError: Where it cannot be mapped.
    """
    count = math.prod(shape)
    size = offset + count * np.dtype(dtype).itemsize
    with path.open("rb") as file:
        if sys.platform == "win32":
            whole: Any = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        else:
            flags, allowed = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            whole = mmap.mmap(file.fileno(), size, flags=flags, prot=allowed)
    return torch.from_numpy(np.frombuffer(whole, dtype, count, offset).reshape(shape))
