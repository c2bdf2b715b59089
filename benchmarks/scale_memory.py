r"""Memory of a fit to more data than it may hold: does it grow after the first epoch?

  python benchmarks/scale_memory.py --out benchmarks/results     # scale_memory.md; 5 minutes of one core, 4 GB of disk, as root

4 GB of random series are written as shards, and fitted for three epochs in a cgroup whose processes may hold 2 GiB: that of the
fit, that which reads for it, and the pages of files that they have read. Its own memory is noted five times a second.
"""

import argparse
import csv
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pyro_dsvae.data import SequenceData
from pyro_dsvae.data.shard.writing import write

GIGABYTES, LIMIT = 4.0, 2 << 30
STEPS, COLUMNS, SHARD, BATCH, EPOCHS = 50, 200, 1_024, 256, 3
FIT = [
    *("--static_size=4", "--latent_size=2", "--static_prior=StandardNormal", "--dynamic_prior=IID", "--device=cpu"),
    *("--posterior=Factorised", "--posterior.hidden_size=4", "--posterior.feature_size=4"),
    *("--encoder=Dense", "--encoder.units=4", "--decoder=Dense", "--decoder.units=4"),
    *(f"--optimisation.batch_size={BATCH}", f"--optimisation.evaluations={EPOCHS}"),
]


def written(place: Path, gigabytes: float) -> int:
    """Write the shards, and let the system forget their pages. Returns the number of training sequences."""
    count = int(gigabytes * 10**9) // (STEPS * COLUMNS * 4)
    some = torch.randn(1_000, STEPS, COLUMNS, generator=torch.Generator().manual_seed(0))
    split = torch.zeros(count, dtype=torch.uint8)
    split[-200:] = torch.tensor([1, 2], dtype=torch.uint8).repeat(100)
    write(SequenceData(some[torch.arange(count) % len(some)], split), str(place), SHARD)
    for file in (each for each in place.rglob("*") if each.is_file()):
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return count - 200


class Group:
    """A cgroup, of version 1 or 2, whose processes may hold so many bytes.

    Args:
        limit: With the pages of files that they were the first to read.
    """

    def __init__(self, limit: int) -> None:
        first = Path("/sys/fs/cgroup/memory")
        self.old = first.is_dir()
        self.folder = (first if self.old else first.parent) / f"scale-{os.getpid()}"
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if self.old else "memory.max")).write_text(str(limit))

    def within(self, command: list[str]) -> list[str]:
        """The command that takes itself into the group, and becomes this one."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def own(self) -> int:
        """Bytes that are no pages of files."""
        lines = (self.folder / "memory.stat").read_text().splitlines()
        values = {name: int(value) for name, value in (line.split() for line in lines)}
        return sum(values[name] for name in (("total_rss", "total_shmem") if self.old else ("anon", "shmem")))

    def peak(self) -> int:
        """The most bytes that it held, with pages of files."""
        return int((self.folder / ("memory.max_usage_in_bytes" if self.old else "memory.peak")).read_text())


@contextmanager
def group(limit: int) -> Iterator[Group]:
    """A group that is removed in the end."""
    made = Group(limit)
    try:
        yield made
    finally:
        time.sleep(1)  # until the last process has left
        made.folder.rmdir()


def step_of(metrics: Path) -> int:
    """The last step of which the fit has said something."""
    if not metrics.exists():
        return 0
    with metrics.open(newline="") as file:
        return max((int(row["step"]) for row in csv.DictReader(file) if row["step"]), default=0)


def fitted(folder: Path, count: int) -> tuple[dict[str, int], int, float]:
    """Fit in a group. Returns the largest memory of its own by phase, the largest with pages of files, and seconds."""
    steps = math.ceil(EPOCHS * count / BATCH)
    command = [sys.executable, "-m", "pyro_dsvae.fit", "--data=Shards", f"--data.path={folder / 'shards'}", *FIT]
    command += [f"--steps={steps}", f"--out={folder / 'run'}", "--data.check=sizes"]
    largest: dict[str, int] = {}
    began = time.monotonic()
    with group(LIMIT) as made, (folder / "log").open("w") as log:
        running = subprocess.Popen(made.within(command), stdout=log, stderr=log)
        while running.poll() is None:
            step = step_of(folder / "run" / "metrics.csv")
            phase = f"epoch {min(EPOCHS, step * BATCH // count + 1)}" if step else "before the first step"
            phase = "after the last step" if step >= steps else phase
            largest[phase] = max(largest.get(phase, 0), made.own())
            time.sleep(0.2)
        assert running.returncode == 0, (folder / "log").read_text()[-3000:]
        return largest, made.peak(), time.monotonic() - began


def main() -> None:
    """Print the page, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = written(folder / "shards", options.gigabytes)
        size = sum(file.stat().st_size for file in (folder / "shards").rglob("*") if file.is_file())
        largest, peak, seconds = fitted(folder, count)
    growth = largest[f"epoch {EPOCHS}"] - largest["epoch 1"]
    lines = [
        "# Memory",
        "",
        "    python benchmarks/scale_memory.py --out benchmarks/results",
        "",
        f"{size / 1e9:.2f} GB of shards, {count:,} sequences of {STEPS} x {COLUMNS} values. Three epochs of a fit "
        f"took {seconds:,.0f} s. Its processes may hold {LIMIT / 2**30:.0f} GiB in all, with the pages of files that they read "
        "(a cgroup).",
        "",
        "| | largest memory of their own, MiB |",
        "|---|---:|",
        *(f"| {phase} | {value / 2**20:,.0f} |" for phase, value in largest.items()),
        "",
        f"From the first epoch to the last it grew by {growth / 2**20:+,.0f} MiB. With pages of files, which the system "
        f"takes back when it needs the room, they held {peak / 2**20:,.0f} MiB at most.",
    ]
    (options.out / "scale_memory.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
