"""Compare alternative priors on honest evidence: which explains the sequences best, by how much, and how sure is that?

  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,LinearGaussian,IID          fit all, then compare: half an hour
  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,IID --vary static_prior=StandardNormal,VampPrior    the grid of both
  python -m pyro_dsvae.compare --vary latent_size=4,8 --vary dynamic_prior.hidden_size=32,64 --seeds 5
  python -m pyro_dsvae.compare --vary dynamic_prior=LSTM,my_priors.Damped --data Arrays --data.path clips.npz --minutes 10
  python -m pyro_dsvae.compare --search optuna --vary latent_size=4..32 --vary optimisation.learning_rate=1e-4..1e-2
  python -m pyro_dsvae.compare runs/a runs/b runs/c          finished runs; those that differ in their seed only are one
  python -m pyro_dsvae.compare runs/a runs/b --split test    the final figures
  python -m pyro_dsvae.compare --out runs/compare-001        continue a comparison that was stopped or killed; so does the
                                                             same command with the same --out, with --resume or without
  python -m pyro_dsvae.compare --out runs/compare-001 --seeds 5    add fits to a comparison of fewer seeds

--vary KEY=A,B takes any option of fit; every other option of fit is the same for all candidates, and so are data, split,
budget and seeds. Each candidate is fitted --seeds times into OUT/runs. Then log p(x) of held-out sequences is estimated
by importance weights, with k-hat for every sequence. Differences are paired by sequence; a candidate is called better only
where the interval, which covers sequences and seeds, excludes zero. The sequences are those of the validation split, to choose
by. --split test is for the final figures; each run keeps count of it.

The defaults (700 steps, 3 seeds, 64 sequences, 100 draws) are made for a first answer: six such fits and their comparison
took 22 minutes on two cores. k-hat says how reliable it is. Few seeds give wide intervals. For a result: --steps 2000
--seeds 5 --sequences 256 --draws 1000, or --refine 100.

--search optuna finds candidates: --vary takes ranges, too, KEY=LOW..HIGH, and each of --trials fits is chosen by those
before it, judged by the log p(x) of validation sequences and cut short where its held-out ELBO is below the median. The best
three are fitted with all seeds and compared, and the first of them is measured anew on the test split.

--devices N fits N candidates at a time, each on a GPU of its own (or, on the CPU, on its share of the cores).
--cluster ADDRESS hands them to the workers of a Dask scheduler, on any number of machines that share the folder --out.

Writes OUT (by default runs/compare-NNN): comparison.md, comparison.csv, summary.json, comparison.nc (an ArviZ tree of all
values per sequence), figures/, runs/, evidence/ and config.yaml, and prints OUT as the last line: wrote: OUT. Exits 0,
with 2 and one line for what can be put right, with 130 after Ctrl-C (143 after SIGTERM and SIGUSR1, 129 after SIGHUP); all
that was done is kept.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("compare")

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro_dsvae import cli
from pyro_dsvae.comparison.measurement import Evaluation
from pyro_dsvae.comparison.options import ComparisonOptions, checked
from pyro_dsvae.comparison.plan import Plan, planned
from pyro_dsvae.comparison.result import ComparisonResult, concluded
from pyro_dsvae.comparison.search import measured_anew, searched
from pyro_dsvae.comparison.spread.cluster import spread_over_cluster
from pyro_dsvae.comparison.spread.devices import spread_over_devices
from pyro_dsvae.comparison.spread.tasks import Work
from pyro_dsvae.configuration.options import takes
from pyro_dsvae.inference.training.hardware import check_devices, device_for
from pyro_dsvae.loading import Run
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import as_stopped, unguarded
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.evaluations import record
from pyro_dsvae.runs.output_folder import in_next_free
from pyro_dsvae.trackers.tracking import Tracking

__all__ = ["compare"]


@takes(ComparisonOptions)
def compare(options: ComparisonOptions) -> ComparisonResult:
    """Fit every candidate, or take finished runs, and compare them on held-out sequences.

    ``compare(vary={"dynamic_prior": [LSTM, IID]}, seeds=2, minutes=5)`` or ``compare(runs=["runs/a", "runs/b"])``: the
    arguments are the fields of `ComparisonOptions`. Called again with the same ``out`` it goes on where it was.

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
    options = checked(options)
    check_devices(options.devices, device_for(options.device))
    if options.devices > 1 and unguarded():
        raise UsageError(
            f"devices is {options.devices}: the processes import this script, and would run it again; put what it does below "
            'if __name__ == "__main__":'
        )
    return in_next_free(options.out, "compare", lambda out: _compared(replace(options, out=out)))


def _compared(options: ComparisonOptions) -> ComparisonResult:
    """The comparison in its folder. Raises `TakenError` where that is taken."""
    plan = planned(options)
    if options.resume and not plan.folder.begun:
        print(f"{options.out} holds no comparison yet, so this one begins it", file=sys.stderr)
    with plan.folder.claimed():
        return _done(plan, options)


def _done(plan: Plan, options: ComparisonOptions) -> ComparisonResult:
    new = not plan.folder.begun
    with Tracking(options.tracker, plan.folder.path, plan.folder.config, new=new) as tracking:
        result = _measured(plan, options)
        rows = result.report.rows
        tracking.metrics(0, {f"log evidence/{row.candidate}": row.log_evidence for row in rows})
        tracking.results(plan.folder.path, ("config.yaml", "comparison.md", "comparison.csv", "summary.json"), 0)
    return result


def _measured(plan: Plan, options: ComparisonOptions) -> ComparisonResult:
    place = device_for(options.device)
    if plan.space is not None:
        assert options.trials is not None
        plan = searched(plan, plan.space, options.trials, options.seed, options.seeds, str(place))
    todo = plan.tasks()
    if options.cluster is not None:
        spread_over_cluster(Work(todo, plan.source, options.device), options.cluster, plan.folder.path)
    elif options.devices > 1:
        spread_over_devices(Work(todo, plan.source, place.type), options.devices, plan.folder.path)
    found: dict[str, list[Evaluation]] = {one.candidate: [] for one in plan.fits}
    shown: dict[str, Run] = {}
    for number, task in enumerate(todo, 1):
        name = task.fit.candidate
        title = f"[{number}/{len(todo)}] {name}, seed {task.fit.seed}"
        evaluation, run = task.do(plan.data, str(place), title)
        found[name].append(evaluation)
        shown.setdefault(name, run)
    if plan.measure.split == "test":
        for one in plan.fits:
            record(one.path, "compare", plan.folder.path, again=False)
    anew = [] if plan.space is None else [measured_anew(plan, found, options.trials or 0, str(place))]
    return concluded(plan.folder, found, plan.fits, shown, plan.data, plan.measure, options.confidence, anew)


def main(arguments: Sequence[str]) -> int:
    """The command: 0, or the status of a request to stop."""
    parser = cli.parser_for(compare, __doc__)
    parser.add_argument("RUN", nargs="*", help="finished runs to compare")
    arguments, vary = _gathered(cli.bare_flags(arguments, "--resume"))
    values = cli.values(parser, arguments)
    values["vary"] = vary or None
    values["runs"] = [Path(run) for run in values.pop("RUN")] or values["runs"]
    return in_next_free(values["out"], "compare", lambda out: _told({**values, "out": out}))


def _told(values: dict[str, Any]) -> int:
    """Compare, print what was found or how to go on, and return the exit status."""
    out = values["out"]
    try:
        result = compare(**values)
    except KeyboardInterrupt as error:
        if not (out / "config.yaml").is_file():
            raise
        again = f"python -m pyro_dsvae.compare --out {shlex.quote(str(out))}"
        print(f"stopped and saved; go on with: {again}", file=sys.stderr)
        print(f"wrote: {out}")
        return as_stopped(error).status
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
    if settings is not None and "vary" not in settings and out is not None and Path(config).parent == Path(out):
        raise UsageError(f"{out} exists and is no comparison; name another folder with --out")
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
