"""What callers have in memory as sequences: arrays, tensors, lists of them, tables."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.files.sequences import ArrayReader
from pyro_dsvae.data.series_table import SeriesTable
from pyro_dsvae.models.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray

Given: TypeAlias = (
    "SequenceData | Array | Tensor | Sequence[Array | Tensor] | Mapping[str, Any] | pd.DataFrame | xarray.Dataset"
)
KINDS = (
    "SequenceData, an array or a tensor (N, T, …), a list of arrays (T, …), a mapping of arrays as an .npz file holds them, a "
    "frame of pandas, or a Dataset of xarray"
)


def is_data(value: object) -> bool:
    """Whether it is of a kind that `as_sequences` takes."""
    return isinstance(value, SequenceData | np.ndarray | Tensor | Mapping) or _is_list(value) or _is_table(value)


def as_sequences(value: object) -> SequenceData:
    """Sequences from what is in memory, read as `Arrays` and `SeriesTable` read their files with no option set.

    Raises:
        UsageError: For what is none of `KINDS`, or holds no sequences.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.memory.conversion import as_sequences
        >>> as_sequences([np.zeros((length, 3)) for length in range(5, 25)]).in_words()
        '20 sequences of 5 to 24 steps of 3 values'
    """
    if isinstance(value, SequenceData):
        return value
    if _is_table(value):
        return SeriesTable().read(value)
    if isinstance(value, Mapping):
        return ArrayReader().sequences({str(name): _array(str(name), each) for name, each in value.items()})
    if isinstance(value, np.ndarray) and value.dtype == object:
        return ArrayReader().sequences(padded(list(value)))
    if _is_list(value):
        return ArrayReader().sequences(padded(value))
    if isinstance(value, np.ndarray | Tensor):
        return ArrayReader().sequences({"frames": _array("frames", value)})
    raise UsageError(f"data are a {type(value).__name__}; give {KINDS}")


def _is_table(value: object) -> "TypeGuard[pd.DataFrame | xarray.Dataset]":
    # Who has one has imported its package.
    kinds = (("pandas", "DataFrame"), ("xarray", "Dataset"))
    found = [getattr(sys.modules[module], name) for module, name in kinds if module in sys.modules]
    return isinstance(value, tuple(found))


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(v, np.ndarray | Tensor) for v in value)


def _array(name: str, values: object) -> Array:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    found = np.asarray(values)
    if found.dtype != object:
        return found
    if any(each is None or isinstance(each, np.ndarray) for each in found.ravel()):
        raise UsageError(f"{name} holds Python objects; give an array of numbers, or of strings for labels")
    return found.astype(str)  # as pandas keeps strings


def padded(sequences: Sequence[Any]) -> dict[str, Array]:
    """Sequences (T, …) of different lengths as one array ``frames``, with ``lengths`` beside it unless all are alike."""
    arrays = [_array("frames", each) for each in sequences]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or any(array.ndim == 0 for array in arrays):
        raise UsageError(
            f"sequences have frames of {' and '.join(str(s) for s in sorted(shapes, key=str))}; all are (T, …), alike but for T"
        )
    lengths = np.array([len(array) for array in arrays])
    frames = np.zeros((len(arrays), int(lengths.max()), *arrays[0].shape[1:]), np.result_type(*arrays))
    for row, array in zip(frames, arrays, strict=True):
        row[: len(array)] = array
    return {"frames": frames} if (lengths == lengths[0]).all() else {"frames": frames, "lengths": lengths}
