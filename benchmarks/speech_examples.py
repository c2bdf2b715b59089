"""Four converted words of a run of `benchmarks.speech`, as sound and as a picture: the first four pairs, none chosen.

python -m benchmarks.speech_examples OUT RUN          # writes docs/results/speech/
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

import pyro_dsvae
from benchmarks.speech import conversions
from benchmarks.speech_sounds import read_all
from pyro_dsvae.data.speech.recordings import LEVEL, write_wav
from pyro_dsvae.data.speech.resynthesis import resynthesised
from pyro_dsvae.data.speech.source import SpeechSource

FOLDER = Path(__file__).parents[1] / "docs" / "results" / "speech"
COUNT = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="the folder of benchmarks.speech")
    parser.add_argument("run", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    run = pyro_dsvae.load(options.run)
    assert isinstance(run.data, SpeechSource)
    spectra = run.data.segmenting().spectra
    spoken = [s for s in read_all(options.out / "voices" / "recordings", spectra) if s.part == "test, new"]
    pairs = conversions(spoken)[:COUNT]
    options.folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.2, 1.5 * COUNT), dpi=80, layout="constrained")
    axes = figure.subplots(COUNT, 3, squeeze=False)
    for row, (i, j) in zip(axes, pairs, strict=True):
        (voice, words) = spoken[i], spoken[j]
        f, z = run.encode_whole(voice.x[None]).f[0], run.encode_whole(words.x[None]).z[0]
        x = run.decode(f, z)
        source = words.recording.sound
        phase = spectra.transform(source).angle()[: len(x)]
        sound = torch.nan_to_num(resynthesised(spectra, x.float(), len(source), phase))
        name = f"{words.word}-by-{voice.voice}"
        write_wav(options.folder / f"{name}.wav", sound * (LEVEL / sound.square().mean().sqrt()), spectra.rate)
        shown = (f"{voice.voice}: {voice.word}", voice.x), (f"{words.voice}: {words.word}", words.x), (f"{name}.wav", x)
        for axis, (title, values) in zip(row, shown, strict=True):
            axis.imshow(values.T, origin="lower", aspect="auto", cmap="magma", vmin=-10, vmax=-3)
            axis.set_title(title, fontsize=8)
            axis.set(xticks=[], yticks=[])
    picture = options.folder / "converted.png"
    figure.savefig(picture, metadata={"Software": None})
    Image.open(picture).convert("RGB").quantize(48).save(picture, optimize=True)  # a fifth of the size
    print(options.folder)


if __name__ == "__main__":
    main()
