"""What it costs to feed a fit from shards, and how the cost of a fit grows with each size of the problem.

  python -m benchmarks.scale --out benchmarks/results        # scale.md, .json and .png; 7 minutes of one core

The default step is taken on shards and on the same data in memory, in turn, beside the rate at which clips are read. Then one
size grows at a time: sequences (shards of repeated data), steps, pixels, draws of evidence, candidates, ranks. Its values take
turns, so that all meet the same machine. What is measured goes into scale.json at once. The same command goes on with what is
missing.

Times are medians, of processors, of this process and of those that it has started. Other work on the machine does not count,
but it takes caches and so makes them longer than on a core that does nothing else.
"""

import argparse
import contextlib
import io
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor

from benchmarks.scale.page import (
    BATCH,
    CANDIDATES,
    DRAWS,
    INPUT,
    LENGTH,
    MEMORY,
    ORDER,
    PIXELS,
    RANKS,
    READS,
    SEQUENCES,
    SHARDS,
    SIDE,
    STEPS,
    cost,
    fed,
    picture,
    slopes,
)
from pyro_dsvae.compare import compare
from pyro_dsvae.configuration.loop import loop_for
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.data import SequenceData, Shards, Sprites
from pyro_dsvae.data.shard.array import ShardedArray
from pyro_dsvae.data.shard.writing import write
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.order import Order
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors import IID

CLIPS = 2_048
Name = TypeVar("Name", bound=Hashable)
Work = Callable[[], object]


def seconds() -> float:
    """That processors have spent for this process and all that it has started."""
    ended = psutil.Process().cpu_times()
    running = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    here = sum(each.user + each.system for each in running) + ended.children_user + ended.children_system
    return time.process_time() + here


def in_turn(works: Mapping[Name, Work], rounds: int, calls: int = 1, warm: int = 1) -> dict[Name, list[float]]:
    """Seconds of a call of each work, in each round, after some rounds that do not count; every second one goes backwards."""
    found: dict[Name, list[float]] = {name: [] for name in works}
    for number in range(warm + rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            began = seconds()
            for _ in range(calls):
                works[name]()
            if number >= warm:
                found[name].append((seconds() - began) / calls)
    return found


def medians(works: Mapping[int, Work], rounds: int = 3, warm: int = 1) -> dict[int, float]:
    """Seconds of a call of each work."""
    return {size: median(values) for size, values in in_turn(works, rounds, warm=warm).items()}


# --- data and loops ---------------------------------------------------------------------------------------------------


def clips(count: int, length: int = LENGTH, side: int = SIDE) -> SequenceData:
    """Clips of the embedded sprites, repeated to any number, length and size."""
    frames = Sprites().load().frames
    frames = frames[torch.arange(count) % len(frames)][:, torch.arange(length) % frames.shape[1]]
    x = torch.arange(side) * frames.shape[-1] // side
    return SequenceData(frames[..., x, :][..., x].contiguous(), _split(count))


def walks(count: int, length: int, held: int = 1) -> SequenceData:
    """Sequences of vectors of six values, ``held`` of them for each of validation and test."""
    frames = torch.randn(count, length, 6, generator=torch.Generator().manual_seed(0)).cumsum(1)
    return SequenceData(frames / frames.std(), _split(count, held))


def _split(count: int, held: int = 1) -> torch.Tensor:
    split = torch.zeros(count, dtype=torch.uint8)
    split[-2 * held :] = torch.tensor([1, 2], dtype=torch.uint8).repeat(held)
    return split


def loop(data: SequenceData, batch: int = BATCH) -> SVI:
    """The default fit of these data, at its start."""
    recommended = Sprites().recommended if len(data.frame_shape) == 3 else None
    options = FitOptions(steps=10**6, device="cpu", optimisation=Optimisation(batch_size=batch))
    return loop_for(for_frames(options, data.frame_shape, recommended), data, None, new=False)


def middle_step(svi: SVI) -> Work:
    """A step as it is in the middle of a fit."""
    return partial(svi._step, 0.5)


def repeated(place: str, count: int) -> Sequences:
    """So many sequences in shards, the same few again and again."""
    base = Shards(place, check="sizes").load()
    assert isinstance(base.frames, Stored)
    assert isinstance(base.frames.source, ShardedArray)
    rows = torch.arange(count) % len(base)
    return Sequences.of(Stored(replace(base.frames.source, shape=(count, *base.frames.shape[1:]), rows=rows)))


# --- input ------------------------------------------------------------------------------------------------------------


def feeding(folder: Path) -> dict[str, list[float]]:
    """Seconds to read a batch from shards, and of steps of the default fit on data in memory and in shards."""
    data, place = clips(CLIPS), str(folder / "shards")
    write(data, place, 512)
    shards = Shards(place).load()
    train, order = shards.sequences("train"), Order(CLIPS - 2, BATCH, 0)
    turns = iter(range(10**6))
    found = in_turn({READS: lambda: train.read(order.batch(next(turns)))}, 10, 20)
    loops = {MEMORY: loop(data), SHARDS: loop(shards)}
    found |= in_turn({name: middle_step(svi) for name, svi in loops.items()}, 12, warm=2)
    loops[SHARDS]._forget_batches()
    return found


# --- slopes -----------------------------------------------------------------------------------------------------------


def sequences_grow(folder: Path) -> dict[int, float]:
    """A step on so many sequences in shards, which are the same few again and again."""
    base, place = loop(clips(512)), str(folder / "repeated")
    write(clips(512), place, 128)
    loops = {
        count: SVI(
            *(base.objective, repeated(place, count), base.validation, base.optimisation, base.budget),
            hardware=Hardware("cpu"),
        )
        for count in (10**3, 10**5, 10**7)
    }
    found = medians({count: middle_step(svi) for count, svi in loops.items()}, 5, warm=3)
    for svi in loops.values():
        svi._forget_batches()
    return found


def order_grows(_: Path) -> dict[int, float]:
    """The order of an epoch of so many sequences."""
    return medians({count: partial(ordered, count) for count in (10**3, 10**5, 10**7)})


def ordered(count: int) -> Tensor:
    """The first batch of an epoch, in an order that is made for it."""
    return Order(count, BATCH, 0).batch(0)


def steps_grow(_: Path) -> dict[int, float]:
    """A step of the default fit on 4 sequences of so many steps."""
    return medians({length: middle_step(loop(walks(6, length), 4)) for length in (8, 100, 1_000, 10_000)}, 2)


def pixels_grow(_: Path) -> dict[int, float]:
    """A step of the default fit on frames of so many pixels."""
    return medians({side**2: middle_step(loop(clips(BATCH + 2, side=side))) for side in (16, 32, 64, 128)}, 2)


def draws_grow(_: Path) -> dict[int, float]:
    """The evidence of four clips by so many draws."""
    objective, four = loop(clips(8)).objective, Sequences.of(clips(4).frames)
    sampler = Sampler(objective.model, objective.guide)
    return medians({draws: partial(estimate_evidence, sampler, four, draws) for draws in (25, 100, 400)}, 2)


def candidates_grow(folder: Path) -> dict[int, float]:
    """A comparison of so many candidates."""
    return medians({count: partial(tiny_comparison, folder, count) for count in (2, 4, 8)}, 1, warm=0)


def ranks_grow(_: Path) -> dict[int, float]:
    """What one of several processes spends for a step whose batch they share."""
    return {ranks: shared_step(ranks) for ranks in (1, 2, 4)}


def tiny_comparison(folder: Path, count: int) -> None:
    """A comparison of so many candidates, which is silent."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        compare(
            data=walks(40, 8, held=8),
            out=folder / f"{count} candidates",
            vary={"latent_size": list(range(1, count + 1))},
            seeds=1,
            steps=40,
            sequences=4,
            draws=30,
            static_size=2,
            dynamic_prior=IID,
            posterior=partial(LSTM, hidden_size=4, feature_size=4),
            device="cpu",
        )


def shared_step(ranks: int) -> float:
    """What the busiest of several processes spends for a step whose batch they share."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run([*launcher, "-m", "benchmarks.scale", "--rank"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    spent = [float(each) for each in re.findall(r"spent (\d+\.\d+)", done.stdout)]  # lines of several may be one
    assert len(spent) == ranks
    return max(spent)


def one_rank() -> None:
    """In a process that torchrun has started: steps of a shared fit, and what they took."""
    taken = medians({0: middle_step(loop(clips(BATCH + 2)))}, 5, warm=2)
    print(f"spent {taken[0]}", flush=True)


GROWING: dict[str, Callable[[Path], dict[int, float]]] = {
    SEQUENCES: sequences_grow,
    ORDER: order_grows,
    STEPS: steps_grow,
    PIXELS: pixels_grow,
    DRAWS: draws_grow,
    CANDIDATES: candidates_grow,
    RANKS: ranks_grow,
}


def main() -> None:
    """Print the page, and write it and its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--rank", action="store_true", help="for this script alone: one of several processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.rank:
        one_rank()
        return
    record = options.out / "scale.json"
    known: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    measured: dict[str, Callable[[Path], Any]] = {INPUT: feeding, **GROWING}
    for name, measure in measured.items():
        if name not in known:
            with TemporaryDirectory() as temporary:
                known[name] = measure(Path(temporary))
            record.write_text(json.dumps(known, indent=2) + "\n")
            print(f"measured: {name}", flush=True)
    found = {name: {int(size): value for size, value in known[name].items()} for name in GROWING}
    lines = ["# What grows with what", "", "    python -m benchmarks.scale --out benchmarks/results", ""]
    lines += ["## Input", "", *fed(known[INPUT]), ""]
    lines += ["## Slopes", "", *slopes(found), "", "![Time against each size, on logarithmic axes](scale.png)", ""]
    lines += ["## 10^9 frames", "", *cost(found, loop(clips(BATCH + 2)).objective), ""]
    lines += [
        f"Seconds of one core ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}."
    ]
    picture(found, options.out / "scale.png")
    (options.out / "scale.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
