"""Predictive checks of a finished run: in which respects the fitted model's world differs from that of the data.

  python -m pyro_dsvae.ppc RUN                                      128 sequences of the validation split
  python -m pyro_dsvae.ppc RUN --sequences 500 --draws 50           more of them, sharper p-values
  python -m pyro_dsvae.ppc RUN --split train                        the data it was fitted to, marked so
  python -m pyro_dsvae.ppc RUN --discrepancies my_checks.blinking   a discrepancy of your own beside the built-in ones

The model generates replications of held-out clips at four levels: new frames of the same f and z, new motion, new
appearance, everything new. Discrepancies, numbers that describe a clip, are compared between clips and replications, with
observation noise and without (decoder means). Three further checks follow. Are predictive intervals calibrated? Does the
guide find latents that the model itself drew (simulation-based calibration)? Are the latents of real clips distributed as
the priors say?

Writes report.html (one file, opens anywhere), ppc.json, predictive.nc (for ArviZ and xarray) and figures/*.png to --out and
prints its path as the last line: wrote: DIR. Every figure is a function of the run, the options and --seed.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("ppc")

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from pyro_dsvae import cli
from pyro_dsvae.checks.pipeline import Checking
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.data.dataset import SequenceData, Split
from pyro_dsvae.inference.inference_data import MIN_DRAWS, save_tree
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.predictive_checks.discrepancy import discrepancy
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, replicate
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.hardware import Device, device_for
from pyro_dsvae.loading import Run, load
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.pretrained import default_out
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.evaluations import record, said
from pyro_dsvae.runs.output_folder import check_free, new_folder

if TYPE_CHECKING:
    from pyro_dsvae.checks.figures import Shown

__all__ = ["ppc"]

SHOWN = 4


def ppc(
    run: Path,
    out: Path | None = None,
    split: Split = "validation",
    sequences: int = 128,
    draws: int = 20,
    discrepancies: list[str] | str | None = None,
    simulations: int = 300,
    evidence_draws: int = 100,
    seed: int = 0,
    device: Device = "auto",
    overwrite: bool = False,
) -> PPCResult:
    """Check a run against sequences it was not fitted to; print and write what was found.

    Args:
        run: the run directory, or sprites, the run that comes with the package
        out: the folder to write (by default RUN/ppc)
        split: the sequences to check against; with train every check uses the data twice, which is marked; every check
            against test is counted
        sequences: how many of the split are used, a random choice
        draws: replications of every sequence at every level
        discrepancies: dotted paths of your own discrepancies, one or a list
        simulations: for simulation-based calibration, at least 50, or 0 to leave it out
        evidence_draws: importance weights for log p(x) of each sequence, at least 25, or 0 to leave it out
        seed: of all draws
        device: where to work: auto (a GPU where there is one), cpu, cuda, cuda:1 for that GPU, mps
        overwrite: replace what is at --out

    Raises:
        UsageError: For anything the caller can put right.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae.ppc import ppc
        >>> found = ppc(Path("runs/clips"), sequences=4, draws=2, simulations=0, evidence_draws=0)  # doctest: +IGNORE_OUTPUT
        >>> found.left_out[0]
        'calibration: calibration needs at least 8 sequences, not 4'
        >>> (found.path / "report.html").exists()
        True
    """
    # They load matplotlib and xarray, which takes a second that the manual need not cost.
    from pyro_dsvae.checks import figures as ppc_figures
    from pyro_dsvae.checks.report import page
    from pyro_dsvae.checks.terminal import print_summary
    from pyro_dsvae.inference.predictive_checks.tree import predictive_tree

    check_seed(seed)
    _check(sequences, draws, simulations, evidence_draws)
    own = [discrepancy(name) for name in _listed(discrepancies)]
    place = device_for(device)
    opened = load(run, device=str(place))
    path = default_out(opened.path) / "ppc" if out is None else out
    check_free(path, overwrite)
    data = opened.sequences()
    chosen = _chosen(data, split, sequences, seed)
    levels, clip = len(LEVELS), (data.length, *data.frame_shape)
    check_memory(f"a check of {draws} draws of {len(chosen)} sequences", levels, draws, len(chosen), *clip)
    check_memory(f"a calibration of {simulations} simulations", simulations, *clip)
    options: dict[str, Any] = {
        "split": split,
        "sequences": len(chosen),
        "draws": draws,
        "discrepancies": _listed(discrepancies),
        "simulations": simulations,
        "evidence_draws": evidence_draws,
        "seed": seed,
    }
    with new_folder(path, overwrite) as folder:
        start = time.monotonic()
        with Bar("checking, in up to eight stages") as bar:
            work = Checking(opened, data, chosen, place, seed, bar)
            result = work.result(path, options, own)
            kept = work.draws(draws)
        known = data.take(chosen.rows)
        asked: dict[str, str | int] = {"run": str(run), "split": split, "seed": seed, "draws": draws}
        asked.update(result.versions)
        tree = predictive_tree(
            kept,
            chosen.rows,
            result.evidence,
            known.mask,
            known.lengths,
            known.times,
            {name: (label.values, label.classes) for name, label in known.labels.items()},
            asked,
        )
        save_tree(tree, folder / "predictive.nc")
        ppc_figures.draw(result, _shown(opened, chosen, seed), folder / "figures")
        result = replace(result, seconds=time.monotonic() - start)
        (folder / "ppc.json").write_text(result.json())
        (folder / "report.html").write_text(page(result, folder / "figures"))
    print_summary(result, Console(highlight=False, emoji=False))
    if looks := record(opened.path, "ppc", path) if split == "test" else said(opened.path):
        print(looks)
    return result


def _listed(discrepancies: list[str] | str | None) -> list[str]:
    if isinstance(discrepancies, str):
        return [name.strip() for name in discrepancies.split(",") if name.strip()]
    return list(discrepancies or [])


def _check(sequences: int, draws: int, simulations: int, evidence_draws: int) -> None:
    """Raises `UsageError` for what can be told before anything is read."""
    if sequences < 2:
        raise UsageError(f"sequences is {sequences}; checks compare at least 2")
    if draws < 2:
        raise UsageError(f"draws is {draws}; every sequence needs at least 2 replications")
    if simulations and simulations < 50:
        raise UsageError(f"simulations is {simulations}; it is at least 50, or 0 to leave the calibration out")
    if evidence_draws and evidence_draws < MIN_DRAWS:
        raise UsageError(f"evidence_draws is {evidence_draws}; it is at least {MIN_DRAWS}, or 0 to leave evidence out")


def _chosen(data: SequenceData, split: Split, count: int, seed: int) -> Sequences:
    """At most ``count`` sequences of the split, drawn without replacement, in order of their rows."""
    try:
        everything = data.sequences(split)
    except UsageError as error:
        hint = "" if split == "train" else "; to check against the data it was fitted to, use --split train"
        raise UsageError(f"this run has nothing to be checked against: {error}{hint}") from error
    if len(everything) < 2:
        raise UsageError(f"the {split} split holds one sequence; checks compare at least 2")
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed))
    return everything.take(order[:count].sort().values)


def _shown(run: Run, chosen: Sequences, seed: int) -> "Shown":
    """A few clips and one replication of each at every level."""
    from pyro_dsvae.checks.figures import Shown

    made = list(replicate(run.sampler(), chosen.take(torch.arange(len(chosen))[:SHOWN]), draws=1, seed=seed))
    data = torch.cat([r.data for r in made if r.level == "frames"])
    rows = {level: torch.cat([r.x[0] for r in made if r.level == level]).cpu() for level in LEVELS}
    means = {level: torch.cat([r.observed_mean[0] for r in made if r.level == level]).cpu() for level in LEVELS}
    return Shown(data.cpu(), rows, means)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = cli.parser_for(ppc, __doc__)
    result = ppc(**cli.values(parser, arguments))
    print(f"wrote: {result.path}")
    return 0
