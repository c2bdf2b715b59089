"""The typed contract between data and everything that uses them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args
from unicodedata import category

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.observed import observed_frames
from pyro_dsvae.data.words import in_words, numbered_sequences
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError, did_you_mean
from pyro_dsvae.models.steps import Steps

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Role = Literal["static", "dynamic"]
# Characters of the name of a label or a quantity: a longer one fits no table and no picture.
LONGEST_NAME = 100


@dataclass(frozen=True)
class Label:
    """One labelled factor of every sequence.

    Attributes:
        values: (N,) int64 in ``range(len(classes))``.
        classes: Names of the classes.
        role: "static" for a factor that stays the same within a sequence (who), "dynamic" for one that describes how it
            moves (what they do).
        numbered: All classes as the file numbers them, where these are not ``classes``; else empty.
        numbers: Of each class, its number among ``numbered``.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.dataset import Label
        >>> label = Label.occurring(np.array([1, 3, 3]), ("a", "b", "c", "d"), "static")
        >>> label.classes, label.values.tolist()
        (('b', 'd'), [0, 1, 1])
    """

    values: Tensor
    classes: tuple[str, ...]
    role: Role
    numbered: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    @classmethod
    def occurring(cls, numbers: NDArray[Any], names: tuple[str, ...], role: Role) -> "Label":
        """The label of the classes that occur, in their order.

        Args:
            numbers: (N,) integers in ``range(len(names))``.
            names: Of all classes.
            role: See the class.
        """
        found, values = np.unique(numbers, return_inverse=True)
        classes = tuple(names[i] for i in found)
        others = (names, tuple(found.tolist())) if len(found) < len(names) else ((), ())
        return cls(torch.from_numpy(values.astype(np.int64)), classes, role, *others)

    def as_numbered(self) -> "Label":
        """The same with all classes of the file."""
        if not self.numbered:
            return self
        return Label(torch.tensor(self.numbers)[self.values], self.numbered, self.role)


@dataclass(frozen=True)
class Quantity:
    """One measured factor of every frame, which describes how a sequence moves: a position, a speed, an angle.

    Attributes:
        values: (N, T, K) floating; not read beyond the end of a sequence.
        components: Names of the K numbers, such as ("x", "y").
        unit: What they are measured in, such as "pixels".
    """

    values: Tensor
    components: tuple[str, ...]
    unit: str


@dataclass(frozen=True)
class SequenceData:
    """N sequences of T frames, their split, and what is known about them.

    Attributes:
        frames: ``(N, T, *frame)``, uint8 (0..255) or a floating type; images are channel-first, (N, T, C, H, W).
        split: (N,) uint8, the index into ``SPLITS``. "train" fits, "validation" chooses, "test" is used once, at the end.
        lengths: (N,) int64 in 2..T, or None. Sequence i ends after ``lengths[i]`` frames.
        mask: (N, T) or ``(N, T, *frame)`` bool, or None. True where a frame (or a value) was observed. What else stands in the
            frames, such as NaN, becomes 0.
        times: (N, T) floating, strictly increasing, or None for equally spaced frames.
        labels: From the name of a factor to its `Label`; may be empty.
        quantities: From the name of a factor to its `Quantity`; may be empty.

    Raises:
        UsageError: In one line, where a field breaks this contract.

    Example:
        >>> import torch
        >>> from pyro_dsvae import SequenceData
        >>> split = torch.tensor([0, 0, 1, 2], dtype=torch.uint8)  # two for training, one to choose by, one to test
        >>> data = SequenceData(torch.rand(4, 10, 3), split)
        >>> data.part("train").frames.shape
        torch.Size([2, 10, 3])
    """

    frames: Tensor
    split: Tensor
    lengths: Tensor | None = None
    mask: Tensor | None = None
    times: Tensor | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_frames(self.frames)
        _check_fields(self)
        _check_labels(self)
        _check_quantities(self)
        # Of a floating type: what was not observed may be NaN in files, and no arithmetic should meet it.
        object.__setattr__(self, "frames", observed_frames(self.frames, self.mask, self.lengths))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def length(self) -> int:
        """T, the number of frames of the longest sequence."""
        return self.frames.shape[1]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame: (C, H, W) for images, (P,) for vectors."""
        return tuple(self.frames.shape[2:])

    def in_words(self) -> str:
        """What the data are: "80 sequences of 6 steps of 100 values", "200 clips of 8 frames of 32 x 32, 3 channels"."""
        shortest = self.length if self.lengths is None else int(self.lengths.min())
        steps = str(self.length) if shortest == self.length else f"{shortest} to {self.length}"
        return in_words(len(self), steps, self.frame_shape)

    def rows(self, split: Split) -> Tensor:
        """Indices (n,) int64 of the sequences of one split, in order.

        Raises:
            UsageError: Where the split is empty.
        """
        if split not in SPLITS:
            raise UsageError(
                f"there is no split {split!r}{did_you_mean(str(split), SPLITS)}; it is one of {', '.join(SPLITS)}"
            )
        rows = (self.split == SPLITS.index(split)).nonzero().squeeze(1)
        if len(rows) == 0:
            counts = {name: int((self.split == i).sum()) for i, name in enumerate(SPLITS)}
            raise UsageError(f"the {split} split is empty: the data hold {counts}; give every split a sequence")
        return rows

    def part(self, split: Split) -> "SequenceData":
        """A copy of the sequences of one split, in their order.

        Raises:
            UsageError: Where the split is empty.
        """
        return self.take(self.rows(split))

    def sequences(self, split: Split) -> Sequences:
        """The sequences of one split in the form that model and guide take, without a copy.

        Raises:
            UsageError: Where the split is empty.
        """
        # Priors know intervals only; large times would lose theirs in single precision.
        times = None if self.times is None else (self.times - self.times[:, :1]).float()
        return Sequences(self.frames, self.mask, self.lengths, self.rows(split), times)

    def take(self, rows: Tensor) -> "SequenceData":
        """The sequences with these indices, in this order."""

        def pick(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows]

        return replace(
            self,
            frames=self.frames[rows],
            split=self.split[rows],
            lengths=pick(self.lengths),
            mask=pick(self.mask),
            times=pick(self.times),
            labels={name: replace(label, values=label.values[rows]) for name, label in self.labels.items()},
            quantities={name: replace(q, values=q.values[rows]) for name, q in self.quantities.items()},
        )

    def fingerprint(self) -> str:
        """SHA-256 of all tensors and label names: two data sets are the same exactly when this is."""
        digest = hashlib.sha256()
        parts = {"frames": self.frames, "split": self.split}
        parts |= {name: value for name in ("lengths", "mask", "times") if (value := getattr(self, name)) is not None}
        # With the classes that do not occur: runs of before were fitted to these.
        labels = {name: label.as_numbered() for name, label in sorted(self.labels.items())}
        parts |= {f"label:{name}:{label.role}:{label.classes}": label.values for name, label in labels.items()}
        parts |= {f"quantity:{name}:{q.unit}:{q.components}": q.values for name, q in sorted(self.quantities.items())}
        for name, value in parts.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            # Flat: an axis of size 1 may have any stride, and `view` takes only 1.
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class DataSource(ABC):
    """Where sequences come from: the constructor's arguments are the options, `load` does the work."""

    @abstractmethod
    def load(self) -> SequenceData:
        """Read, draw or compose the sequences.

        Raises:
            UsageError: Where that cannot be done.
        """


def _check_frames(frames: Tensor) -> None:
    if frames.ndim < 3:
        raise UsageError(
            f"frames have shape {tuple(frames.shape)}; they must be (N, T, …) with a frame of rank 1 or more"
        )
    if frames.shape[0] == 0:
        raise UsageError("the data hold no sequence; give at least one per split")
    if frames.shape[1] < 2:
        raise UsageError(f"sequences have T = {frames.shape[1]} frames; a sequence model needs at least 2")
    if 0 in frames.shape:
        raise UsageError(f"frames have shape {tuple(frames.shape)}; every axis must have at least one element")
    if frames.dtype != torch.uint8 and not frames.is_floating_point():
        raise UsageError(f"frames are {frames.dtype}; they must be uint8 or a floating type")


def _check_fields(data: SequenceData) -> None:
    n, t = data.frames.shape[:2]
    if data.split.shape != (n,) or data.split.dtype != torch.uint8 or int(data.split.max()) >= len(SPLITS):
        raise UsageError(f"split must be ({n},) uint8 with values 0..{len(SPLITS) - 1} ({', '.join(SPLITS)})")
    if data.lengths is not None:
        if data.lengths.shape != (n,) or data.lengths.dtype != torch.int64:
            raise UsageError(f"lengths are {data.lengths.dtype} {tuple(data.lengths.shape)}; they must be int64 ({n},)")
        wrong = (data.lengths < 2) | (data.lengths > t)
        if wrong.any():
            raise UsageError(
                f"lengths run from {int(data.lengths.min())} to {int(data.lengths.max())}; they must lie in 2..{t}: leave out "
                f"{numbered_sequences(wrong)}, or mend {'its length' if wrong.sum() == 1 else 'their lengths'}"
            )
    if data.mask is not None:
        shapes = {(n, t), tuple(data.frames.shape)}
        if tuple(data.mask.shape) not in shapes or data.mask.dtype != torch.bool:
            raise UsageError(
                f"mask is {data.mask.dtype} {tuple(data.mask.shape)}; it must be bool ({n}, {t}) or {tuple(data.frames.shape)}"
            )
    if data.times is not None:
        if data.times.shape != (n, t) or not data.times.is_floating_point():
            raise UsageError(
                f"times are {data.times.dtype} {tuple(data.times.shape)}; they must be floating ({n}, {t})"
            )
        if not torch.isfinite(data.times).all() or not (data.times.diff(dim=1) > 0).all():
            raise UsageError("times must be finite and strictly increasing along each sequence")


def _check_labels(data: SequenceData) -> None:
    for name, label in data.labels.items():
        _check_names(name, label.classes)
        if label.values.shape != (len(data),) or label.values.dtype != torch.int64:
            raise UsageError(
                f"label {name!r} is {label.values.dtype} {tuple(label.values.shape)}; it must be int64 ({len(data)},)"
            )
        if int(label.values.min()) < 0 or int(label.values.max()) >= len(label.classes):
            raise UsageError(
                f"label {name!r} has values outside 0..{len(label.classes) - 1}, its {len(label.classes)} classes"
            )
        if label.role not in get_args(Role):
            raise UsageError(f"label {name!r} has role {label.role!r}; it must be 'static' or 'dynamic'")


def _check_quantities(data: SequenceData) -> None:
    n, t = data.frames.shape[:2]
    for name, quantity in data.quantities.items():
        _check_names(name, quantity.components)
        shape = (n, t, len(quantity.components))
        if name in data.labels:
            raise UsageError(f"{name!r} is a label and a quantity; give each a name of its own")
        if quantity.values.shape != shape or not quantity.values.is_floating_point():
            raise UsageError(
                f"quantity {name!r} is {quantity.values.dtype} {tuple(quantity.values.shape)}; it must be floating {shape}, "
                f"one value of {', '.join(quantity.components)} per frame"
            )
        exists = Steps(t, data.lengths).valid
        if not torch.isfinite(quantity.values if exists is None else quantity.values[exists]).all():
            raise UsageError(f"quantity {name!r} holds non-finite values; every frame of a sequence needs finite ones")


def _check_names(name: str, parts: Sequence[str]) -> None:
    """Of a label and its classes, or a quantity and its components: what every file, table and picture can hold."""
    if not name.strip():
        raise UsageError(f"a label or a quantity is called {name!r}; give it a name")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name {name[:20]!r}… has {len(name)} characters; use at most {LONGEST_NAME}")
    if name.endswith(".npy"):
        raise UsageError(f"the name {name!r} ends in .npy, which .npz files take off; choose another one")
    for words in (name, *parts):
        if any(category(character) in ("Cc", "Cs") for character in words):
            raise UsageError(f"{name!r} has a name or a part with a control character, {words!r}; take it out")
