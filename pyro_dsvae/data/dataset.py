"""The typed contract between data and everything that uses them."""

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from pyro_dsvae.data.factors import Label, Quantity, check_labels, check_quantities
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.observed import observed_frames
from pyro_dsvae.data.words import in_words, numbered_sequences
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.views.choice import Views
from pyro_dsvae.inference.sequences import Sequences, evenly_spaced
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.models.errors import Remark, UsageError, did_you_mean
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.steps import Steps

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# Tensors that data need not have.
OPTIONAL = ("lengths", "mask", "times", "recordings")
# Bytes of sequences that a measure holds at once: 5,461 clips of 16 frames of 64 x 64 in colour.
MEASURED = 1 << 30


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
        names: Of columns, entities and times, where the data come from a table.
        recordings: (N,) int64, which recording, or entity, each sequence is a window of, in the order of time; None where each
            is one by itself or that is not known.

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
    names: Names | None = None
    recordings: Tensor | None = None

    def __post_init__(self) -> None:
        _check_frames(self.frames)
        _check_fields(self)
        check_labels(self.labels, len(self))
        check_quantities(self.quantities, self.labels, Steps(self.length, self.lengths), len(self))
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

    @property
    def column_names(self) -> tuple[str, ...]:
        """(P,) what the owner of a table calls the channels; empty for other data."""
        return () if self.names is None else self.names.columns

    def in_words(self) -> str:
        """What the data are: "80 sequences of 6 steps of 100 values", "200 clips of 8 frames of 32 x 32, 3 channels"."""
        shortest = self.length if self.lengths is None else int(self.lengths.min())
        steps = str(self.length) if shortest == self.length else f"{shortest} to {self.length}"
        return in_words(len(self), steps, self.frame_shape)

    def stored(self) -> Batch:
        """All sequences with their frames as they are stored, without a copy."""
        return Batch(self.frames, self.mask, self.lengths)

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

    def measured(self, split: Split) -> "SequenceData":
        """A copy of the sequences of one split, for measures that need them all at once.

        Where they take more than `MEASURED`, of data that are mapped from a file perhaps, it holds as many as fit, at equal
        distances, and a `Remark` says so.

        Raises:
            UsageError: Where the split is empty.
        """
        rows = self.rows(split)
        most = max(1, MEASURED // (math.prod(self.frames.shape[1:]) * self.frames.element_size()))
        if len(rows) > most:
            some = f"{most:,} of the {len(rows):,} sequences of the {split} split are taken, evenly spaced"
            warnings.warn(Remark(f"{some}: all take more than {MEASURED >> 20:,} MiB"), stacklevel=2)
            rows = rows[evenly_spaced(len(rows), most)]
        return self.take(rows)

    def sequences(self, split: Split) -> Sequences:
        """The sequences of one split in the form that model and guide take, without a copy.

        Raises:
            UsageError: Where the split is empty.
        """
        # Priors know intervals only; large times would lose theirs in single precision.
        times = None if self.times is None else (self.times - self.times[:, :1]).float()
        return Sequences(self.frames, self.mask, self.lengths, self.rows(split), times, self.recordings)

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
            names=None if self.names is None else self.names.take(rows),
            recordings=pick(self.recordings),
        )

    def fingerprint(self) -> str:
        """SHA-256 of all tensors and names: two data sets are the same exactly when this is."""
        digest = hashlib.sha256()
        parts = {"frames": self.frames, "split": self.split}
        parts |= {name: value for name in OPTIONAL if (value := getattr(self, name)) is not None}
        # With the classes that do not occur: runs of before were fitted to these.
        labels = {name: label.as_numbered() for name, label in sorted(self.labels.items())}
        parts |= {f"label:{name}:{label.role}:{label.classes}": label.values for name, label in labels.items()}
        parts |= {f"quantity:{name}:{q.unit}:{q.components}": q.values for name, q in sorted(self.quantities.items())}
        if self.names is not None:
            digest.update(repr((self.names.columns, self.names.entities, self.names.clock)).encode())
        for name, value in parts.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            if isinstance(value, Stored):
                digest.update(value.source.fingerprint.encode())
                continue
            # Flat: an axis of size 1 may have any stride, and `view` takes only 1.
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def has_fingerprint(self, known: str) -> bool:
        """Whether a run that kept this fingerprint was fitted to these data. Earlier versions left out ``recordings``."""
        if known == self.fingerprint():
            return True
        return self.recordings is not None and known == replace(self, recordings=None).fingerprint()


@dataclass(frozen=True)
class Recommended:
    """The parts that suit the frames of a data source better than the defaults for all frames of their kind.

    Attributes:
        decoder: Taken where the user names none.
        views: The guide views, taken with this decoder where the user names none.
        why: What of the frames makes them suitable; a clause that follows "since".
        encoder: Taken where the user names none; None for the default.
        likelihood: Likewise, its recipe.
    """

    decoder: type[FrameDecoder]
    views: Views
    why: str
    encoder: type[FrameEncoder] | None = None
    likelihood: Callable[[tuple[int, ...]], Likelihood] | None = None


class DataSource(ABC):
    """Where sequences come from: the constructor's arguments are the options, `load` does the work."""

    @property
    def recommended(self) -> Recommended | None:
        """The decoder and guide views that suit these frames, or None: the defaults do."""
        return None

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
    if data.recordings is not None and (data.recordings.shape != (n,) or data.recordings.dtype != torch.int64):
        raise UsageError(
            f"recordings are {data.recordings.dtype} {tuple(data.recordings.shape)}; they must be int64 ({n},)"
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
