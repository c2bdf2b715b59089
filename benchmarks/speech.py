"""Speech of synthetic voices: does f hold the voice and z the words, of speakers and of words that the fit never heard?

    apt-get install flite espeak-ng
    python -m benchmarks.speech OUT                            3 fits of 900 steps, 4 minutes of a core each, and measures
                                                               of as long, which are written to results/speech.md
    python -m benchmarks.speech OUT --seeds 0 --steps 1800
    python -m benchmarks.speech OUT --runs RUN RUN             no fits: measures runs that are there
    python -m benchmarks.speech OUT --split validation         of the validation voices, to choose options by

100 voices speak 60 words at two speeds (`SpokenWords`). The fit hears the 87 training voices with 45 words. All measures are
of the 8 test voices with the other 15 words. Who tells words learns from 31 training voices with the 15 words, and who
tells voices from 44 voices, those of the test among them, with the 45 words: neither is asked about what it learnt from.

A latent that stays cannot hide all of a word: a recording is one word, so the mean of its frames tells it. Rows beside those
of f say how well, and what a draw of f tells, in which its own uncertainty drowns what is small.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import pyro_dsvae
from benchmarks.speech_sounds import HELD_WORDS, Judges, Spoken, read_all, share, sound_of
from pyro_dsvae.data.dataset import Label
from pyro_dsvae.data.speech import synthetic_voices
from pyro_dsvae.data.speech.cepstra import mel_cepstral_distortion
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.speech.spectra import Spectra
from pyro_dsvae.data.speech.spoken_words import SpokenWords
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.latent_space.whole_clips import moments_of
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.metrics.speech import Utterances, utterances, word_probes
from pyro_dsvae.runs.run import Run

RESULTS = Path(__file__).parent / "results" / "speech.md"
PAIRS = 120
EVERY = 4  # sound takes a while: reconstructed and copied are every fourth recording


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
    some = test[::EVERY]
    kept = [sound_of(spectra, x, s) for x, s in zip(again[::EVERY], some, strict=True)]
    rows = {
        "true": ([s.x for s in test], [s.voice for s in test], [s.word for s in test]),
        "reconstructed": (kept, [s.voice for s in some], [s.word for s in some]),
        "converted": (made, [test[i].voice for i, _ in pairs], [test[j].word for _, j in pairs]),
    }
    for name, (x, voices, words) in rows.items():
        found[f"{name}: voice"], found[f"{name}: word"] = judges.right(x, voices, words)
    targets, sources = ([test[pair[k]].voice for pair in pairs] for k in (0, 1))
    few = judges.few.says(made)
    found["converted: voice of the source"] = share(judges.voice.says(made), sources)
    found |= {"converted: target of few": share(few, targets), "converted: source of few": share(few, sources)}
    found["reconstructed: voice of few"] = share(judges.few.says(kept), [s.voice for s in some])
    return found


def copied(spectra: Spectra, parts: Mapping[str, list[Spoken]], judges: Judges, split: str) -> dict[str, float]:
    """What the judges say of true log spectra that were made sound without a model: more than that no model can reach."""
    some = parts[f"{split}, new"][::EVERY]
    made = [sound_of(spectra, s.x, s) for s in some]
    right = judges.right(made, [s.voice for s in some], [s.word for s in some])
    return {"copied: voice": right[0], "copied: word": right[1]}


def conversions(test: Sequence[Spoken], count: int = PAIRS) -> list[tuple[int, int]]:
    """Which recording gives the voice, and which the words: of other voices and other words, at random."""
    draw = np.random.default_rng(0)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        i, j = draw.integers(len(test), size=2).tolist()
        if test[i].voice != test[j].voice and test[i].word != test[j].word:
            found.append((i, j))
    return found


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
    ("converted: target of few", "judged as the target's by who knows the split's voices alone, eight in the test", ""),
    ("converted: source of few", "as the source's by the same", ""),
    ("converted: word", "the word is judged right", "at least 85 %"),
    ("reconstructed: voice", "reconstructed: voice judged right", ""),
    ("reconstructed: voice of few", "by who knows the split's voices alone", ""),
    ("reconstructed: word", "word judged right", ""),
    ("copied: voice", "true spectra made sound without a model: voice judged right", ""),
    ("copied: word", "word judged right", ""),
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
    parser.add_argument("--steps", type=int, default=900, help="of each fit")
    parser.add_argument("--static-size", type=int, default=32, help="dimension F of f")
    parser.add_argument("--runs", type=Path, nargs="+", help="runs to measure; no fits")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="whose voices are measured")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    voices = options.out / "voices"
    source = SpokenWords(voices, voices=synthetic_voices.MOST, held_words=HELD_WORDS)
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
    judges, found = Judges.trained(parts, options.split), []
    copies = copied(first.data.segmenting().spectra, parts, judges, options.split)
    for path in runs:
        found.append(measure(path, parts, judges, options.split) | copies)
        print(path, {name: round(value, 3) for name, value in found[-1].items()}, flush=True)
    said = (
        f"`python -m benchmarks.speech OUT --steps {options.steps} --static-size {options.static_size}`: fits with "
        f"{len(runs)} seed{'s' if len(runs) > 1 else ''}, CPU, torch {torch.__version__.partition('+')[0]}."
    )
    options.results.write_text(page(found, said))


if __name__ == "__main__":
    main()
