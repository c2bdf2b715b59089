"""Clips in a folder tree: video files, animated images, folders of frames."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS, DataSource, SequenceData
from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.data.names import Names, listed
from pyro_dsvae.data.tables.splits import check_fractions, drawn_split
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.data.video.cache import VERSION, ClipCache, Entry
from pyro_dsvae.data.video.described import Described, by_folders, by_table
from pyro_dsvae.data.video.framing import Crop
from pyro_dsvae.data.video.sources import Found, Source, find
from pyro_dsvae.data.video.windows import Cutting
from pyro_dsvae.data.words import in_words, size_in_words
from pyro_dsvae.models.errors import Remark, UsageError, check_count, check_positive, did_you_mean

By = Literal["file", "subject"]
# Factors of these names say what happens, others who or what is seen.
DYNAMIC = ("action", "activity", "class", "emotion", "expression", "gesture", "motion", "movement")
# Lines about clips that are left out; more are counted.
SAID = 20


@dataclass
class VideoFolder(DataSource):
    """Windows of the clips below a folder, (windows, window, C, height, width) uint8.

    A clip is a video file, an animated GIF, WebP or APNG, or a folder with an image for each frame. Its pictures are upright,
    cropped to the shape of the frames and resized; each pixel is the mean of what it covers. Time counts: a picture is repeated
    for as long as it is shown. Windows lie in one clip, and clips of one subject in one split.

    Labels are the folders above a clip: subject/expression/take, as in MUG; class/clip, as in UCF101, whose groups stay
    together; identity/recording/clip, as in VoxCeleb; and train, validation and test above these. How they were understood is
    printed.

    Decoded windows are kept in a file below ``$XDG_CACHE_HOME`` or ``~/.cache``, and mapped from it. Where decoding was
    interrupted it goes on. Clips that cannot be used are named and left out.

    Args:
        path: The folder.
        window: Frames of each sequence.
        stride: Frames from one window to the next; by default ``window``, so that windows do not overlap.
        rate: Frames a second that clips are brought to; by default each clip's own.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels; by default ``height``.
        grey: Whether frames have one channel, the mean of the colours.
        crop: Which part of a picture is taken, in the shape of the frames: the largest in the middle (centre) or at a random
            place that is one for the clip (random); or 0.6 of it, where the head is in a portrait (face).
        labels: A CSV instead of folders: a column file that names clips, and one for each label; subject and split mean what
            they say.
        folders: The names of the levels of folders from the top, such as subject/expression, with - for one that is no label.
        static: Labels of who or what is seen, with commas, or as a list.
        dynamic: Labels of what happens. By default those called action, class, emotion, expression, gesture or motion.
        by: Whether files or subjects are drawn for the splits; by default subjects, where they are known.
        validation: Fraction for the validation split.
        test: Fraction for the test split.
        seed: Of the splits and of random crops.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> from pyro_dsvae import VideoFolder
        >>> for who in range(10):
        ...     Path(f"films/00{who}").mkdir(parents=True)
        ...     pages = [Image.fromarray(np.full((32, 48, 3), 20 * t + who, np.uint8)) for t in range(8)]
        ...     pages[0].save(f"films/00{who}/wave.gif", save_all=True, append_images=pages[1:], duration=40)
        >>> data = VideoFolder("films", window=4, height=16).load()
        >>> data.frames.shape, list(data.labels)
        (torch.Size([20, 4, 3, 16, 16]), ['subject'])
    """

    path: Path
    window: int = 16
    stride: int | None = None
    rate: float | None = None
    height: int = 64
    width: int | None = None
    grey: bool = False
    crop: Crop = "centre"
    labels: Path | None = None
    folders: str | None = None
    static: list[str] | str | None = None
    dynamic: list[str] | str | None = None
    by: By | None = None
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()
        self.labels = None if self.labels is None else Path(self.labels).expanduser()
        Windows(self.window, self.stride)
        if self.rate is not None:
            check_positive("rate", self.rate)
        for name, side in (("height", self.height), ("width", self.width or self.height)):
            check_count(name, side)
        if self.crop not in get_args(Crop):
            raise UsageError(f"crop is {self.crop!r}; it is one of {', '.join(get_args(Crop))}")
        if self.labels is not None and self.folders is not None:
            raise UsageError("labels come from a table or from folders; give one of the two", "data.folders")
        check_fractions(self.validation, self.test, self.seed)

    def load(self) -> SequenceData:
        """The windows of all clips that can be used.

        Raises:
            UsageError: Where there are none, or what was asked for is not there.
        """
        try:
            return self._load()
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", *error.options) from None

    def _load(self) -> SequenceData:
        found = find(self.path)
        if not found.sources:
            raise UsageError(f"holds no clip, but {listed(list(found.others) or ['nothing'])}")
        sources, described = found.sources, None
        if self.labels is not None:
            sources, described = by_table(found.sources, self.labels)
        described = described or by_folders(sources, self.folders)
        roles = self._roles(described.labels)
        frames, entries = self._cache().load(sources)
        counts = np.array([entry.windows for entry in entries])
        split = self._split(sources, described, counts > 0)
        names = _names(entries, self._understood(sources, entries, described, split))
        for line in (*_passed_over(found), *described.left_out, *_refused(entries, described.labels)):
            warnings.warn(Remark(line), stacklevel=3)
        labels = {}
        for name, values in described.labels.items():
            classes, numbers = np.unique(np.repeat(values, counts), return_inverse=True)
            labels[name] = Label(torch.from_numpy(numbers.astype(np.int64)), tuple(classes.tolist()), roles[name])
        return SequenceData(frames, torch.from_numpy(np.repeat(split, counts)), labels=labels, names=names)

    def cutting(self) -> Cutting:
        """How clips become frames and windows."""
        shape = (1 if self.grey else 3, self.height, self.width or self.height)
        seed = self.seed if self.crop == "random" else 0
        return Cutting(self.window, self.stride or self.window, self.rate, shape, self.crop, seed)

    def _cache(self) -> ClipCache:
        cutting = self.cutting()
        root = self.path.resolve()
        asked = json.dumps([VERSION.decode(), str(root), asdict(cutting)]).encode("utf-8", "backslashreplace")
        key = hashlib.sha256(asked).hexdigest()[:16]
        return ClipCache(cache_folder() / "video" / key, self.path, cutting)

    def _roles(self, labels: dict[str, list[str]]) -> dict[str, Role]:
        roles: dict[str, Role] = {name: "dynamic" if name.lower() in DYNAMIC else "static" for name in labels}
        asked: tuple[tuple[Role, list[str] | str | None], ...] = (("static", self.static), ("dynamic", self.dynamic))
        for role, given in asked:
            for name in (given or "").split(",") if not isinstance(given, list) else given:
                if name.strip() and name.strip() not in labels:
                    near = did_you_mean(name.strip(), labels) or f"; it is one of {', '.join(labels) or 'none'}"
                    raise UsageError(f"there is no label {name.strip()!r}{near}", f"data.{role}")
                if name.strip():
                    roles[name.strip()] = role
        return roles

    def _split(self, sources: Sequence[Source], described: Described, used: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(clips,) index into `SPLITS`; all clips of a group are in one."""
        if self.by == "subject" and described.owners is None:
            raise UsageError("no level of folders and no column is a subject; name it, or split by file", "data.by")
        groups = np.array([source.name for source in sources])
        if described.owners is not None and self.by != "file":
            groups = np.array(described.owners)
        split = np.zeros(len(sources), np.uint8) if described.split is None else np.array(described.split, np.uint8)
        if described.split is None or not (split[used] == 1).any():
            drawn = used & (split == 0)  # where a training and a test part are given, from the first
            here = np.unique(groups[drawn])
            parts = drawn_split(len(here), self.validation, self.test if described.split is None else 0.0, self.seed)
            split[drawn] = parts[np.searchsorted(here, groups[drawn])]
        missing = [name for i, name in enumerate(SPLITS) if not (split[used] == i).any()]
        if missing:
            count = len(np.unique(groups[used]))
            raise UsageError(
                f"no clip is for {' and '.join(missing)}: validation = {self.validation} and test = {self.test} of {count} "
                f"{self._group(described)}s; change them, or how clips are split",
                "data.validation",
                "data.by",
            )
        return split

    def _group(self, described: Described) -> str:
        return "file" if described.owners is None or self.by == "file" else described.owner

    def _understood(
        self, sources: Sequence[Source], entries: list[Entry], described: Described, split: NDArray[np.uint8]
    ) -> tuple[str, ...]:
        used = [entry for entry in entries if entry.windows]
        counts = np.array([entry.windows for entry in entries])
        kinds = Counter(source.suffix for source, entry in zip(sources, entries, strict=True) if entry.windows)
        what = in_words(int(counts.sum()), str(self.window), self.cutting().shape).replace("clip", "window")
        sizes = Counter(size_in_words(*entry.size) for entry in used)
        rates = Counter(f"{entry.rate:.3g}" if entry.rate else "no" for entry in used)
        lines = [
            f"{len(used):,} clip{'s' if len(used) > 1 else ''} ({_counted(kinds)}): {what}",
            f"pictures of {_counted(sizes)} pixels, {self.crop} crop; {_counted(rates)} frames a second",
            described.understood,
            f"split {'as the folders or the table say' if described.split else f'by {self._group(described)}'}, "
            f"seed {self.seed}: "
            + ", ".join(f"{int(counts[split == i].sum()):,} {name}" for i, name in enumerate(SPLITS)),
        ]
        if len(rates) > 1:
            lines.append("a step is one frame of its clip: rate (frames a second) brings all clips to the same step")
        return tuple(lines)


def _names(entries: Sequence[Entry], understood: tuple[str, ...]) -> Names:
    """Each window by its clip and where it begins there."""
    names = [
        f"{entry.name} from {first / entry.rate:.2f} s" if entry.rate else f"{entry.name} from frame {first}"
        for entry in entries
        for first in entry.first
    ]
    return Names((), tuple(names), "clip", "time", understood=understood)


def _passed_over(found: Found) -> list[str]:
    lines = [f"left out, since its name is no text: {name}" for name in found.unnameable]
    if found.empty:
        lines.append(f"folders without a clip: {listed(found.empty)}")
    if found.others:
        lines.append(f"files that are no clips: {_counted(found.others)}")
    return lines


def _refused(entries: Sequence[Entry], labels: dict[str, list[str]]) -> list[str]:
    """Clips that could not be used, a line each, and classes of which none could."""
    refused = [entry for entry in entries if entry.refused]
    lines = [f"{entry.name} {entry.refused}" for entry in refused[:SAID]]
    if refused:
        rest = f", {len(refused) - SAID:,} of them not named here" if len(refused) > SAID else ""
        lines.append(f"left out {len(refused):,} of {len(entries):,} clips{rest}")
    for name, values in labels.items():
        here = {value for value, entry in zip(values, entries, strict=True) if entry.windows}
        gone = sorted(set(values) - here)
        lines += [f"no clip of {name} {listed(gone)} could be used"] if gone else []
    return lines


def _counted(counts: Counter[str]) -> str:
    """The commonest first: "120 .mp4, 3 .gif"; a single kind without its number."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common(6)) + (", …" if len(counts) > 6 else "")
