"""Compare alternative priors on honest evidence: which explains the sequences best, by how much, and how sure is that?

  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,LinearGaussian,IID          fit all, then compare: about 20 minutes
  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,IID --vary static_prior=StandardNormal,VampPrior    the grid of both
  python -m pyro_dsvae.compare --vary latent_size=4,8 --vary dynamic_prior.hidden_size=32,64 --seeds 3
  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,my_priors.Damped --data Arrays --data.path clips.npz --minutes 10
  python -m pyro_dsvae.compare runs/a runs/b runs/c          finished runs; those that differ in their seed only are one
  python -m pyro_dsvae.compare --out runs/compare-001        continue a comparison that was stopped or killed

--vary KEY=A,B takes any option of fit; every other option of fit is the same for all candidates, and so are data, split,
budget and seeds. Each candidate is fitted --seeds times into OUT/runs. Then log p(x) of held-out sequences is estimated
by importance weights, with k-hat for every sequence. Differences are paired by sequence; a candidate is called better only
where the interval, which covers sequences and seeds, excludes zero. Choose with --split validation, report with --split test.

The defaults (700 steps, 2 seeds, 64 sequences, 100 draws) are made for a first answer in less than 25 minutes on two
cores; k-hat says how reliable it is. For a result: --steps 2000 --seeds 3 --sequences 256 --draws 1000, or --refine 100.

--devices N fits N candidates at a time, each on a GPU of its own (or, on the CPU, on its share of the cores).

Writes OUT (by default runs/compare-NNN): comparison.md, comparison.csv, summary.json, comparison.nc (an ArviZ tree of all
values per sequence), figures/, runs/, evidence/ and config.yaml, and prints OUT as the last line: wrote: OUT. Exits 0,
with 2 and one line for what can be put right, with 130 after Ctrl-C; all that was done is kept.
"""

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_dsvae import cli
from pyro_dsvae.comparison.candidates import Candidate, check_keys, grid
from pyro_dsvae.comparison.comparability import check_candidates, check_runs, finished, open_runs
from pyro_dsvae.comparison.folder import Folder
from pyro_dsvae.comparison.measurement import Evaluation, Measure
from pyro_dsvae.comparison.result import ComparisonResult, concluded
from pyro_dsvae.comparison.workers import spread, tasks
from pyro_dsvae.configuration.parts import describe, plain
from pyro_dsvae.data.dataset import DataSource, SequenceData, Split
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.forecasting.forecast import check_context
from pyro_dsvae.inference.inference_data import (
    MIN_DRAWS,
)
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.hardware import Device, Precision, check_devices, device_for
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.flow import Flow as DynamicFlow
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.runs.directory import RunDirectory

STEPS = 700
# Options of fit that a comparison has no use for.
CANDIDATES_OWN = ("out", "resume", "profile", "compile", "data_on")


def compare(
    vary: Mapping[str, Sequence[Any]] | None = None,
    runs: Sequence[Path] = (),
    seeds: int = 2,
    out: Path | None = None,
    split: Split = "test",
    sequences: int = 64,
    draws: int = 100,
    given: int | None = None,
    confidence: float = 0.95,
    scale: float = 1.0,
    defensive: float = 0.0,
    refine: int = 0,
    annealed: int = 0,
    data: DataSource = Sprites(),
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    device: Device = "auto",
    precision: Precision = "32",
    devices: int = 1,
    static_size: int = 64,
    latent_size: int = 8,
    static_prior: Callable[[int], StaticPrior] = AutoregressiveMixture,
    dynamic_prior: Callable[[int], DynamicPrior] = DynamicFlow,
    posterior: Callable[[tuple[int, ...], int, int], Posterior] = LSTMPosterior,
    likelihood: Callable[[int, int, tuple[int, ...]], Likelihood] = Normal,
    contrastive: Contrastive | None = None,
    optimisation: Optimisation = Optimisation(),
) -> ComparisonResult:
    """Fit every candidate, or take finished runs, and compare them on held-out sequences.

    ``compare(vary={"dynamic_prior": [LSTM, IID]}, seeds=2, minutes=5)`` or ``compare(runs=["runs/a", "runs/b"])``. Called
    again with the same ``out`` it goes on where it was.

    Args:
        vary: what varies, KEY=A,B; more than one --vary gives the grid. From Python: option of fit -> values
        runs: finished runs instead, on the command line simply RUN RUN
        seeds: fits per candidate
        out: the folder of the comparison (by default the next free runs/compare-NNN)
        split: which sequences are held out; choose on validation, report on test
        sequences: how many of them, evenly spaced
        draws: importance-weighted draws per sequence
        given: frames that a forecast is given (by default the first three quarters)
        confidence: that all intervals hold at once
        scale: of the proposal over the guide, above 1 for guides that are too narrow
        defensive: share of draws from the prior
        refine: steps that refine the posterior of every sequence first; 100 is a good number, and slow
        annealed: sequences on which annealed importance sampling checks the importance weights; slow
        data: the sequences: Sprites, LPCSprites, Arrays
        seed: of the first fit; the others have the seeds that follow. Also of the noise of all estimates
        steps: optimiser steps per fit (without --minutes: 700)
        minutes: of fitting, per fit
        device: where to fit and to measure: auto (a GPU where there is one), cpu, cuda, cuda:1 for that GPU, mps
        precision: 32, or bf16 inside the networks
        devices: candidates at a time, each fitted and measured on a device of its own; on the CPU they share the cores
        static_size: dimension F of the static latent f; 0 for a model without a static part
        latent_size: dimension D of each dynamic latent z_t
        static_prior: p(f)
        dynamic_prior: p(z_1:T)
        posterior: the guide q(f, z | x)
        likelihood: p(x_t | f, z_t)
        contrastive: terms beside the ELBO; none, Contrastive, or weights as in --contrastive.weight_mi 5
        optimisation: how to fit

    Returns:
        The comparison; it prints, and shows in a notebook, as the table.

    Raises:
        UsageError: For anything the caller can put right.
        KeyboardInterrupt: After Ctrl-C, when all is saved.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae.compare import compare
        >>> found = compare(runs=["runs/clips", "runs/iid"], out=Path("runs/priors"), sequences=4, draws=25)
        >>> sorted(row.candidate for row in found.report.rows)
        ['clips', 'iid']
        >>> len(found.report.verdicts)  # one sentence per pair
        1
    """
    runs = [Path(run) for run in runs]
    steps = STEPS if steps is None and minutes is None and not runs else steps
    options = {
        "seeds": seeds,
        "split": split,
        "sequences": sequences,
        "draws": draws,
        "given": given,
        "confidence": confidence,
        "scale": scale,
        "defensive": defensive,
        "refine": refine,
        "annealed": annealed,
    }
    _check(options, bool(vary), bool(runs))
    place = device_for(device)
    check_devices(devices, place)
    base = {
        "data": describe(data),
        "seed": seed,
        "steps": steps,
        "minutes": minutes,
        "device": device,
        "precision": precision,
        "static_size": static_size,
        "latent_size": latent_size,
        "static_prior": describe(static_prior),
        "dynamic_prior": describe(dynamic_prior),
        "posterior": describe(posterior),
        "likelihood": describe(likelihood),
        "contrastive": plain(contrastive),
        "optimisation": plain(optimisation),
    }
    defaults = _defaults()
    candidates: list[Candidate] = []
    if runs:
        _check_untouched({"seeds": seeds, **base}, defaults, {"seed", "device"})
        fits = finished(runs)
        written: dict[str, list[Any]] = {}
    else:
        assert vary is not None
        check_keys(vary)
        _check_untouched({key: base[key] for key in vary if key in base}, defaults, {"steps", "minutes"})
        if steps is not None or minutes is not None:
            Budget(steps, minutes)
        candidates, written = grid(base, vary)
        fits = []
    config = {"vary": written or None, "runs": [str(run) for run in runs], **options, **base}
    folder = Folder(next_free() if out is None else out, config)
    if runs:
        loaded = check_runs(open_runs(fits))
    else:
        loaded = data.load()
        check_candidates(candidates, loaded)
        fits = folder.fits(candidates, range(seed, seed + seeds))
    measure = Measure(
        split=split,
        sequences=sequences,
        draws=draws,
        given=_given(given, loaded),
        scale=scale,
        defensive=defensive,
        refine=refine,
        annealed=annealed,
        seed=seed,
    )
    chosen = measure.chosen(loaded)
    if len(chosen) < 2:
        raise UsageError(f"the {split} split holds one sequence; a comparison needs at least two")
    check_context(chosen, measure.given)
    folder.claim()
    todo = tasks(folder, fits, {candidate.name: candidate for candidate in candidates}, measure)
    if devices > 1:
        spread(todo, None if runs else data, devices, place.type, folder.path)
    found: dict[str, list[Evaluation]] = {one.candidate: [] for one in fits}
    shown: dict[str, Run] = {}
    for number, task in enumerate(todo, 1):
        name = task.fit.candidate
        title = f"[{number}/{len(todo)}] {name}, seed {task.fit.seed}"
        evaluation, run = task.do(loaded, str(place), title)
        found[name].append(evaluation)
        shown.setdefault(name, run)
    return concluded(folder, found, fits, shown, loaded, measure, confidence)


def _check(options: Mapping[str, Any], vary: bool, runs: bool) -> None:
    """Raises `UsageError` for what can be told before anything is read."""
    if vary == runs:
        what = "either --vary or finished runs, not both" if vary else "--vary dynamic_prior=LSTM,IID, or finished runs"
        raise UsageError(f"a comparison takes {what}")
    for name, least in (("seeds", 1), ("sequences", 2), ("draws", MIN_DRAWS), ("refine", 0), ("annealed", 0)):
        if options[name] < least:
            raise UsageError(f"{name} is {options[name]}; it must be at least {least}")
    if not 0 < options["confidence"] < 1:
        raise UsageError(f"confidence is {options['confidence']}; it lies between 0 and 1, such as 0.95")
    if not 0 < options["scale"] < math.inf:
        raise UsageError(f"scale is {options['scale']}; it must be positive")
    share, draws = options["defensive"], options["draws"]
    if not 0 <= share < 1 or (share > 0 and not 2 <= round(share * draws) <= draws - 2):
        raise UsageError(
            f"defensive is {share}; it is a share of the {draws} draws that leaves 2 for either part, or 0"
        )


def _defaults() -> dict[str, Any]:
    parameters = inspect.signature(compare).parameters.values()
    return {p.name: plain(p.default) for p in parameters if p.name not in ("out", "vary", "runs")}


def _check_untouched(values: Mapping[str, Any], defaults: Mapping[str, Any], free: Iterable[str]) -> None:
    """Raises `UsageError` where an option is given that cannot count: it varies, or finished runs have their own."""
    for name, value in values.items():
        if name not in free and value != defaults[name]:
            if "seeds" in values:
                raise UsageError(
                    f"finished runs are compared as they were fitted, so --{name} has no meaning; leave it out"
                )
            hint = f"; its options vary by --vary {name}.OPTION=A,B" if isinstance(value, Mapping) else ""
            raise UsageError(f"{name} varies, so leave out --{name}{hint}")


def _given(given: int | None, data: SequenceData) -> int:
    return data.length - max(1, data.length // 4) if given is None else given


def next_free() -> Path:
    """The first of runs/compare-001, runs/compare-002, … that does not exist."""
    return next(path for n in range(1, 10**6) if not (path := Path("runs") / f"compare-{n:03}").exists())


def main(arguments: Sequence[str]) -> int:
    """The command: 0, or 130 after Ctrl-C."""
    parser = cli.parser_for(compare, __doc__)
    parser.add_argument("RUN", nargs="*", help="finished runs to compare")
    arguments, vary = _gathered(arguments)
    values = vars(cli.instantiate(parser, cli.parse(parser, arguments)))
    values["vary"] = vary or None
    values["runs"] = [Path(run) for run in values.pop("RUN")] or values["runs"]
    values["out"] = out = values["out"] or next_free()
    try:
        result = compare(**{name: value for name, value in values.items() if name != "config"})
    except KeyboardInterrupt:
        if not (out / "config.yaml").is_file():
            raise
        print(f"stopped and saved; go on with: python -m pyro_dsvae.compare --out {out}", file=sys.stderr)
        print(f"wrote: {out}")
        return 130
    print(result)
    print(f"wrote: {result.out}")
    return 0


def _gathered(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """The arguments with a comparison's own config.yaml in place of what it stands for, and what varies.

    Raises `UsageError` where a ``--vary`` is not KEY=A,B.
    """
    rest: list[str] = []
    vary: dict[str, list[Any]] = {}
    config: str | None = None
    following = iter(arguments)
    for argument in following:
        name, equals, text = argument.partition("=")
        if name not in ("--vary", "--config"):
            rest.append(argument)
            continue
        text = text if equals else next(following, "")
        if name == "--vary":
            _vary(text, vary)
        else:
            config = text
    out = cli.peek(rest, "out")["out"]
    if config is None and not vary and out is not None and (Path(out) / "config.yaml").is_file():
        # Options that are not named are those of the comparison, so that --out OUT is all one has to say.
        config = str(Path(out) / "config.yaml")
    if config is None:
        return rest, vary
    settings = RunDirectory(Path(config).parent).config() if Path(config).name == "config.yaml" else None
    if settings is None or "vary" not in settings:
        return [f"--config={config}", *rest], vary
    # The parser would make objects of the parts that vary.
    varied = settings.pop("vary") or {}
    return [f"--config={json.dumps(settings)}", *rest], vary or varied


def _vary(text: str, vary: dict[str, list[Any]]) -> None:
    """Add KEY=A,B."""
    key, _, values = text.partition("=")
    if not key or not values:
        raise UsageError("--vary takes KEY=A,B: an option of fit and its values, such as --vary dynamic_prior=LSTM,IID")
    if key in vary:
        raise UsageError(f"--vary {key} is given twice; name all its values in one, A,B,C")
    vary[key] = values.split(",")
    if not all(vary[key]):
        raise UsageError(f"--vary {key} has an empty value; it takes A,B without spaces")


if __name__ == "__main__":
    cli.main(main)
