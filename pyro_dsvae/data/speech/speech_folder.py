"""Recordings of speech in a folder tree."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.data.folders.cache import VERSION, Entry, WindowCache
from pyro_dsvae.data.folders.described import Described, by_table
from pyro_dsvae.data.folders.labels import counted, labels_of, passed_over, refused, roles_of
from pyro_dsvae.data.folders.splits import Draw, check_leaks
from pyro_dsvae.data.folders.tree import Source
from pyro_dsvae.data.names import Names, listed
from pyro_dsvae.data.speech.layouts import SPEAKER, RecordingFinder, by_folders
from pyro_dsvae.data.speech.recordings import SUFFIXES
from pyro_dsvae.data.speech.segments import Segmenting, SegmentReader
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.speech.spectra import HOP, Spectra
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.data.words import in_words
from pyro_dsvae.models.errors import Remark, UsageError, check_positive

By = Literal["speaker", "utterance"]
# Labels of these names say what is spoken, others who speaks.
DYNAMIC = ("word", "words", "sentence", "phrase", "digit", "command", "text", "phone", "phoneme", "emotion")


@dataclass
class SpeechFolder(SpeechSource):
    """Windows of log spectra of the recordings below a folder, (windows, window, bands) float32.

    A recording is a WAV, FLAC, Ogg or other sound file. Channels are mixed to one, and brought to one rate. Silence at the
    beginning and the end is cut off. Each recording is brought to one level. A frame holds the log of the mean magnitude of
    each mel band, every 8 ms (`Spectra`). Windows lie in one recording. Recordings of one speaker are in one split, or at least
    each whole recording is (``by``).

    Labels are the folders above a recording, the topmost of which is the speaker, after train, validation and test where these
    are there. The layouts of TIMIT, LibriSpeech and VCTK are recognised. How they were understood is printed.

    Windows are kept in a file below ``$XDG_CACHE_HOME`` or ``~/.cache``, and mapped from it. Where reading was interrupted it
    goes on. Recordings that cannot be used are named and left out. Reading needs ``pip install 'pyro-dsvae[speech]'``.

    Args:
        path: The folder.
        window: Frames of each sequence, of 8 ms each.
        stride: Frames from one window to the next; by default ``window``, so that windows do not overlap.
        rate: Samples a second that recordings are brought to.
        bands: Mel bands of a frame; 0 for the log magnitude of every frequency.
        trim: How many decibels below its loudest moment the beginning and end of a recording are silence, which is cut off;
            null cuts nothing off.
        labels: A CSV instead of folders: a column file that names recordings, and one for each label; speaker and split mean
            what they say.
        folders: The names of the levels of folders from the top, such as speaker/word, with - for one that is no label.
        static: Labels of who speaks, with commas, or as a list.
        dynamic: Labels of what is spoken. By default those called word, sentence, phrase, digit, command, text or emotion.
        by: Whether utterances or speakers are drawn for the splits; by default speakers, where they are known.
        validation: Fraction for the validation split.
        test: Fraction for the test split.
        seed: Of the splits.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import soundfile
        >>> from pyro_dsvae import SpeechFolder
        >>> for who in range(10):
        ...     Path(f"voices/p{who}").mkdir(parents=True)
        ...     buzz = np.cumsum(np.full(16_000, (100 + 20 * who) / 16_000)) % 1 - 0.5
        ...     soundfile.write(f"voices/p{who}/one.wav", buzz, 16_000)
        >>> data = SpeechFolder("voices", window=25).load()
        >>> data.frames.shape, list(data.labels)
        (torch.Size([50, 25, 80]), ['speaker'])
    """

    path: Path
    window: int = 32
    stride: int | None = None
    rate: int = 16_000
    bands: int = 80
    trim: float | None = 40.0
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
        if self.trim is not None:
            check_positive("trim", self.trim)
        if self.labels is not None and self.folders is not None:
            raise UsageError("labels come from a table or from folders; give one of the two", "data.folders")
        self.segmenting()
        self._draw()

    def segmenting(self) -> Segmenting:
        """How recordings become frames and windows."""
        return Segmenting(Spectra(self.rate, self.bands), self.window, self.stride or self.window, self.trim)

    def load(self) -> SequenceData:
        """The windows of all recordings that can be used.

        Raises:
            UsageError: Where there are none, or what was asked for is not there.
        """
        try:
            return self._load()
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", *error.options) from None

    def _load(self) -> SequenceData:
        found = RecordingFinder().find(self.path)
        if not found.sources:
            others = f", but {listed(list(found.others))}" if found.others else ""
            raise UsageError(f"holds no recording{others}; a recording is one of {', '.join(SUFFIXES)}")
        if self.labels is not None:
            sources, described = by_table(found.sources, self.labels, "recording")
            if self.labels.resolve().is_relative_to(self.path.resolve()):
                found.others -= Counter([self.labels.suffix.lower()])  # it may lie beside what it names
        else:
            sources, described = by_folders(found.sources, self.folders)
        roles = roles_of(described.labels, DYNAMIC, {"static": self.static, "dynamic": self.dynamic})
        frames, entries = self._cache().load(sources)
        counts = np.array([entry.windows for entry in entries])
        split = self._draw().of([source.name for source in sources], described, counts > 0)
        check_leaks(entries, split, described if self.by == "speaker" else None, "recording")
        for line in (
            *passed_over(found, "recording"),
            *described.left_out,
            *refused(entries, described.labels, "recording"),
            *_heard(entries, described),
        ):
            warnings.warn(Remark(line), stacklevel=3)
        understood = self._understood(sources, entries, described, split)
        names = _names(entries, self.segmenting().spectra, understood)
        labels = labels_of(described.labels, counts, roles)
        of = torch.from_numpy(np.repeat(np.arange(len(entries)), counts))
        return SequenceData(
            frames, torch.from_numpy(np.repeat(split, counts)), labels=labels, names=names, recordings=of
        )

    def _cache(self) -> WindowCache:
        how = self.segmenting()
        root = self.path.resolve()
        asked = json.dumps([VERSION.decode(), str(root), asdict(how)]).encode("utf-8", "backslashreplace")
        key = hashlib.sha256(asked).hexdigest()[:16]
        return WindowCache(cache_folder() / "speech" / key, SegmentReader(self.path, how))

    def _draw(self) -> Draw:
        owners = None if self.by is None else self.by == "speaker"
        return Draw(owners, SPEAKER, "recording", "utterance", self.validation, self.test, self.seed)

    def _understood(
        self, sources: Sequence[Source], entries: Sequence[Entry], described: Described, split: NDArray[np.uint8]
    ) -> tuple[str, ...]:
        used = [entry for entry in entries if entry.windows]
        counts = np.array([entry.windows for entry in entries])
        kinds = Counter(source.suffix for source, entry in zip(sources, entries, strict=True) if entry.windows)
        seconds = sum(entry.about["seconds"] for entry in used)
        spectra = self.segmenting().spectra
        frame = f"{self.bands} mel bands" if self.bands else f"{spectra.bins} frequencies"
        rates = Counter(f"{entry.about['rate']:,}" for entry in used)
        channels = Counter(entry.about["channels"] for entry in used)
        heard = [
            f"{counted(rates)} samples a second"
            + ("" if set(rates) == {f"{self.rate:,}"} else f", brought to {self.rate:,}")
        ]
        mixed = sum(count for number, count in channels.items() if number > 1)
        heard += [f"{mixed:,} of several channels, mixed to one"] if mixed else []
        what = in_words(int(counts.sum()), str(self.window), (spectra.size,)).replace("sequence", "window")
        recordings = f"{len(used):,} recording{'s' if len(used) > 1 else ''} ({counted(kinds)})"
        return (
            f"{recordings}, {seconds / 60:.1f} min without silence: {what}",
            f"log magnitudes of {frame}, one frame in {1000 * HOP:.0f} ms; a window is {self.window * HOP:.2f} s",
            "; ".join(heard),
            described.understood,
            self._draw().in_words(described, split, counts),
        )


def _heard(entries: Sequence[Entry], described: Described) -> list[str]:
    """Lines about recordings that are used, but are not as they should be."""
    clipped = [entry.name for entry in entries if entry.windows and entry.about["clipped"]]
    lines = [f"clipped, so that their peaks are missing: {listed(clipped)}"] if clipped else []
    owners = {owner for owner, entry in zip(described.owners or [], entries, strict=False) if entry.windows}
    if len(owners) == 1:
        lines.append(f"all recordings are of one speaker, {next(iter(owners))}: there is no other voice to swap with")
    return lines


def _names(entries: Sequence[Entry], spectra: Spectra, understood: tuple[str, ...]) -> Names:
    """Each window by its recording and where it begins there; each column by its frequency."""
    names = [
        f"{entry.name} from {entry.about['start'] + first * HOP:.3f} s" for entry in entries for first in entry.first
    ]
    columns = tuple(f"{hz:.0f} Hz" for hz in spectra.frequencies)
    return Names(columns, tuple(names), "recording", "time", understood=understood)
