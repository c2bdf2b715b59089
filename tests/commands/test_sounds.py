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
from pyro_dsvae.actions.swap import swap
from pyro_dsvae.clips.sounds import read_sound, write_sound
from pyro_dsvae.data.speech.resynthesis import signal_to_noise
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
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
