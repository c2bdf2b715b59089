"""Words that programs speak: which voices there are, what is said for which split, and the files."""

import csv
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyro_dsvae.models.errors import UsageError

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
# More variants, and those of training voices at another pitch. None has the resonances of a voice of another split.
MORE_ESPEAK = {
    "Alex": 45, "Annie": 60, "Gene": 40, "Henrique": 35, "Lee": 30, "Marco": 55, "Mario": 50, "Michael": 35, "Mike": 40,
    "Nguyen": 60, "Storm": 20, "Tweaky": 55, "anika": 70, "benjamin": 45, "david": 30, "ed": 50, "edward2": 35,
    "grandpa": 25, "iven": 40, "kaukovalta": 30, "m5": 60, "michel": 40, "norbert": 50, "paul": 25, "pedro": 45,
    "robert": 60, "sandro": 35, "steph": 55, "steph2": 75, "travis": 30, "zac": 20, "Gene2": 65, "m1-70": 70, "m2-60": 60,
    "m3-25": 25, "m6-70": 70, "m8-20": 20, "f2-40": 40, "f4-30": 30, "f5-45": 45, "grandma-50": 50, "adam-70": 70,
    "Andrea-35": 35, "Andy-75": 75, "antonio-65": 65, "aunty-40": 40, "belinda-25": 25, "caleb-20": 20, "Diogo-25": 25,
    "edward-70": 70, "gustave-65": 65, "Hugo-20": 20, "Jacky-60": 60, "john-30": 30, "marcelo-75": 75, "quincy-65": 65,
}  # fmt: skip
MORE_VOICES = tuple(f"espeak-{name}" for name in MORE_ESPEAK)
MOST = len(VOICES) + len(MORE_VOICES)
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
    pitch, speed = (ESPEAK | MORE_ESPEAK)[name], round(150 / slower)
    return [
        "espeak-ng",
        "-v",
        f"en-us+{name.partition('-')[0]}",
        "-p",
        str(pitch),
        "-s",
        str(speed),
        "-w",
        str(path),
        word,
    ]


def spoken_by(line: list[str]) -> None:
    """Run a synthesiser."""
    subprocess.run(line, check=True, capture_output=True)


def split_of(voice: str) -> str:
    """The split of a voice."""
    return "test" if voice in TEST else "validation" if voice in VALIDATION else "train"


def rows(voices: int, words: int, held_words: int) -> Iterator[tuple[str, str, str]]:
    """Voice, word and split of what is spoken.

    Args:
        voices: How many, of each split its share, the first; those beyond 44 are all for training.
        words: How many, the first.
        held_words: So many, the last, are spoken in the test split alone, and no others there; 0 for all words everywhere.
    """
    by_split = {part: [v for v in VOICES if split_of(v) == part] for part in ("train", "validation", "test")}
    base = min(voices, len(VOICES))
    counts = {
        part: max(1, base * len(own) // len(VOICES)) for part, own in (("validation", VALIDATION), ("test", TEST))
    }
    counts["train"] = voices - sum(counts.values())
    by_split["train"] += MORE_VOICES
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
    run: Callable[[list[str]], object] = spoken_by,
    progress: Callable[[float], object] = float,
) -> None:
    """Speak the words that are not there.

    Args:
        out: The folder of recordings.
        voices, words, speeds, held_words: What is spoken, see `rows`.
        run: Runs a command.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: Where something is missing, and so are the programs.
    """
    jobs = []
    for voice, word, _ in rows(voices, words, held_words):
        for slower in SPEEDS[:speeds]:
            name = file_of(voice, word, slower)
            if not (out / name).exists():
                jobs.append((command(voice, word, slower, out / f"{name}.part"), out / name))
    if jobs and (gone := missing()):
        raise UsageError(
            f"the words are spoken by flite and espeak-ng, and {' and '.join(gone)} {'are' if len(gone) > 1 else 'is'} not "
            "installed: apt-get install flite espeak-ng"
        )

    def speak(job: tuple[list[str], Path]) -> None:
        job[1].parent.mkdir(parents=True, exist_ok=True)
        run(job[0])
        job[1].with_name(f"{job[1].name}.part").rename(job[1])

    with ThreadPoolExecutor(2) as pool:
        for count, _ in enumerate(pool.map(speak, jobs), 1):
            progress(count / len(jobs))


def file_of(voice: str, word: str, slower: float) -> str:
    """The name of a recording."""
    return f"{voice}/{word}-{round(100 * slower)}.wav"


def write_table(
    path: Path, voices: int = len(VOICES), words: int = len(WORDS), speeds: int = len(SPEEDS), held_words: int = 0
) -> Path:
    """A table of labels and splits of these recordings. Returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "speaker", "word", "split"))
        for voice, word, split in rows(voices, words, held_words):
            writer.writerows((file_of(voice, word, slower), voice, word, split) for slower in SPEEDS[:speeds])
    return part.replace(path)
