"""Voice conversion: whole recordings into the latents of a run and back to sound."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import SpeechFolder
from pyro_dsvae.actions import swap as swaps
from pyro_dsvae.actions.impute import impute
from pyro_dsvae.actions.interpolate import interpolate
from pyro_dsvae.actions.sample import sample
from pyro_dsvae.actions.swap import swap
from pyro_dsvae.clips.sounds import read_sound, write_sound
from pyro_dsvae.data.speech.resynthesis import signal_to_noise
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.models.errors import UsageError
from tests.data.speech.voices import SPEAKERS, WORDS, spoken, write

soundfile = pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")
WINDOW = 16


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a folder of recordings; it has seen windows of 16 frames."""
    folder = tmp_path_factory.mktemp("speech")
    for who in SPEAKERS:
        for word in WORDS:
            write(folder / "in" / f"{who}-{word}.wav", spoken(who, word))  # no labels, so no judge is trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        fitted = fit(
            data=SpeechFolder(folder / "in", WINDOW, bands=0, validation=0.2, test=0.2),
            out=folder / "run",
            steps=2,
            static_size=5,
            latent_size=4,
            posterior=partial(Posterior, hidden_size=8, feature_size=8, views="vocal_tract"),
            device="cpu",
            optimisation=Optimisation(batch_size=4, evaluations=1),
        )
    return pyro_dsvae.load(fitted.run)


@pytest.fixture(autouse=True)
def _data_are_cached(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))


def segmenting(run: Run) -> SpeechFolder:
    assert isinstance(run.data, SpeechFolder)
    return run.data


def test_words_of_a_recording_are_said_in_another_voice(run: Run, tmp_path: Path) -> None:
    """f is that of the whole target, z that of the whole source; the sound has the source's timing and level."""
    source = write(tmp_path / "source.wav", 0.3 * spoken("p225", "ai", seconds=0.9))
    target = write(tmp_path / "target.flac", spoken("p228", "ua", seconds=0.4), rate=16_000)
    folder = swap(run.path, appearances=str(target), motions=str(source), format="npz,wav")
    frames = torch.from_numpy(np.load(folder / "swap.npz")["frames"][0, 0])
    how = segmenting(run).segmenting()
    (clips, recording), (voice, _) = (read_sound(path, how) for path in (source, target))
    assert frames.shape == (clips.length, how.spectra.size)
    assert clips.length > 2 * WINDOW  # else nothing is pooled
    f, z = run.encode_whole(voice.frames).f, run.encode_whole(clips.frames).z
    torch.testing.assert_close(frames, run.decode(f, z)[0], rtol=1e-4, atol=1e-4)
    heard, rate = soundfile.read(str(folder / "clips" / "appearance-00-motion-00.wav"))
    assert rate == 16_000
    assert len(heard) == len(recording.sound)
    assert 0 < np.abs(heard).max() < 1
    # What is heard has the spectra that were decoded, at the level of the source.
    again = how.spectra.of(torch.from_numpy(heard).float() * recording.gain)
    loud = frames > frames.max() - 3
    assert float((again - frames)[loud].abs().median()) < 0.7


def test_frames_that_nothing_changed_are_the_recording(run: Run, tmp_path: Path) -> None:
    """Without a model between: analysis, pooling and resynthesis leave the recording as it was, but for silence at its ends."""
    how = segmenting(run).segmenting()
    path = write(tmp_path / "a.wav", 0.3 * spoken("p226", "io"))
    clips, recording = read_sound(path, how)
    write_sound(tmp_path / "b.wav", clips.frames[0], how, recording)
    start = round(recording.start * 16_000)
    before = torch.from_numpy(soundfile.read(str(path))[0])[start : start + len(recording.sound)]
    assert signal_to_noise(before, torch.from_numpy(soundfile.read(str(tmp_path / "b.wav"))[0])) > 20


def test_windows_of_the_data_become_sound_from_a_random_phase(run: Run) -> None:
    folder = swap(run.path, appearances="0", motions="1", format="wav")
    heard, _ = soundfile.read(str(folder / "clips" / "appearance-00-motion-00.wav"))
    assert len(heard) == (WINDOW - 1) * Spectra().hop + 1
    assert np.abs(heard).max() > 0


def heard(path: Path) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(str(path))[0]).float()


def test_voices_between_two_say_the_words_of_the_first(run: Run, tmp_path: Path) -> None:
    """Its timing and its level, and at the first end what a swap of the recording with itself gives."""
    first = write(tmp_path / "a.wav", 0.3 * spoken("p225", "ai", seconds=0.6))
    other = write(tmp_path / "b.wav", spoken("p228", "ua", seconds=0.9))
    folder = interpolate(run.path, f"{first},{other}", latent="static", steps=3, format="wav,png,npz")
    own = swap(run.path, appearances=str(first), motions=str(first), format="wav")
    made = [heard(folder / "clips" / f"{i:02}.wav") for i in range(3)]
    assert {len(sound) for sound in made} == {len(read_sound(first, segmenting(run).segmenting())[1].sound)}
    torch.testing.assert_close(made[0], heard(own / "clips" / "appearance-00-motion-00.wav"), atol=1e-3, rtol=0)
    frames = np.load(folder / "interpolate.npz")["frames"]
    assert not np.allclose(frames[0], frames[2], atol=1e-3)
    assert (folder / "interpolate.png").exists()


def test_new_speech_is_written_as_sound(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", 0.3 * spoken("p225", "ai", seconds=0.6))
    folder = sample(run.path, number=2, keep="dynamic", clip=str(source), format="wav")
    length = len(read_sound(source, segmenting(run).segmenting())[1].sound)
    assert [len(heard(folder / "clips" / f"{i:03}.wav")) for i in range(2)] == [length, length]
    assert sorted(p.name for p in (sample(run.path, number=3, format="wav") / "clips").iterdir()) == [
        "000.wav", "001.wav", "002.wav"
    ]  # fmt: skip


def test_gaps_are_filled_without_the_phase_of_what_was_hidden(run: Run, tmp_path: Path) -> None:
    """Two recordings that differ in the gap alone give one sound."""
    how = segmenting(run).segmenting()
    sound = 0.3 * spoken("p225", "ai", seconds=0.6)
    other = sound.copy()
    hop, gap = how.spectra.hop, slice(20, 40)
    other[41 * hop : 45 * hop] *= -1  # 12 hops of silence are cut off
    frames = ",".join(map(str, range(gap.start, gap.stop)))
    made = []
    for name, samples in (("a", sound), ("b", other)):
        path = write(tmp_path / f"{name}.wav", samples)
        done = impute(run.path, str(path), missing_frames=frames, draws=1, method="amortised", format="wav")
        made.append(heard(done / "clips" / "00.wav"))
    torch.testing.assert_close(made[0], made[1], atol=1e-3, rtol=0)
    assert len(made[0]) == len(read_sound(tmp_path / "a.wav", how)[1].sound)


def test_what_is_no_speech_is_refused(run: Run, tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros(16_000))
    with pytest.raises(UsageError, match=r"silent\.wav is silent: its largest sample is 0"):
        swap(run.path, appearances="0", motions=str(silent))
    for name in ("notes.csv", "clip.png", "frames"):
        (tmp_path / name).write_text("a,b\n")
        with pytest.raises(
            UsageError, match=rf"{name} is no recording, and this run is on speech: give one of \.wav, \.flac"
        ):
            swap(run.path, appearances="0", motions=str(tmp_path / name))
    with pytest.raises(
        UsageError, match=r"gone\.wav: no such file; a clip of a run on speech is an index, a recording \(\.wav"
    ):
        swap(run.path, appearances="0", motions=str(tmp_path / "gone.wav"))
    with pytest.raises(UsageError, match="--format got 'mp3'; it is one or more of gif, png, npz, mp4, wav"):
        swap(run.path, appearances="0", motions="1", format="mp3")


@pytest.mark.parametrize("format", [None, "png,wav"])
def test_a_missing_extra_is_told_before_the_work(format: str | None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setattr(swaps, "Source", None)  # the work would begin here
    with pytest.raises(
        UsageError, match=r"a WAV file needs soundfile, which is not installed: pip install 'pyro-dsvae\[speech\]'"
    ):
        swap(run.path, appearances="0", motions="1", format=format)


def test_labelled_speech_is_measured_by_whole_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the codes of all their windows, held against a computation here; speakers of the test split are new."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module, name, few in (
        ("judges.own", "STEPS", 4),
        ("metrics.probes", "STEPS", 20),
        ("metrics.probes", "ITERATIONS", 9),
    ):
        monkeypatch.setattr(f"pyro_dsvae.{module}.{name}", few)
    rows = ["file,speaker,word,split"]
    for i, who in enumerate(SPEAKERS):
        for word in WORDS:
            write(tmp_path / "in" / who / f"{word}.wav", spoken(who, word))
            rows.append(f"{who}/{word}.wav,{who},{word},{('train', 'train', 'validation', 'test', 'test')[i]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    fitted = fit(
        data=SpeechFolder(tmp_path / "in", WINDOW, bands=40, labels=tmp_path / "labels.csv"),
        out=tmp_path / "run",
        steps=2,
        static_size=5,
        latent_size=4,
        static_prior="StandardNormal",
        posterior=partial(Posterior, hidden_size=8, feature_size=8),
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
    )
    result = evaluate(fitted.run)
    found = result.speech
    assert found is not None
    assert (found.utterances, found.speakers, found.told) == (6, 2, {"word": 6})
    opened = pyro_dsvae.load(fitted.run)
    part = opened.sequences().part("test")
    assert part.names is not None
    codes = opened.encode(part.frames)
    of = [name.partition(" from ")[0] for name in part.names.entities]
    mean = torch.stack([codes.z[[name == each for name in of]].flatten(0, 1).mean(0) for each in dict.fromkeys(of)])
    train = opened.encode(opened.sequences().part("train").frames)
    names = opened.sequences().part("train").names
    assert names is not None
    seen = [name.partition(" from ")[0] for name in names.entities]
    known = torch.stack([train.z[[n == each for n in seen]].flatten(0, 1).mean(0) for each in dict.fromkeys(seen)])
    expected = equal_error_rate(mean, torch.arange(6) // 3, known)
    assert found.equal_error_z == pytest.approx(expected)
    page = (result.path / "evaluation.md").read_text()
    assert "6 whole recordings of 2 speakers" in page
    assert "No speaker of the test split is in the training split, so judge and probes cannot name one" in page
    assert result.series == {}
    assert result.scores is None
