"""Words by synthetic voices: what is spoken for which split, and that `SpeechFolder` reads it."""

import csv
from pathlib import Path

import pytest

from benchmarks import spoken_words
from pyro_dsvae import SpeechFolder
from tests.data.speech.voices import spoken, write

pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def buzz(line: list[str]) -> None:
    """A synthesiser that knows one word."""
    path = Path(next(part for part in line if part.endswith(".part")))
    write(path, spoken("p225", "ai"), format="WAV")


def test_voices_of_splits_differ_and_held_words_are_new(tmp_path: Path) -> None:
    assert len(spoken_words.VOICES) >= 12
    assert len(set(spoken_words.WORDS)) == len(spoken_words.WORDS) >= 60
    assert {spoken_words.split_of(voice) for voice in spoken_words.VOICES} == {"train", "validation", "test"}
    rows = table(spoken_words.make(tmp_path, voices=12, words=6, speeds=2, held_words=2, run=buzz))
    voices, words = ({part: {row[name] for row in rows if row["split"] == part} for part in ("train", "test")}
                     for name in ("speaker", "word"))  # fmt: skip
    assert not voices["train"] & voices["test"]
    assert not words["train"] & words["test"]
    assert len(words["test"]) == 2
    counts = {
        part: len({row["speaker"] for row in rows if row["split"] == part}) for part in ("train", "validation", "test")
    }
    assert counts == {"train": 9, "validation": 1, "test": 2}
    assert len(rows) == 2 * (4 * (9 + 1) + 2 * 2)  # two speeds of four words, or of two
    assert all((tmp_path / row["file"]).is_file() for row in rows)


def test_what_was_spoken_stays(tmp_path: Path) -> None:
    spoken_words.make(tmp_path, voices=5, words=2, speeds=1, run=buzz)
    lines: list[list[str]] = []
    spoken_words.make(tmp_path, voices=5, words=3, speeds=1, run=lambda line: (lines.append(line), buzz(line)))
    assert len(lines) == 5
    assert all(spoken_words.WORDS[2] in line for line in lines)


@pytest.mark.skipif(bool(spoken_words.missing()), reason=f"not installed: {' and '.join(spoken_words.missing())}")
def test_synthesised_words_are_read_as_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    labels = spoken_words.make(tmp_path / "in", voices=5, words=3, speeds=1)
    data = SpeechFolder(tmp_path / "in", window=16, labels=labels).load()
    assert {name: (len(label.classes), label.role) for name, label in data.labels.items()} == {
        "speaker": (5, "static"),
        "word": (3, "dynamic"),
    }
    assert set(data.split.tolist()) == {0, 1, 2}
    assert data.names is not None
    assert "16,000" in data.names.understood[2]
    assert "22,050" in data.names.understood[2]  # one of each program
