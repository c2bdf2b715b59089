r"""Can the comparison of models be believed? Coverage of its intervals and recovery of the true prior, by simulation.

  python benchmarks/comparison_study.py                 # 200 data sets, 40 recoveries: minutes, one thread
  python benchmarks/comparison_study.py --quick         # 20 data sets, 4 recoveries
  python benchmarks/comparison_study.py --out runs/study

Coverage: data from a linear-Gaussian world, two models that are both wrong, and the true difference of their expected log
evidence in closed form. Recovery: data from each of four dynamic priors under linear frames that are known; all four are
fitted to them by SVI with a fixed guide, and compared by `estimate_evidence` on sequences that were not seen. The last
section is that of `benchmarks/psis_loo.py`. Writes comparison_study.md and .json into --out.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psis_loo
import pyro
import torch
from linear_gaussian import Exact, PosteriorGuide, linear_dsvae, sequences
from pyro.distributions import MultivariateNormal, Normal
from torch import Tensor

from pyro_dsvae.configuration.catalogue import DYNAMIC_PRIORS
from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import Evidence, estimate_evidence
from pyro_dsvae.inference.model_comparison.comparison import Comparison, compare_evidence
from pyro_dsvae.inference.model_comparison.difference import Difference
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps

# --- coverage ---------------------------------------------------------------------------------------------------------

STEPS, COUNT, DRAWS = 5, 100, 400
WORLD, MODELS = 3.0, (2.4, 1.4)  # time constants
SHARE, STRETCH = 0.1, 3.0  # of contaminated sequences, and of their standard deviations
SEEDS, JITTER = 3, 0.3  # fits of one model, and the spread of their log time constants
NODES = 41


class Pair:
    """Two models that are wrong in their time constants; frames and noise are known."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.W, self.C = torch.randn(3, 2), torch.randn(3, 2)
        self.world = self.exact(WORLD)

    def exact(self, timescale: float) -> Exact:
        return Exact(self.W, self.C, 0.5, STEPS, timescale)

    def data(self, contaminated: bool) -> Tensor:
        x = self.world.simulate(COUNT)
        if contaminated:
            x = torch.where(torch.rand(COUNT, 1, 1) < SHARE, STRETCH, 1.0) * x
        return x

    def expected(self, timescale: float, contaminated: bool) -> float:
        """E[log p(x)] of a model: it needs second moments of the world only, whatever its tails."""
        moment = self.world.evidence.covariance_matrix
        if contaminated:
            moment = moment * (1 - SHARE + SHARE * STRETCH**2)
        covariance = self.exact(timescale).evidence.covariance_matrix
        trace = torch.linalg.solve(covariance, moment).trace()
        return float(-0.5 * (trace + covariance.logdet() + len(covariance) * math.log(2 * math.pi)))

    def expected_over_seeds(self, timescale: float) -> float:
        """The mean over fits whose log time constants are normal, by the trapezoidal rule."""
        places = torch.linspace(-6, 6, NODES)
        weights = (-0.5 * places**2).exp()
        values = torch.tensor([self.expected(timescale * math.exp(JITTER * p), False) for p in places.tolist()])
        return float((weights * values).sum() / weights.sum())


def exact_difference(pair: Pair, x: Tensor) -> Difference:
    values = {n: pair.exact(t).evidence.log_prob(x.flatten(1))[None] for n, t in zip("ab", MODELS, strict=True)}
    return compare_evidence(values, {n: torch.zeros_like(v) for n, v in values.items()}).between("a", "b")


def seeds_difference(pair: Pair, x: Tensor) -> Difference:
    """Every fit has its own time constant."""
    values = {}
    for name, timescale in zip("ab", MODELS, strict=True):
        fits = [pair.exact(timescale * math.exp(JITTER * float(torch.randn(())))) for _ in range(SEEDS)]
        values[name] = torch.stack([fit.evidence.log_prob(x.flatten(1)) for fit in fits])
    return compare_evidence(values, {n: torch.zeros_like(v) for n, v in values.items()}).between("a", "b")


def estimates(pair: Pair, x: Tensor, seed: int) -> dict[str, Evidence]:
    """With guides that are wrong, the better model's more so."""
    found = {}
    for i, (name, timescale) in enumerate(zip("ab", MODELS, strict=True)):
        exact = pair.exact(timescale)
        guide = PosteriorGuide(exact, 1.15 if name == "a" else 1.05, 0.1)
        found[name] = estimate_evidence(
            Sampler(exact.model, guide, max_frames=10**6), sequences(x), draws=DRAWS, seed=2 * seed + i
        )
    return found


def estimated_difference(found: dict[str, Evidence]) -> Difference:
    return compare_evidence(
        {n: e.log_evidence[None] for n, e in found.items()}, {n: e.standard_error[None] for n, e in found.items()}
    ).between("a", "b")


def elbo_difference(found: dict[str, Evidence]) -> Difference:
    """What is often done: the bound in place of the evidence."""
    values = {n: e.elbo[None] for n, e in found.items()}
    return compare_evidence(values, {n: torch.zeros_like(v) for n, v in values.items()}).between("a", "b")


@dataclass(frozen=True)
class Case:
    """Differences with the interval that is judged, and the truth."""

    name: str
    truth: float
    intervals: list[tuple[float, float]]

    def row(self) -> dict[str, Any]:
        count = len(self.intervals)
        right = sum(low > 0 if self.truth > 0 else high < 0 for low, high in self.intervals)
        wrong = sum(high < 0 if self.truth > 0 else low > 0 for low, high in self.intervals)
        return {
            "case": self.name,
            "truth": self.truth,
            "mean": sum((low + high) / 2 for low, high in self.intervals) / count,
            "half_width": sum((high - low) / 2 for low, high in self.intervals) / count,
            "covers": sum(low <= self.truth <= high for low, high in self.intervals) / count,
            "right": right / count,
            "wrong": wrong / count,
        }


def coverage(data_sets: int) -> list[dict[str, Any]]:
    pair = Pair()
    intervals: dict[str, list[tuple[float, float]]] = {}

    def keep(name: str, interval: tuple[float, float]) -> None:
        intervals.setdefault(name, []).append(interval)

    draws = f"importance-weighted, {DRAWS} draws"
    truths: dict[str, float] = {}
    for contaminated in (False, True):
        kind = "contaminated data" if contaminated else "clean data"
        truth = pair.expected(MODELS[0], contaminated) - pair.expected(MODELS[1], contaminated)
        for seed in range(data_sets):
            torch.manual_seed(1_000 + seed)
            x = pair.data(contaminated)
            keep(f"{kind}, exact evidence", exact_difference(pair, x).interval)
            found = estimates(pair, x, seed)
            keep(f"{kind}, {draws}", estimated_difference(found).interval)
            if not contaminated:
                keep("control: ELBO in place of evidence", elbo_difference(found).interval)
            told("coverage", (seed + 1) / data_sets / 2 + contaminated / 2)
        truths |= dict.fromkeys(intervals.keys() - truths.keys(), truth)
    seeds = f"clean data, exact evidence, {SEEDS} fits of each model"
    for seed in range(data_sets):
        torch.manual_seed(5_000 + seed)
        difference = seeds_difference(pair, pair.data(False))
        keep(seeds, difference.interval)
        keep("control: the same, seeds left out of the error", difference.fits_interval)
    truth = pair.expected_over_seeds(MODELS[0]) - pair.expected_over_seeds(MODELS[1])
    truths |= dict.fromkeys(intervals.keys() - truths.keys(), truth)
    order = sorted(intervals, key=lambda name: name.startswith("control"))
    return [Case(name, truths[name], intervals[name]).row() for name in order]


# --- recovery ---------------------------------------------------------------------------------------------------------

T, D, TRAIN, HELD_OUT, NOISE = 12, 2, 512, 300, 0.02
WORLDS: dict[str, dict[str, Any]] = {
    "IID": {},
    "RandomWalk": {"scale": 0.5},
    "GaussianProcess": {"kernel": "matern52", "lengthscale": 3.0, "spread": 2.0},
    "SwitchingLinear": {"states": 2},
}
OPTIONS: dict[str, dict[str, Any]] = {"GaussianProcess": {"kernel": "matern52"}, "SwitchingLinear": {"states": 2}}
FITTING, BATCH, RATE, WEIGHTS = 150, 128, 0.03, 300
TWINS = 3  # fits of the same prior under either of two names


class FramesGuide:
    """What frames alone say of f and z, exactly: the posterior under p(f) and a flat prior of z. Nothing in it is learned."""

    def __init__(self, W: Tensor, C: Tensor) -> None:
        self.inverse = torch.linalg.pinv(C)
        self.W, self.C = W, C
        # What of W f no z can imitate.
        self.seen = W - C @ (self.inverse @ W)
        self.precision = torch.eye(W.shape[1]) + T / NOISE**2 * self.seen.T @ self.seen
        self.z_tril = NOISE * torch.linalg.cholesky(torch.linalg.inv(C.T @ C))

    def __call__(self, x: Tensor, *_: object) -> None:
        loc = x.sum(1) @ self.seen / NOISE**2 @ torch.linalg.inv(self.precision)
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", MultivariateNormal(loc, precision_matrix=self.precision))
            mean = (x - (f @ self.W.T).unsqueeze(-2)) @ self.inverse.T
            pyro.sample("z", Steps(T).join(Normal(mean, self.z_tril.diagonal()).to_event(1)))


class World:
    """Sequences from one of the priors."""

    def __init__(self, name: str, simulation: int) -> None:
        pyro.set_rng_seed(100 + simulation)
        # Columns at right angles: z_t given f is independent in its dimensions.
        axes = torch.linalg.qr(torch.randn(4, 1 + D)).Q
        self.W, self.C = axes[:, :1], axes[:, 1:]
        prior = DYNAMIC_PRIORS[name](D, **WORLDS[name])
        with torch.no_grad():
            x = linear_dsvae(prior, self.W, self.C, NOISE)(shape=(TRAIN + HELD_OUT, T))
        self.train, self.held_out = x[:TRAIN], x[TRAIN:]
        self.guide = FramesGuide(self.W, self.C)

    def fit(self, name: str, seed: int) -> DSVAE:
        """The prior of largest ELBO, from its ordinary start."""
        pyro.set_rng_seed(seed)
        prior: DynamicPrior = DYNAMIC_PRIORS[name](D, **OPTIONS.get(name, {}))
        model = linear_dsvae(prior, self.W, self.C, NOISE)
        if not list(prior.parameters()):
            return model
        elbo, optimiser = SequenceELBO(), torch.optim.Adam(prior.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FITTING)
        with pyro.validation_enabled(False):
            for _ in range(FITTING):
                optimiser.zero_grad()
                elbo.terms(model, self.guide, self.train[torch.randint(TRAIN, (BATCH,))]).loss.backward()
                torch.nn.utils.clip_grad_norm_(prior.parameters(), 10.0)
                optimiser.step()
                schedule.step()
        return model

    def evidence(self, models: list[DSVAE], seed: int) -> tuple[Tensor, Tensor, float]:
        """Values and errors (S, N) of the fits, and the share of sequences with k-hat above .7."""
        found = [
            estimate_evidence(
                Sampler(m, self.guide, max_frames=200_000), sequences(self.held_out), WEIGHTS, seed=seed + i
            )
            for i, m in enumerate(models)
        ]
        return (
            torch.stack([e.log_evidence for e in found]),
            torch.stack([e.standard_error for e in found]),
            sum(e.unreliable_share for e in found) / len(found),
        )


def compared(found: dict[str, tuple[Tensor, Tensor, float]]) -> Comparison:
    return compare_evidence(
        {n: v for n, (v, _, _) in found.items()},
        {n: e for n, (_, e, _) in found.items()},
        unreliable={n: k for n, (_, _, k) in found.items()},
    )


def twins(world: World, home: str, simulation: int) -> bool:
    """Whether two names for one prior, with fits of its own for each, cannot be told apart."""
    fits = [world.fit(home, 10 * simulation + 1 + s) for s in range(2 * TWINS)]
    values, errors, k_hat = world.evidence(fits, 1_000 * simulation)
    halves = {"one": (values[:TWINS], errors[:TWINS], k_hat), "other": (values[TWINS:], errors[TWINS:], k_hat)}
    return compared(halves).differences[0].verdict == "cannot tell"


def recovery(simulations: int) -> list[dict[str, Any]]:
    """One row per simulation: the verdict on the truth against each other prior, and on the same prior under two names."""
    rows = []
    for i in range(simulations):
        home = list(WORLDS)[i % len(WORLDS)]
        world = World(home, i)
        found = {name: world.evidence([world.fit(name, 10 * i)], 7 * i) for name in WORLDS}
        comparison = compared(found)
        others = [comparison.between(home, name) for name in WORLDS if name != home]
        same_fits = compared({"one": found[home], "other": found[home]}).differences[0].verdict == "cannot tell"
        rows.append(
            {
                "world": home,
                "wins": all(d.verdict == "better" for d in others),
                "wins_or_ties": home in comparison.leaders,
                "differences": {
                    d.second: {"mean": d.mean, "error": d.standard_error, "verdict": d.verdict} for d in others
                },
                "k_hat_above_0.7": max(k for _, _, k in found.values()),
                "same_fits_cannot_tell": same_fits,
                "same_prior_cannot_tell": twins(world, home, i) if i // len(WORLDS) % 2 == 0 else None,
            }
        )
        told("recovery", (i + 1) / simulations)
    return rows


# --- tables -----------------------------------------------------------------------------------------------------------


def told(what: str, share: float) -> None:
    """Progress on standard error."""
    end = "\n" if share >= 1 else ""
    print(f"\r{what} {share:4.0%}", end=end, file=sys.stderr, flush=True)


def coverage_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| case | covers | true difference | centre of the interval | half width | verdict right | wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['case']} | {r['covers']:.1%} | {r['truth']:.3f} | {r['mean']:.3f} | {r['half_width']:.3f} "
        f"| {r['right']:.0%} | {r['wrong']:.0%} |"
        for r in rows
    ]
    return "\n".join(lines)


def recovery_table(rows: list[dict[str, Any]]) -> str:
    heads = " | ".join(f"truth minus {name}" for name in WORLDS)
    lines = [
        f"| true prior | simulations | beats all others | beaten by none | {heads} |",
        "|---|---|---|---|" + "---|" * len(WORLDS),
    ]
    for home in WORLDS:
        own = [r for r in rows if r["world"] == home]
        if not own:
            continue
        cells = []
        for name in WORLDS:
            found = [r["differences"][name] for r in own if name in r["differences"]]
            if not found:
                cells.append("")
                continue
            verdicts = [d["verdict"] for d in found]
            counts = ", ".join(f"{v} {verdicts.count(v)}" for v in ("better", "cannot tell", "worse") if v in verdicts)
            cells.append(f"{sum(d['mean'] for d in found) / len(found):.2f} ({counts})")
        wins, ties = (sum(r[key] for r in own) for key in ("wins", "wins_or_ties"))
        lines.append(f"| {home} | {len(own)} | {wins} | {ties} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(results: dict[str, Any], conditions: str) -> str:
    rows = results["recovery"]
    count = len(rows)
    beaten_by_none, same_fits = (sum(bool(r[key]) for r in rows) for key in ("wins_or_ties", "same_fits_cannot_tell"))
    twins = [r["same_prior_cannot_tell"] for r in rows if r["same_prior_cannot_tell"] is not None]
    k_hat = sum(r["k_hat_above_0.7"] for r in rows) / count
    return f"""# Can the comparison be believed? A simulation study

{conditions}

## Coverage

{results["data_sets"]} data sets of {COUNT} sequences each from a linear-Gaussian world (time constant {WORLD:g}).
Two models with time constants {MODELS[0]:g} and {MODELS[1]:g} are compared; the true difference of their expected
log evidence, in nats per sequence, is known in closed form. *covers*: share of data sets whose 95 % interval holds it;
*right*, *wrong*: share whose verdict has the right or the wrong sign (the rest is "cannot tell").
Contaminated: one sequence in ten is {STRETCH:g} times as large.
Importance-weighted: guides 15 % and 5 % too wide, means off by a tenth of a standard deviation.
{SEEDS} fits: every fit's time constant is off by a factor of its own (log-normal, {JITTER:g}), and the question is
which model is better on average over fits.

{coverage_table(results["coverage"])}

## Recovery

{count} simulations of {TRAIN} training and {HELD_OUT} held-out sequences of {T} steps, from four dynamic priors in
turn. Each of the four is fitted by SVI ({FITTING} steps) and compared by {WEIGHTS} importance-weighted draws.
**The true prior is beaten by none in {beaten_by_none} of {count}.** Mean differences in nats per sequence, with the
verdicts (joint 95 % intervals over all six pairs).

{recovery_table(rows)}

The same model under two names: the very same fits, "cannot tell" in {same_fits} of {count}; {TWINS} fits of its own
for each name, in {sum(twins)} of {len(twins)}. Share of sequences with k-hat above .7, of the worst candidate, on
average: {k_hat:.1%}.

{psis_loo.section(results["psis_loo"])}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    start = time.perf_counter()
    data_sets, simulations = (20, 4) if arguments.quick else (200, 40)
    results = timed(lambda: {"data_sets": data_sets, "coverage": coverage(data_sets)}, "coverage")
    results |= timed(lambda: {"recovery": recovery(simulations)}, "recovery")
    results |= timed(lambda: {"psis_loo": psis_loo.summary(psis_loo.measure())}, "PSIS-LOO")
    command = "python benchmarks/comparison_study.py" + " --quick" * arguments.quick
    conditions = (
        f"`{command}`: {(time.perf_counter() - start) / 60:.1f} minutes on one thread, cpu ({platform.machine()}), "
        f"Python {platform.python_version()}, torch {torch.__version__}, Pyro {pyro.__version__}; "
        "seeds are fixed in the script."
    )
    text = report(results, conditions)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "comparison_study.md").write_text(text)
    (arguments.out / "comparison_study.json").write_text(
        json.dumps({"conditions": conditions, **results}, indent=1) + "\n"
    )
    print(text)


def timed(work: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    start = time.perf_counter()
    result = work()
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
