"""Speech of synthetic voices: does f hold the voice and z the words, of speakers and of words that the fit never heard?

    apt-get install flite espeak-ng
    python -m benchmarks.speech OUT                            3 fits of 2,500 steps, 8 minutes of a core each, and measures
                                                               of as long, which are written to results/speech.md
    python -m benchmarks.speech OUT --seeds 0 --steps 900
    python -m benchmarks.speech OUT --runs RUN RUN             no fits: measures runs that are there
    python -m benchmarks.speech OUT --split validation         of the validation voices, to choose options by

44 voices speak 60 words at two speeds (`SpokenWords`). The fit hears the training voices with 45 words. All measures are of
the test voices with the other 15 words. Who tells words learns from the training voices with the 15 words, and who
tells voices from all voices with the 45 words: neither is asked about what it learnt from.

A latent that stays cannot hide all of a word: a recording is one word, so the mean of its frames tells it. Rows beside those
of f say how well, and what a draw of f tells, in which its own uncertainty drowns what is small.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.data.dataset import Label
from pyro_dsvae.data.speech import synthetic_voices
from pyro_dsvae.data.speech.cepstra import cepstra, mel_cepstral_distortion
from pyro_dsvae.data.speech.recordings import Recording, read_recording
from pyro_dsvae.data.speech.resynthesis import resynthesised
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.data.speech.spoken_words import SpokenWords
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.latent_space.whole_clips import moments_of
from pyro_dsvae.inference.posteriors.views import VocalTract
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.metrics.speech import Utterances, utterances, word_probes
from pyro_dsvae.runs.run import Run

RESULTS = Path(__file__).parent / "results" / "speech.md"
HELD_WORDS, PAIRS, SHORTEST = 15, 120, 32


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
    """Every recording of the corpus that is no shorter than a window."""
    found = []
    for voice in synthetic_voices.VOICES:
        for path in sorted((folder / voice).glob("*.wav")):
            recording = read_recording(path, how.rate, 40.0)
            x = how.of(recording.sound)
            if len(x) >= SHORTEST:
                found.append(Spoken(voice, path.stem.rpartition("-")[0], recording, x))
    return found


# --- codes ------------------------------------------------------------------------------------------------------------


def encoded(run: Run, spoken: Sequence[Spoken], drawn: bool = False) -> Utterances:
    """Codes of recordings from their windows, which overlap by half, as `evaluate` has them, or with f drawn."""
    names, windows, of = [], [], []
    for i, each in enumerate(spoken):
        for start in range(0, len(each.x) - run.length + 1, run.length // 2):
            names.append(f"{i} from {start}")
            windows.append(each.x[start : start + run.length])
            of.append(i)
    voices = np.array([synthetic_voices.VOICES.index(spoken[i].voice) for i in of])
    words = np.array([synthetic_voices.WORDS.index(spoken[i].word) for i in of])
    labels = {
        "speaker": Label(torch.from_numpy(voices), synthetic_voices.VOICES, "static"),
        "word": Label(torch.from_numpy(words), synthetic_voices.WORDS, "dynamic"),
    }
    prior = moments_of(run.model.static_prior())
    codes = run.encode(torch.stack(windows), draws=int(drawn))
    if drawn:
        codes = replace(codes, f=codes.f_draws[0])
    return utterances(names, labels, codes, (prior[0].detach(), prior[1].detach()))


def mean_spectra(codes: Utterances, spoken: Sequence[Spoken]) -> Utterances:
    """The same recordings with the mean of their log spectra, (P,), in place of f."""
    return replace(codes, f=torch.stack([each.x.mean(0) for each in spoken]))


# --- judges of sound --------------------------------------------------------------------------------------------------


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
    """Who tells voices and words from sound, and what they are right about on true recordings of the test voices."""

    voice: Judge
    word: Judge

    @classmethod
    def trained(cls, parts: Mapping[str, list[Spoken]]) -> "Judges":
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
        return cls(Judge(timbre, [s.x for s in heard], [s.voice for s in heard]), words)

    def right(self, x: Sequence[Tensor], voices: Sequence[str], words: Sequence[str]) -> tuple[float, float]:
        """Shares of sounds, of their log spectra, that have these voices, and these words."""
        said = self.voice.says(x), self.word.says(x)
        return _share(said[0], voices), _share(said[1], words)


def _share(said: Sequence[str], true: Sequence[str]) -> float:
    return float(np.mean([one == other for one, other in zip(said, true, strict=True)]))


# --- measures ---------------------------------------------------------------------------------------------------------


def measure(path: Path, parts: Mapping[str, list[Spoken]], judges: Judges, split: str = "test") -> dict[str, float]:
    """All measures of one run, of the voices of a split."""
    run = pyro_dsvae.load(path)
    assert isinstance(run.data, SpeechSource)
    spectra = run.data.segmenting().spectra
    test = parts[f"{split}, new"]
    groups = parts["train, heard"][::5], parts["train, new"], test
    seen, new, codes = (encoded(run, some) for some in groups)
    who = codes.labels["speaker"].values
    found = {
        "EER f": equal_error_rate(codes.f, who, seen.f),
        "EER z": equal_error_rate(codes.z, who, seen.z),
    }
    found["gap"] = found["EER z"] - found["EER f"]
    probes = word_probes(new, codes, "word")
    found |= {f"word from {name}": probes[name].linear for name in ("z", "f")}
    found |= {f"word from {name}, MLP": probes[name].nonlinear for name in ("z", "f")}
    found["word by chance"] = probes["f"].chance
    found["word from f, drawn"] = word_probes(*(encoded(run, some, True) for some in groups[1:]), "word")["f"].linear
    seen, new, codes = map(mean_spectra, (seen, new, codes), groups)
    found["EER of means"] = equal_error_rate(codes.f, who, seen.f)
    found["word from means"] = word_probes(new, codes, "word")["f"].linear
    # As `latents swap` does it: f pooled over all of a recording, z blended where windows meet.
    whole = [run.encode_whole(s.x[None]) for s in test]
    f, z = [each.f[0] for each in whole], [each.z[0] for each in whole]
    again = [run.decode(f[i], z[i]) for i in range(len(test))]
    found["distortion"] = statistics.fmean(mel_cepstral_distortion(s.x, x) for s, x in zip(test, again, strict=True))
    pairs = conversions(test)
    made = [sound_of(spectra, run.decode(f[i], z[j]), test[j]) for i, j in pairs]
    some = test[::2]  # sound takes a while
    kept = [sound_of(spectra, x, s) for x, s in zip(again[::2], some, strict=True)]
    rows = {
        "true": ([s.x for s in test], [s.voice for s in test], [s.word for s in test]),
        "reconstructed": (kept, [s.voice for s in some], [s.word for s in some]),
        "converted": (made, [test[i].voice for i, _ in pairs], [test[j].word for _, j in pairs]),
    }
    for name, (x, voices, words) in rows.items():
        found[f"{name}: voice"], found[f"{name}: word"] = judges.right(x, voices, words)
    sources = [test[j].voice for _, j in pairs]
    found["converted: voice of the source"] = _share(judges.voice.says(made), sources)
    return found


def conversions(test: Sequence[Spoken], count: int = PAIRS) -> list[tuple[int, int]]:
    """Which recording gives the voice, and which the words: of other voices and other words, at random."""
    draw = np.random.default_rng(0)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        i, j = draw.integers(len(test), size=2).tolist()
        if test[i].voice != test[j].voice and test[i].word != test[j].word:
            found.append((i, j))
    return found


def sound_of(spectra: Spectra, x: Tensor, timing: Spoken) -> Tensor:
    """The log spectra of the sound that is made of x, at the level of recordings: what is heard, not what was decoded."""
    recording = timing.recording
    phase = spectra.transform(recording.sound).angle()[: len(x)]
    sound = torch.nan_to_num(resynthesised(spectra, x.float(), len(recording.sound), phase, iterations=32))
    level = sound.square().mean().sqrt().clamp(min=1e-8)
    return spectra.of(sound * (recording.sound.square().mean().sqrt() / level))


# --- the report -------------------------------------------------------------------------------------------------------

# Name, what it is, what was aimed at.
ROWS: Sequence[tuple[str, str, str]] = (
    ("EER f", "equal error rate of speaker verification by f", "at most 5 %"),
    ("EER z", "by z, its mean over the utterance", "at least 30 %"),
    ("gap", "the difference", "at least 25 points"),
    ("word from z", "word told from z, linear probe", "at least 90 %"),
    ("word from z, MLP", "from z, network", ""),
    ("word from f", "from f, linear probe", "at most 10 points above chance"),
    ("word from f, MLP", "from f, network", ""),
    ("word from f, drawn", "from a draw of f, linear probe", ""),
    ("word by chance", "by chance", ""),
    ("word from means", "from the mean log spectrum of the recording, linear probe, for comparison", ""),
    ("EER of means", "equal error rate by the mean log spectrum, for comparison", ""),
    ("converted: voice", "converted: judged as the target's voice", "at least 90 %"),
    ("converted: voice of the source", "judged as the source's voice", ""),
    ("converted: word", "the word is judged right", "at least 85 %"),
    ("reconstructed: voice", "reconstructed: voice judged right", ""),
    ("reconstructed: word", "word judged right", ""),
    ("true: voice", "true recordings: voice judged right", ""),
    ("true: word", "word judged right", ""),
    ("distortion", "mel-cepstral distortion of reconstructions, dB", ""),
)


def page(found: Sequence[Mapping[str, float]], said: str) -> str:
    """results/speech.md."""
    lines = [
        "# Speech of synthetic voices",
        "",
        said,
        "",
        "| measure | mean | lowest to highest | aim |",
        "|---|---|---|---|",
    ]
    for name, what, aim in ROWS:
        values = [one[name] for one in found]
        shown = [
            f"{v:.2f}" if name == "distortion" else f"{100 * v:.1f} %"
            for v in (statistics.fmean(values), min(values), max(values))
        ]
        lines.append(f"| {what} | {shown[0]} | {shown[1]} to {shown[2]} | {aim} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="the folder of recordings and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2_500, help="of each fit")
    parser.add_argument("--static-size", type=int, default=64, help="dimension F of f")
    parser.add_argument("--runs", type=Path, nargs="+", help="runs to measure; no fits")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="whose voices are measured")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    voices = options.out / "voices"
    source = SpokenWords(voices, held_words=HELD_WORDS)
    synthetic_voices.make(voices / "recordings")
    runs = options.runs or []
    if not runs:
        for seed in options.seeds:
            path = options.out / f"seed-{seed}"
            if not path.exists():
                fit(data=source, steps=options.steps, static_size=options.static_size, seed=seed, out=path)
            runs.append(path)
    first = pyro_dsvae.load(runs[0])
    assert isinstance(first.data, SpeechSource)
    parts: dict[str, list[Spoken]] = {}
    for each in read_all(voices / "recordings", first.data.segmenting().spectra):
        parts.setdefault(each.part, []).append(each)
    judges, found = Judges.trained(parts), []
    for path in runs:
        found.append(measure(path, parts, judges, options.split))
        print(path, {name: round(value, 3) for name, value in found[-1].items()}, flush=True)
    said = (
        f"`python -m benchmarks.speech OUT --steps {options.steps} --static-size {options.static_size}`: fits with "
        f"{len(runs)} seed{'s' if len(runs) > 1 else ''}, CPU, torch {torch.__version__.partition('+')[0]}."
    )
    options.results.write_text(page(found, said))


if __name__ == "__main__":
    main()
