r"""Why conditional PSIS-LOO is not offered: one picture, where the right answer is known.

  python benchmarks/psis_loo.py                     # prints the figures, draws docs/psis_loo.png; seconds

A linear-Gaussian DSVAE with its exact posterior. PSIS-LOO (ArviZ's) is given log p(x_i | f_i, z_i) at posterior draws of f_i
and z_i, as is usual for models whose parameters are shared by all data. Here they are not: without x_i nothing is known of
f_i and z_i, so leaving x_i out means to weigh posterior draws up to the prior. Beside it the marginal importance-weighted
evidence with the same number of draws, from the exact posterior and from one that is 15 % too wide.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import arviz_base
import arviz_stats
import numpy as np
import torch
from linear_gaussian import Exact, PosteriorGuide, sequences
from matplotlib.figure import Figure

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import CPU, Sampler, evaluation
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal

COUNT, STEPS, DRAWS = 100, 8, 4_000
CONDITIONAL = "conditional PSIS-LOO, exact posterior"
MARGINAL = "marginal evidence, exact posterior"
WIDE = "marginal evidence, posterior 15 % too wide"
COLOURS = {CONDITIONAL: "#c2410c", MARGINAL: "#0b6bcb", WIDE: "#7c9cbf"}


def measure() -> dict[str, Any]:
    """k-hat and score minus exact log evidence of every sequence, by method."""
    torch.manual_seed(0)
    exact = Exact(torch.randn(3, 2), torch.randn(3, 2), 0.5, STEPS, 3.0)
    x, guide = exact.simulate(COUNT), PosteriorGuide(exact)
    known = exact.evidence.log_prob(x.flatten(1))
    with evaluation(exact.model, guide, 0, CPU):
        clips = Batch(x, None, None, None)
        latents, _ = Proposal(guide, clips).draw(DRAWS)
        log_likelihood = Joint(exact.model, clips).at(latents).log_likelihood
    tree = arviz_base.from_dict(
        {"posterior": {"f": latents.f[None].numpy()}, "log_likelihood": {"x": log_likelihood[None].numpy()}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of exactly what is shown here
        loo = arviz_stats.loo(tree, pointwise=True, reff=1.0)
    found = {CONDITIONAL: (loo.pareto_k.values, loo.elpd_i.values - known.numpy())}
    for name, q in ((MARGINAL, guide), (WIDE, PosteriorGuide(exact, 1.15))):
        evidence = estimate_evidence(Sampler(exact.model, q), sequences(x), DRAWS)
        found[name] = (evidence.k_hat.numpy(), (evidence.log_evidence - known).numpy())
    return {name: {"k_hat": k.tolist(), "error": error.tolist()} for name, (k, error) in found.items()}


def summary(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per method."""
    rows = []
    for name, values in found.items():
        k, error = np.array(values["k_hat"]), np.array(values["error"])
        rows.append(
            {
                "method": name,
                "k_hat_above_0.7": float((k > 0.7).mean()),
                "k_hat": [float(k.min()), float(k.max())],
                "error": float(error.mean()),
                "error_range": [float(error.min()), float(error.max())],
            }
        )
    return rows


def signed(value: float) -> str:
    """With sign, but for what is zero to three digits."""
    return "0.000" if abs(value) < 5e-4 else f"{value:+.3f}"


def section(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"""## Why conditional PSIS-LOO is not offered

{COUNT} sequences of {STEPS} steps from a linear-Gaussian DSVAE whose posterior and evidence are known, {DRAWS:,} draws per
sequence (`python benchmarks/psis_loo.py`, which draws [the picture](../../docs/psis_loo.png)). Leaving a sequence out
leaves nothing known of its own f and z, so PSIS has to weigh draws from the posterior up to the prior. That fails for
every sequence, even with the exact posterior, and the score is too high. The marginal evidence of held-out
sequences has no such step. Errors are scores minus exact log evidence, in nats.
""",
        "| score of a sequence | k-hat above .7 | smallest, largest k-hat | mean error (range) |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['method']} | {r['k_hat_above_0.7']:.0%} | {r['k_hat'][0]:.2f}, {r['k_hat'][1]:.2f} "
        f"| {signed(r['error'])} ({signed(r['error_range'][0])} to {signed(r['error_range'][1])}) |"
        for r in rows
    ]
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in found.items():
        numbers = range(len(values["k_hat"]))
        left.scatter(numbers, values["k_hat"], s=9, color=COLOURS[name], label=name)
        right.scatter(numbers, values["error"], s=9, color=COLOURS[name])
    left.axhline(0.7, color="black", linestyle="--", linewidth=1)
    left.text(len(numbers), 0.72, ".7", ha="right", va="bottom", fontsize=9)
    right.axhline(0, color="black", linestyle="--", linewidth=1)
    left.set(xlabel="sequence", ylabel="k-hat", title="above .7 an estimate cannot be trusted")
    right.set(xlabel="sequence", ylabel="nats", title="score minus exact log evidence")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "psis_loo.png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    found = measure()
    draw(found, arguments.out)
    print(section(summary(found)))


if __name__ == "__main__":
    main()
