"""Stochastic variational inference: the loop."""

import math
import time
from collections.abc import Generator, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.sequences import Sequences, placed
from pyro_dsvae.inference.training.distributed import Processes
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.journal import REFIT, UNDONE, Journal, RankZeroJournal
from pyro_dsvae.inference.training.objective import TERMS, KLWeights, Objective
from pyro_dsvae.inference.training.optimizers import optimizers
from pyro_dsvae.inference.training.order import Order
from pyro_dsvae.inference.training.prior_refit import SHORTEST, can_refit, draw_static, refit
from pyro_dsvae.inference.training.read_ahead import read_ahead
from pyro_dsvae.inference.training.recombination import StaticView
from pyro_dsvae.inference.training.schedule import Budget, Carried, Optimisation
from pyro_dsvae.inference.training.seeding import derive_seed, seed_generators
from pyro_dsvae.models.errors import UsageError

LOG_EVERY = 25
# What the refit of the prior takes, as a share of the steps before it, for the progress bar.
REFIT_TAKES = 0.1


class NonFiniteError(RuntimeError):
    """The loss became infinite or not a number; says at which step and in which term."""


class SVI:
    """Fits an `Objective` to sequences by stochastic gradient ascent on the ELBO.

    The order of the data and all noise are functions of (seed, step), never of how the process came to that step. So a
    fit that was killed and resumed ends, on the same machine with the same number of threads, with the same bits as one
    that was not, and a checkpoint holds no generator state.

    Args:
        objective: Model and guide.
        train: The sequences to fit.
        validation: The sequences that choose the best checkpoint.
        optimisation: Batches, learning rates, KL weights.
        budget: When the fit ends.
        seed: Of the order of the data and all noise.
        hardware: Where to fit. Several processes, one per device, must have been launched before (`Hardware.launch`). Each
            has its own noise; gradients are averaged, so the loss is that of the joint batch.
    """

    def __init__(
        self,
        objective: Objective,
        train: Sequences,
        validation: Sequences,
        optimisation: Optimisation,
        budget: Budget,
        seed: int = 0,
        hardware: Hardware = Hardware(),
    ) -> None:
        self.fabric = hardware.fabric
        self.processes = Processes(self.fabric)
        self.optimisation, self.budget, self.seed = optimisation, budget, seed
        placed = hardware.place({"train": train, "validation": validation}, self.fabric.device)
        self.train, self.validation = placed["train"], placed["validation"]
        self.objective = objective
        hardware.prepare(objective)
        made = optimizers(objective, optimisation.optimizer, optimisation.learning_rate)
        self.module, *self.optimizers = self.fabric.setup(self.objective, *made)
        # With one process the engine's wrapper has nothing to do but to set the precision, which costs less without hooks.
        self.forward = self.module if self.processes.count > 1 else self._alone
        # One process keeps the name that fits had before there were several, and so their noise.
        self._noise = "noise" if self.processes.rank == 0 else f"noise of {self.processes.rank}"
        self.step = 0
        self.prior_refitted = False
        self.seconds = 0.0
        self.started = 0.0
        self.best = -math.inf
        self.evaluated = 0  # the step of the last evaluation on held-out sequences
        lengths = None if train.lengths is None else train.lengths[train.rows].double()
        self.carried = Carried(LOG_EVERY, train.length if lengths is None else lengths.mean().item())
        recordings = objective.guide.views.recordings(train) if objective.model.static_prior.static_size else None
        self.order = Order(len(train), optimisation.batch_size, seed, recordings)
        self._batches: Generator[Batch, None, None] | None = None

    def state(self) -> dict[str, Any]:
        """Everything to resume from: tensors and plain values only."""
        return {
            "step": self.step,
            "prior_refitted": self.prior_refitted,
            "seconds": self.seconds,
            "best": self.best,
            "evaluated": self.evaluated,
            "carried": self.carried.state(),
            "frame_shape": list(self.objective.model.likelihood.frame_shape),
            "length": self.train.frames.shape[1],
            "objective": self.objective.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        self._forget_batches()
        self.objective.load_state_dict(state["objective"])
        for optimizer, each in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(each)
        self.step, self.prior_refitted = state["step"], state["prior_refitted"]
        self.seconds, self.best = state["seconds"], state["best"]
        # A checkpoint of before says only whether there was an evaluation.
        self.evaluated = state.get("evaluated", self.step if self.best > -math.inf else 0)
        self.carried.restore(state.get("carried", (0.0, 0.0, 0)))

    def run(self, journal: Journal) -> bool:
        """Fit until the budget is used.

        Returns:
            True; or False where the user stopped it.

        Raises:
            NonFiniteError: As soon as a term is found to be infinite or not a number; what was saved before is good.
        """
        journal = RankZeroJournal(journal, self.processes)
        self.started = time.perf_counter() - self.seconds
        refits = can_refit(self.objective) and self.optimisation.prior_refit_steps > 0
        try:
            stopped = self._take_steps(journal, 1 + REFIT_TAKES * refits)
        finally:
            self._forget_batches()
        if refits and not stopped and not self.prior_refitted and self.step >= SHORTEST:
            stopped = not self._refit_prior(journal)
        return not stopped

    def _take_steps(self, journal: Journal, whole: float) -> bool:
        """Step until the budget is used; return whether the user stopped it.

        Args:
            whole: What everything takes, of which the steps take 1, for the progress bar.
        """
        saved, stopped = self.seconds, False
        window: list[Tensor] = []
        if self._owes_evaluation():
            self._evaluate(journal)
            journal.save(self.state())
        while not stopped and (progress := self._progress()) < 1:
            window.append(self._step(progress))
            stopped = self._read_clock(journal.stop())
            done = self._progress()
            ends = stopped or done >= 1
            if ends or self.step % LOG_EVERY == 0:
                row = self._row(window)
                window = []
                journal.log(row)
                journal.advance(done / whole, self.seconds, row["elbo"])
            evaluations = self.optimisation.evaluations
            due = int(done * evaluations) > int(progress * evaluations)
            if due and not stopped:
                if window:
                    self._check(window)
                self._evaluate(journal)
                self._read_clock()
            if ends or (not window and self.seconds - saved > self.optimisation.checkpoint_seconds):
                self._check_parameters()
                journal.save(self.state())
                saved = self.seconds
        return stopped

    def _owes_evaluation(self) -> bool:
        """Whether the state that a fit goes on with is still to be evaluated.

        That is so where the fit was stopped in a step with an evaluation, and where the budget is used up by now.
        """
        count, done = self.optimisation.evaluations, self._progress()
        due = int(done * count) > int(self.budget.progress(self.evaluated, self.seconds) * count)
        return self.evaluated < self.step and (due or done >= 1)

    def _progress(self) -> float:
        return self.budget.progress(self.step, self.seconds)

    def _read_clock(self, stop: bool = False) -> bool:
        """Take over the seconds of the first process; return whether any process was asked to ``stop``."""
        self.seconds, stop = self.processes.broadcast(time.perf_counter() - self.started, stop)
        return stop

    def _refit_prior(self, journal: Journal) -> bool:
        """Fit the static prior alone; return whether that was finished. One that was not begins anew when resumed.

        The prior stays as it was where the held-out ELBO does not rise: few sequences are soon known by heart.
        """
        prior = self.objective.model.static_prior
        before = {name: value.clone() for name, value in prior.state_dict().items()}
        elbo = self.evaluate(self.validation)["elbo"]
        # The noise of a fit depends on these words, so they stay.
        seed_generators(derive_seed(self.seed, "settling", self.step), self.fabric.device)
        updates = min(self.optimisation.prior_refit_steps, self.step)

        def go_on(done: int) -> bool:
            if done % LOG_EVERY and done < updates:
                return True
            stopped = self._read_clock(journal.stop())
            journal.advance((1 + REFIT_TAKES * done / updates) / (1 + REFIT_TAKES), self.seconds, elbo)
            return not stopped

        rate = self.optimisation.learning_rate * self.optimisation.static_prior_rate
        with pyro.validation_enabled(False):
            with self.fabric.autocast():
                f = draw_static(self.objective, self.train, self.fabric.device)
            if not refit(prior, f, updates, rate, go_on):
                return False
        self.prior_refitted = True
        self._check_parameters()
        terms = self.evaluate(self.validation)
        kept = terms["elbo"] > elbo
        journal.log(self._labelled(REFIT if kept else UNDONE, terms, 0.0))
        if kept:
            self._keep_best(terms["elbo"], journal)
        else:
            prior.load_state_dict(before)
        self._read_clock()
        journal.save(self.state())
        return True

    def _step(self, progress: float) -> Tensor:
        """One optimiser step; its terms (5,) stay on the device, so nothing waits for them."""
        batch = placed(self._next_batch(), self.objective.model.likelihood, self.fabric.device)
        rates = self.optimisation.rates(self.step, progress)._asdict()
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rates[group["part"]]
        # A part of the prior's state, so that every checkpoint means what was evaluated.
        self.objective.model.static_prior.frozen = rates["static_prior"] == 0
        seed_generators(derive_seed(self.seed, self._noise, self.step), self.fabric.device)
        if not self.module.training:  # it visits every module
            self.module.train()
        # Shapes, supports and plates are checked once; the checks read values back and would stall every step.
        try:
            with pyro.validation_enabled(self.step == 0):
                other_windows = self.order.shared > 0
                view = self.optimisation.static_view(self.step, progress, self.carried.nats, other_windows)
                terms = self.forward(batch, self.optimisation.weights(progress), view)
        except ValueError as error:
            if self.step > 0 or isinstance(error, UsageError):
                raise
            said = " ".join(str(error).split())[:300]
            raise UsageError(f"model and guide fail the checks of the first step: {said}") from error
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.fabric.backward(terms["loss"])
        # Of all parameters: the engine's own would clip those of one optimiser.
        torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.optimisation.max_grad_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.prior_refitted = False
        return torch.stack([terms[name].detach() for name in TERMS])

    def _alone(self, batch: Batch, weights: KLWeights, static_view: StaticView) -> dict[str, Tensor]:
        with self.fabric.autocast():
            terms: dict[str, Tensor] = self.objective(batch, weights, static_view)
        return terms

    def _next_batch(self) -> Batch:
        """This process's part of the batch of this step, as it is stored."""
        if self._batches is None:
            self._batches = read_ahead(self.train, self.order.batches(self.step, self.processes.shard))
        return next(self._batches)

    def _forget_batches(self) -> None:
        """End what reads ahead; the next batch is that of the step that comes next."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def _check(self, window: list[Tensor]) -> Tensor:
        """The window's terms (n, 5) on the host. Raises `NonFiniteError`."""
        values = self.processes.all_reduce(torch.stack(window).cpu()) / self.processes.count
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            row, column = bad[bad[:, 1] > 0][0].tolist() if (bad[:, 1] > 0).any() else bad[0].tolist()
            raise NonFiniteError(
                f"{TERMS[column]} became {values[row, column]:.4g} at step {self.step - len(window) + row + 1}; "
                "try a lower learning rate"
            )
        return values

    def _check_parameters(self) -> None:
        """Raise `NonFiniteError` where a finite loss had a gradient that was not: such weights must not be saved."""
        for name, value in self.objective.named_parameters():
            if not torch.isfinite(value).all():
                raise NonFiniteError(
                    f"{name} became infinite or not a number by step {self.step}; try a lower learning rate"
                )

    def _row(self, window: list[Tensor]) -> dict[str, Any]:
        values = self._check(window)
        self.carried.add(values[:, TERMS.index("kl_dynamic")].tolist())
        means = values.mean(0).tolist()
        rate = self.optimizers[0].param_groups[0]["lr"]
        return self._labelled("train", dict(zip(TERMS, means, strict=True)), rate)

    def _evaluate(self, journal: Journal) -> None:
        terms = self.evaluate(self.validation)
        self.evaluated = self.step
        journal.log(self._labelled("validation", terms, self.optimizers[0].param_groups[0]["lr"]))
        self._keep_best(terms["elbo"], journal)

    def _keep_best(self, elbo: float, journal: Journal) -> None:
        if elbo > self.best:
            self.best = elbo
            journal.save_best(self.state())

    def _labelled(self, split: str, terms: Mapping[str, float], rate: float) -> dict[str, Any]:
        return {"step": self.step, "seconds": round(self.seconds, 3), "split": split, "learning_rate": rate, **terms}

    def evaluate(self, sequences: Sequences) -> dict[str, float]:
        """The `TERMS` on held-out ``sequences``: means in nats per sequence, one draw each, the same noise every time."""
        with self.fabric.autocast():
            return held_out_terms(self.objective, sequences, self.fabric.device, self.seed, processes=self.processes)
