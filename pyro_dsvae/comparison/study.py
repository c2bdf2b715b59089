"""A study of Optuna in the folder of a comparison: what is drawn next, and what each trial came to."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from pyro_dsvae.comparison.space import Space
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.inference.training.seeding import derive_seed
from pyro_dsvae.models.errors import UsageError

# Trials that are drawn at random first, and of which the pruner learns what is usual.
RANDOM = 5
FILE, FAILED = "study.log", "failed"
# Of lines of Optuna's journal.
CREATE_TRIAL, SET_TRIAL_PARAM = 4, 5


class Study:
    """Trials that are drawn one after the other (TPE, Bergstra et al. 2011), the most unpromising of them cut short.

    What is drawn next is a function of the seed, of the trial's number and of all before it. So a study that was interrupted
    and goes on is that of one that was not. It is kept in study.log, Optuna's journal, which its own tools read, too.

    Args:
        folder: Of the comparison, which this process alone writes to.
        space: What is searched over.
        seed: Of what is drawn.

    Raises:
        UsageError: Where study.log is damaged.
    """

    def __init__(self, folder: Path, space: Space, seed: int) -> None:
        self.optuna = optuna = needed("optuna", "scale", "--search optuna")
        journal = needed("optuna.storages.journal", "scale", "--search optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed = space, seed
        file = folder / FILE
        for lock in folder.glob(f"{FILE}.lock*"):  # of a process that was killed while it wrote
            lock.unlink()
        try:
            _cut_unfinished(file, len(space.vary))
            storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(file)))
        except ValueError as error:
            raise UsageError(f"{file} is damaged: restore it, or begin the search anew in another folder") from error
        self.study = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM),
        )
        self.distributions = {key: self._distribution(key) for key in space.vary}

    @property
    def trials(self) -> list[Any]:
        """All that were drawn, in order (`optuna.trial.FrozenTrial`)."""
        return list(self.study.get_trials(deepcopy=False))

    def ask(self) -> "Trial":
        """The trial that was interrupted, or a new one."""
        for frozen in self.trials:
            if not frozen.state.is_finished():
                # Optuna has no public way to go on with a trial of another process.
                return Trial(self, self.optuna.trial.Trial(self.study, frozen._trial_id), frozen.intermediate_values)
        number = len(self.trials)
        seed = derive_seed(self.seed, "trial", number) % 2**32
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM)
        return Trial(self, self.study.ask(self.distributions), {})

    def finished(self, pruned: bool = True) -> list[Any]:
        """The trials that are over, also those that were cut short or failed; without ``pruned`` those that ended."""
        return [t for t in self.trials if t.state.is_finished() and (pruned or t.state.name == "COMPLETE")]

    def table(self) -> str:
        """All trials as CSV: number, state, value (mean log p(x) of validation sequences), and what was drawn."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["trial", "state", "log_evidence", *self.space.vary])
        for trial in self.trials:
            value = trial.value if trial.state.name == "COMPLETE" else ""
            drawn = [
                self.space.ranges[key].value(trial.params[key]) if key in self.space.ranges else trial.params[key]
                for key in self.space.vary
            ]
            state = FAILED if FAILED in trial.user_attrs else trial.state.name.lower()
            writer.writerow([trial.number, state, value, *drawn])
        return stream.getvalue()

    def _distribution(self, key: str) -> Any:
        kinds = self.optuna.distributions
        if key in self.space.named:
            return kinds.CategoricalDistribution(list(self.space.named[key]))
        one = self.space.ranges[key]
        if one.whole:
            return kinds.IntDistribution(int(one.low), int(one.high), log=one.logarithmic)
        return kinds.FloatDistribution(one.low, one.high, log=one.logarithmic)


def _cut_unfinished(journal: Path, options: int) -> None:
    """Cut a half line, and a trial of which not all was drawn, which a process left that was killed while it wrote them.

    Optuna would write on behind the half line. The trial is then drawn as if the process had not been killed.

    Args:
        journal: The file, which need not exist.
        options: How many are drawn for a trial.

    Raises:
        ValueError: Where another line is none of a journal.
    """
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    whole = lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]
    codes = [json.loads(line)["op_code"] for line in whole]
    last = max((place for place, code in enumerate(codes) if code == CREATE_TRIAL), default=len(codes))
    if codes[last:].count(SET_TRIAL_PARAM) < options:
        whole = whole[:last]
    if len(whole) < len(lines):
        os.truncate(journal, sum(map(len, whole)))


class Trial:
    """A trial under way.

    Args:
        study: Its study.
        trial: Of Optuna.
        known: Step -> held-out ELBO that an earlier process has reported.
    """

    def __init__(self, study: Study, trial: Any, known: dict[int, float]) -> None:
        self.study, self.trial, self.known = study, trial, dict(known)
        self.number: int = trial.number
        self.candidate = study.space.candidate(trial.params)
        # Where the process died that had just learned it.
        self.pruned = bool(self.known) and bool(trial.should_prune())

    def goes_on(self, step: int, elbo: float) -> bool:
        """Report a held-out ELBO; return whether the fit is still worth its time."""
        if step not in self.known:
            self.known[step] = elbo
            self.trial.report(elbo, step)
        self.pruned = bool(self.trial.should_prune())
        return not self.pruned

    def tell(self, value: float | None, failed: str = "") -> None:
        """It is over: mean log p(x); None where it was cut short or has failed, and why.

        Optuna learns nothing from trials that failed, and would draw their like again. So they are told as cut short.
        """
        if failed:
            self.trial.set_user_attr(FAILED, failed)
        states = self.study.optuna.trial.TrialState
        self.study.study.tell(self.number, value, state=states.PRUNED if value is None else states.COMPLETE)
