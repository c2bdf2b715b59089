"""Whether candidates, or finished runs, can be compared at all."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributions import constraints

from pyro_dsvae.comparison.candidates import Candidate, Fit
from pyro_dsvae.configuration.build import build_from, check_times, examples
from pyro_dsvae.configuration.named_columns import with_numbers
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions, Role, option_names
from pyro_dsvae.configuration.parts import describe, in_words
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.intensities import check_intensities
from pyro_dsvae.inference.estimation import check_proposal
from pyro_dsvae.loading import Run, load
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.pretrained import resolved
from pyro_dsvae.runs.directory import RunDirectory

# --- runs that are finished -------------------------------------------------------------------------------------------


def finished(paths: Sequence[Path]) -> list[Fit]:
    """The fits of finished runs; those that differ in their seed only are one candidate.

    Raises:
        UsageError: For fewer than two, for one named twice, and for a run that is missing, unfinished or damaged.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs at least two runs: python -m pyro_dsvae.compare RUN RUN …")
    paths = [resolved(path) for path in paths]
    seen = Counter(path.resolve() for path in paths)
    for path in paths:
        if seen[path.resolve()] > 1:
            raise UsageError(f"{path} is named twice; name every run once")
    configs = []
    for path in paths:
        directory = RunDirectory.open(path)
        directory.summary()
        shape = tuple(directory.load("best.pt").get("frame_shape", ()))
        configs.append(for_frames(directory.options(), shape).config())
    # Nothing that makes a run another candidate.
    aside = option_names(FitOptions, Role.SEED, Role.INCIDENTAL)
    alike = [json.dumps({k: v for k, v in config.items() if k not in aside}, sort_keys=True) for config in configs]
    seeds = [int(config["seed"]) for config in configs]
    # Copies have the same seed; they stay apart, since they are no further evidence of what seeds do.
    copies = {key for (key, _), count in Counter(zip(alike, seeds, strict=True)).items() if count > 1}
    groups = [(key, n if key in copies else None) for n, key in enumerate(alike)]
    unique = list(dict.fromkeys(groups))
    names = _names([[path for path, group in zip(paths, groups, strict=True) if group == one] for one in unique])
    if len(unique) < 2:
        raise UsageError(
            "these runs differ in their seed only, so they are one candidate; name runs of another as well"
        )
    return [Fit(names[unique.index(g)], s, p) for p, s, g in zip(paths, seeds, groups, strict=True)]


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """A name for the runs of every candidate: the folder's, or as much of the path as it takes."""
    for parts in itertools.count(1):
        names = []
        for group in groups:
            tail = "/".join(group[0].resolve().parts[-parts:])
            names.append(re.sub(r"-seed\d+$", "", tail) if len(group) > 1 or tail.endswith("-seed0") else tail)
        if len(set(names)) == len(groups) or parts > max(len(g[0].resolve().parts) for g in groups):
            break
    return names


# --- what can be compared ---------------------------------------------------------------------------------------------


def check_candidates(candidates: Sequence[Candidate], data: SequenceData) -> None:
    """Build every candidate before the first is fitted.

    Raises:
        UsageError: Where one cannot be built, or not compared.
    """
    some, train = examples(data), data.sequences("train")
    built: list[tuple[str, DSVAE]] = []
    for candidate in candidates:
        objective = build_from(with_numbers(replace(candidate.options(), seed=0), data.column_names), some)
        for part in data.stored().parts():
            objective.model.likelihood.check(part.visible)
        if any(objective.model.likelihood.real_channels):
            check_intensities(data)
        check_times(data, objective.model.dynamic_prior)
        check_proposal(objective.guide)
        if candidate.options().static_size:
            objective.guide.views.recordings(train)
        built.append((candidate.name, objective.model))
    _check_measures(built, data)


def check_runs(runs: Sequence[tuple[str, Run]]) -> SequenceData:
    """The data of all runs.

    Raises:
        UsageError: Where runs cannot be compared.
    """
    (first, one), *others = runs
    for name, run in runs:
        try:
            check_proposal(run.guide)
        except UsageError as error:
            raise UsageError(f"{name} cannot be compared: {error}") from error
    data = one.sequences()
    for name, run in others:
        known = run.state.get("data")
        if known is None and describe(run.data) != describe(one.data):
            known = run.sequences().fingerprint()
        if known is not None and not (data.has_fingerprint(known) or _same_but_recordings(data, run)):
            raise UsageError(
                f"{first} and {name} cannot be compared: they were fitted to different data or splits "
                f"({in_words(describe(one.data))} and {in_words(describe(run.data))})"
            )
    _check_measures([(name, run.model) for name, run in runs], data)
    return data


def _same_but_recordings(data: SequenceData, run: Run) -> bool:
    """Whether a run of an earlier version, which knows of no recordings, has the data of a later ``run``."""
    try:
        return data.recordings is None and run.sequences().has_fingerprint(data.fingerprint())
    except UsageError:
        return False


def open_runs(fits: Sequence[Fit]) -> list[tuple[str, Run]]:
    """Every fit's run, by the name of its folder.

    Raises:
        UsageError: Where one is damaged.
    """
    return [(fit.path.name, load(fit.path)) for fit in fits]


def _check_measures(models: Sequence[tuple[str, DSVAE]], data: SequenceData) -> None:
    """Raises `UsageError` where evidence is in different units: densities against probabilities, or of values scaled anew."""
    (first, one), *others = models
    for name, other in others:
        if _measure(one, data) != _measure(other, data):
            raise UsageError(
                f"{first} and {name} cannot be compared: {_words(one, data)} ({type(one.likelihood).__name__}) against "
                f"{_words(other, data)} ({type(other.likelihood).__name__}); fit both with likelihoods of one kind"
            )


def _measure(model: DSVAE, data: SequenceData) -> tuple[tuple[bool, ...], bool, list[float]]:
    """What log p(x) is the logarithm of: of which channels a probability, whether of 8-bit values, and how frames become x."""
    values = model.likelihood.to_model_units(data.frames[:1]).flatten()
    return _masses(model), model.likelihood.discrete, [float(v) for v in values.aminmax()]


@torch.no_grad()
def _masses(model: DSVAE) -> tuple[bool, ...]:
    """Of each channel, whether values have probabilities, and not densities."""
    f, z = torch.zeros(1, *model.static_prior().event_shape), torch.zeros(1, 1, model.dynamic_prior.latent_size)
    support, channels = model.frames(f, z).support, model.likelihood.frame_shape[0]
    if isinstance(support, constraints.cat):
        return tuple(bool(each.is_discrete) for each in support.cseq)
    return (model.likelihood.discrete or bool(support.is_discrete),) * channels


def _words(model: DSVAE, data: SequenceData) -> str:
    if model.likelihood.discrete:
        return "the probability of 8-bit values"
    scaled = f" of x / {model.likelihood.bytes_per_unit}" if data.frames.dtype == torch.uint8 else " of x"
    masses = _masses(model)
    if any(masses) and not all(masses):
        return f"a probability of some columns and a density of others{scaled}"
    return ("a probability" if all(masses) else "a density") + scaled
