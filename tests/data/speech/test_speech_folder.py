"""A folder of recordings: the spectra of what was written, cut, labelled and split as its owner meant."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from pyro_dsvae import SpeechFolder
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.speech import segments
from pyro_dsvae.data.speech.recordings import LEVEL, is_clipped, read_recording, spoken_part, write_wav
from pyro_dsvae.data.speech.resynthesis import resynthesised, signal_to_noise
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.models.errors import Remark, UsageError
from tests.data.speech.voices import SPEAKERS, WORDS, Samples, spoken, write

pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")
WINDOW = 16


@pytest.fixture(autouse=True)
def _caches_are_of_one_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def loaded(root: Path, **options: Any) -> tuple[SequenceData, list[str]]:
    """The data, and what was said of them."""
    given = {"window": WINDOW, "bands": 40, "validation": 0.2, "test": 0.2} | options
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Remark)
        data = SpeechFolder(root, **given).load()
    return data, [str(each.message) for each in told]


def noise(seed: int, count: int = 8_000) -> Samples:
    """(count,) quiet noise, no two alike."""
    return 0.1 * np.random.RandomState(seed).randn(count).clip(-3, 3)


def of_recording(data: SequenceData, name: str) -> torch.Tensor:
    """(n, T, P): the windows of one recording."""
    assert data.names is not None
    return data.frames[[i for i, each in enumerate(data.names.entities) if each.startswith(f"{name} ")]]


def understood(data: SequenceData) -> str:
    assert data.names is not None
    return "\n".join(data.names.understood)


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """A folder for each of five speakers, with three words each."""
    for who in SPEAKERS:
        for word in WORDS:
            write(tmp_path / "in" / who / f"{word}.wav", spoken(who, word))
    return tmp_path / "in"


def test_windows_are_the_spectra_of_what_was_written(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / "in" / f"s{i}" / "a.wav", noise(i), subtype="FLOAT")
    data, said = loaded(tmp_path / "in", stride=10, trim=None)
    assert said == []
    sound = torch.from_numpy(noise(3).astype(np.float32))
    frames = Spectra(bands=40).of(sound * (LEVEL / sound.square().mean().sqrt()))
    expected = torch.stack([frames[i : i + WINDOW] for i in range(0, len(frames) - WINDOW + 1, 10)])
    assert torch.allclose(of_recording(data, "s3/a.wav"), expected, atol=1e-4)
    assert data.names is not None
    assert data.recordings is not None
    whole = [name.rpartition(" from ")[0] for name in data.names.entities]
    for i, recording in enumerate(data.recordings.tolist()):
        assert [name == whole[i] for name in whole] == (data.recordings == recording).tolist()
    assert torch.equal(data.take(torch.tensor([1])).recordings, data.recordings[1:2])
    assert data.names.entities[:2] == ("s0/a.wav from 0.000 s", "s0/a.wav from 0.080 s")
    assert data.names.columns[0].endswith(" Hz")
    assert len(set(data.names.columns)) == 40


def test_speakers_are_in_one_split_and_utterances_in_one_where_asked(voices: Path) -> None:
    data, _ = loaded(voices)
    who = data.labels["speaker"]
    assert set(who.classes) == set(SPEAKERS)
    parts = [{int(s) for s in data.split[who.values == i]} for i in range(5)]
    assert all(len(part) == 1 for part in parts)
    assert "split by speaker, seed 0" in understood(data)
    by_utterance, _ = loaded(voices, by="utterance")
    names = by_utterance.names
    assert names is not None
    of: dict[str, set[int]] = {}
    for name, part in zip(names.entities, by_utterance.split.tolist(), strict=True):
        of.setdefault(name.partition(" ")[0], set()).add(part)
    assert all(len(part) == 1 for part in of.values())
    assert any(len({next(iter(of[f"{who}/{word}.wav"])) for word in WORDS}) > 1 for who in SPEAKERS)


def test_the_level_of_a_recording_is_taken_out_and_kept_for_the_way_back(tmp_path: Path) -> None:
    word = spoken("p226", "ua")
    for name, gain in (("loud", 1.0), ("soft", 0.01)):
        write(tmp_path / f"{name}.wav", gain * word, subtype="FLOAT")
    loud, soft = (read_recording(tmp_path / f"{name}.wav", 16_000, 40.0) for name in ("loud", "soft"))
    assert torch.allclose(loud.sound, soft.sound, atol=1e-5)
    assert soft.gain / loud.gain == pytest.approx(100, rel=1e-4)
    # Without a model the way back ends where it began.
    spectra = Spectra(bands=0)
    phase = spectra.transform(soft.sound).angle()
    again = resynthesised(spectra, spectra.of(soft.sound), len(soft.sound), phase) / soft.gain
    start = round(16_000 * soft.start)
    assert signal_to_noise(torch.from_numpy(0.01 * word)[start : start + len(again)], again) > 20


def test_other_rates_and_channels_are_brought_to_one_and_said_once(tmp_path: Path) -> None:
    high = noise(7, 24_000)
    low = resample_poly(resample_poly(high, 1, 4), 4, 1)  # nothing above the slower rate's half
    for i in range(4):
        write(tmp_path / "in" / f"s{i}" / "a.flac", noise(i))
    write(tmp_path / "in" / "s4" / "a.wav", np.stack([low, 0.5 * low], 1), rate=48_000, subtype="FLOAT")
    data, said = loaded(tmp_path / "in", trim=None)
    assert said == []
    assert "4 16,000, 1 48,000 samples a second, brought to 16,000; 1 of several channels, mixed to one" in understood(
        data
    )
    assert "4 .flac, 1 .wav" in understood(data)
    mono = torch.from_numpy(resample_poly(0.75 * low, 1, 3).astype(np.float32))
    expected = Spectra(bands=40).of(mono * (LEVEL / mono.square().mean().sqrt()))
    got = of_recording(data, "s4/a.wav").flatten(0, 1)
    assert (got - expected[: len(got)]).abs().max() < 0.02


def test_silence_at_both_ends_is_cut_off_and_none_within() -> None:
    word = noise(1, 4_000)
    sound = np.concatenate([np.zeros(8_000), word, np.zeros(8_000), word, np.zeros(16_000)]).astype(np.float32)
    first, last = spoken_part(sound, 16_000, 40.0)
    assert 8_000 - 600 <= first <= 8_000
    assert 24_000 <= last <= 24_000 + 600


def test_clipping_is_told_from_loudness() -> None:
    wave = np.sin(np.arange(16_000) / 7).astype(np.float32)[:, None]
    assert not is_clipped(0.999 * wave)
    assert is_clipped((2 * wave).clip(-1, 1))
    assert not is_clipped(np.full((100, 1), 0.2, np.float32))


def bad(root: Path) -> dict[str, str]:
    """Files that hold no speech, and how the line of each begins."""
    write(root / "short.wav", noise(1, 1_000))
    write(root / "silent.wav", np.zeros(16_000))
    write(root / "empty.wav", np.zeros(0))
    spoilt = noise(2)
    spoilt[100:103] = np.nan
    write(root / "nan.wav", spoilt, subtype="FLOAT")
    (root / "text.wav").write_text("This is no sound.\n" * 50)
    for suffix in ("wav", "flac", "ogg"):
        content = write(root / f"cut.{suffix}", noise(3)).read_bytes()
        (root / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
    write(root / "phase.wav", np.stack([noise(4), -noise(4)], 1))
    return {
        "cut.flac": "is no sound file that can be read",
        "cut.ogg": "is no sound file that can be read",
        "cut.wav": "is cut short: it holds",
        "empty.wav": "holds no samples",
        "nan.wav": "holds 3 samples that are not finite",
        "phase.wav": "is silent where its channels are mixed",
        "short.wav": "is shorter than a window: ",
        "silent.wav": "is silent: its largest sample is 0 of full scale",
        "text.wav": "is no sound file that can be read (Format not recognised)",
    }


def test_what_cannot_be_used_has_a_line_and_the_rest_goes_on(voices: Path) -> None:
    expected = bad(voices / "p999")
    (voices / "notes.txt").touch()
    write(voices / "p225" / "hard.wav", (4 * spoken("p225", "ai")).clip(-1, 1))
    data, said = loaded(voices)
    assert said[0] == "files that are no recordings: .txt"
    lines = dict(line.removeprefix("p999/").split(" ", 1) for line in said[1:10])
    assert {name: line[: len(expected[name])] for name, line in lines.items()} == expected
    assert said[10:] == [
        "left out 9 of 25 recordings",
        "no recording of speaker p999 could be used",
        "clipped, so that their peaks are missing: p225/hard.wav",
    ]
    assert set(data.labels["speaker"].classes) == set(SPEAKERS)
    # What is wrong with them is known from the cache, too.
    again, told = loaded(voices)
    assert told == said
    assert again.fingerprint() == data.fingerprint()


def test_reading_that_was_stopped_goes_on(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loaded(voices)[0].fingerprint()
    read: list[str] = []
    real = segments.read_recording

    def stopping(path: Path, *rest: Any) -> Any:
        if len(read) == 6:
            raise KeyboardInterrupt
        read.append(path.name)
        return real(path, *rest)

    monkeypatch.setenv("XDG_CACHE_HOME", str(voices.parent / "other"))
    with monkeypatch.context() as patch:
        patch.setattr(segments, "read_recording", stopping)
        with pytest.raises(KeyboardInterrupt):
            loaded(voices)
        read.clear()
        patch.setattr(segments, "read_recording", lambda path, *rest: (read.append(path.name), real(path, *rest))[1])
        assert loaded(voices)[0].fingerprint() == whole
    assert len(read) == len(SPEAKERS) * len(WORDS) - 6


@pytest.mark.parametrize(
    ("names", "labels", "split", "said"),
    [
        (
            [f"data/{part}/DR{i}/{sex}AB{i}0/{sentence}.WAV" for part, ids in (("TRAIN", "1234"), ("TEST", "56")) for i in ids
             for sex in "FM" for sentence in ("SA1", "SX12")],
            {"speaker": 12, "dialect": 6, "sentence": 2, "sex": 2},
            "as the folders or the table say",
            "the layout of TIMIT",
        ),
        (
            [f"LibriSpeech/{part}/{who}/{who}1/{who}-{who}1-000{i}.flac"
             for part, ids in (("train-clean-100", (19, 26)), ("dev-clean", (84,)), ("test-clean", (61,)))
             for who in ids for i in range(2)],
            {"speaker": 4},
            "as the folders or the table say",
            "the layout of LibriSpeech",
        ),
        (
            [f"wav48/p22{who}/p22{who}_00{i}_mic{mic}.flac" for who in range(5) for i in range(2) for mic in (1, 2)],
            {"speaker": 5},
            "by speaker",
            "the layout of VCTK",
        ),
        (
            [f"{part}/anna{i}/{j}.wav" for part in ("train", "test") for i in range(4) for j in range(2)],
            {"speaker": 4},
            "as the folders or the table say",
            "folders are taken as split/speaker/recording",
        ),
    ],
    ids=["TIMIT", "LibriSpeech", "VCTK", "speakers"],
)  # fmt: skip
def test_layouts_of_corpora_are_recognised(
    names: list[str], labels: dict[str, int], split: str, said: str, tmp_path: Path
) -> None:
    for i, name in enumerate(names):
        path = tmp_path / "in" / name
        write(path, noise(i), **({"format": "NIST"} if "TRAIN" in name else {"format": path.suffix[1:].upper()}))
    data, told = loaded(tmp_path / "in")
    assert {name: len(label.classes) for name, label in data.labels.items()} == labels
    assert f"split {split}" in understood(data)
    assert said in understood(data)
    assert set(data.split.tolist()) == {0, 1, 2}
    mic = ["left out 10 recordings of the second microphone, which heard the same"] if "VCTK" in said else []
    assert told == mic
    assert len(data) == (len(names) - (10 if mic else 0)) * 3  # 63 frames each


def test_a_table_gives_labels_speakers_and_splits(voices: Path) -> None:
    table = voices / "about.csv"
    rows = [f"{who}/{word}.wav,{who},{word}" for who in SPEAKERS for word in WORDS]
    table.write_text("\n".join(["file,speaker,word", *rows]))
    data, said = loaded(voices, labels=table)
    assert said == []
    assert {name: label.role for name, label in data.labels.items()} == {"speaker": "static", "word": "dynamic"}
    parts = ["train", "train", "validation", "test", "test"]
    split = [row + f",{parts[i // 3]}" for i, row in enumerate(rows)]
    table.write_text("\n".join(["file,speaker,word,split", *split]))
    assert "split as the folders or the table say" in understood(loaded(voices, labels=table, by="speaker")[0])


def test_leaks_between_splits_are_refused(voices: Path) -> None:
    table = voices / "about.csv"
    parts = dict(zip(WORDS, ("train", "validation", "test"), strict=True))
    rows = [f"{who}/{word}.wav,{who},{part}" for who in SPEAKERS for word, part in parts.items()]
    table.write_text("\n".join(["file,speaker,split", *rows]))
    loaded(voices, labels=table)  # the table may split utterances
    said = r"speaker p225 is in train and validation and test \(and \d+ more speakers are in several parts\), as the folders"
    with pytest.raises(UsageError, match=said):
        loaded(voices, labels=table, by="speaker")
    (voices / "p229" / "copy.wav").write_bytes((voices / "p225" / "ai.wav").read_bytes())
    table.write_text("\n".join(["file,speaker,split", *rows, "p229/copy.wav,p229,test"]))
    with pytest.raises(
        UsageError, match=r"p225/ai\.wav and p229/copy\.wav hold the same recording, and are for train and test"
    ):
        loaded(voices, labels=table)


@pytest.mark.parametrize("speakers", [2, 3])
def test_few_speakers_are_told_how_else_to_split(speakers: int, tmp_path: Path) -> None:
    for who in list(SPEAKERS)[:speakers]:
        for word in WORDS:
            write(tmp_path / "in" / who / f"{word}.wav", spoken(who, word))
    with pytest.raises(UsageError, match=rf"of {speakers} speakers; .*or split by utterance with --data\.by utterance"):
        loaded(tmp_path / "in", validation=0.1, test=0.2)
    assert set(loaded(tmp_path / "in", by="utterance")[0].split.tolist()) == {0, 1, 2}


def test_one_speaker_has_nobody_to_swap_with(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / "in" / "anna" / f"{i}.wav", noise(i))
    with pytest.raises(
        UsageError, match=r"no recording is for validation and test: .* of 1 speaker; give 3 speakers or more"
    ):
        loaded(tmp_path / "in")
    assert loaded(tmp_path / "in", by="utterance")[1] == [
        "all recordings are of one speaker, anna: there is no other voice to swap with"
    ]


def test_an_extra_that_is_missing_is_named(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UsageError, match=r"a sound file needs soundfile, .*: pip install 'pyro-dsvae\[speech\]'$"):
        loaded(voices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, "window = 1; it has at least 2 steps"),
        ({"trim": 0.0}, "trim is 0.0; it must be positive"),
        ({"rate": 44}, "rate = 44; it is in samples a second"),
        ({"folders": "speaker/word"}, "here all recordings have 1 level"),
        ({"dynamic": "speakr"}, r"there is no label 'speakr' \(did you mean speaker\?\)"),
        ({"labels": "none.csv"}, r"none\.csv: cannot be read: No such file"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_line(options: dict[str, Any], message: str, voices: Path) -> None:
    with pytest.raises(UsageError, match=message):
        loaded(voices, **options)


@pytest.mark.parametrize(
    ("content", "message"), [((), "holds no recording; a recording is one of .wav"), (("a.txt",), "but .txt; a")]
)
def test_a_folder_without_recordings_is_refused(content: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in content:
        (tmp_path / "in" / name).touch()
    with pytest.raises(UsageError, match=message):
        loaded(tmp_path / "in")
    with pytest.raises(UsageError, match="does not exist; SpeechFolder takes the folder that holds the recordings"):
        loaded(tmp_path / "none")


def test_a_sound_that_is_too_loud_is_made_softer_and_not_clipped(tmp_path: Path) -> None:
    import soundfile

    sound = 3 * torch.from_numpy(spoken("p228", "io"))
    assert write_wav(tmp_path / "a.wav", sound, 16_000) == pytest.approx(0.99 / float(sound.abs().max()))
    back, rate = soundfile.read(str(tmp_path / "a.wav"))
    assert rate == 16_000
    assert np.abs(back / np.abs(back).max() - (sound / sound.abs().max()).numpy()).max() < 1e-3
