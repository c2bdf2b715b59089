"""The options of a comparison: what varies and how it is measured, beside what all candidates have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pyro_dsvae.comparison.candidates import check_keys
from pyro_dsvae.comparison.space import range_of
from pyro_dsvae.configuration.options import Role, SharedOptions, option, option_names
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.inference.inference_data import MIN_DRAWS
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.models.errors import UsageError, check_positive, check_seed

STEPS, TRIALS = 700, 20


@dataclass(frozen=True)
class ComparisonOptions(SharedOptions):
    """The options of `compare`; those of `fit` hold for every candidate."""

    _: KW_ONLY
    vary: Mapping[str, Sequence[Any]] | None = option(
        None,
        Role.MEASUREMENT,
        "what varies, KEY=A,B; more than one --vary gives the grid. From Python: option of fit -> values",
    )
    runs: Sequence[Path] = option((), Role.MEASUREMENT, "finished runs instead, on the command line simply RUN RUN")
    search: Literal["optuna"] | None = option(
        None,
        Role.MEASUREMENT,
        "find candidates instead of fitting all, with Optuna; then --vary takes ranges, too, KEY=LOW..HIGH",
    )
    trials: int | None = option(None, Role.MEASUREMENT, f"fits of a search (by default {TRIALS}), one after the other")
    seeds: int = option(3, Role.MEASUREMENT, "fits per candidate, with seeds that count on from --seed")
    out: Path | None = option(
        None, Role.CALL, "the folder of the comparison (by default the next free runs/compare-NNN)"
    )
    split: Split = option(
        "validation",
        Role.MEASUREMENT,
        "which sequences are held out; choose on validation, report on test, once: every evaluation of it is counted",
    )
    sequences: int = option(64, Role.MEASUREMENT, "how many of them, evenly spaced")
    draws: int = option(100, Role.MEASUREMENT, "importance-weighted draws per sequence")
    given: int | None = option(
        None, Role.MEASUREMENT, "frames that a forecast is given (by default the first three quarters)"
    )
    confidence: float = option(0.95, Role.MEASUREMENT, "that all intervals hold at once")
    scale: float = option(
        1.0, Role.MEASUREMENT, "of the proposal over the guide, above 1 for guides that are too narrow"
    )
    defensive: float = option(0.0, Role.MEASUREMENT, "share of draws from the prior")
    refine: int = option(
        0,
        Role.MEASUREMENT,
        "steps that refine the posterior of every sequence first; 100 is a good number, and slow",
    )
    annealed: int = option(
        0,
        Role.MEASUREMENT,
        "sequences on which annealed importance sampling checks the importance weights; slow",
    )
    resume: bool = option(
        False,
        Role.CALL,
        "go on with the comparison in --out, as is done anyway; a line says where nothing is there yet",
    )
    devices: int = option(
        1,
        Role.CALL,
        "candidates at a time, each fitted and measured on a device of its own; on the CPU they share the cores",
    )
    cluster: str | None = option(
        None,
        Role.CALL,
        "address of a Dask scheduler, tcp://host:8786, whose workers fit and measure the candidates; --out is a folder that "
        "all machines share",
    )


def checked(options: ComparisonOptions) -> ComparisonOptions:
    """The options, complete.

    Raises:
        UsageError: For what can be told before anything is read.
    """
    options = replace(options, runs=[Path(run) for run in options.runs])
    if options.steps is None and options.minutes is None and not options.runs:
        options = replace(options, steps=STEPS)
    if options.cluster is not None and options.devices > 1:
        raise UsageError("either --cluster or --devices: a cluster does as many fits at a time as it has workers")
    options = _checked_search(options)
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out DIR, the comparison to go on with")
    check_seed(options.seed)
    _check_measures(options)
    base, defaults = options.shared(), ComparisonOptions().config()
    if options.runs:
        free = option_names(SharedOptions, Role.SEED, Role.INCIDENTAL)
        for name in _touched({"seeds": options.seeds, **base}, defaults, free):
            raise UsageError(
                f"finished runs are compared as they were fitted, so --{name} has no meaning; leave it out"
            )
        return options
    assert options.vary is not None
    check_keys(options.vary)
    for name in _touched(
        {key: base[key] for key in options.vary if key in base}, defaults, option_names(SharedOptions, Role.BUDGET)
    ):
        hint = f"; its options vary by --vary {name}.OPTION=A,B" if isinstance(base[name], Mapping) else ""
        raise UsageError(f"{name} varies, so leave out --{name}{hint}")
    if options.steps is not None or options.minutes is not None:
        Budget(options.steps, options.minutes)
    return options


def _checked_search(options: ComparisonOptions) -> ComparisonOptions:
    """The options with the number of trials of a search. Raises `UsageError`."""
    if options.search is None:
        if options.trials is not None:
            raise UsageError("--trials is for --search optuna; without it every combination is fitted")
        for key, values in (options.vary or {}).items():
            if range_of(key, values) is not None:
                raise UsageError(
                    f"--vary {key}={values[0]} is a range, for --search optuna; without it name values, A,B,C"
                )
        return options
    if options.runs:
        raise UsageError("--search finds candidates by fits of its own, so it takes --vary and no finished runs")
    if options.devices > 1 or options.cluster is not None:
        flag = "cluster" if options.cluster is not None else "devices"
        raise UsageError(f"each trial of a search is chosen by those before it; leave out --{flag}")
    needed("optuna", "scale", "--search optuna")
    trials = TRIALS if options.trials is None else options.trials
    if trials < 2:
        raise UsageError(f"trials is {trials}; a search takes at least 2")
    return replace(options, trials=trials)


def _check_measures(options: ComparisonOptions) -> None:
    if options.search is not None and not options.vary and not options.runs:
        raise UsageError(
            f"--search {options.search} needs what it searches over: --vary latent_size=2..16, or --vary dynamic_prior=LSTM,GRU"
        )
    if bool(options.vary) == bool(options.runs):
        what = (
            "either --vary or finished runs, not both"
            if options.vary
            else "--vary dynamic_prior=LSTM,IID, or finished runs"
        )
        raise UsageError(f"a comparison takes {what}")
    for name, least in (("seeds", 1), ("sequences", 2), ("draws", MIN_DRAWS), ("refine", 0), ("annealed", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"{name} is {getattr(options, name)}; it must be at least {least}")
    if not 0 < options.confidence < 1:
        raise UsageError(f"confidence is {options.confidence}; it lies between 0 and 1, such as 0.95")
    check_positive("scale", options.scale)
    share, draws = options.defensive, options.draws
    if not 0 <= share < 1 or (share > 0 and not 2 <= round(share * draws) <= draws - 2):
        raise UsageError(
            f"defensive is {share}; it is a share of the {draws} draws that leaves 2 for either part, or 0"
        )


def _touched(values: Mapping[str, Any], defaults: Mapping[str, Any], free: Iterable[str]) -> list[str]:
    """Options that are given but cannot count."""
    return [name for name, value in values.items() if name not in free and value != defaults[name]]
