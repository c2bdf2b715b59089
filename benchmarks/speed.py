r"""This project's training step beside hand-written ones, interleaved in one process.

  python benchmarks/speed.py --quick                      # under 5 minutes on two cores
  python benchmarks/speed.py --out benchmarks/results     # every axis
  python benchmarks/speed.py --device cuda --out benchmarks/results   # the table of a GPU

(a) this project's step (`SVI`: Pyro program, Fabric, Adam)   (b) the same by hand in plain PyTorch
(c) textbook Pyro, one sample statement per frame             (d) plain PyTorch, prior in a loop over LSTM cells, float32
(n) the networks alone, forward, backward and update

All have the same networks, views, frames, batch and precision; rounds visit them in turn, in an order that changes, so that
whatever else the machine does, and what one step leaves in the caches, meets all of them. Medians over rounds with the
quartiles. "density" is (b) - (n), "handlers" (a) - (b), as shares of (a).
Memory is the peak of three steps alone (CPU: resident in a process of its own, above what it had after import; GPU: allocated).
"""

import argparse
import copy
import gc
import json
import multiprocessing
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from handwritten import HandwrittenStep, NetworksOnlyStep, TextbookStep
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.networks import earlier_decoder, earlier_encoder
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.decoders import Textures
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

RATE, CLIP, LATE = 1e-3, 200.0, 0.5  # LATE: a moment in the middle of a fit


@dataclass(frozen=True)
class Case:
    """What is trained: ``tiny`` networks on vectors show what bookkeeping costs, dense ones what users pay."""

    name: str
    frame: tuple[int, ...]
    length: int
    batch: int
    tiny: bool = False
    bf16: bool = False
    steps: tuple[str, ...] = ("a", "b", "n")


TINY, DENSE = (6,), (3, 32, 32)
QUICK = (
    Case("default networks", DENSE, 8, 32, steps=("a", "b", "d", "n")),
    Case("default networks, bf16", DENSE, 8, 32, bf16=True),
    Case("tiny networks", TINY, 128, 16, tiny=True, steps=("a", "b", "c", "n")),
    Case("dense frames, T = 32", DENSE, 32, 4),
    Case("dense frames, T = 512", DENSE, 512, 1),
)
WHOLE = (
    *QUICK,
    *(Case(f"tiny networks, T = {t}", TINY, t, 16, tiny=True, steps=("a", "b", "c", "d", "n")) for t in (8, 32)),
    Case("tiny networks, T = 512", TINY, 512, 16, tiny=True, steps=("a", "b", "d", "n")),
    *(Case(f"default networks, batch {b}", DENSE, 8, b) for b in (8, 128)),
    Case("default networks, T = 128", DENSE, 128, 2),
    Case("default networks, 64 pixels", (3, 64, 64), 8, 16, steps=("a", "b", "d", "n")),
)
GPU = (
    Case("default Sprites, bf16", (3, 64, 64), 8, 128, bf16=True, steps=("a", "b", "d", "n")),
    Case("default Sprites, batch 512, bf16", (3, 64, 64), 8, 512, bf16=True),
    Case("default networks, bf16", DENSE, 8, 128, bf16=True, steps=("a", "b", "d", "n")),
    Case("default networks", DENSE, 8, 128, steps=("a", "b", "d", "n")),
    Case("tiny networks", TINY, 128, 16, tiny=True, steps=("a", "b", "c", "n")),
    Case("dense frames, T = 32", DENSE, 32, 32, bf16=True),
    Case("dense frames, T = 512", DENSE, 512, 2, bf16=True),
)

Work = Callable[[], object]


def objective(case: Case) -> Objective:
    """Model and guide with the default parts, or tiny ones."""
    examples = torch.zeros(1, case.length, *case.frame, dtype=torch.uint8)
    small = {"hidden_size": 16}
    prior = partial(LSTM, **small) if case.tiny else LSTM
    guide = partial(LSTMPosterior, feature_size=16, **small) if case.tiny else LSTMPosterior
    width = 1 if case.tiny else 16
    decoder = partial(Textures, width=width) if len(case.frame) == 3 else earlier_decoder(case.frame, width)
    networks = {"decoder": decoder, "encoder": earlier_encoder(case.frame, width)}
    sizes = (8, 4) if case.tiny else (64, 8)
    return build(examples, 0, *sizes, StandardNormal, prior, guide, Normal, **networks)


def steps(case: Case, device: str) -> dict[str, Work]:
    """The steps of a case, each with networks of its own that start from the same weights."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (case.batch, case.length, *case.frame), dtype=torch.uint8, generator=generator)
    made: dict[str, Work] = {}
    where = torch.device(device)
    for name in case.steps:
        own = copy.deepcopy(objective(case))
        if name == "a":
            made[name] = _this_project(own, frames, case, device)
            continue
        x = frames.to(where)
        # (d) is what published code does: float32, neither channels-last nor a fused optimiser.
        own.to(where, memory_format=torch.contiguous_format if name == "d" else torch.channels_last)
        kinds: Mapping[str, Callable[[], Callable[[Tensor], object]]] = {
            "b": lambda o=own: HandwrittenStep(o, RATE, CLIP, bf16=case.bf16),
            "c": lambda o=own: TextbookStep(o, RATE, CLIP),
            "d": lambda o=own: HandwrittenStep(o, RATE, CLIP, by_cells=True),
            "n": lambda o=own: NetworksOnlyStep(o, RATE, CLIP, bf16=case.bf16),
        }
        made[name] = partial(kinds[name](), x)
    return made


def _this_project(own: Objective, frames: Tensor, case: Case, device: str) -> Work:
    rows = Sequences(frames, None, None, torch.arange(len(frames)))
    precision = "bf16" if case.bf16 else "32"
    # Recombined clips, half a forward pass without gradients, are nothing that any of the others has.
    # Adam is what the loops by hand and the published code take.
    options = Optimisation(
        batch_size=case.batch, learning_rate=RATE, max_grad_norm=CLIP, recombination_start=1.0, optimizer="Adam"
    )
    loop = SVI(own, rows, rows, options, Budget(10**6), hardware=Hardware(device, precision))  # type: ignore[arg-type]
    return lambda: loop._step(LATE)


def measure(case: Case, device: str, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per step of every round, after two that are thrown away; at most ``seconds`` in all."""
    works = steps(case, device)
    for _ in range(2):
        for work in works.values():
            work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    start = time.perf_counter()
    for number in range(rounds):
        names = list(works)
        # Forwards and backwards, from another one every time: each has each of the others before it equally often.
        turn = number // 2 % len(names)
        order = names[turn:] + names[:turn]
        for name in order if number % 2 else reversed(order):
            work = works[name]
            if name == "c" and number % 5:  # it takes as long as all others together
                continue
            _wait(device)
            began = time.perf_counter()
            work()
            _wait(device)
            taken[name].append(1e3 * (time.perf_counter() - began))
        if number >= 5 and time.perf_counter() - start > seconds:
            break
    return taken


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mebibytes(case: Case, name: str, device: str) -> float:
    """Of three steps: on the CPU in a process of its own; a GPU counts what is allocated there now."""
    if device == "cuda":
        gc.collect()
        before = torch.cuda.memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return _peak(case, name, device) - before
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (case, name, device))


def _peak(case: Case, name: str, device: str) -> float:
    alone = Case(case.name, case.frame, case.length, case.batch, case.tiny, case.bf16, (name,))
    before = _resident()
    work = steps(alone, device)[name]
    for _ in range(3):
        work()
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else _resident() - before


def _resident() -> float:
    """Peak resident memory in MiB. Not from `resource`: that figure of a new process starts with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**10  # type: ignore[index]


def report(results: list[dict[str, Any]], hardware: str) -> str:
    """Markdown: one row per case."""
    lines = [
        "| case | T | batch | (a) ms | (b) ms | (c) ms | (d) ms | (a)/(b) | (c)/(a) | (d)/(a) | (a) sequences/s | "
        "networks | density | handlers | peak MiB (a) | (b) |",
        "|---|" + "---|" * 15,
    ]
    for row in results:
        times: dict[str, list[float]] = row["milliseconds"]
        middle = {name: median(values) for name, values in times.items()}
        a, b, n = middle["a"], middle["b"], middle["n"]
        cells = [row["case"], str(row["length"]), str(row["batch"])]
        cells += [_spread(times[name]) if name in times else "" for name in "abcd"]
        cells += [_ratio(times, "a", "b"), *(f"{middle[x] / a:.1f}" if x in middle else "" for x in "cd")]
        cells += [f"{1e3 * row['batch'] / a:,.0f}", f"{n / a:.0%}", f"{(b - n) / a:.0%}", f"{(a - b) / a:.0%}"]
        cells += [f"{row['peak'][name]:,.0f}" for name in "ab"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Median, quartiles in brackets. {hardware}"])


def _spread(values: list[float]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.1f} [{low:.1f}, {high:.1f}]"


def _ratio(times: Mapping[str, list[float]], above: str, below: str) -> str:
    """The median over rounds of the ratio within a round, with its quartiles."""
    return _spread_ratio([x / y for x, y in zip(times[above], times[below], strict=True)])


def _spread_ratio(values: list[float]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=25.0, help="at most, per case")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cases = GPU if arguments.device == "cuda" else QUICK if arguments.quick else WHOLE
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu ({platform.machine()})"
    hardware = (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}."
    )
    results = []
    for case in cases:
        taken = measure(case, arguments.device, arguments.seconds, arguments.rounds)
        peak = {step: peak_mebibytes(case, step, arguments.device) for step in "ab"}
        results.append(
            {"case": case.name, "length": case.length, "batch": case.batch, "milliseconds": taken, "peak": peak}
        )
        print(f"{case.name}: (a)/(b) {_ratio(taken, 'a', 'b')}", flush=True)
    text = report(results, hardware)
    print(text)
    if arguments.out is not None:
        stem = arguments.out / f"speed-{arguments.device}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(text + "\n")
        stem.with_suffix(".json").write_text(json.dumps({"hardware": hardware, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
