"""Fit a disentangled sequential VAE.

  python -m pyro_dsvae.fit                                   the main job: the embedded sprites; on two quiet cores 9
                                                             minutes, 7 of them for the fit
  python -m pyro_dsvae.fit --data LPCSprites --data.root DIR --data.size 32 --minutes 30
  python -m pyro_dsvae.fit --data Arrays --data.path clips.npz --likelihood Bernoulli
  python -m pyro_dsvae.fit --dynamic_prior IID               any part by name …
  python -m pyro_dsvae.fit --dynamic_prior my_priors.Damped  … or by the dotted path of your own class
  python -m pyro_dsvae.fit --out runs/a --resume             continue a run that was stopped or killed, or begin it
  python -m pyro_dsvae.fit --config runs/a/config.yaml       repeat a run
  python -m pyro_dsvae.fit --config kalman-vae               a well-known model: the recipes are listed below
  python -m pyro_dsvae.fit --devices 2                       every batch shared by two devices of this machine …
  torchrun --nproc-per-node 8 --nnodes 2 … -m pyro_dsvae.fit … or by those of several

Figures and pictures at the end are of the validation split, by which the best state was chosen; those of the test split are
for the end: python -m pyro_dsvae.evaluate RUN.

--data, --static_prior, --dynamic_prior, --posterior, --encoder, --decoder and --likelihood take the name of a class; its
options follow as --dynamic_prior.hidden_size 64, and --dynamic_prior.help LSTM lists them. Fitting ends at --steps or
--minutes, whichever comes first. Writes the run directory (config.yaml, checkpoint.pt, best.pt, metrics.csv, summary.json,
figures/) and prints its path as the last line: run: DIR. Exits 0, with 2 and one line for what can be put right, with 130
after Ctrl-C, which saves everything first (143 after SIGTERM and SIGUSR1, 129 after SIGHUP, which do the same).
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("fit")

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyro_dsvae import cli, recipes
from pyro_dsvae.configuration.build import check_sizes
from pyro_dsvae.configuration.loop import columns_for, loop_for
from pyro_dsvae.configuration.named_columns import with_numbers
from pyro_dsvae.configuration.networks import as_begun, for_frames, parts_in_words
from pyro_dsvae.configuration.options import FitOptions, takes
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.in_memory import InMemory, copy_name
from pyro_dsvae.data.location import located, places
from pyro_dsvae.data.memory.copy import write_copy
from pyro_dsvae.data.reading import read_again, read_first
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.svi import SVI, NonFiniteError
from pyro_dsvae.inference.training.distributed import check_launcher, is_rank_zero, launched
from pyro_dsvae.inference.training.hardware import check_devices, device_for
from pyro_dsvae.inference.training.schedule import DEFAULT_STEPS, Budget
from pyro_dsvae.models.errors import UsageError, check_seed, did_you_mean
from pyro_dsvae.process import Stopped, as_stopped, is_command, listening, note_written, written
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.fit_journal import Ended, FitJournal, Watch, losses_told
from pyro_dsvae.runs.learned import check_chosen, not_learned
from pyro_dsvae.runs.output_folder import in_next_free, locked
from pyro_dsvae.runs.profiling import StepProfile
from pyro_dsvae.runs.report import report
from pyro_dsvae.runs.resuming import keep_budget, restore, run_to_resume
from pyro_dsvae.trackers.tracking import Tracking

__all__ = ["FitResult", "fit"]


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes:
        run: The run directory.
        finished: Whether the fit ended; False after Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP.
        summary: What summary.json holds, in nats per sequence; empty where it did not end.
        stopped: The request that ended it early.
    """

    run: Path
    finished: bool
    summary: Mapping[str, Any]
    stopped: Stopped | None = None


@takes(FitOptions)
def fit(options: FitOptions) -> FitResult:
    """Fit a model and leave a run directory.

    The arguments are the fields of `FitOptions`.

    Returns:
        The run directory, whether the fit ended, and what summary.json holds.

    Raises:
        UsageError: For anything the caller can put right.

    Example:
        >>> from functools import partial
        >>> from pathlib import Path
        >>> from pyro_dsvae import Arrays
        >>> from pyro_dsvae.fit import fit
        >>> from pyro_dsvae.models.dynamic_priors import GRU
        >>> result = fit(data=Arrays("clips.npz"), dynamic_prior=partial(GRU, hidden_size=8), out=Path("runs/gru"), steps=2)
        validation split, nats per sequence
        ...
        >>> result.finished, result.run.as_posix()
        (True, 'runs/gru')
    """
    return fit_watched(options, None)


def fit_watched(options: FitOptions, watch: Watch | None) -> FitResult:
    """`fit`, with ``watch`` told of every row of metrics; where it returns False, the fit ends and saves (`Ended`)."""
    if options.steps is None and options.minutes is None:
        options = replace(options, steps=DEFAULT_STEPS)
    _check(options)
    name = type(options.data).__name__.lower()
    with losses_told():
        return in_next_free(options.out, name, lambda out: _fitted(Path(out), options, watch))


def _fitted(path: Path, options: FitOptions, watch: Watch | None) -> FitResult:
    """The fit in its folder. Raises `TakenError` where that is taken."""
    known = None
    options = _begun(options, path)
    if options.resume:
        before = RunDirectory.open(path)
        known = before.load("checkpoint.pt").get("data")
        options = as_begun(options, before.options())
    else:
        RunDirectory.check_free(path)
    source, folder = next(located(options.source, places(options.data_folder, path if options.resume else None)))
    data = read_again(source, known) if options.resume else read_first(source)
    fingerprint = data.fingerprint()
    asked = options
    options = _for_data(replace(options, data_folder=folder), data)
    if isinstance(source, InMemory):
        options = _in_memory(options, source, path, fingerprint)
    run = run_to_resume(path, options, data.frame_shape) if options.resume else None
    new = run is None
    columns = columns_for(options, data)
    svi = loop_for(options, data, columns, new)
    if run is None:
        start = {**svi.state(), "data": fingerprint}
        run = RunDirectory(path)
        copy = options.data.copy if isinstance(options.data, InMemory) and options.keep_data else None
        more = None if copy is None else lambda folder: write_copy(folder / copy, data)
        svi.processes.on_rank_zero(lambda: RunDirectory.create(path, options.config(), start, more))
        svi.processes.on_rank_zero(lambda: _tell(asked, options, svi, columns, data.column_names))
    svi.processes.on_rank_zero(lambda: _tell_recordings(svi.order.shared))
    with ExitStack() as stack:
        svi.processes.on_rank_zero(lambda: stack.enter_context(locked(path)))
        if not new:
            note_written(path)
            restore(run, svi, data)
            svi.processes.on_rank_zero(lambda: keep_budget(run, svi))
        tracking = Tracking(options.tracker, path, options.config(), svi.step, new)
        svi.processes.on_rank_zero(lambda: stack.enter_context(tracking))
        began = svi.step, svi.prior_refitted
        stopped = _run(svi, run, fingerprint, options.profile, tracking, watch)
        if stopped is not None:
            return FitResult(path, False, {}, stopped)
        check_chosen(run, svi.best)
        if not new and began[0] == svi.step and is_rank_zero():
            fitted = "nothing" if began[1] == svi.prior_refitted else "only the static prior"
            print(f"done already: {Budget(svi.step)}; the budget is {svi.budget}: {fitted} was fitted", file=sys.stderr)
        try:
            summary = report(run, svi, data)
            if is_rank_zero():
                tracking.results(path, ("config.yaml", "summary.json"), svi.step)
            if is_rank_zero() and (failure := not_learned(run, svi)) is not None:
                print(failure, file=sys.stderr)
            return FitResult(path, True, summary)
        except KeyboardInterrupt as error:
            return FitResult(path, False, {}, as_stopped(error))


def _begun(options: FitOptions, path: Path) -> FitOptions:
    """The options; to go on where nothing is yet is to begin, which is said, since ``path`` may be mistyped."""
    if not options.resume or not RunDirectory.vacant(path):
        return options
    if is_rank_zero():
        near = did_you_mean(path.name, (each.parent.name for each in path.parent.glob("*/config.yaml")))
        print(f"{path} holds no run yet{near}, so this fit begins it", file=sys.stderr)
    with suppress(OSError):
        path.rmdir()
    return replace(options, resume=False)


def _for_data(options: FitOptions, data: SequenceData) -> FitOptions:
    """The options with what the data decide: networks and guide views that are left open, and numbers of named columns."""
    return with_numbers(for_frames(options, data.frame_shape, options.source.recommended), data.column_names)


def _tell(asked: FitOptions, taken: FitOptions, svi: SVI, columns: ColumnMoments | None, names: Sequence[str]) -> None:
    """Lines about what the user may not have named: networks, likelihood, guide views, units."""
    said = [parts_in_words(asked, taken, asked.source.recommended)]
    if columns is not None and svi.objective.model.standardisation is not None:
        said += columns.sentences(names, svi.objective.model.likelihood.real_channels)
    print("\n".join(said), file=sys.stderr)


def _tell_recordings(count: int) -> None:
    """Where f is inferred from other sequences, a line, of a resumed fit as well."""
    if count:
        said = "in training f is inferred from another sequence of the same recording or subject"
        print(f"{said}; {count:,} of them have several", file=sys.stderr)


def _in_memory(options: FitOptions, source: InMemory, path: Path, fingerprint: str) -> FitOptions:
    """The options with the data as config.yaml describes them: what they were, and where a copy is."""
    if options.resume and isinstance(before := RunDirectory.open(path).options().data, InMemory):
        return replace(options, data=before)  # whether they are the same is for the fingerprint
    if not options.keep_data:
        return replace(options, data=source)
    return replace(options, data=source.kept_as(copy_name(fingerprint)), data_folder=path.resolve())


def _check(options: FitOptions) -> None:
    """Raises `UsageError` for what can be told before anything is read."""
    if options.keep_data and not isinstance(options.data, InMemory):
        raise UsageError(
            f"keep_data is for data in memory; those of {type(options.data).__name__} are read again from where they are"
        )
    Budget(options.steps, options.minutes)
    check_seed(options.seed)
    check_launcher()
    check_devices(options.devices, device_for(options.device))
    if options.devices > 1 and not is_command() and launched() is None:
        raise UsageError(
            f"devices is {options.devices}: each process runs the whole script, so start it as many times, torchrun "
            f"--nproc-per-node {options.devices} SCRIPT; in a notebook fit with !python -m pyro_dsvae.fit --devices "
            f"{options.devices}"
        )
    if options.devices > options.optimisation.batch_size:
        raise UsageError(f"devices is {options.devices}, more than the sequences of a batch", "optimisation.batch_size")
    check_sizes(options.static_size, options.latent_size)
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out DIR, the run to go on with")


def _run(
    svi: SVI, run: RunDirectory, fingerprint: str, profile: bool, tracking: Tracking, watch: Watch | None
) -> Stopped | None:
    """Fit until the budget is used, or until a request to stop, which is returned."""
    first = svi.processes.rank == 0
    with (
        StepProfile(run) if profile and first else nullcontext() as profiled,
        FitJournal(run, svi.step, str(svi.budget), fingerprint, first, profiled, tracking, watch) as journal,
        listening(journal.ask_to_stop),
    ):
        try:
            finished = svi.run(journal)
            # The last evaluation takes a minute or more, and a request may come in it.
            late = journal.stopped is not None and not (finished and isinstance(journal.stopped, Ended))
            _, asked = svi.processes.broadcast(svi.seconds, late)
            return None if finished and not asked else journal.stopped or Stopped()
        except NonFiniteError as error:
            said = f"{error}. The last good state is in {run.path / 'checkpoint.pt'}"
            raise UsageError(said, "optimisation.learning_rate") from error


def main(arguments: Sequence[str]) -> int:
    """The command: 0, or the status of a request to stop."""
    parser = cli.parser_for(fit, f"{__doc__}\nRecipes:\n\n{recipes.listing()}")
    arguments = cli.bare_flags(recipes.resolve(arguments), "--resume", "--profile")
    given = cli.peek(arguments, "out", "resume", "config")
    if given["config"] is not None and Path(given["config"]).name == "config.yaml":
        settings = RunDirectory(Path(given["config"]).parent).config()  # says in one line where the file is spoilt
        if "vary" in settings:
            again = "repeat that with python -m pyro_dsvae.compare --config"
            raise UsageError(f"{given['config']} is of a comparison; {again}")
    if given["out"] is not None and given["resume"] == "true" and not RunDirectory.vacant(Path(given["out"])):
        # Options that are not named are those of the run, so that --out DIR --resume is all one has to say.
        before = RunDirectory.open(Path(given["out"]))
        before.config()  # says in one line where the file is spoilt
        arguments = ["--config", str(before.config_file), *arguments]
    try:
        result = fit(**cli.values(parser, arguments))
    except KeyboardInterrupt as error:
        if (path := written()) is None:
            raise
        result = FitResult(path, False, {}, as_stopped(error))  # a second Ctrl-C: what is left is the last checkpoint
    status = 0 if result.finished else (result.stopped or Stopped()).status
    if not is_rank_zero():  # of several processes the first one speaks
        return status
    if not result.finished:
        again = f"python -m pyro_dsvae.fit --out {shlex.quote(str(result.run))} --resume"
        print(f"stopped and saved; go on with: {again}", file=sys.stderr)
    print(f"run: {result.run}")
    return status
