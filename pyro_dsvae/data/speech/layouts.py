"""What folders and names of recordings mean: TIMIT, LibriSpeech, VCTK, and a folder for each speaker."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyro_dsvae.data.folders.described import Described
from pyro_dsvae.data.folders.levels import SKIPPED, SPLIT, is_split, named, split_of
from pyro_dsvae.data.folders.tree import Finder, Kind, Source
from pyro_dsvae.data.speech.recordings import SUFFIXES

SPEAKER = "speaker"
_TIMIT = re.compile(
    r"(?:.*/)?(?P<split>train|test)/(?P<dialect>dr\d)/(?P<speaker>[fm]\w{3}\d)/(?P<sentence>s[aix]\d+)(?:\.\w+)+", re.I
)
_LIBRISPEECH = re.compile(
    r"(?:.*/)?(?P<subset>(?P<split>train|dev|test)-(?:clean|other)(?:-\d+)?)/(?P<speaker>\d+)/(?P<chapter>\d+)/"
    r"(?P=speaker)-(?P=chapter)-\d+\.\w+"
)
_VCTK = re.compile(r"(?:.*/)?(?P<speaker>[ps]\d+)/(?P=speaker)_\d+(?:_mic(?P<microphone>\d))?\.\w+")


class RecordingFinder(Finder):
    """Finds sound files."""

    def __init__(self) -> None:
        super().__init__("SpeechFolder", "recordings")

    def sources(
        self, folder: Path, subfolders: list[str], files: list[str], others: Counter[str]
    ) -> Iterator[tuple[str, Kind]]:
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                yield name, "sound"
            else:
                others[suffix or name] += 1


def by_folders(sources: Sequence[Source], given: str | None) -> tuple[list[Source], Described]:
    """What the folders and names of recordings say, and the recordings that are used.

        TRAIN|TEST/DR1/FCJF0/SA1.WAV             split, dialect, speaker, sex, sentence       TIMIT
        dev-clean/84/121123/84-121123-0000.flac  split where there are several, speaker       LibriSpeech
        wav48/p225/p225_001_mic1.flac            speaker; one microphone of two               VCTK
        train|validation|test/speaker/…          split, speaker
        speaker/…                                speaker

    Args:
        sources: The recordings.
        given: The names of the levels of folders, where the user gives them.

    Raises:
        UsageError: For names of levels that are not there.
    """
    if given is None:
        for known in (_timit, _librispeech, _vctk):
            found = known(sources)
            if found is not None:
                return found
    folders = [source.folders for source in sources]
    levels = _recognised(folders) if given is None else named(given, folders, "recordings", "speaker/word")
    columns = {name: [each[i] for each in folders] for i, name in enumerate(levels) if name != SKIPPED}
    split = [split_of(word) for word in columns.pop(SPLIT)] if SPLIT in columns else None
    counts = [f"{len(set(values))} x {name}" for name, values in columns.items()]
    said = f"folders are taken as {'/'.join((*levels, 'recording'))}" + (f" ({', '.join(counts)})" if counts else "")
    if not levels:
        said = "recordings without a folder for each speaker, so no labels"
    return list(sources), Described(columns, columns.get(SPEAKER), SPEAKER, split, said)


def _recognised(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    depth = min(map(len, folders))
    levels = [[names[i] for names in folders] for i in range(depth)]
    found = [SPLIT] if levels and is_split(levels[0]) else []
    found += [SPEAKER] if len(found) < depth else []
    return (*found, *[SKIPPED] * (depth - len(found)))


def _timit(sources: Sequence[Source]) -> tuple[list[Source], Described] | None:
    found = _matches(_TIMIT, sources)
    if found is None:
        return None
    labels = {name: [match[name].upper() for match in found] for name in (SPEAKER, "dialect", "sentence")}
    labels["sex"] = ["female" if speaker[0] == "F" else "male" for speaker in labels[SPEAKER]]
    return list(sources), _described("TIMIT", labels, [match["split"] for match in found])


def _librispeech(sources: Sequence[Source]) -> tuple[list[Source], Described] | None:
    found = _matches(_LIBRISPEECH, sources)
    if found is None:
        return None
    labels = {SPEAKER: [match["speaker"] for match in found]}
    return list(sources), _described("LibriSpeech", labels, [match["split"] for match in found])


def _vctk(sources: Sequence[Source]) -> tuple[list[Source], Described] | None:
    found = _matches(_VCTK, sources)
    if found is None:
        return None
    # The second microphone heard the same: as another recording it would be in two parts of the data.
    kept = [i for i, match in enumerate(found) if match["microphone"] in (None, "1")]
    twice = len(found) - len(kept)
    left_out = (f"left out {twice:,} recordings of the second microphone, which heard the same",) if twice else ()
    labels = {SPEAKER: [found[i]["speaker"] for i in kept]}
    return [sources[i] for i in kept], _described("VCTK", labels, None, left_out)


def _matches(layout: re.Pattern[str], sources: Sequence[Source]) -> list[re.Match[str]] | None:
    """How each name is in a layout; None unless all are."""
    found = [layout.fullmatch(source.name) for source in sources]
    return [match for match in found if match] if all(found) else None


def _described(
    corpus: str, labels: dict[str, list[str]], split: list[str] | None, left_out: tuple[str, ...] = ()
) -> Described:
    counts = ", ".join(f"{len(set(values)):,} x {name}" for name, values in labels.items())
    part = [split_of(word) for word in split] if split is not None and is_split(split) else None
    return Described(labels, labels[SPEAKER], SPEAKER, part, f"the layout of {corpus} ({counts})", left_out)
