r"""Time and memory of a training step as sequences grow to 10,000 frames.

  python benchmarks/long_sequences.py --out benchmarks/results                  # about 6 minutes on two cores
  python benchmarks/long_sequences.py --device cuda --out benchmarks/results

Each line is a process of its own: median of the steps after two that are thrown away, and its peak memory (CPU: resident, above
what it had after import; GPU: allocated). A batch holds one sequence, or as many as make 512 frames.
"""

import argparse
import json
import multiprocessing
import platform
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from speed import Work, _resident, _wait

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

PAIRS = {
    "LSTM, LSTM": (LSTM, LSTMPosterior),
    "LinearGaussian, StructuredGaussian": (LinearGaussian, StructuredGaussian),
    "RandomWalk, StructuredGaussian": (RandomWalk, StructuredGaussian),
}
VECTOR, IMAGE = (6,), (3, 32, 32)
FRAMES = 512


@dataclass(frozen=True)
class Case:
    """One line: prior and posterior, frames, T, and how many frames the networks may take at once (None: the default)."""

    pair: str
    frame: tuple[int, ...]
    length: int
    at_once: int | None = None

    @property
    def batch(self) -> int:
        return max(1, FRAMES // self.length)


CASES = (
    *(Case(pair, VECTOR, length) for pair in PAIRS for length in (32, 512, 2_048, 10_000)),
    *(Case("LSTM, LSTM", IMAGE, length) for length in (32, 512, 2_048)),
    Case("LSTM, LSTM", IMAGE, 2_048, at_once=256),
)


def step(case: Case, device: str) -> Work:
    """A step of a fit."""
    if case.at_once is not None:
        chunks.CHUNK_VALUES = case.at_once * max(chunks.MIN_VALUES, torch.Size(case.frame).numel())
    frames = torch.randint(0, 256, (case.batch, case.length, *case.frame), dtype=torch.uint8)
    made = build(frames[:1], 0, 64, 8, StandardNormal, *PAIRS[case.pair], Normal)  # type: ignore[arg-type]
    rows = Sequences(frames, None, None, torch.arange(case.batch))
    hardware = Hardware(device)  # type: ignore[arg-type]
    loop = SVI(
        made, rows, rows, Optimisation(batch_size=case.batch, recombination_start=1.0), Budget(10**6), hardware=hardware
    )
    return partial(loop._step, 0.5)


def measure(case: Case, device: str, seconds: float) -> dict[str, Any]:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (case, device, seconds))


def _measure(case: Case, device: str, seconds: float) -> dict[str, Any]:
    before = _resident()
    work = step(case, device)
    taken: list[float] = []
    start = time.perf_counter()
    while len(taken) < 5 or (time.perf_counter() - start < seconds and len(taken) < 40):
        began = time.perf_counter()
        work()
        _wait(device)
        taken.append(1e3 * (time.perf_counter() - began))
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else _resident() - before
    return {**asdict(case), "batch": case.batch, "milliseconds": taken[2:], "mebibytes": peak}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| prior, posterior | frames | T | batch | ms per step | microseconds per frame | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results:
        middle = median(row["milliseconds"])
        frames = "×".join(map(str, row["frame"]))
        if row["at_once"] is not None:
            frames += f", {row['at_once']} at once"
        cells = (row["pair"], frames, f"{row['length']:,}", row["batch"], f"{middle:,.0f}")
        each = 1e3 * middle / row["length"] / row["batch"]
        lines.append("| " + " | ".join(map(str, (*cells, f"{each:,.0f}", f"{row['mebibytes']:,.0f}"))) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=8.0, help="at most, per line, if five steps take less")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu ({platform.machine()})"
    hardware = (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}."
    )
    results = []
    for case in CASES:
        results.append(measure(case, arguments.device, arguments.seconds))
        print(table(results).splitlines()[-1], flush=True)
    text = f"# Long sequences\n\n    python benchmarks/long_sequences.py\n\n{table(results)}\n\nMedians. {hardware}\n"
    print(text)
    if arguments.out is not None:
        stem = arguments.out / f"long-sequences-{arguments.device}"
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({"hardware": hardware, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
