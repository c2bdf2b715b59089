"""The refit of the prior: after the last step the static prior alone is fitted to the final posterior."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import half_cosine
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

# Training sequences at most, draws of f for each of them, sequences encoded at once, and draws for every update.
SEQUENCES, DRAWS, CHUNK, BATCH = 20_000, 4, 128, 256
WARM_UP = 50
# Steps of a fit whose prior is refitted: in fewer the posterior is far from final, and the refit takes a good part of the time.
SHORTEST = 2 * WARM_UP
LARGEST_GRADIENT = 200.0


def can_refit(objective: Objective) -> bool:
    """Whether there is a static prior to refit: one with parameters of its own, beside a posterior that is no point.

    A prior that was fitted to points would become as narrow as it can.
    """
    prior = objective.model.static_prior
    learned = any(True for _ in prior.parameters())
    return prior.refittable and objective.guide.comparable and prior.static_size > 0 and learned


@torch.no_grad()
def draw_static(objective: Objective, sequences: Sequences, device: torch.device) -> Tensor:
    """(4 N, F) draws of f from q(f | x) of all sequences, or of N = 20,000 random ones, as in evaluation; on ``device``."""
    training = objective.training
    objective.eval()
    found, count = [], len(sequences)
    which = torch.arange(count) if count <= SEQUENCES else torch.randperm(count)[:SEQUENCES].sort().values
    for rows in which.split(CHUNK):
        clip = objective.guide.see(*sequences.batch(rows, objective.model.likelihood, device))
        found.append(objective.guide.static(clip).sample(torch.Size([DRAWS])).flatten(0, 1))
    objective.train(training)
    return torch.cat(found).to(next(objective.model.static_prior.parameters()).dtype)


def refit(prior: StaticPrior, f: Tensor, updates: int, learning_rate: float, go_on: Callable[[int], bool]) -> bool:
    """Maximise the mean of log p(f) over draws f (N, F) of the posterior; return whether that was finished.

    With q(f | x) held fixed this is the ELBO as a function of the prior, as E log p(f) is the only term with p(f) in it. An
    update costs at most a tenth of a step of the whole model, and has eight times as many sequences. So a prior with many
    narrow modes reaches in this way what steps of the whole model would reach much later. It starts where
    `StaticPrior.initialise_from` puts it. The rate rises over 50 updates and falls to zero along half a cosine.

    Sources: Dai & Wipf, "Diagnosing and Enhancing VAE Models", ICLR 2019 (the second stage); Ghosh et al., "From
    Variational to Deterministic Autoencoders", ICLR 2020 (ex-post density estimation).

    Args:
        prior: The static prior, changed in place.
        f: Draws of the posterior, (N, F).
        updates: The number of optimiser steps.
        learning_rate: Its peak.
        go_on: Told the number of updates that are done, after each. Where it returns False, the prior is left as it was.
    """
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    prior.frozen = False
    prior.initialise_from(f)
    parameters = list(prior.parameters())
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    for update in range(updates):
        rate = min(1, (update + 1) / WARM_UP) * half_cosine(update, updates)
        optimiser.param_groups[0]["lr"] = learning_rate * rate
        loss = -prior().log_prob(f[torch.randint(len(f), (BATCH,), device=f.device)]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimiser.step()
        if not go_on(update + 1):
            prior.load_state_dict(before)
            return False
    return True
