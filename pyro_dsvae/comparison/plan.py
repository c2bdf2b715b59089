"""What a comparison is to do: the fits of its candidates or finished runs, the sequences, and how each fit is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyro_dsvae.comparison.candidates import Candidate, Fit, grid
from pyro_dsvae.comparison.comparability import check_candidates, check_runs, finished, open_runs
from pyro_dsvae.comparison.folder import Folder
from pyro_dsvae.comparison.measurement import Measure
from pyro_dsvae.comparison.options import ComparisonOptions
from pyro_dsvae.comparison.space import Space
from pyro_dsvae.comparison.spread.tasks import Task
from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.location import existing, located, places
from pyro_dsvae.data.reading import read_again, read_first
from pyro_dsvae.inference.forecasting.forecast import check_context
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory


@dataclass(frozen=True)
class Plan:
    """A comparison before its first fit.

    Attributes:
        folder: Where it is written.
        fits: Of every candidate, or the finished runs.
        candidates: By name; none for finished runs.
        data: What all are held against.
        source: Of the data, for other processes; None for those of the runs.
        measure: How every fit is measured.
        space: What is searched over for candidates; None where they are named.
    """

    folder: Folder
    fits: list[Fit]
    candidates: Mapping[str, Candidate]
    data: SequenceData
    source: DataSource | None
    measure: Measure
    space: Space | None

    def tasks(self) -> list[Task]:
        """One for every fit."""
        return [Task(f, self.candidates.get(f.candidate), self.folder.evidence(f), self.measure) for f in self.fits]


def planned(options: ComparisonOptions) -> Plan:
    """The plan, with data read and every candidate built once to see that it can be; nothing is written.

    Raises:
        UsageError: Where candidates or runs cannot be compared, or the folder holds something else.
    """
    candidates: list[Candidate] = []
    space: Space | None = None
    source, found = None, Path.cwd()
    if options.runs:
        runs = [existing(Path(run), options.data_folder) for run in options.runs]
        found = Path.cwd() if runs == list(options.runs) else options.data_folder or found
    else:
        source, found = next(located(options.source, places(options.data_folder)))
    options = replace(options, data_folder=found)
    if source is None:
        fits = finished(runs)
        folder = _folder(options, None)
        data = check_runs(open_runs(fits))
    else:
        assert options.vary is not None
        if options.search is None:
            candidates, written = grid(options.shared(), options.vary)
        else:
            space = Space(options.shared(), options.vary)
            candidates, written = space.corners(), space.written
        folder = _folder(options, written)
        begun = options.out is not None and RunDirectory(Path(options.out)).config_file.is_file()
        data = (read_again if begun else read_first)(source)
        check_candidates(candidates, data)
        candidates = [] if space is not None else candidates
        fits = folder.fits(candidates, range(options.seed, options.seed + options.seeds))
    return Plan(folder, fits, {each.name: each for each in candidates}, data, source, _measure(options, data), space)


def _folder(options: ComparisonOptions, vary: Mapping[str, list[Any]] | None) -> Folder:
    """The folder of the comparison; ``vary`` as it is written down."""
    assert options.out is not None
    return Folder(Path(options.out), replace(options, vary=vary))


def _measure(options: ComparisonOptions, data: SequenceData) -> Measure:
    """How every fit is measured. Raises `UsageError` where the data have too few sequences or frames for it."""
    measure = Measure(
        split=options.split,
        sequences=options.sequences,
        draws=options.draws,
        given=data.length - max(1, data.length // 4) if options.given is None else options.given,
        scale=options.scale,
        defensive=options.defensive,
        refine=options.refine,
        annealed=options.annealed,
        seed=options.seed,
    )
    chosen = measure.chosen(data)
    if len(chosen) < 2:
        raise UsageError(f"the {options.split} split holds one sequence; a comparison needs at least two")
    check_context(chosen, measure.given)
    return measure
