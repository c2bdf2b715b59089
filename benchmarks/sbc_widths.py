"""What simulation-based calibration says of guides whose width and bias are known.

  python benchmarks/sbc_widths.py                     # prints and writes the table, a few seconds

True values are N(0, 1), draws of the guide N(bias, width^2): 300 simulations with 39 draws each, as `ppc` takes them, 200
times for every pair. Beside the estimate stands the former one, which asks only how far ranks are from the middle: a biased
guide's ranks are far from it, so a guide that was too wide passed for too narrow.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand
from pyro_dsvae.inference.calibration.ranks import BINS, rank_test

WIDTHS, BIASES = (0.6, 0.8, 0.9, 1.0, 1.1, 1.3, 1.6), (0.0, 0.3, 0.6, 1.0)
SIMULATIONS, DRAWS = 300, 39


def former(ranks: torch.Tensor) -> torch.Tensor:
    """The width from the dispersion of ranks about the middle alone."""
    places = (torch.arange(DRAWS + 1, dtype=torch.float64) + 0.5) / (DRAWS + 1) - 0.5
    centred = (ranks.double() + 0.5) / (DRAWS + 1) - 0.5
    dispersion = centred.square().mean((0, 1)) + 1 / 12 - places.square().mean()
    return (1 / torch.sin(2 * math.pi * dispersion.clamp(1e-6, 0.25)) - 1).clamp(min=0).sqrt()


def row(width: float, bias: float, repetitions: int, rng: np.random.Generator) -> str:
    """One line of the table."""
    true = rng.standard_normal((SIMULATIONS, 1, repetitions))
    below = sum(bias + width * rng.standard_normal(true.shape) < true for _ in range(DRAWS))
    ranks = torch.from_numpy(np.asarray(below))
    band = ECDFBand.of(SIMULATIONS, BINS)
    # Every repetition is a family of its own, as if a latent of one dimension were tested.
    found = [
        rank_test(ranks[..., k : k + 1], DRAWS, band, torch.Generator().manual_seed(k)) for k in range(repetitions)
    ]
    widths = torch.cat([test.width for test in found])
    said = [sum(bool(getattr(test, word)) for test in found) / repetitions for word in ("narrow", "wide", "biased")]
    low, high = np.quantile(widths.numpy(), (0.05, 0.95))
    shares = " | ".join(f"{share:.1%}" for share in said)
    return f"| {width} | {bias} | {widths.median():.2f} ({low:.2f} to {high:.2f}) | {former(ranks).median():.2f} | {shares} |"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    lines = [
        "# What simulation-based calibration says of known guides",
        "",
        f"`python benchmarks/sbc_widths.py`: {SIMULATIONS} simulations, {DRAWS} draws, {options.repetitions} repetitions, seed "
        f"{options.seed}. True values are N(0, 1), draws N(bias, width²). Widths are medians with the range of 90 % of the "
        "repetitions; what is said is said at a rate of false discoveries of 1 %.",
        "",
        "| width | bias | width found | former estimate | said too narrow | said too wide | said biased |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(row(width, bias, options.repetitions, rng) for width in WIDTHS for bias in BIASES),
    ]
    (options.out / "sbc_widths.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"wrote: {options.out / 'sbc_widths.md'}")


if __name__ == "__main__":
    main()
