"""A user's own sequences from one ``.npz`` or ``.npy`` file."""

import difflib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, SequenceData
from pyro_dsvae.data.labels import label_of, quantity_of
from pyro_dsvae.data.npz import Array, near, read_arrays
from pyro_dsvae.models.errors import UsageError

_FIELDS = ("frames", "x", "lengths", "mask", "times", "split")
# What a file may hold for each name that a first array has given.
_FACTORS = {"labels_": ("labels_", "role_", "classes_"), "quantities_": ("quantities_", "components_", "unit_")}
_CHANNELS = (1, 3, 4)


class Arrays(DataSource):
    """Sequences from a file made with ``numpy.savez`` or ``numpy.save``; pickled objects are never read.

    A ``.npy`` file holds the frames. A ``.npz`` file holds ``frames`` (or ``x``) and, where known, ``lengths`` (N,)
    integers, ``mask`` (N, T) or of the frames' shape, ``times`` (N, T), ``split`` (N,) integers 0..2 or strings
    "train", "validation", "test", and for each labelled factor ``labels_<name>`` (N,) strings, numbers or booleans with, if
    wanted, ``role_<name>`` ("static", the default, or "dynamic"). The values that occur are the classes. Of integers from 0,
    ``classes_<name>`` may give the names. ``quantities_<name>`` (N, T) or (N, T, K) are numbers of every frame, such as a
    position, with, if wanted, ``components_<name>`` (K names) and ``unit_<name>`` (a string).

    Frames are, by rank: (N, T) numbers, made (N, T, 1); (N, T, P) vectors; (N, T, H, W) grey images, made
    (N, T, 1, H, W); (N, T, C, H, W) images. Images (N, T, H, W, C) are made channel-first where the last axis has
    1, 3 or 4 elements and the third has not. uint8 stays; booleans and floating types become float32.

    Args:
        path: The .npz or .npy file.
        validation: Fraction of the sequences for the validation split, where the file holds no split.
        test: Fraction of the sequences for the test split, where the file holds no split.
        seed: Seed of the random split, where the file holds no split.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae import Arrays
        >>> np.savez("walks.npz", frames=np.random.rand(20, 30, 3), labels_gait=np.arange(20) % 2)
        >>> data = Arrays("walks.npz").load()  # 20 sequences of 30 vectors
        >>> data.frames.shape, data.labels["gait"].role
        (torch.Size([20, 30, 3]), 'static')
    """

    def __init__(self, path: str, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> None:
        for name, value in (("validation", validation), ("test", test)):
            if not 0 < value < 1:  # also refuses nan
                raise UsageError(f"{name} = {value}; it is a fraction between 0 and 1, and 0 leaves that split empty")
        if validation + test >= 1:
            raise UsageError(f"validation + test = {validation + test:g} leaves nothing to train on; keep it below 1")
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed = {seed}; it must lie in 0..{2**32 - 1}")
        self.path = Path(path).expanduser()
        self.validation = validation
        self.test = test
        self.seed = seed

    def load(self) -> SequenceData:
        """The file's sequences; images channel-first."""
        try:
            return self._data(read_arrays(self.path))
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}") from None

    def _data(self, arrays: dict[str, Array]) -> SequenceData:
        raw = _sequences(arrays)
        frames, names = _frames(raw), _names(arrays)
        if len(raw) == 0:
            raise UsageError("the data hold no sequence; give at least one per split")
        lengths, times = arrays.get("lengths"), arrays.get("times")
        return SequenceData(
            frames,
            _split(arrays["split"], len(raw)) if "split" in arrays else self._random_split(len(raw)),
            lengths=None if lengths is None else _integers("lengths", lengths),
            mask=_mask(arrays["mask"], raw) if "mask" in arrays else None,
            times=None if times is None else _times(times),
            labels={name: label_of(name, arrays, len(raw)) for name in names["labels_"]},
            quantities={name: quantity_of(name, arrays) for name in names["quantities_"]},
        )

    def _random_split(self, n: int) -> Tensor:
        """(n,) uint8: each fraction of n, rounded, in random places; the rest is "train"."""
        held = [round(n * self.validation), round(n * self.test)]
        counts = dict(zip(SPLITS, (n - sum(held), *held), strict=True))
        if min(counts.values()) < 1:
            raise UsageError(
                f"validation = {self.validation} and test = {self.test} of {n} sequences leave an empty split, "
                f"{counts}; change them or put a split into the file"
            )
        order = np.random.RandomState(self.seed).permutation(n)  # its stream is the same in every NumPy
        split = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), list(counts.values()))
        return torch.from_numpy(split[order.argsort()])


def _sequences(arrays: dict[str, Array]) -> Array:
    """The array of frames as the file has it, after a check of all keys."""
    keys = [key for key in ("frames", "x") if key in arrays]
    if not keys:
        held = ", ".join(arrays) or "nothing"
        wrong = difflib.get_close_matches("frames", list(arrays), 1)
        hint = f"rename {wrong[0]!r}" if wrong else "name the array of sequences so"
        raise UsageError(f"has no 'frames' (or 'x'); it holds {held}: {hint}")
    if len(keys) == 2:
        raise UsageError("has both 'frames' and 'x', which mean the same; keep one")
    found = _names(arrays)
    valid = [*_FIELDS, *(p + name for first, names in found.items() for p in _FACTORS[first] for name in names)]
    for key in arrays:
        if key not in valid:
            others = ", ".join(f"{prefix}<name>" for prefixes in _FACTORS.values() for prefix in prefixes)
            fallback = f"; valid are {', '.join(_FIELDS)}, {others}"
            raise UsageError(f"has an unknown array {key!r}{near(key, [*valid, *_FACTORS]) or fallback}")
    return arrays[keys[0]]


def _names(arrays: dict[str, Array]) -> dict[str, list[str]]:
    """The names of the labels and of the quantities in a file."""
    return {first: [key[len(first) :] for key in arrays if key.startswith(first)] for first in _FACTORS}


def _arrange(values: Array) -> Array:
    """Values laid out like the frames to (N, T, 1), (N, T, P) or (N, T, C, H, W)."""
    if values.ndim == 2:
        return values[..., None]
    if values.ndim == 4:
        return values[:, :, None]
    if values.ndim == 5 and values.shape[4] in _CHANNELS and values.shape[2] not in _CHANNELS:
        return np.moveaxis(values, 4, 2)
    return values


def _frames(raw: Array) -> Tensor:
    if not 2 <= raw.ndim <= 5:
        raise UsageError(
            f"frames have shape {raw.shape}; they must be (N, T), (N, T, P), (N, T, H, W) or (N, T, C, H, W)"
        )
    if raw.dtype != np.uint8 and raw.dtype.kind not in "bf":
        raise UsageError(f"frames are {raw.dtype}; convert them to uint8 (0..255) or float32")
    if raw.dtype != np.uint8:
        # What float32 cannot hold becomes infinite, which SequenceData reports with its place.
        with np.errstate(over="ignore"):
            raw = raw.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(_arrange(raw)))


def _integers(name: str, values: Array) -> Tensor:
    if values.dtype.kind not in "iub":
        raise UsageError(f"{name} are {values.dtype}; they must be integers")
    return torch.from_numpy(values.astype(np.int64))


def _mask(mask: Array, raw: Array) -> Tensor:
    """(N, T) or the frames' final shape, bool."""
    if mask.dtype.kind not in "iub" or not np.isin(mask, (0, 1)).all():
        raise UsageError("mask must be boolean (or integers 0 and 1), True where a value was observed")
    whole = mask.shape == raw.shape and raw.ndim > 2
    return torch.from_numpy(np.ascontiguousarray(_arrange(mask) if whole else mask, dtype=bool))


def _times(times: Array) -> Tensor:
    if times.dtype.kind not in "iuf":
        raise UsageError(f"times are {times.dtype}; they must be real numbers")
    return torch.from_numpy(times.astype(np.float64))


def _split(split: Array, n: int) -> Tensor:
    """(N,) uint8 from integers 0..2 or names."""
    if split.shape != (n,):
        raise UsageError(f"split has shape {split.shape}; it must be ({n},), one value per sequence")
    if split.dtype.kind in "US":
        names = split.astype(str)
        for name in np.unique(names):
            if name not in SPLITS:
                raise UsageError(f"split holds {str(name)!r}{near(str(name), SPLITS)} (valid are {', '.join(SPLITS)})")
        return torch.from_numpy(sum((names == name) * np.uint8(i) for i, name in enumerate(SPLITS)))
    if split.dtype.kind not in "iu":
        raise UsageError(f"split is {split.dtype}; it must be integers 0..2 or strings ({', '.join(SPLITS)})")
    for value in np.unique(split):
        if not 0 <= value < len(SPLITS):
            raise UsageError(f"split holds {value}; valid are 0 (train), 1 (validation) and 2 (test)")
    return torch.from_numpy(split.astype(np.uint8))
