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

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.data.folders.cache import VERSION, Entry, WindowCache
from pyro_dsvae.data.folders.described import Described, by_table
from pyro_dsvae.data.folders.labels import counted, labels_of, passed_over, refused, roles_of
from pyro_dsvae.data.folders.levels import RECORDING
from pyro_dsvae.data.folders.splits import Draw, check_leaks, twins
from pyro_dsvae.data.folders.tree import Source
from pyro_dsvae.data.names import Names, listed
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.data.video.framing import Crop
from pyro_dsvae.data.video.layouts import by_folders
from pyro_dsvae.data.video.sources import ClipFinder
from pyro_dsvae.data.video.windows import ClipReader, Cutting
from pyro_dsvae.data.words import in_words, size_in_words
from pyro_dsvae.models.errors import Remark, UsageError, check_count, check_positive

By = Literal["file", "subject"]
MOST_SIZES = 4  # of pictures, that are named each
# Factors of these names say what happens, others who or what is seen.
DYNAMIC = ("action", "activity", "class", "emotion", "expression", "gesture", "motion", "movement")


@dataclass
class VideoFolder(DataSource):
    """Windows of the clips below a folder, (windows, window, C, height, width) uint8.

    A clip is a video file, an animated GIF, WebP or APNG, or a folder with an image for each frame. Its pictures are upright,
    cropped to the shape of the frames and resized; each pixel is the mean of what it covers. Time counts: a picture is repeated
    for as long as it is shown. Windows lie in one clip, and clips of one subject in one split.

    Labels are the folders above a clip: subject/expression/take, as in MUG; class/clip, as in UCF101, whose groups stay
    together; identity/recording/clip, as in VoxCeleb; and train, validation and test above these. How they were understood is
    printed. `SequenceData.recordings` numbers the subjects or the groups of UCF101, or the clips where neither is known or
    ``by`` is file.

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
        by: Whether files or subjects are drawn for the splits, and are `SequenceData.recordings`. By default subjects, where
            they are known. Where folders or a table give the parts, a subject in two of them is refused, but not with file.
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
        self._draw()

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
        found = ClipFinder().find(self.path)
        if not found.sources:
            others = f", but {listed(list(found.others))}" if found.others else ""
            raise UsageError(
                f"holds no clip{others}; a clip is a video, an animated image or a folder with an image for each frame"
            )
        sources, described = found.sources, None
        if self.labels is not None:
            sources, described = by_table(found.sources, self.labels, "clip")
        described = described or by_folders(sources, self.folders)
        roles = roles_of(described.labels, DYNAMIC, {"static": self.static, "dynamic": self.dynamic})
        frames, entries = self._cache().load(sources)
        counts = np.array([entry.windows for entry in entries])
        split = self._draw().of([source.name for source in sources], described, counts > 0)
        if described.split is None and (same := twins(entries, split, "clip")):
            warnings.warn(Remark(same), stacklevel=3)
        else:
            check_leaks(entries, split, None if self.by == "file" else described, "clip", "file")
        names = _names(entries, self._understood(sources, entries, described, split))
        left_out = (*passed_over(found, "clip"), *described.left_out, *refused(entries, described.labels, "clip"))
        for line in left_out:
            warnings.warn(Remark(line), stacklevel=3)
        labels = labels_of(described.labels, counts, roles)
        # Clips of one folder that is no subject's may show anyone.
        known = self.by != "file" and described.owner != RECORDING
        owners = described.owners if known else None
        alike = np.arange(len(entries)) if owners is None else np.unique(owners, return_inverse=True)[1]
        return SequenceData(
            frames,
            torch.from_numpy(np.repeat(split, counts)),
            labels=labels,
            names=names,
            recordings=torch.from_numpy(np.repeat(alike, counts)),
        )

    def cutting(self) -> Cutting:
        """How clips become frames and windows."""
        shape = (1 if self.grey else 3, self.height, self.width or self.height)
        seed = self.seed if self.crop == "random" else 0
        return Cutting(self.window, self.stride or self.window, self.rate, shape, self.crop, seed)

    def _cache(self) -> WindowCache:
        cutting = self.cutting()
        root = self.path.resolve()
        asked = json.dumps([VERSION.decode(), str(root), asdict(cutting)]).encode("utf-8", "backslashreplace")
        key = hashlib.sha256(asked).hexdigest()[:16]
        return WindowCache(cache_folder() / "video" / key, ClipReader(self.path, cutting))

    def _draw(self) -> Draw:
        owners = None if self.by is None else self.by == "subject"
        return Draw(owners, "subject", "clip", "file", self.validation, self.test, self.seed)

    def _understood(
        self, sources: Sequence[Source], entries: list[Entry], described: Described, split: NDArray[np.uint8]
    ) -> tuple[str, ...]:
        used = [entry for entry in entries if entry.windows]
        counts = np.array([entry.windows for entry in entries])
        kinds = Counter(source.suffix for source, entry in zip(sources, entries, strict=True) if entry.windows)
        what = in_words(int(counts.sum()), str(self.window), self.cutting().shape).replace("clip", "window")
        sizes = Counter(tuple(entry.about["size"]) for entry in used)
        rates = Counter(f"{entry.about['rate']:.3g}" if entry.about["rate"] else "no" for entry in used)
        lines = [
            f"{len(used):,} clip{'s' if len(used) > 1 else ''} ({counted(kinds)}): {what}",
            f"pictures: {_sizes(sizes)} pixels, {self.crop} crop; {_each(rates)} frames a second",
            described.understood,
            self._draw().in_words(described, split, counts),
        ]
        if len(rates) > 1:
            lines.append("a step is one frame of its clip: rate (frames a second) brings all clips to the same step")
        return tuple(lines)


def _each(counts: Counter[str]) -> str:
    """What clips have: "25", or "3 of 25, 1 of 50"."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count:,} of {name}" for name, count in counts.most_common())


def _sizes(counts: Counter[tuple[int, ...]]) -> str:
    """Heights and widths of pictures; of many sizes the smallest and the largest of each."""
    if len(counts) <= MOST_SIZES:
        return _each(Counter({size_in_words(*size): count for size, count in counts.items()}))
    (low, narrow), (high, wide) = (tuple(most(sides) for sides in zip(*counts, strict=True)) for most in (min, max))
    return f"{low} to {high} x {narrow} to {wide} (H x W)"


def _names(entries: Sequence[Entry], understood: tuple[str, ...]) -> Names:
    """Each window by its clip and where it begins there."""
    names = [_name(entry.name, first, entry.about["rate"]) for entry in entries for first in entry.first]
    return Names((), tuple(names), "clip", "time", understood=understood)


def _name(clip: str, first: int, rate: float | None) -> str:
    return f"{clip} from {first / rate:.2f} s" if rate else f"{clip} from frame {first}"
