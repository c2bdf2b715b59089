"""Settling: the static prior alone, fitted to a posterior that no longer moves."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

# Training sequences at most, draws of f for each of them, sequences encoded at once, and draws for every update.
SEQUENCES, DRAWS, CHUNK, BATCH = 20_000, 4, 128, 256
WARM_UP = 50
LARGEST_GRADIENT = 200.0


def settles(objective: Objective) -> bool:
    """Whether there is anything to settle: a static prior with parameters of its own, and a posterior that is no point.

    What a prior would do about points is to become as narrow as it can.
    """
    prior = objective.model.static_prior
    return (
        prior.settles and objective.guide.comparable and prior.static_size > 0 and any(True for _ in prior.parameters())
    )


@torch.no_grad()
def draw_looks(objective: Objective, sequences: Sequences, device: torch.device) -> Tensor:
    """(4 N, F) draws of f from q(f | x) of all sequences, or of N = 20,000 random ones, as in evaluation; on ``device``."""
    training = objective.training
    objective.eval()
    found, count = [], len(sequences)
    which = torch.arange(count) if count <= SEQUENCES else torch.randperm(count)[:SEQUENCES].sort().values
    for rows in which.split(CHUNK):
        clip = GuideInput.of(*sequences.batch(rows, objective.model.likelihood, device))
        q = objective.guide.static(clip)
        found.append(q.sample(torch.Size([DRAWS])).flatten(0, 1))
    objective.train(training)
    return torch.cat(found).to(next(objective.model.static_prior.parameters()).dtype)


def settle(prior: StaticPrior, f: Tensor, updates: int, learning_rate: float, go_on: Callable[[int], bool]) -> bool:
    """Maximise the mean of log p(f) over draws f (N, F) of the posterior; return whether that was finished.

    With q(f | x) held still this is the ELBO as a function of the prior: E log p(f) is the only term with p(f) in it. An
    update costs a tenth of a step of the whole model or less, and has eight times as many sequences, so a prior with many
    narrow modes gets where steps of the whole model would take it much later: the second stage of Dai & Wipf ("Diagnosing
    and Enhancing VAE Models", ICLR 2019). It begins where `StaticPrior.start` puts it. The rate rises over 50
    updates and falls to zero along half a cosine.

    go_on  is told the number of updates that are done, after each; where it says no, the prior is left as it was before
    """
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    prior.start(f)
    parameters = list(prior.parameters())
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    for update in range(updates):
        rate = min(1, (update + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * update / updates))
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
