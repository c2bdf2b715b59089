"""Words spoken by synthetic voices, made on this machine: a folder that `SpeechFolder` reads, with labels.csv.

    apt-get install flite espeak-ng
    python benchmarks/spoken_words.py OUT                 # 44 voices x 60 words x 2 speeds, 220 MB, four minutes
    python -m pyro_dsvae.fit --data SpeechFolder --data.path OUT --data.labels OUT/labels.csv

Four voices are of flite, each made from recordings of a person (kal, awb, rms, slt). The others are of espeak-ng, a formant
synthesiser: its voices differ in resonances, pitch and roughness. Each split has voices of its own, of both programs. With
--held_words so many words are spoken in the test split alone, and no other word there.
"""

import argparse
import csv
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_SPOKEN = """
river mountain yellow orange seven eleven window garden morning evening summer winter doctor teacher sister
brother coffee butter pepper sugar tiger rabbit eagle lion paper pencil letter number music dancer farmer
sailor silver copper marble velvet cotton button pocket jacket kitchen bedroom village city forest island
thunder lightning rainbow shadow hello goodbye welcome tomorrow yesterday always never maybe nothing something
"""
WORDS = tuple(_SPOKEN.split())
FLITE = ("kal16", "awb", "rms", "slt")
# Variant of espeak-ng's voices, and pitch from 0 to 99.
ESPEAK = {
    "m1": 40, "m2": 30, "m3": 55, "m4": 25, "m6": 45, "m7": 35, "m8": 50, "f1": 60, "f2": 70, "f3": 55, "f4": 65, "f5": 75,
    "croak": 20, "klatt2": 45, "klatt4": 60, "grandma": 80,
    "adam": 40, "Alicia": 60, "Andrea": 65, "Andy": 45, "antonio": 35, "aunty": 70, "belinda": 55, "boris": 25, "caleb": 50,
    "Denis": 45, "Diogo": 55, "edward": 40, "gustave": 35, "Hugo": 50, "Jacky": 30, "john": 60, "linda": 75, "marcelo": 45,
    "max": 30, "miguel": 40, "pablo": 55, "quincy": 35, "rob": 45, "shelby": 50,
}  # fmt: skip
VOICES = (*(f"flite-{name}" for name in FLITE), *(f"espeak-{name}" for name in ESPEAK))
# Voices of the other splits; the rest are for training.
VALIDATION = ("flite-awb", "espeak-m4", "espeak-f3", "espeak-max", "espeak-linda")
TEST = (
    "flite-slt", "espeak-m7", "espeak-f1", "espeak-klatt4", "espeak-Alicia", "espeak-shelby", "espeak-boris", "espeak-Denis",
)  # fmt: skip
SPEEDS = (1.0, 1.2)
PROGRAMS = ("flite", "espeak-ng")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def command(voice: str, word: str, slower: float, path: Path) -> list[str]:
    """What speaks a word into a file."""
    program, _, name = voice.partition("-")
    if program == "flite":
        return ["flite", "-voice", name, "--setf", f"duration_stretch={slower}", "-t", word, "-o", str(path)]
    pitch, speed = ESPEAK[name], round(150 / slower)
    return ["espeak-ng", "-v", f"en-us+{name}", "-p", str(pitch), "-s", str(speed), "-w", str(path), word]


def split_of(voice: str) -> str:
    """The split of a voice."""
    return "test" if voice in TEST else "validation" if voice in VALIDATION else "train"


def rows(voices: int, words: int, held_words: int) -> Iterator[tuple[str, str, str]]:
    """Voice, word and split of what is spoken; of fewer than all voices the first of each split."""
    by_split = {part: [v for v in VOICES if split_of(v) == part] for part in ("train", "validation", "test")}
    counts = {
        part: max(1, voices * len(own) // len(VOICES)) for part, own in (("validation", VALIDATION), ("test", TEST))
    }
    counts["train"] = voices - sum(counts.values())
    for part, names in by_split.items():
        spoken = WORDS[:words]
        if held_words:
            spoken = spoken[-held_words:] if part == "test" else spoken[:-held_words]
        for voice in names[: counts[part]]:
            yield from ((voice, word, part) for word in spoken)


def make(
    out: Path,
    voices: int = len(VOICES),
    words: int = len(WORDS),
    speeds: int = len(SPEEDS),
    held_words: int = 0,
    run: Callable[[list[str]], object] = lambda line: subprocess.run(line, check=True, capture_output=True),
) -> Path:
    """Speak the words; what is there stays. Returns the table of labels."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = []
    for voice, word, _ in rows(voices, words, held_words):
        (out / voice).mkdir(exist_ok=True)
        for slower in SPEEDS[:speeds]:
            name = file_of(voice, word, slower)
            if not (out / name).exists():
                jobs.append((command(voice, word, slower, out / f"{name}.part"), out / name))

    def speak(job: tuple[list[str], Path]) -> None:
        run(job[0])
        job[1].with_name(f"{job[1].name}.part").rename(job[1])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(speak, jobs))
    return write_table(out / "labels.csv", voices, words, speeds, held_words)


def file_of(voice: str, word: str, slower: float) -> str:
    """The name of a recording."""
    return f"{voice}/{word}-{round(100 * slower)}.wav"


def write_table(
    path: Path, voices: int = len(VOICES), words: int = len(WORDS), speeds: int = len(SPEEDS), held_words: int = 0
) -> Path:
    """A table of labels and splits of these recordings. Returns its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "speaker", "word", "split"))
        for voice, word, part in rows(voices, words, held_words):
            writer.writerows((file_of(voice, word, slower), voice, word, part) for slower in SPEEDS[:speeds])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    for name, value in (("voices", len(VOICES)), ("words", len(WORDS)), ("speeds", len(SPEEDS)), ("held_words", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if gone := missing():
        parser.error(f"{' and '.join(gone)} is missing: apt-get install {' '.join(gone)}")
    print(make(**vars(options)))


if __name__ == "__main__":
    main()
