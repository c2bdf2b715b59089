"""A user's own sequences from one ``.npz`` or ``.npy`` file."""

import warnings
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, SequenceData
from pyro_dsvae.data.files.labels import label_of, quantity_of
from pyro_dsvae.data.files.layout import CHANNELS, Layout
from pyro_dsvae.data.files.likelier import likelier
from pyro_dsvae.data.files.npz import FACTORS, FIELDS, Array, as_frames, as_mask, frames_in, read_arrays
from pyro_dsvae.data.reading import UnaskedChannelsError
from pyro_dsvae.models.errors import Remark, UsageError, did_you_mean


class Arrays(DataSource):
    """Sequences from a file made with ``numpy.savez`` or ``numpy.save``; pickled objects are never read.

    A ``.npy`` file holds the frames. A ``.npz`` file holds ``frames`` and, where known, ``lengths`` (N,) integers, ``mask``
    (N, T) or of the frames' shape, ``times`` (N, T), ``split`` (N,) integers 0..2 or strings "train", "validation", "test", and
    for each labelled factor ``labels_<name>`` (N,) strings, numbers or booleans with, if wanted, ``role_<name>`` ("static", the
    default, or "dynamic"). The values that occur are the classes. Of integers from 0, ``classes_<name>`` may give the names.
    ``quantities_<name>`` (N, T) or (N, T, K) are numbers of every frame, such as a position, with, if wanted,
    ``components_<name>`` (K names) and ``unit_<name>`` (a string).

    Frames are, by rank: (N, T) numbers, made (N, T, 1); (N, T, P) vectors; (N, T, H, W) grey images, made
    (N, T, 1, H, W); (N, T, C, H, W) images. Images (N, T, H, W, C) are made channel-first where the last axis has
    1, 3 or 4 elements and the third has not. Any other order of axes is named by ``layout``; where one is likelier than what is
    read, a `Remark` says so. uint8 stays; booleans and floating types become float32.

    Args:
        path: The .npz or .npy file.
        validation: Fraction of the sequences for the validation split, where the file holds no split.
        test: Fraction of the sequences for the test split, where the file holds no split.
        seed: Seed of the random split, where the file holds no split.
        layout: The axes of frames, one letter each: N sequences, T steps, and P numbers or C channels, H rows, W columns; such
            as NCTHW or TNP. Without N the array is one long sequence, such as TP. In arrays beside frames, too, N and T have
            this order.
        window: Steps of each sequence that one long sequence is cut into, from its beginning. The first are for training, the
            next for validation, the last to test.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae import Arrays
        >>> np.savez("walks.npz", frames=np.random.rand(20, 30, 3), labels_gait=np.arange(20) % 2)
        >>> data = Arrays("walks.npz").load()  # 20 sequences of 30 vectors
        >>> data.frames.shape, data.labels["gait"].role
        (torch.Size([20, 30, 3]), 'static')
    """

    def __init__(
        self,
        path: str,
        validation: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
        layout: str | None = None,
        window: int | None = None,
    ) -> None:
        if not isinstance(path, str | PathLike):
            raise UsageError(
                f"the path of Arrays is a {type(path).__name__}; save arrays first, numpy.savez('clips.npz', frames=…), "
                "and give Arrays('clips.npz')"
            )
        for name, value in (("validation", validation), ("test", test)):
            if not 0 < value < 1:  # also refuses nan
                raise UsageError(f"{name} = {value}; it is a fraction between 0 and 1, and 0 leaves that split empty")
        if validation + test >= 1:
            raise UsageError(f"validation + test = {validation + test:g} leaves nothing to train on; keep it below 1")
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed = {seed}; it must lie in 0..{2**32 - 1}")
        named = None if layout is None else Layout.parse(layout)
        long = named is not None and "N" not in named.letters
        if long and window is None:
            raise UsageError(f"layout {layout} is one long sequence; say how many steps to cut it into", "data.window")
        if window is not None and not (long and window >= 2):
            said = f"window = {window}; " + (
                "it has at least 2 steps" if long else "it cuts one long sequence, of a layout without N"
            )
            raise UsageError(said, "data.window" if long else "data.layout")
        self.path = Path(path).expanduser()
        self.validation = validation
        self.test = test
        self.seed = seed
        self.layout = layout
        self.window = window

    def load(self) -> SequenceData:
        """The file's sequences; images channel-first.

        Raises:
            UsageError: Where they cannot be read.
            UnaskedChannelsError: For images of other than 1, 3 or 4 channels without ``layout``.
        """
        try:
            return self._data(read_arrays(self.path))
        except UnaskedChannelsError:
            raise
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", *error.options) from None

    def _data(self, arrays: dict[str, Array]) -> SequenceData:
        key = frames_in(arrays)
        _check(arrays, key)
        raw = as_frames("frames", arrays[key])
        if raw.size == 0:
            raise UsageError(f"frames have shape {raw.shape}; every axis must have at least one element")
        layout = self._usual(arrays, raw) if self.layout is None else Layout.parse(self.layout)
        frames = self._cut(layout.arranged(raw))
        n, lengths = len(frames), arrays.get("lengths")
        mask, times = (
            None if v is None else self._cut(v) for v in (_mask(arrays, raw, layout), _times(arrays, layout))
        )
        arrays |= {
            k: self._cut(layout.of_steps(v)) for k, v in arrays.items() if k.startswith("quantities_") and v.ndim > 1
        }
        names = _names(arrays)
        return SequenceData(
            torch.from_numpy(np.ascontiguousarray(frames)),
            _split(arrays["split"], n) if "split" in arrays else self._drawn_split(n),
            lengths=None if lengths is None else _integers("lengths", lengths),
            mask=None if mask is None else torch.from_numpy(np.ascontiguousarray(mask)),
            times=None if times is None else torch.from_numpy(times.astype(np.float64)),
            labels={name: label_of(name, arrays, n) for name in names["labels_"]},
            quantities={name: quantity_of(name, arrays) for name in names["quantities_"]},
        )

    def _usual(self, arrays: dict[str, Array], raw: Array) -> Layout:
        """The layout where none is named. Raises `UsageError`, or says a `Remark`, where another one is meant, or may be."""
        layout, shape, counts = Layout.usual(raw.shape), raw.shape, _counts(arrays)
        for name, n in counts.items():
            if n != shape[0] and n in shape[1:]:
                raise UsageError(
                    f"{name} has {n} values, and frames {shape} are read as {layout.letters}, {shape[0]} sequences: give one "
                    f"value per sequence, or name the axes if that of {n} is N",
                    "data.layout",
                )
        if shape[1] == 1:
            raise UsageError(
                f"frames {shape} are read as {layout.letters}, so that sequences have T = 1 frames; a sequence model needs at "
                "least 2: if another axis is time, name the axes",
                "data.layout",
            )
        if any(
            v.shape[:2] == shape[:2] for k, v in arrays.items() if k in ("mask", "times") or k.startswith("quantities_")
        ):
            return layout  # its owner counts sequences and steps in the same way
        mask = arrays.get("mask")
        observed = mask.astype(bool) if mask is not None and mask.shape == shape else None
        unasked = len(shape) == 5 and not {shape[2], shape[4]} & set(CHANNELS)
        read = Layout.of_alike_sides(shape) if unasked else layout
        others = likelier(raw, read, observed, counted=bool(counts))
        said = " or ".join(f"{each.layout.letters} ({each.layout.in_words(shape)})" for each in others)
        if unasked:
            likely = said or f"{read.letters} ({read.in_words(shape)})"
            raise UnaskedChannelsError(
                f"{self.path}: frames {shape} have no 1, 3 or 4 channels as {layout.letters}; for images of other channels, or "
                f"in another order, name the axes, such as {likely}",
                Arrays(str(self.path), self.validation, self.test, self.seed, layout.letters),
            )
        if said:
            long = (
                ", with data.window for one long sequence"
                if any("N" not in each.layout.letters for each in others)
                else ""
            )
            warnings.warn(
                Remark(
                    f"{self.path}: frames {shape} are read as {layout.letters}, {layout.in_words(shape)}. Likelier is {said}: "
                    f"{others[0].why}. Name the one that is meant{long}",
                    "data.layout",
                ),
                stacklevel=2,
            )
        return layout

    def _cut(self, values: Array) -> Array:
        """One sequence (1, T, …) as those of ``window`` steps that it holds."""
        if self.window is None:
            return values
        n, left = divmod(values.shape[1], self.window)
        if left:
            said = f"{self.path}: the last {left} of {values.shape[1]} steps fill no window of {self.window} and are left out"
            warnings.warn(Remark(said, "data.window"), stacklevel=2)
        return values[0, : n * self.window].reshape(n, self.window, *values.shape[2:])

    def _drawn_split(self, n: int) -> Tensor:
        """(n,) uint8: each fraction of n, rounded, in random places; the rest is "train". Windows keep their order."""
        held = [round(n * self.validation), round(n * self.test)]
        counts = dict(zip(SPLITS, (n - sum(held), *held), strict=True))
        if min(counts.values()) < 1:
            raise UsageError(
                f"validation = {self.validation} and test = {self.test} of {n} sequences leave an empty split, "
                f"{counts}; change them or put a split into the file"
            )
        split = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), list(counts.values()))
        if self.window is not None:
            return torch.from_numpy(
                split
            )  # neighbours in time are alike, so that random ones would be known from training
        order = np.random.RandomState(self.seed).permutation(n)  # its stream is the same in every NumPy
        return torch.from_numpy(split[order.argsort()])


def named_layout(source: DataSource) -> Layout | None:
    """The order of axes that was named for the data, if one was."""
    return Layout.parse(source.layout) if isinstance(source, Arrays) and source.layout is not None else None


def _check(arrays: dict[str, Array], frames: str) -> None:
    """Raises `UsageError` for an array that means nothing."""
    valid = [
        frames,
        *FIELDS,
        *(p + name for first, names in _names(arrays).items() for p in FACTORS[first] for name in names),
    ]
    for key in arrays:
        if key not in valid:
            others = ", ".join(f"{prefix}<name>" for prefixes in FACTORS.values() for prefix in prefixes)
            fallback = f"; valid are frames, {', '.join(FIELDS)}, {others}"
            raise UsageError(f"has an unknown array {key!r}{did_you_mean(key, [*valid, *FACTORS]) or fallback}")


def _names(arrays: dict[str, Array]) -> dict[str, list[str]]:
    """The names of the labels and of the quantities in a file."""
    return {first: [key[len(first) :] for key in arrays if key.startswith(first)] for first in FACTORS}


def _counts(arrays: dict[str, Array]) -> dict[str, int]:
    """How many values those arrays have that have one per sequence."""
    return {
        key: len(values)
        for key, values in arrays.items()
        if (key in ("split", "lengths") or key.startswith("labels_")) and values.ndim == 1
    }


def _integers(name: str, values: Array) -> Tensor:
    if values.dtype.kind not in "iub":
        raise UsageError(f"{name} are {values.dtype}; they must be integers")
    return torch.from_numpy(values.astype(np.int64))


def _mask(arrays: dict[str, Array], raw: Array, layout: Layout) -> Array | None:
    """(N, T) or the frames' final shape, bool."""
    mask = arrays.get("mask")
    if mask is None:
        return None
    mask = as_mask(mask)
    whole = mask.shape == raw.shape and not set(layout.letters) <= {"N", "T"}
    return layout.arranged(mask) if whole else layout.of_steps(mask)


def _times(arrays: dict[str, Array], layout: Layout) -> Array | None:
    times = arrays.get("times")
    if times is None:
        return None
    if times.dtype.kind not in "iuf":
        raise UsageError(f"times are {times.dtype}; they must be real numbers")
    return layout.of_steps(times)


def _split(split: Array, n: int) -> Tensor:
    """(N,) uint8 from integers 0..2 or names."""
    if split.shape != (n,):
        raise UsageError(f"split has shape {split.shape}; it must be ({n},), one value per sequence")
    if split.dtype.kind in "US":
        names = split.astype(str)
        for name in np.unique(names):
            if name not in SPLITS:
                raise UsageError(
                    f"split holds {str(name)!r}{did_you_mean(str(name), SPLITS)}; valid are {', '.join(SPLITS)}"
                )
        return torch.from_numpy(sum((names == name) * np.uint8(i) for i, name in enumerate(SPLITS)))
    if split.dtype.kind not in "iu":
        raise UsageError(f"split is {split.dtype}; it must be integers 0..2 or strings ({', '.join(SPLITS)})")
    for value in np.unique(split):
        if not 0 <= value < len(SPLITS):
            raise UsageError(f"split holds {value}; valid are 0 (train), 1 (validation) and 2 (test)")
    return torch.from_numpy(split.astype(np.uint8))
