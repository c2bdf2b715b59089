r"""What it costs to feed a fit from shards, and how the cost of a fit grows with each size of the problem.

  python benchmarks/scale.py --out benchmarks/results        # scale.md, .json and .png; 5 minutes of one core

`input` reads random clips from shards, decoded, and takes the default step on shards and on the same data in memory, in turn.
`slopes` grows one size at a time: sequences (shards of repeated data), frames, pixels, draws of evidence, candidates, ranks.

All times are of processors, of this process and of those that it has started, so that other work on the machine does not
count. On a core that does nothing else they are those of a clock.
"""

import argparse
import contextlib
import io
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
import torch
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from pyro_dsvae.compare import compare
from pyro_dsvae.configuration.loop import loop_for
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.data import SequenceData, Shards, Sprites
from pyro_dsvae.data.shard.array import ShardedArray
from pyro_dsvae.data.shard.writing import write
from pyro_dsvae.figures.run import MOTION, blank, plain_axes, save
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

BATCH, CLIPS, LENGTH, SIDE = 32, 2_048, 8, 32
FRAMES = 10**9
SEQUENCES, ORDER, STEPS = "N sequences: a step", "N sequences: the order of an epoch", "T, 6 values a frame: a step"
PIXELS, DRAWS = "pixels of a frame: a step", "K draws: the evidence of 4 clips"
CANDIDATES, RANKS = "candidates: a comparison of tiny fits", "ranks: the share of one rank in a step"


def seconds() -> float:
    """That processors have spent for this process and all that it has started."""
    ended = psutil.Process().cpu_times()
    running = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    here = sum(each.user + each.system for each in running) + ended.children_user + ended.children_system
    return time.process_time() + here


def timed(work: Callable[[], object], blocks: int, calls: int = 1, warm: int = 1) -> list[float]:
    """Seconds of a call, of each block of so many, after some that do not count."""
    found = []
    for block in range(warm + blocks):
        began = seconds()
        for _ in range(calls):
            work()
        if block >= warm:
            found.append((seconds() - began) / calls)
    return found


def quartiles(values: list[float], unit: float = 1e3, digits: int = 3) -> str:
    """Median and quartiles, in milliseconds."""
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = (float(v) * unit for v in torch.tensor(values, dtype=torch.float64).quantile(shares))
    return f"{middle:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"


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


def middle_step(svi: SVI) -> Callable[[], object]:
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


def feeding(folder: Path) -> Iterator[str]:
    """Clips a second that shards give, and that the default fit takes; its step on shards and in memory."""
    data, place = clips(CLIPS), str(folder / "shards")
    write(data, place, 512)
    shards = Shards(place).load()
    train, order = shards.sequences("train"), Order(CLIPS - 2, BATCH, 0)
    turns = iter(range(10**6))
    reads = timed(lambda: train.read(order.batch(next(turns))), 10, 20)
    loops = {"data in memory": loop(data), "data in shards": loop(shards)}
    found: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(12):
        for name in sorted(loops, reverse=turn % 2 == 1):
            found[name] += timed(middle_step(loops[name]), 1, warm=2 * (turn == 0))
    loops["data in shards"]._forget_batches()
    pairs = [b / a for a, b in zip(*found.values(), strict=True)]
    step = median(found["data in memory"])
    yield f"| {BATCH} clips of {LENGTH} frames of {SIDE} x {SIDE} in colour | ms | clips a second |"
    yield "|---|---|---|"
    yield f"| read from shards and decoded, at random | {quartiles(reads)} | {BATCH / median(reads):,.0f} |"
    for name, values in found.items():
        yield f"| a step of the default fit, {name} | {quartiles(values)} | {BATCH / median(values):,.0f} |"
    yield (
        f"\nShards give {step / median(reads):.0f} times what the default fit takes (target: 5). A step on shards, with what "
        f"the process spends that reads, takes {quartiles(pairs, 1)} times one on data in memory, pair by pair (target: 1.05)."
    )


# --- slopes -----------------------------------------------------------------------------------------------------------


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Seconds at each size of each thing that grows."""
    found: dict[str, dict[int, float]] = {}
    base = loop(clips(512))
    place = str(folder / "repeated")
    write(clips(512), place, 128)
    for count in (10**3, 10**5, 10**7):
        parts = (base.objective, repeated(place, count), base.validation, base.optimisation, base.budget)
        svi = SVI(*parts, hardware=Hardware("cpu"))
        found.setdefault(SEQUENCES, {})[count] = median(timed(middle_step(svi), 5, warm=3))
        svi._forget_batches()
        found.setdefault(ORDER, {})[count] = median(timed(lambda n=count: Order(n, BATCH, 0).batch(0), 3))
    for length in (8, 100, 1_000, 10_000):
        step = middle_step(loop(walks(6, length), 4))
        found.setdefault(STEPS, {})[length] = median(timed(step, 3 if length < 10_000 else 2))
    for side in (16, 32, 64, 128):
        step = middle_step(loop(clips(BATCH + 2, side=side)))
        found.setdefault(PIXELS, {})[side**2] = median(timed(step, 3 if side < 128 else 2))
    sampler, four = Sampler(base.objective.model, base.objective.guide), Sequences.of(clips(4).frames)
    for draws in (25, 100, 400, 1_600):
        work = partial(estimate_evidence, sampler, four, draws)
        found.setdefault(DRAWS, {})[draws] = median(timed(work, 1, warm=int(draws == 25)))
    for count in (2, 4, 8):
        found.setdefault(CANDIDATES, {})[count] = median(timed(partial(tiny_comparison, folder, count), 1, warm=0))
    found[RANKS] = {ranks: shared_step(ranks) for ranks in (1, 2, 4)}
    return found


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
    done = subprocess.run([*launcher, __file__, "--rank"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    spent = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("spent ")]
    assert len(spent) == ranks
    return max(spent)


def one_rank() -> None:
    """In a process that torchrun has started: steps of a shared fit, and what they took."""
    taken = timed(middle_step(loop(clips(BATCH + 2))), 5, warm=2)
    print(f"spent {median(taken)}", flush=True)


def slope(curve: Mapping[int, float]) -> float:
    """Of log time over log size between the two largest."""
    (a, s), (b, t) = list(curve.items())[-2:]
    return math.log(t / s) / math.log(b / a)


def slopes(found: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    """The table of what grows."""
    yield "| what grows, and what is measured | sizes | ms | slope |\n|---|---|---|---|"
    for name, curve in found.items():
        times = ", ".join(f"{value * 1e3:,.3g}" if value < 0.1 else f"{value * 1e3:,.0f}" for value in curve.values())
        yield f"| {name} | {', '.join(f'{size:,}' for size in curve)} | {times} | {slope(curve):.2f} |"
    yield "\nSlope: of log time over log size, between the two largest sizes. 1: proportional to size; 0: the same at any size."


def cost(found: Mapping[str, Mapping[int, float]], objective: torch.nn.Module) -> Iterator[str]:
    """What 10^9 frames cost by these slopes, and why weights are not divided."""
    count = FRAMES // LENGTH
    largest, order = list(found[ORDER].items())[-1]
    order *= (count / largest) ** slope(found[ORDER])
    step = list(found[SEQUENCES].values())[-1]
    days = count / BATCH * step / 86_400
    useful = found[RANKS][1] / found[RANKS][4] / 4
    weights = sum(value.numel() for value in objective.parameters())
    yield f"10^9 frames are {count:,} clips of {LENGTH}. By these slopes one pass over them takes:\n"
    yield "| | |\n|---|---|"
    yield f"| steps of {BATCH} clips, {step * 1e3:,.0f} ms each, however many clips there are | {days:,.0f} days of one core |"
    yield f"| the same by four ranks, each {useful:.0%} as useful as one alone | {days / 4 / useful:,.0f} days of four cores |"
    yield f"| the order of the epoch | {order:,.0f} s, {8 * count / 2**30:.1f} GiB |"
    yield f"| indexes of all shards | {16 * count / 2**30:.1f} GiB |"
    yield f"| frames as bytes, before compression | {FRAMES * 3 * SIDE**2 / 1e12:.1f} TB |"
    yield (
        f"\nWeights need not be divided over devices (FSDP): the model has {weights / 1e6:.2f} million, which take at most "
        f"{16 * weights / 2**20:.0f} MiB with gradients and two moments of the optimiser. Neither N nor T nor the number of "
        "ranks changes that. What grows are data and batches, and those are divided."
    )


def picture(found: Mapping[str, Mapping[int, float]], file: Path) -> None:
    """Each curve on logarithmic axes."""
    figure = blank(12, 5)
    for place, (name, curve) in enumerate(found.items(), 1):
        axes = figure.add_subplot(2, 4, place)
        plain_axes(axes)
        axes.loglog(list(curve), list(curve.values()), "o-", color=MOTION)
        low, high = min(curve.values()), max(curve.values())
        axes.set_ylim(
            min(low / 1.5, high / 15), max(high * 1.5, low * 3)
        )  # a decade at least, so that what is flat looks flat
        axes.set_xticks(list(curve), [EngFormatter(places=0, sep="")(size) for size in curve])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(name.partition(":")[0])
        axes.set_title(name.partition(": ")[2], fontsize=9)
    save(figure, file)


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
    with TemporaryDirectory() as temporary:
        lines = ["# What grows with what", "", "    python benchmarks/scale.py --out benchmarks/results", ""]
        lines += ["## Input", "", *feeding(Path(temporary)), ""]
        print("\n".join(lines), flush=True)
        found = curves(Path(temporary))
    lines += ["## Slopes", "", *slopes(found), "", "![Time against each size, on logarithmic axes](scale.png)", ""]
    lines += ["## 10^9 frames", "", *cost(found, loop(clips(BATCH + 2)).objective), ""]
    lines += [
        f"Seconds of one core ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}."
    ]
    (options.out / "scale.json").write_text(json.dumps(found, indent=2) + "\n")
    picture(found, options.out / "scale.png")
    (options.out / "scale.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
