r"""The README's figures: the main job and its controls, one table.

  python benchmarks/controls.py --out runs/controls                     # embedded sprites, seed 0
  python benchmarks/controls.py --out runs/controls --seeds 3
  python benchmarks/controls.py --out runs/lpc --only default --seeds 2 \
      -- --data LPCSprites --data.root DIR --data.size 32 --minutes 30

Options after -- go to every fit. Fits that are there already are not repeated. Writes controls.md and controls.json into
--out and prints the table with hardware, versions, seeds and spread.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from fits import fitted

VARIANTS: dict[str, list[str]] = {
    "default": [],
    "without guide views": ["--posterior.views", "false"],
    "IID dynamic prior": ["--dynamic_prior", "IID"],
}


def run(variant: str, seed: int, out: Path, options: list[str]) -> dict[str, Any]:
    """The summary of one variant with one seed."""
    return fitted(
        out / f"{variant.replace(' ', '-').lower()}-{seed}", ["--seed", str(seed), *options, *VARIANTS[variant]]
    )


def spread(values: list[float], form: str) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{mean(values):{form}} ± {stdev(values):{form}}"


def table(results: dict[str, list[dict[str, Any]]], seeds: int) -> str:
    """Markdown: one row per variant."""
    first = next(iter(results.values()))[0]
    labels = [*first["judge"]["kept"], *first["judge"]["taken_over"]]
    lines = [
        "| variant | held-out ELBO | KL of f | KL of z | " + " | ".join(labels) + " | mean taken over | minutes |",
        "|---|" + "---|" * (len(labels) + 5),
    ]
    for variant, runs in results.items():
        judged = [{**r["judge"]["kept"], **r["judge"]["taken_over"]} for r in runs]
        cells = [
            spread([r["test"]["elbo"] for r in runs], ",.1f"),
            spread([r["test"]["kl_static"] for r in runs], ".1f"),
            spread([r["test"]["kl_dynamic"] for r in runs], ".1f"),
            *(spread([j[label] for j in judged], ".1%") for label in labels),
            spread([r["judge"]["mean_taken_over"] for r in runs], ".1%"),
            spread([r["seconds"] / 60 for r in runs], ".1f"),
        ]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    accuracy = ", ".join(f"{name} {value:.2%}" for name, value in first["judge"]["accuracy"].items())
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"Test characters, never seen in training. {seeds} seed(s); ± is the standard deviation over seeds. "
            "ELBO and KL: means in nats per sequence. Labels: share of swaps judged right; "
            f"the judge on true test clips: {accuracy}. {first['device']}, {first['threads']} threads; {versions}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=list(VARIANTS), action="append")
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {
        variant: [run(variant, seed, arguments.out, options) for seed in range(arguments.seeds)]
        for variant in arguments.only or VARIANTS
    }
    text = table(results, arguments.seeds)
    (arguments.out / "controls.md").write_text(text + "\n")
    (arguments.out / "controls.json").write_text(json.dumps(results, indent=2) + "\n")
    print(text)


if __name__ == "__main__":
    main()
