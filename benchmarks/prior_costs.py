r"""What a dynamic prior costs as T grows: one training step on it, and one draw from it.

  python benchmarks/prior_costs.py                          # T = 8, 64, 512; prints and writes the table
  python benchmarks/prior_costs.py --repeats 10 --out benchmarks/results

Training: forward and backward of KL(q || p) for a batch of 32 paths of 8 dimensions from a normal q, as the ELBO takes it.
Sampling: one ancestral draw of 32 paths. Median over the repeats after one that is thrown away, with the range; one thread.
"""

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from pyro.distributions import Normal

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.elbo import kl_of
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps

BATCH, LATENT, LENGTHS = 32, 8, (8, 64, 512)


def train(prior: DynamicPrior, length: int) -> None:
    """One gradient of the KL."""
    loc = torch.randn(BATCH, length, LATENT, requires_grad=True)
    q = Steps(length).join(Normal(loc, torch.full_like(loc, 0.5)).to_event(1))
    value, _ = kl_of(q, prior(torch.zeros(BATCH, 1), Steps(length)), q.rsample())
    value.mean().backward()


@torch.no_grad()
def sample(prior: DynamicPrior, length: int) -> None:
    """One draw."""
    prior(torch.zeros(BATCH, 1), Steps(length)).rsample()


def milliseconds(work: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Median and range."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    kept = sorted(1e3 * s for s in seconds[1:])
    return median(kept), kept[0], kept[-1]


def table(repeats: int) -> str:
    """Markdown: one row per prior, milliseconds."""
    heads = [f"{what}, T = {length}" for what in ("training", "sampling") for length in LENGTHS]
    lines = ["| dynamic prior | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name, kind in PARTS["dynamic_prior"].items():
        torch.manual_seed(0)
        prior = kind(LATENT)
        cells = []
        for work in (train, sample):
            for length in LENGTHS:
                middle, low, high = milliseconds(partial(work, prior, length), repeats)
                cells.append(f"{middle:.3g} ({low:.3g}-{high:.3g})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    note = (
        f"Milliseconds, median (range) of {repeats} repeats; batch {BATCH}, D = {LATENT}, default options, float32, "
        f"one thread, cpu ({platform.machine()}), torch {torch.__version__}. `python benchmarks/prior_costs.py`."
    )
    return "\n".join([*lines, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = table(arguments.repeats)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "prior_costs.md").write_text(f"# What a dynamic prior costs in T\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
