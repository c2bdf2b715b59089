"""How often `compare` tells candidates apart that are alike, by the number of fits and how much they scatter.

  python benchmarks/seed_coverage.py                    # prints and writes the table, a quarter of an hour on one core
  python benchmarks/seed_coverage.py --repetitions 50

Candidates are alike on average over fits. Values of 64 sequences are normal: what a sequence does to all (5 nats), to one
candidate (1 nat) and in one fit only (.3 nats), and what a fit does (its spread). A verdict other than "cannot tell" about
any pair is false; joint 95 % intervals allow it in 5 % of the comparisons.
"""

import argparse
import math
from itertools import product
from pathlib import Path

import torch

from pyro_dsvae.inference.model_comparison.comparison import compare_evidence

SEQUENCES = 64
SEEDS, CANDIDATES = (2, 3, 5), (2, 5, 8)


def spreads(kind: str, candidates: int) -> list[float]:
    """Standard deviation over fits of every candidate, in nats."""
    if kind == "equal":
        return [1.0] * candidates
    if kind == "one large":
        return [3.0] + [0.3] * (candidates - 1)
    return [0.1 * 30 ** (k / (candidates - 1)) for k in range(candidates)]


def cell(seeds: int, candidates: int, kind: str, repetitions: int) -> tuple[float, float]:
    """Share of comparisons with a false verdict, and the median half width of an interval in nats."""
    torch.manual_seed(0)
    false, widths = 0, []
    for _ in range(repetitions):
        shared = 5 * torch.randn(SEQUENCES).double()
        values = {}
        for k, spread in enumerate(spreads(kind, candidates)):
            own = torch.randn(SEQUENCES) + spread * torch.randn(seeds, 1) + 0.3 * torch.randn(seeds, SEQUENCES)
            values[str(k)] = shared + own
        found = compare_evidence(values, {name: torch.zeros_like(value) for name, value in values.items()})
        false += any(difference.verdict != "cannot tell" for difference in found.differences)
        widths += [(difference.interval[1] - difference.interval[0]) / 2 for difference in found.differences]
    return false / repetitions, float(torch.tensor(widths).median())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    error = math.sqrt(0.05 * 0.95 / options.repetitions)
    lines = [
        "# How often alike candidates are told apart",
        "",
        f"`python benchmarks/seed_coverage.py`: {options.repetitions} comparisons each, {SEQUENCES} sequences, joint 95 % "
        f"intervals, so that 5 % (± {error:.1%}) are allowed. Spread: standard deviation over fits, in nats; graded goes "
        "from .1 to 3.",
        "",
        "| seeds | candidates | spreads | a false verdict | median half width, nats |",
        "|---:|---:|---|---:|---:|",
    ]
    for seeds, candidates, kind in product(SEEDS, CANDIDATES, ("equal", "one large", "graded")):
        share, half = cell(seeds, candidates, kind, options.repetitions)
        lines.append(f"| {seeds} | {candidates} | {kind} | {share:.1%} | {half:,.2f} |")
        print(lines[-1], flush=True)
    (options.out / "seed_coverage.md").write_text("\n".join(lines) + "\n")
    print(f"wrote: {options.out / 'seed_coverage.md'}")


if __name__ == "__main__":
    main()
