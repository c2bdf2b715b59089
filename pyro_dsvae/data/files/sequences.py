"""Sequences from arrays, as they stand in a file or in memory."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.files.cutting import cut
from pyro_dsvae.data.files.labels import label_of, quantity_of
from pyro_dsvae.data.files.layout import CHANNELS, Layout
from pyro_dsvae.data.files.likelier import likelier
from pyro_dsvae.data.files.npz import FACTORS, FIELDS, Array, as_mask, as_values, frames_in
from pyro_dsvae.data.reading import UnaskedChannelsError
from pyro_dsvae.data.tables.splits import By, Splits, drawn_split, enough
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.data.words import numbered_sequences
from pyro_dsvae.models.errors import Remark, UsageError, did_you_mean


@dataclass(frozen=True)
class ArrayReader:
    """How arrays become sequences: the options of `Arrays`, whose docstring says what each is.

    Attributes:
        where: What remarks call the arrays: the file.
        layout: None where none is named.
        splits: Fractions, seed, and by what windows are split.
        windows: Steps of windows, their distance, and what becomes of sequences that are too short.
    """

    where: str = "the data"
    layout: str | None = None
    splits: Splits = field(default_factory=Splits)
    windows: Windows = field(default_factory=Windows)

    def __post_init__(self) -> None:
        if self.layout is None:
            return
        if "N" not in Layout.parse(self.layout).letters and self.windows.window is None:
            raise UsageError(
                f"layout {self.layout} is one long sequence; say how many steps to cut it into", "data.window"
            )

    def sequences(self, given: dict[str, Array]) -> SequenceData:
        """The sequences.

        Raises:
            UsageError: Where the arrays are none.
        """
        arrays = dict(given)
        key = frames_in(arrays)
        _check(arrays, key)
        raw = as_values(key, arrays[key], self.where)
        if raw.size == 0:
            raise UsageError(f"frames have shape {raw.shape}; every axis must have at least one element")
        layout = self._usual(arrays, raw) if self.layout is None else Layout.parse(self.layout)
        steps = {"frames": layout.arranged(raw), "mask": _mask(arrays, raw, layout), "times": _times(arrays, layout)}
        steps |= {k: layout.of_steps(v) for k, v in arrays.items() if k.startswith("quantities_") and v.ndim > 1}
        per_step = {name: values for name, values in steps.items() if values is not None}
        others = {name: values for name, values in arrays.items() if name not in (key, *steps)}
        per_step, others = self._without_short(per_step, others)
        if "recordings" in others:
            others = self._of_recordings(others, len(per_step["frames"]))
        if self.windows.window is not None:
            per_step, others = self._cut(per_step, others, "N" not in layout.letters)
        return self._built(per_step, others)

    def _built(self, steps: dict[str, Array], others: dict[str, Array]) -> SequenceData:
        """The sequences of arrays (N, T, …) and of arrays of one value for each sequence."""
        frames, lengths, arrays = steps["frames"], others.get("lengths"), {**others, **steps}
        n, mask, names = len(frames), steps.get("mask"), _names(arrays)
        return SequenceData(
            torch.from_numpy(np.ascontiguousarray(frames)),
            _split(others["split"], n) if "split" in others else self._drawn(n),
            lengths=None if lengths is None else _integers("lengths", lengths),
            mask=None if mask is None else torch.from_numpy(np.ascontiguousarray(mask)),
            times=None if "times" not in steps else torch.from_numpy(steps["times"].astype(np.float64)),
            labels={name: label_of(name, arrays, n) for name in names["labels_"]},
            quantities={name: quantity_of(name, arrays) for name in names["quantities_"]},
            recordings=None if "recordings" not in others else torch.from_numpy(others["recordings"].astype(np.int64)),
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
                f"{self.where}: frames {shape} have no 1, 3 or 4 channels as {layout.letters}; for images of other "
                f"channels, or in another order, name the axes, such as {likely}",
                layout.letters,
            )
        if said:
            long = (
                ", with data.window for one long sequence"
                if any("N" not in each.layout.letters for each in others)
                else ""
            )
            warnings.warn(
                Remark(
                    f"{self.where}: frames {shape} are read as {layout.letters}, {layout.in_words(shape)}. Likelier is {said}: "
                    f"{others[0].why}. Name the one that is meant{long}",
                    "data.layout",
                ),
                stacklevel=2,
            )
        return layout

    def _without_short(
        self, steps: dict[str, Array], others: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Both without sequences that are too short, where these are to be dropped, which is said."""
        lengths, least = others.get("lengths"), self.windows.window or 2
        n = len(steps["frames"])
        if lengths is None or lengths.shape != (n,) or lengths.dtype.kind not in "iu":
            return steps, others
        short = lengths < least
        if not short.any():
            return steps, others
        which = numbered_sequences(torch.from_numpy(short))
        if self.windows.short == "refuse":
            raise UsageError(
                f"lengths run from {lengths.min()} to {lengths.max()}; they must lie in {least}..{steps['frames'].shape[1]}: "
                f"leave out {which}, or have what is too short dropped",
                "data.short",
            )
        warnings.warn(Remark(f"{self.where}: dropped, since they have fewer than {least} steps: {which}"), stacklevel=2)
        return (
            {name: values[~short] for name, values in steps.items()},
            {name: values[~short] if _count(values) == n else values for name, values in others.items()},
        )

    def _of_recordings(self, others: dict[str, Array], n: int) -> dict[str, Array]:
        """The arrays with recordings as numbers, and with a split of whole recordings where the file has none."""
        recordings = _recordings(others["recordings"], n)
        count = int(recordings.max()) + 1
        others = {**others, "recordings": recordings}
        if "split" in others:
            split = _split(others["split"], n).numpy()
            pairs = np.unique(np.stack([recordings, split], 1), axis=0)
            crossing = int((np.bincount(pairs[:, 0]) > 1).sum())
            if crossing:
                said = f"{crossing:,} of {count:,} recordings are in several splits"
                warnings.warn(
                    Remark(f"{self.where}: {said}, so what is held out is of those that were seen"), stacklevel=2
                )
        elif self.splits.by != "time":
            others["split"] = self._drawn(count, "recording").numpy()[recordings]
        return others

    def _cut(
        self, steps: dict[str, Array], others: dict[str, Array], long: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Both of windows instead of sequences. One long sequence without a stride is cut as versions before this one did."""
        n, length = steps["frames"].shape[:2]
        if long and self.windows.stride is None and self.splits.by is None:
            assert self.windows.window is not None
            count, left = divmod(length, self.windows.window)
            if left:
                said = f"the last {left} of {length} steps fill no window of {self.windows.window} and are left out"
                warnings.warn(Remark(f"{self.where}: {said}", "data.window"), stacklevel=2)
            size = count, self.windows.window  # a view: the file may be larger than the memory
            steps = {k: v[0, : size[0] * size[1]].reshape(*size, *v.shape[2:]) for k, v in steps.items()}
            return steps, {"recordings": np.zeros(count, np.int64), **others}
        sizes = np.asarray(others.pop("lengths", np.full(n, length)))
        by: By = self.splits.by or ("time" if n == 1 else "entity")
        if by == "time" and "split" in others:
            raise UsageError("has a split, and is to be split by time; leave out either", "data.by")
        if by == "entity" and "split" not in others:
            others["split"] = self._drawn(n).numpy()
        windows = cut(sizes, self.windows, by, self.splits)
        others.setdefault("recordings", np.arange(n))
        cut_others = {k: windows.sequences(v) if _count(v) == n else v for k, v in others.items()}
        if windows.split is not None:
            cut_others["split"] = windows.split
        return {k: windows.steps(v) for k, v in steps.items()}, cut_others

    def _drawn(self, n: int, thing: str = "sequence") -> Tensor:
        """(n,) uint8: each fraction of n things, rounded, in random places; the rest is "train". Windows keep their order."""
        held = [round(n * self.splits.validation), round(n * self.splits.test)]
        counts = dict(zip(SPLITS, (n - sum(held), *held), strict=True))
        if min(counts.values()) < 1:
            by_time = ", or split windows by time" if self.windows.window is not None else ""
            raise UsageError(
                f"validation = {self.splits.validation} and test = {self.splits.test} of {n} {thing}{'s' if n > 1 else ''} "
                f"leave an empty split, {counts}; {enough(n, thing, f'{thing}s')}, or put a split into the file{by_time}",
                *(("data.by",) if by_time else ()),
            )
        if self.layout is not None and "N" not in Layout.parse(self.layout).letters:
            # Neighbours in time are alike, so that random ones would be known from training.
            return torch.from_numpy(np.repeat(np.arange(len(SPLITS), dtype=np.uint8), list(counts.values())))
        return torch.from_numpy(drawn_split(n, self.splits.validation, self.splits.test, self.splits.seed))


def _count(values: Array) -> int:
    """Of the first axis; 0 of a single value."""
    return len(values) if values.ndim else 0


def _check(arrays: dict[str, Array], frames: str) -> None:
    """Raises `UsageError` for an array that means nothing."""
    valid = [
        frames,
        *FIELDS,
        *(p + name for first, names in _names(arrays).items() for p in FACTORS[first] for name in names),
    ]
    for key, values in arrays.items():
        if key not in valid:
            others = ", ".join(f"{prefix}<name>" for prefixes in FACTORS.values() for prefix in prefixes)
            label = (
                f"; what has a value for each sequence is labels_{key}"
                if values.shape == arrays[frames].shape[:1]
                else ""
            )
            fallback = f"{label}; valid are frames, {', '.join(FIELDS)}, {others}"
            raise UsageError(f"has an unknown array {key!r}{did_you_mean(key, [*valid, *FACTORS]) or fallback}")


def _names(arrays: dict[str, Array]) -> dict[str, list[str]]:
    """The names of the labels and of the quantities in a file."""
    return {first: [key[len(first) :] for key in arrays if key.startswith(first)] for first in FACTORS}


def _counts(arrays: dict[str, Array]) -> dict[str, int]:
    """How many values those arrays have that have one per sequence."""
    return {
        key: len(values)
        for key, values in arrays.items()
        if (key in ("split", "lengths", "recordings") or key.startswith("labels_")) and values.ndim == 1
    }


def _integers(name: str, values: Array) -> Tensor:
    if values.dtype.kind not in "iub":
        raise UsageError(f"{name} are {values.dtype}; they must be integers")
    return torch.from_numpy(values.astype(np.int64))


def _recordings(values: Array, n: int) -> NDArray[np.int64]:
    """(n,) numbers of what has names or numbers."""
    if values.shape != (n,):
        raise UsageError(
            f"recordings have shape {values.shape}; they must be ({n},), a name or a number for each sequence"
        )
    if values.dtype.kind not in "iubUS":
        raise UsageError(f"recordings are {values.dtype}; they must be names (strings) or integers")
    if values.dtype.kind in "US":
        values = np.char.strip(values)
        if (unnamed := values == values.dtype.type()).any():
            which = numbered_sequences(torch.from_numpy(unnamed))
            raise UsageError(f"recordings have no name for {which}; give each one, its own where it is alone")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _mask(arrays: dict[str, Array], raw: Array, layout: Layout) -> Array | None:
    """(N, T) or the frames' final shape, bool; None where all was observed."""
    mask = arrays.get("mask")
    if mask is None:
        # NaN is how arrays say that nothing was measured.
        missing = np.isnan(raw) if raw.dtype.kind == "f" and bool(np.isnan(np.sum(raw))) else None
        return None if missing is None else layout.arranged(~missing)
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
