"""The ELBO and its terms on held-out sequences."""

import itertools

import pyro
import torch

from pyro_dsvae.inference.sequences import Sequences, placed
from pyro_dsvae.inference.training.distributed import Processes
from pyro_dsvae.inference.training.objective import TERMS, KLWeights, Objective
from pyro_dsvae.inference.training.read_ahead import read_ahead
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
        first, count = (0, 1) if processes is None else (processes.rank, processes.count)
        own = torch.arange(len(sequences)).split(batch_size)[first::count]
        for number, batch in zip(itertools.count(first, count), read_ahead(sequences, own), strict=False):
            seed_generators(derive_seed(seed, "evaluation", number), device)
            terms = objective(placed(batch, objective.model.likelihood, device), KLWeights())
            totals += torch.stack([terms[name] for name in TERMS]).double().cpu() * len(batch.x)
    objective.train(training)
    if processes is not None:
        totals = processes.all_reduce(totals)
    return dict(zip(TERMS, (totals / len(sequences)).tolist(), strict=True))
