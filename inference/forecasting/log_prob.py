"""The log density of a clip's later frames given its first ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.forecasting.forecast import check_context
from pyro_dsvae.inference.inference_data import UNRELIABLE
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sequences import Sequences


@dataclass(frozen=True)
class ForecastScore:
    """log p(x_{context+1:T} | x_{1:context}) of every sequence, (N,), float64 on the CPU, in nats per sequence.

    Attributes:
        log_prob: A difference of two estimates, each too low by about half its squared error, so it may err in both
            directions. 0 where there is nothing to forecast.
        standard_error: Of the Monte Carlo estimate alone, not of the data: the root of the sum of both squared errors.
        k_hat: The larger of both (`pareto_k_hat`). Above .7 neither the value nor its error is reliable.
        scored: (N,) bool, False where no value after step ``context`` was observed, as in a sequence that ends before.
        observed_values: (N,) int64, how many values after step ``context`` were observed.
        context: The number of frames that the forecast starts from.
        draws: Of each of the two estimates.
    """

    log_prob: Tensor
    standard_error: Tensor
    k_hat: Tensor
    scored: Tensor
    observed_values: Tensor
    context: int
    draws: int

    @property
    def unreliable(self) -> Tensor:
        """(N,) bool, True where k-hat is above .7."""
        return self.k_hat > UNRELIABLE

    @property
    def unreliable_share(self) -> float:
        """Share of the scored sequences with k-hat above .7; 0 where none was scored."""
        return float(self.unreliable[self.scored].double().mean()) if bool(self.scored.any()) else 0.0


def forecast_log_prob(
    sampler: Sampler,
    sequences: Sequences,
    context: int,
    draws: int = 100,
    seed: int = 0,
    refinement: Refinement | None = None,
) -> ForecastScore:
    """How well the first ``context`` frames predict the others, for each of ``sequences``:

        log p(x_{context+1:T} | x_{1:context}) = log p(x_{1:T}) - log p(x_{1:context})

    Both terms are estimated by `estimate_evidence`, with draws of their own. A prior is a product of one-step conditionals.
    So the evidence of the first frames is that of the clip cut after them, and no latent of a later step is drawn. Missing
    values, lengths and times are taken into account: later values that were not observed are integrated out.

    A guide that was fitted to whole clips proposes badly from a beginning alone. Where k-hat is high, as with large
    frames, the second term is then too low by more than the first, and the difference is too high: use ``refinement``,
    or do not rely on it.

    Args:
        sampler: Model and guide, any posterior but `Delta`.
        sequences: The sequences.
        context: From 1 to T - 1.
        draws: K of each estimate, at least 25.
        seed: Of all noise.
        refinement: Fit the guide to every sequence, and to every beginning of one, first (`refine`).

    Raises:
        UsageError: Where ``context`` leaves nothing, and for a guide without density.
    """
    check_context(sequences, context)
    later = sequences.observed_count(slice(context, None))
    scored = later > 0
    log_prob, error, k_hat = (torch.zeros(len(sequences), dtype=torch.float64) for _ in range(3))
    if bool(scored.any()):
        whole = sequences.take(scored)
        # The work of both grows with the number of their frames.
        share = whole.length / (whole.length + context)
        all_ = estimate_evidence(sampler.part(0.0, share), whole, draws, refinement=refinement, seed=seed)
        beginning = whole.until(context)
        first = estimate_evidence(sampler.part(share, 1.0), beginning, draws, refinement=refinement, seed=seed + 1)
        log_prob[scored] = all_.log_evidence - first.log_evidence
        error[scored] = (all_.standard_error.square() + first.standard_error.square()).sqrt()
        k_hat[scored] = torch.maximum(all_.k_hat, first.k_hat)
    return ForecastScore(log_prob, error, k_hat, scored, later, context, draws)
