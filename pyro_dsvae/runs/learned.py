"""Whether a fit has learned anything."""

import math

from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.baseline import baseline_log_prob
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory


def check_chosen(run: RunDirectory, best: float) -> None:
    """Check that the fit kept a best state.

    Args:
        run: The run directory.
        best: The highest ELBO of held-out sequences, -inf where none was finite.

    Raises:
        UsageError: Where no ELBO of held-out sequences was finite.
    """
    if best == -math.inf and not (run.path / "best.pt").exists():
        raise UsageError(
            f"no ELBO of the validation split was finite, so no state was kept as the best; the last one is in "
            f"{run.path / 'checkpoint.pt'}: fit again with a lower learning rate, or look at the scale of the data",
            "optimisation.learning_rate",
        )


def not_learned(run: RunDirectory, svi: SVI) -> str | None:
    """A line with the remedy, where the ELBO of the validation split is below what values by themselves reach.

    A guide that is a point has no ELBO to compare; its reconstruction term, which is higher, is taken.
    """
    objective, device = svi.objective, svi.fabric.device
    held_out = [row for row in run.metrics() if row["split"] != "train" and math.isfinite(row["elbo"])]
    if not held_out:
        return None
    column, name = ("elbo", "ELBO") if objective.guide.comparable else ("reconstruction", "reconstruction term")
    reached = max(held_out, key=lambda row: row["elbo"])[column]
    with evaluation(objective.model, objective.guide, svi.seed, device):
        baseline = baseline_log_prob(objective, svi.train, svi.validation, device)
    if baseline is None or reached >= baseline:
        return None
    return (
        f"this fit has not learned: its {name} on the validation split is {reached:,.1f} nats per sequence; a density without "
        f"f and z, of every value by itself with its mean and spread in the training split, reaches {baseline:,.1f}. Fit "
        "longer, lower --optimisation.learning_rate, or look at the scale of the data"
    )
