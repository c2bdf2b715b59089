"""The page of what grows with what: tables, what 10^9 frames would cost, and the figure."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import torch
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from pyro_dsvae.figures.run import MOTION, blank, plain_axes, save

BATCH, LENGTH, SIDE = 32, 8, 32
FRAMES = 10**9
INPUT, READS = "input", "read from shards and decoded, at random"
MEMORY, SHARDS = (f"a step of the default fit, data in {place}" for place in ("memory", "shards"))
SEQUENCES, ORDER, STEPS = "N sequences: a step", "N sequences: the order of an epoch", "T, 6 values a frame: a step"
PIXELS, DRAWS = "pixels of a frame: a step", "K draws: the evidence of 4 clips"
CANDIDATES, RANKS = "candidates: a comparison of tiny fits", "ranks: the share of one rank in a step"


def quartiles(values: list[float], unit: float = 1e3, digits: int = 3) -> str:
    """Median and quartiles, in milliseconds."""
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = (float(v) * unit for v in torch.tensor(values, dtype=torch.float64).quantile(shares))
    return f"{middle:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"


def fed(found: Mapping[str, list[float]]) -> Iterator[str]:
    """The table of the input."""
    pairs = [b / a for a, b in zip(found[MEMORY], found[SHARDS], strict=True)]
    yield f"| {BATCH} clips of {LENGTH} frames of {SIDE} x {SIDE} in colour | ms | clips a second |"
    yield "|---|---|---|"
    for name, values in found.items():
        yield f"| {name} | {quartiles(values)} | {BATCH / median(values):,.0f} |"
    yield (
        f"\nShards give {median(found[MEMORY]) / median(found[READS]):.0f} times what the default fit takes (target: 5). "
        "A step on shards, with what the process spends that reads, takes "
        f"{quartiles(pairs, 1)} times one on data in memory, pair by pair (target: 1.05)."
    )


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
        # A decade at least, so that what is flat looks flat.
        axes.set_ylim(min(low / 1.5, high / 15), max(high * 1.5, low * 3))
        axes.set_xticks(list(curve), [EngFormatter(places=0, sep="")(size) for size in curve])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(name.partition(":")[0])
        axes.set_title(name.partition(": ")[2], fontsize=9)
    save(figure, file)
