"""A fit that goes on: with the options, the data and the state that it was left with."""

from pathlib import Path

from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions, Role, option_names
from pyro_dsvae.configuration.parts import in_words
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory


def run_to_resume(path: Path, options: FitOptions, frame_shape: tuple[int, ...]) -> RunDirectory:
    """Open the run at ``path``, and check that the options are those it was fitted with.

    Raises:
        UsageError: Where one of those that matter for the result is another.
    """
    run = RunDirectory.open(path)
    before = for_frames(run.options(), frame_shape).config()
    free = option_names(FitOptions, Role.BUDGET, Role.INCIDENTAL)
    for name, value in options.config().items():
        if name not in free and before[name] != value:
            raise UsageError(
                f"{path} was fitted with {name} = {in_words(before[name])}, not {in_words(value)}; "
                "resume with the same options (--resume --out alone takes them from the run) or fit into another --out"
            )
    return run


def restore(run: RunDirectory, svi: SVI, data: SequenceData) -> None:
    """Load the state that the run was left in into ``svi``.

    Raises:
        UsageError: Where it is of other data or of other networks.
    """
    state = run.load("checkpoint.pt", svi.fabric.device)
    if not data.has_fingerprint(state.get("data", "")):
        raise UsageError(f"{run.path} was fitted to other data: the sequences differ from those of this --data")
    try:
        svi.restore(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"{run.path / 'checkpoint.pt'} does not fit its config.yaml; restore either, or fit again"
        ) from error
    svi.processes.on_rank_zero(lambda: run.forget_after(svi.step))


def keep_budget(run: RunDirectory, svi: SVI) -> None:
    """Write the budget of a resumed fit into config.yaml, so that it repeats the run."""
    config = run.config()
    before = Budget(config["steps"], config["minutes"])
    if (kept := svi.budget.kept(before, svi.step, svi.seconds)) != before:
        run.write_budget(kept)
