"""Real series: what f and z know, and how well gaps and the future are filled, beside what needs no such model.

    python -m benchmarks.series                                    all fits and rows that series.csv lacks, and the tables
    python -m benchmarks.series --data JapaneseVowels --seeds 2
    python -m benchmarks.series --tables                           the tables of what is there

Fits are those of `fit --config series`, 600 steps for JapaneseVowels, 2,000 for WatchExercises, in the folder --runs; a fit
that is there is not repeated, nor is a row of the table. Every figure is of the test split.

JapaneseVowels: the speaker told by a linear discriminant (scikit-learn, covariances shrunk by Ledoit and Wolf) from f, by the
same from summaries of every column (mean, standard deviation, mean absolute change), by the nearest neighbour under dynamic
time warping, and by ROCKET where aeon is installed. Equal error rates of the cosine between two utterances.

WatchExercises: swaps under the package's judge, and probes of f and of z, as `evaluate` has them. With the views
other_window a fit knows which windows are of one arm of one person, and no more of the labels. The split is by time within
each recording, so that people have been seen in the same exercise with the same arm; by recording they have not.

Imputation hides a share of all values at random. Forecasts start from the first half of each series, with that share hidden. A
baseline without spread has its absolute error as its CRPS; "with errors" adds the errors that it makes on training series, for
each column and, of forecasts, for each step ahead.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pyro.ops.stats import crps_empirical
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

import pyro_dsvae
from benchmarks.sprites.fits import fitted
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sequences import evenly_spaced
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.swap_scores import accuracies
from pyro_dsvae.loading import Run
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.metrics.features import encode, path_codes
from pyro_dsvae.metrics.labelled import measure_probes
from pyro_dsvae.metrics.series import rocket, standardised_series, step_counts, summary_features
from pyro_dsvae.metrics.swaps import judge_swaps, score_swaps
from pyro_dsvae.models.ops.dynamic_time_warping import nearest_by_warping

VIEWS = {
    "none": [],
    "rescale": ["--posterior.views", "rescale"],
    "other_window": ["--posterior.views", "other_window", "--optimisation.kl_static", "0.01"],
}
TABLE = Path(__file__).parent / "results" / "series.csv"
FIELDS = ("data", "seed", "task", "method", "measure", "value")
RECORDINGS = "WatchExercises by recording"


class Case(NamedTuple):
    """Data, and how long and how often they are fitted."""

    source: pyro_dsvae.JapaneseVowels | pyro_dsvae.WatchExercises
    options: list[str]
    steps: int
    seeds: int


CASES = {
    "JapaneseVowels": Case(pyro_dsvae.JapaneseVowels(), ["--data", "JapaneseVowels"], 600, 5),
    "WatchExercises": Case(
        pyro_dsvae.WatchExercises(by="time"), ["--data", "WatchExercises", "--data.by", "time"], 2_000, 3
    ),
    RECORDINGS: Case(pyro_dsvae.WatchExercises(), ["--data", "WatchExercises"], 2_000, 1),
}
# Imputing is dear: of so many test series, and by the fits of so many seeds.
FILLED, FILLED_SEEDS, DRAWS = 50, 2, 50
SHARES = (0.1, 0.3, 0.5)
FILL = ("impute", "forecast")
LEVELS = torch.linspace(0.01, 0.99, DRAWS)
Row = tuple[str, int, str, str, str, float]


# --- what is known of labels ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coded:
    """Posterior means of the training and of the test split."""

    train: SequenceData
    test: SequenceData
    of_train: Latents
    of_test: Latents

    @classmethod
    def of(cls, run: Run) -> "Coded":
        data = run.sequences()
        codes = (encode(run.sampler(), data.sequences(split)) for split in ("train", "test"))
        return cls(data.part("train"), data.part("test"), *codes)


def speakers(coded: Coded) -> Iterator[tuple[str, str, float]]:
    """Method, measure and value: who speaks, by f."""
    who, true = coded.train.labels["speaker"].values, coded.test.labels["speaker"].values
    judge = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(coded.of_train.f, who)
    yield "f", "accuracy", float(judge.score(coded.of_test.f, true))
    projected = [torch.from_numpy(judge.transform(codes.f)) for codes in (coded.of_train, coded.of_test)]
    paths = [
        path_codes(codes.z, part.lengths)
        for codes, part in ((coded.of_train, coded.train), (coded.of_test, coded.test))
    ]
    yield "f", "equal error rate", equal_error_rate(coded.of_test.f, true, coded.of_train.f)
    yield "f, discriminant", "equal error rate", equal_error_rate(projected[1], true, projected[0])
    yield "z", "equal error rate", equal_error_rate(paths[1], true, paths[0])
    judge = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(paths[0], who)
    yield "z", "accuracy", float(judge.score(paths[1], true))


def known_classifiers(data: SequenceData, seed: int) -> Iterator[tuple[str, str, float]]:
    """Method, measure and value of what needs no model of this package; with seed 0 what depends on none, too."""
    train, test = data.part("train"), data.part("test")
    x, y = standardised_series(train, train), standardised_series(test, train)
    who, true = train.labels["speaker"].values, test.labels["speaker"].values
    if seed == 0:
        nearest = nearest_by_warping(x, step_counts(train), who, y, step_counts(test))
        yield "nearest by warping", "accuracy", float((nearest == true).double().mean())
        features = summary_features(x, train.lengths), summary_features(y, test.lengths)
        judge = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(features[0], who)
        yield "linear, of summaries", "accuracy", float(judge.score(features[1], true))
        yield "summaries", "equal error rate", equal_error_rate(features[1], true, features[0])
    if find_spec("aeon") is not None:
        yield "ROCKET", "accuracy", float((rocket(x, who, y, seed) == true).double().mean())


def exercises(run: Run, coded: Coded, seed: int) -> Iterator[tuple[str, str, float]]:
    """Method, measure and value: whose each label is after a swap, and what probes of f and z tell."""
    data, to_model_units = run.sequences(), run.model.likelihood.to_model_units
    judge = load_or_train_judge(data, to_model_units)
    swaps = score_swaps(judge_swaps(run.model, coded.of_test, coded.test, judge, seed), coded.test)
    shares = {"f of another": swaps.f_replaced, "reconstructed": swaps.reconstructed, "chance": swaps.chance}
    for how, by_label in shares.items():
        for label, share in by_label.items():
            yield how, label, share
    probes = measure_probes(coded.of_train, coded.train, coded.of_test, coded.test, [], seed)
    for latent, by_label in probes.items():
        for label, found in by_label.items():
            yield f"probe of {latent}", label, found.linear
            yield "most frequent", label, found.chance


def true_windows(data: SequenceData) -> Iterator[tuple[str, str, float]]:
    """Method, measure and value: how often the judge tells each label of test windows as they are."""
    judge = load_or_train_judge(data, _unchanged)
    for label, share in accuracies(judge, data.part("test"), _unchanged).items():
        yield "true windows", label, share


def _unchanged(frames: Tensor) -> Tensor:
    return frames


# --- what was not observed --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaps:
    """Series (N, T, P) standardised by the training split, of which some values are hidden.

    Attributes:
        x: With 0 at steps that do not exist.
        seen: Which values are given.
        asked: Which hidden values are to be found.
        half: (N,) steps that a forecast starts from; None for imputation.
    """

    x: Tensor
    seen: Tensor
    asked: Tensor
    half: Tensor | None

    @classmethod
    def of(cls, x: Tensor, exists: Tensor, share: float, forecast: bool) -> "Gaps":
        given = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) >= share
        exists = exists.unsqueeze(-1).expand(x.shape)
        if not forecast:
            return cls(x, given & exists, ~given & exists, None)
        half = exists[..., 0].sum(1) // 2
        past = (torch.arange(x.shape[1]) < half[:, None]).unsqueeze(-1)
        return cls(x, given & past, exists & ~past, half)


def simple(gaps: Gaps) -> Mapping[str, Tensor]:
    """Last value carried forward (the first one back), and the line between the values on either side."""
    found = {name: torch.zeros_like(gaps.x) for name in ("last value", "linear interpolation")}
    steps = np.arange(gaps.x.shape[1])
    for i, p in np.ndindex(gaps.x.shape[0], gaps.x.shape[2]):
        at = np.flatnonzero(gaps.seen[i, :, p])
        if not len(at):
            continue  # the mean of the column
        values = gaps.x[i, at, p].numpy()
        found["last value"][i, :, p] = torch.from_numpy(values[np.searchsorted(at, steps, "right").clip(1) - 1])
        found["linear interpolation"][i, :, p] = torch.from_numpy(np.interp(steps, at, values)).float()
    return found


def with_errors(points: Tensor, trained: Tensor, train: Gaps, gaps: Gaps) -> Tensor:
    """Ensembles (K, N, T, P): a point, and quantiles of the errors that such points make on training series."""
    drawn = points.repeat(len(LEVELS), 1, 1, 1)
    ahead, train_ahead = (_ahead(each) for each in (gaps, train))
    for step, p in np.ndindex(int(ahead.max()) + 1, points.shape[2]):
        known = train.asked[..., p] & (train_ahead == step)
        if not bool(known.any()):
            known = train.asked[..., p]
        errors = torch.quantile((train.x - trained)[..., p][known], LEVELS)
        drawn[..., p] += errors[:, None, None] * (ahead == step)
    return drawn


def _ahead(gaps: Gaps) -> Tensor:
    """(N, T) how many steps after the last that was given; 0 for imputation."""
    if gaps.half is None:
        return torch.zeros(gaps.x.shape[:2], dtype=torch.int64)
    return (torch.arange(gaps.x.shape[1]) - gaps.half[:, None] + 1).clamp(min=0)


def by_model(run: Run, gaps: Gaps, lengths: Tensor, seed: int) -> Tensor:
    """Draws (K, N, T, P) of the values that are asked for, with the noise of the likelihood."""
    standard = run.model.standardisation
    assert standard is not None
    x = gaps.x * standard.sd + standard.mean
    if gaps.half is None:
        found = run.impute(x, gaps.seen, lengths, draws=DRAWS, method="refined", seed=seed)
        with evaluation(run.model, run.guide, seed, run.device):
            drawn = torch.stack([run.model.frames(f, z).sample() for f, z in zip(found.f, found.z, strict=True)])
        return (drawn - standard.mean) / standard.sd
    most = int((lengths - gaps.half).max())
    past = int(gaps.half.max())
    ahead = run.forecast(x[:, :past], most, gaps.seen[:, :past], gaps.half, draws=DRAWS, seed=seed).samples
    drawn = torch.zeros(DRAWS, *gaps.x.shape)
    for i, (half, length) in enumerate(zip(gaps.half.tolist(), lengths.tolist(), strict=True)):
        drawn[:, i, half:length] = ahead[:, i, : length - half]
    return (drawn - standard.mean) / standard.sd


def scored(drawn: Tensor, point: Tensor, gaps: Gaps) -> Mapping[str, float]:
    """Mean CRPS and absolute error over all values that are asked for, in standard deviations, and what 90 % intervals hold."""
    found = {
        "CRPS": float(crps_empirical(drawn, gaps.x)[gaps.asked].mean()),
        "MAE": float((point - gaps.x).abs()[gaps.asked].mean()),
    }
    if len(drawn) > 1:
        low, high = torch.quantile(drawn, torch.tensor([0.05, 0.95]), dim=0)
        found["coverage"] = float(((low <= gaps.x) & (gaps.x <= high))[gaps.asked].double().mean())
    return found


def filled(run: Run, share: float, forecast: bool, seed: int) -> Iterator[tuple[str, str, float]]:
    """Method, measure and value."""
    data = run.sequences()
    train, test = data.part("train"), data.part("test")
    test = test.take(evenly_spaced(len(test), FILLED))
    gaps, train_gaps = (
        Gaps.of(
            standardised_series(part, train).float(),
            torch.arange(part.length) < step_counts(part)[:, None],
            share,
            forecast,
        )
        for part in (test, train)
    )
    drawn = by_model(run, gaps, step_counts(test), seed)
    found = {"model": scored(drawn, drawn.median(0).values, gaps)}
    if seed == 0:  # they depend on no seed
        trained = simple(train_gaps)
        for name, points in simple(gaps).items():
            found[name] = scored(points.unsqueeze(0), points, gaps)
            found[f"{name}, with errors"] = scored(with_errors(points, trained[name], train_gaps, gaps), points, gaps)
    for name, values in found.items():
        for measure, value in values.items():
            yield name, measure, value


# --- rows and tables --------------------------------------------------------------------------------------------------


def read() -> list[Row]:
    """The rows that are there."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return [
            (r["data"], int(r["seed"]), r["task"], r["method"], r["measure"], float(r["value"]))
            for r in csv.DictReader(file)
        ]


def add(data: str, seed: int, task: str, found: list[tuple[str, str, float]]) -> None:
    """Write what a task gave."""
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        writer.writerows([data, seed, task, method, measure, f"{value:.5g}"] for method, measure, value in found)
    print(f"{data}, seed {seed}: {task}", flush=True)


def measure(data: str, views: str, seed: int, runs: Path, fill: bool) -> None:
    """The rows of one fit that are missing: of its labels, or of what it fills."""
    name = data if views == "none" else f"{data}, {views}"
    there = {(row[0], row[1], row[2]) for row in read()}
    tasks: dict[str, tuple[float, bool] | None] = {"speakers" if data == "JapaneseVowels" else "exercises": None}
    if fill:
        tasks = {f"{what} {share:.0%}": (share, what == "forecast") for what in FILL for share in SHARES}
    missing = [task for task in tasks if (name, seed, task) not in there]
    if not missing:
        return
    folder = runs / f"{data.replace(' ', '-')}-{views}-{seed}"
    case = CASES[data]
    options = ["--config", "series", *case.options, *VIEWS[views], "--device", "cpu"]
    fitted(folder, [*options, "--steps", str(case.steps), "--seed", str(seed)])
    run = pyro_dsvae.load(folder)
    for task in missing:
        how = tasks[task]
        if how is not None:
            found = filled(run, *how, seed)
        else:
            coded = Coded.of(run)
            found = speakers(coded) if task == "speakers" else exercises(run, coded, seed)
        add(name, seed, task, list(found))


def tables() -> None:
    """Means over seeds, of several with the lowest and the highest."""
    cells: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for data, _, task, method, what, value in read():
        cells[data, task][method, what].append(value)
    for (data, task), found in cells.items():
        columns = list(dict.fromkeys(what for _, what in found))
        print(f"\n{data}: {task}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        for method in dict.fromkeys(method for method, _ in found):
            line = [_said(found.get((method, what), [])) for what in columns]
            print(f"| {method} | {' | '.join(line)} |")


def _said(values: list[float]) -> str:
    if not values:
        return ""
    mean = f"{np.mean(values):.3f}"
    return mean if max(values) == min(values) else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=VIEWS)
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--runs", type=Path, default=Path("runs/series"))
    parser.add_argument("--tables", action="store_true", help="of the rows that are there, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.tables:
        for data in options.data:
            for views in options.views:
                if views == "other_window" and data == "JapaneseVowels":
                    continue  # an utterance has one window
                for seed in range(min(CASES[data].seeds, options.seeds or CASES[data].seeds)):
                    measure(data, views, seed, options.runs, fill=False)
        if "JapaneseVowels" in options.data:
            there = {row[1] for row in read() if row[2] == "known classifiers"}
            for seed in sorted(set(range(options.seeds or CASES["JapaneseVowels"].seeds)) - there):
                found = known_classifiers(CASES["JapaneseVowels"].source.load(), seed)
                add("JapaneseVowels", seed, "known classifiers", list(found))
        for data in set(options.data) - {"JapaneseVowels"}:
            if (data, "true windows") not in {(row[0], row[3]) for row in read()}:
                add(data, 0, "exercises", list(true_windows(CASES[data].source.load())))
        for data, seed in product(options.data, range(min(FILLED_SEEDS, options.seeds or FILLED_SEEDS))):
            if "none" in options.views and data != RECORDINGS:
                measure(data, "none", seed, options.runs, fill=True)
    tables()


if __name__ == "__main__":
    main()
