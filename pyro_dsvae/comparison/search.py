"""A search: trials that are fitted and judged one after the other, and the best of them, which are then compared."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pyro_dsvae.comparison.candidates import Candidate
from pyro_dsvae.comparison.comparability import check_candidates
from pyro_dsvae.comparison.measurement import Evaluation, log_evidence
from pyro_dsvae.comparison.plan import Plan
from pyro_dsvae.comparison.space import Space
from pyro_dsvae.comparison.spread.tasks import Task
from pyro_dsvae.comparison.study import Study, Trial
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.svi import NonFiniteError
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.evaluations import record

FINALISTS = 3


def searched(plan: Plan, space: Space, trials: int, seed: int, seeds: int, device: str) -> Plan:
    """The plan with the best of ``trials`` trials as its candidates, by log p(x) of validation sequences.

    Trials have the first seed. The finalists are fitted with the others, too, which nothing was chosen by.

    Args:
        plan: Without candidates.
        space: What is searched over.
        trials: How many.
        seed: Of the search and of the fits.
        seeds: Fits of each finalist.
        device: Where to fit and to measure.

    Raises:
        UsageError: Where fewer than two trials ended.
        KeyboardInterrupt: Where the user stopped; the trial goes on in the next call.
    """
    study = Study(plan.folder.path, space, seed)
    why = ""
    while len(study.finished()) < trials:
        trial = study.ask()
        value, failed = None, _refused(trial.candidate, plan.data)
        if not failed:
            try:
                value = _value(trial, plan, seed, device)
            except UsageError as error:
                if not isinstance(error.__cause__, NonFiniteError):  # which has to do with this trial alone
                    raise
                failed = _in_a_line(error)
        trial.tell(value, failed)
        why = failed or why
        plan.folder.files.write_text(plan.folder.path / "trials.csv", study.table())
        came = f"log p(x) {value:,.1f}" if value is not None else f"failed: {failed}" if failed else "cut short"
        print(f"trial {trial.number + 1} of {trials}: {trial.candidate.name}: {came}", file=sys.stderr)
    ended = sorted(study.finished(pruned=False), key=lambda each: -each.value)
    best = list({c.name: c for c in (space.candidate(each.params) for each in ended)}.values())[:FINALISTS]
    if len(best) < 2:
        said = f"; the last that failed: {why}" if why else ""
        raise UsageError(
            f"fewer than two of {trials} trials ended, so there is nothing to compare{said}; take more --trials"
        )
    fits = plan.folder.fits(best, range(seed, seed + seeds))
    return replace(plan, fits=fits, candidates={each.name: each for each in best})


def _refused(candidate: Candidate, data: SequenceData) -> str:
    """Why this combination cannot be fitted, which only values between the ends of ranges have still to show; or empty."""
    try:
        check_candidates([candidate], data)
    except UsageError as error:
        return _in_a_line(error)
    return ""


def _in_a_line(error: UsageError) -> str:
    return " ".join(str(error).split())


def _value(trial: Trial, plan: Plan, seed: int, device: str) -> float | None:
    """The mean log p(x) of validation sequences, or None where the trial was cut short."""
    task = _task(trial.candidate, plan, seed)
    title = f"trial {trial.number + 1}: {trial.candidate.name}"
    if trial.pruned or not task.fitted(plan.data, title, lambda row: _goes_on(trial, row)):
        return None
    with Bar(f"{title}: evidence") as bar:
        found = log_evidence(load(task.fit.path, device=device), plan.data, task.measure, task.evidence, bar)
    return float(found.mean())


def _goes_on(trial: Trial, row: Mapping[str, object]) -> bool:
    return row["split"] != "validation" or trial.goes_on(moment(trial.candidate.config, row), float(str(row["elbo"])))


def moment(config: Mapping[str, Any], row: Mapping[str, Any]) -> int:
    """When in a fit it was evaluated, as trials are held against each other: the step, or how many evaluations that makes.

    Fits of as many minutes are evaluated at other steps each.

    Args:
        config: The options of the fit.
        row: Of metrics.csv.
    """
    if config["minutes"] is None:
        return int(row["step"])
    share = Budget(config["steps"], config["minutes"]).progress(row["step"], row["seconds"])
    return int(share * config["optimisation"]["evaluations"] + 1e-3)  # seconds are rounded


def _task(candidate: Candidate, plan: Plan, seed: int) -> Task:
    (fit,) = plan.folder.fits([candidate], [seed])
    return Task(fit, candidate, plan.folder.evidence(fit), replace(plan.measure, split="validation"))


def measured_anew(plan: Plan, found: Mapping[str, Sequence[Evaluation]], trials: int, device: str) -> str:
    """Measure the candidate with the largest mean on the test split, and say why.

    Args:
        plan: With the finalists.
        found: What was measured of them.
        trials: How many there were.
        device: Where to measure.

    Returns:
        A sentence.
    """
    means = {name: sum(float(one.log_evidence.mean()) for one in fits) / len(fits) for name, fits in found.items()}
    chosen = max(means, key=lambda name: means[name])
    said = (
        f"{chosen} was chosen among {trials} trials by their log p(x) of validation sequences; the largest of many "
        "estimates is too large on average (the winner's curse), so its figure there is no report of how good it is"
    )
    measure = replace(plan.measure, split="test")
    try:
        measure.chosen(plan.data)
    except UsageError:
        return f"{said}. The data have no test split to measure it anew"
    values = []
    for fit in (each for each in plan.fits if each.candidate == chosen):
        file = plan.folder.evidence(fit).with_suffix(".test.pt")
        with Bar(f"{chosen}, seed {fit.seed}: evidence of the test split") as bar:
            values.append(log_evidence(load(fit.path, device=device), plan.data, measure, file, bar))
        record(fit.path, "compare", plan.folder.path, again=False)
    mean = torch.stack(values).mean(0)
    error = float(mean.std()) / len(mean) ** 0.5
    return (
        f"{said}. Measured anew, on {len(mean)} sequences of the test split: log p(x) {float(mean.mean()):,.1f} ± {error:.1f} "
        f"(finalists, {'on the same' if plan.measure.split == 'test' else 'validation'}: {means[chosen]:,.1f})"
    )
