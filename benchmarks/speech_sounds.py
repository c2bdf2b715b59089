"""Recordings of synthetic voices, who tells voices and words from sound, and the sound that is made of log spectra."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.data.speech import synthetic_voices
from pyro_dsvae.data.speech.cepstra import cepstra
from pyro_dsvae.data.speech.recordings import Recording, read_recording
from pyro_dsvae.data.speech.resynthesis import resynthesised
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.inference.posteriors.views import VocalTract

HELD_WORDS, SHORTEST = 15, 32


@dataclass(frozen=True)
class Spoken:
    """A recording: who says what, and its log spectra (T, P)."""

    voice: str
    word: str
    recording: Recording
    x: Tensor

    @property
    def part(self) -> str:
        """The split of its voice, and whether the fit hears its word: "train, heard", "test, new", …"""
        heard = self.word in synthetic_voices.WORDS[:-HELD_WORDS]
        return f"{synthetic_voices.split_of(self.voice)}, {'heard' if heard else 'new'}"


def read_all(folder: Path, how: Spectra) -> list[Spoken]:
    """Every recording of the first 44 voices that is no shorter than a window; the others are for training alone."""
    found = []
    for voice in synthetic_voices.VOICES:
        for path in sorted((folder / voice).glob("*.wav")):
            recording = read_recording(path, how.rate, 40.0)
            x = how.of(recording.sound)
            if len(x) >= SHORTEST:
                found.append(Spoken(voice, path.stem.rpartition("-")[0], recording, x))
    return found


class Judge:
    """A classifier of sound: a support vector machine on features of log spectra, trained on true recordings.

    Args:
        features: Of log spectra (T, P), (K,).
        sounds: Log spectra to learn from, each (T, P).
        said: The class of each.
    """

    def __init__(self, features: Callable[[Tensor], Tensor], sounds: Sequence[Tensor], said: Sequence[str]) -> None:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        self.features = features
        x = torch.stack([features(each) for each in sounds]).numpy()
        self.machine = make_pipeline(StandardScaler(), SVC(C=10.0))
        self.machine.fit(x, np.array(said))

    def says(self, x: Sequence[Tensor]) -> list[str]:
        """The class of each sound, of its log spectra (T, P)."""
        return list(self.machine.predict(torch.stack([self.features(each) for each in x]).numpy()))


def timbre(x: Tensor) -> Tensor:
    """Mean and spread of each cepstral coefficient: who speaks, not what."""
    c = cepstra(x)
    return torch.cat([c.mean(0), c.std(0)])


def course(x: Tensor) -> Tensor:
    """Means of each cepstral coefficient over twelve equal parts, less the mean over all: what is said."""
    c = cepstra(x, 13)
    parts = [(c - c.mean(0))[len(c) * k // 12 : -(-len(c) * (k + 1) // 12)].mean(0) for k in range(12)]
    return torch.cat(parts)


@dataclass(frozen=True)
class Judges:
    """Who tells voices and words from sound.

    Attributes:
        voice: Tells all voices.
        few: Tells the voices of the measured split, and knows no others.
        word: Tells words.
    """

    voice: Judge
    few: Judge
    word: Judge

    @classmethod
    def trained(cls, parts: Mapping[str, list[Spoken]], split: str) -> "Judges":
        heard = [each for part, spoken in parts.items() if part.endswith("heard") for each in spoken]
        new = parts["train, new"]
        # Words also in voices of other resonances: 31 are too few to tell them in any.
        others = VocalTract(warp=0.12, gain=0.0, tilt=0.0, shape=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            warped = [
                others.dynamic_view(s.x[None], torch.ones(1, len(s.x), dtype=torch.bool), True)[0] for s in 2 * new
            ]
        words = Judge(course, [*(s.x for s in new), *warped], 3 * [s.word for s in new])
        voice, few = (
            Judge(timbre, [s.x for s in some], [s.voice for s in some]) for some in (heard, parts[f"{split}, heard"])
        )
        return cls(voice, few, words)

    def right(self, x: Sequence[Tensor], voices: Sequence[str], words: Sequence[str]) -> tuple[float, float]:
        """Shares of sounds, of their log spectra, that have these voices, and these words."""
        said = self.voice.says(x), self.word.says(x)
        return share(said[0], voices), share(said[1], words)


def share(said: Sequence[str], true: Sequence[str]) -> float:
    """How many are said as they are."""
    return float(np.mean([one == other for one, other in zip(said, true, strict=True)]))


def sound_of(spectra: Spectra, x: Tensor, timing: Spoken) -> Tensor:
    """The log spectra of the sound that is made of x, at the level of recordings: what is heard, not what was decoded."""
    recording = timing.recording
    phase = spectra.transform(recording.sound).angle()[: len(x)]
    sound = torch.nan_to_num(resynthesised(spectra, x.float(), len(recording.sound), phase, iterations=32))
    level = sound.square().mean().sqrt().clamp(min=1e-8)
    return spectra.of(sound * (recording.sound.square().mean().sqrt() / level))
