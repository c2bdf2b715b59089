"""Words by synthetic voices: what is spoken for which split, and that they are read as speech."""

import csv
import subprocess
import zlib
from pathlib import Path

import pytest

from pyro_dsvae import SpokenWords
from pyro_dsvae.data.speech import synthetic_voices as voices
from pyro_dsvae.models.errors import UsageError
from tests.data.speech.voices import spoken, write

pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def buzz(line: list[str]) -> None:
    """A synthesiser that knows one word, and says it differently for every file."""
    path = Path(next(part for part in line if part.endswith(".part")))
    write(path, spoken("p225", "ai", take=zlib.crc32(str(path).encode()) % 2**31), format="WAV")


def test_voices_of_splits_differ_and_held_words_are_new(tmp_path: Path) -> None:
    assert len(voices.VOICES) >= 12
    assert len(set(voices.WORDS)) == len(voices.WORDS) >= 60
    chosen = {"voices": 12, "words": 6, "speeds": 2, "held_words": 2}
    voices.make(tmp_path, **chosen, run=buzz)
    rows = table(voices.write_table(tmp_path / "labels.csv", **chosen))
    who, words = ({part: {row[name] for row in rows if row["split"] == part} for part in ("train", "validation", "test")}
                  for name in ("speaker", "word"))  # fmt: skip
    assert not who["train"] & who["test"]
    assert not who["train"] & who["validation"]
    assert not words["train"] & words["test"]
    assert len(words["test"]) == 2
    assert {part: len(names) for part, names in who.items()} == {"train": 9, "validation": 1, "test": 2}
    assert len(rows) == 2 * (4 * (9 + 1) + 2 * 2)  # two speeds of four words, or of two
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    everything = list(voices.rows(len(voices.VOICES), 1, 0))
    assert {voice for voice, _, _ in everything} == set(voices.VOICES)


def test_voices_beyond_the_first_44_are_all_for_training_and_the_other_splits_stay() -> None:
    few, many = (list(voices.rows(count, 3, 1)) for count in (len(voices.VOICES), voices.MOST))
    assert set(few) <= set(many)
    assert {(voice, part) for voice, _, part in set(many) - set(few)} == {
        (voice, "train") for voice in voices.MORE_VOICES
    }
    # No new voice has the resonances of a voice of another split: it is another variant.
    variants = {voice.split("-")[1] for voice in voices.MORE_VOICES}
    assert not variants & {voice.split("-")[1] for voice in (*voices.VALIDATION, *voices.TEST)}
    lines = [voices.command(voice, "river", 1.0, Path("a")) for voice in (*voices.VOICES, *voices.MORE_VOICES)]
    assert len({tuple(line) for line in lines}) == voices.MOST == 100
    assert voices.command("espeak-m1-70", "river", 1.0, Path("a"))[:5] == ["espeak-ng", "-v", "en-us+m1", "-p", "70"]


def test_what_was_spoken_stays_also_without_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = SpokenWords(tmp_path, voices=5, words=2, speeds=1, window=16)
    voices.make(tmp_path / "recordings", 5, 2, 1, run=buzz)
    monkeypatch.setattr(voices, "missing", lambda: ["flite", "espeak-ng"])
    data = source.load()
    assert {name: (len(label.classes), label.role) for name, label in data.labels.items()} == {
        "speaker": (5, "static"),
        "word": (2, "dynamic"),
    }
    with pytest.raises(UsageError, match="flite and espeak-ng are not installed: apt-get install flite espeak-ng"):
        SpokenWords(tmp_path, voices=5, words=3, speeds=1).load()
    monkeypatch.setattr(voices, "missing", list)
    lines: list[list[str]] = []
    voices.make(tmp_path / "recordings", 5, 3, 1, run=lambda line: (lines.append(line), buzz(line))[1])
    assert len(lines) == 5
    assert all(voices.WORDS[2] in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"), [("voices", 4), ("voices", 101), ("words", 61), ("speeds", 0), ("held_words", 60)]
)
def test_more_than_there_is_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}; it is from"):
        SpokenWords(**{name: value})  # type: ignore[arg-type]


@pytest.mark.skipif(bool(voices.missing()), reason=f"not installed: {' and '.join(voices.missing())}")
def test_synthesised_words_are_read_as_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = SpokenWords(voices=5, words=3, speeds=1, window=16).load()
    assert {name: (len(label.classes), label.role) for name, label in data.labels.items()} == {
        "speaker": (5, "static"),
        "word": (3, "dynamic"),
    }
    assert set(data.split.tolist()) == {0, 1, 2}
    assert data.names is not None
    assert "16,000" in data.names.understood[2]
    assert "22,050" in data.names.understood[2]  # one of each program
    assert (tmp_path / "cache" / "pyro_dsvae" / "spoken_words" / "recordings").is_dir()


@pytest.mark.skipif(bool(voices.missing()), reason=f"not installed: {' and '.join(voices.missing())}")
def test_every_voice_is_one_that_the_program_has() -> None:
    """espeak-ng speaks as its default voice where it has not the one that is asked for."""
    said = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True).stdout
    there = {line.rpartition("!v/")[2].split()[0] for line in said.splitlines()[1:]}
    assert set(voices.ESPEAK) <= there
