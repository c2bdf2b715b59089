"""The ELBO and its terms on held-out sequences."""

import pyro
import torch

from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.distributed import Processes
from pyro_dsvae.inference.training.objective import TERMS, KLWeights, Objective
from pyro_dsvae.inference.training.seeding import derive_seed, generators_kept, seed_generators


@torch.no_grad()
def held_out_terms(
    objective: Objective,
    sequences: Sequences,
    device: torch.device,
    seed: int,
    batch_size: int = 128,
    processes: Processes | None = None,
) -> dict[str, float]:
    """The unweighted `TERMS` of an objective in evaluation mode; its mode and all generators are restored.

    Every batch has its own noise, so the figures are the same however many ``processes`` share the work.

    Args:
        objective: Model and guide.
        sequences: The held-out sequences.
        device: Where model and guide are.
        seed: Of the noise.
        batch_size: Sequences at once.
        processes: Those that share the work, or None.
    """
    training = objective.training
    objective.eval()
    totals = torch.zeros(len(TERMS), dtype=torch.float64)
    with generators_kept(device), pyro.validation_enabled(False):
        for number, rows in enumerate(torch.arange(len(sequences)).split(batch_size)):
            if processes is not None and number % processes.count != processes.rank:
                continue
            seed_generators(derive_seed(seed, "evaluation", number), device)
            terms = objective(sequences.batch(rows, objective.model.likelihood, device), KLWeights())
            totals += torch.stack([terms[name] for name in TERMS]).double().cpu() * len(rows)
    objective.train(training)
    if processes is not None:
        totals = processes.all_reduce(totals)
    return dict(zip(TERMS, (totals / len(sequences)).tolist(), strict=True))
