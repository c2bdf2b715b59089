"""The log probability of the last frames given the first, by draws that the evidence of both shares."""

import torch
from pyro import poutine
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler, check_proposal
from pyro_dsvae.inference.forecasting.forecast import check_context
from pyro_dsvae.inference.forecasting.log_prob import ForecastScore
from pyro_dsvae.inference.inference_data import MIN_DRAWS, pareto_k_hat
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.importance_weights import LogMean
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.distributions.density import log_prob_by_step
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError


class NoStepsError(UsageError):
    """The guide's density of a path is no product over steps."""


def paired_forecast(
    sampler: Sampler,
    sequences: Sequences,
    context: int,
    draws: int = 100,
    scale: float = 1.0,
    seed: int = 0,
) -> ForecastScore:
    """How well the first t = ``context`` frames predict the others, from K draws f, z_1:T of q(f, z_1:T | x_1:T):

        log p(x_{t+1:T} | x_{1:t}) = log mean_k p(x_1:T, f, z_1:T) / q(f, z_1:T | x_1:T)
                                   - log mean_k p(x_1:t, f, z_1:t) / q(f, z_1:t | x_1:T)

    Any proposal is allowed, so the beginning of a clip is weighted along the same draws as the whole clip. A guide is
    fitted to whole clips, and its proposals from a beginning alone can be off by thousands of nats on images;
    `pyro_dsvae.inference.forecasting.log_prob.forecast_log_prob` then mistakes this for predictive power. Here both
    terms are too low for the same reason, and most of the bias and of the noise cancels. The sign of the bias that remains
    is unknown. It vanishes as K grows.

    The standard error is that of the delta method for a difference of two logarithms along the same draws.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        context: From 1 to T - 1.
        draws: K, at least 25.
        scale: The proposal's standard deviations over the guide's; above 1, because a guide that knows the later frames is
            too certain of the first latents.
        seed: Of all noise.

    Raises:
        UsageError: Where ``context`` leaves nothing, for fewer draws, and for a guide without density.
        NoStepsError: Where the guide's density of a path is no product over steps (a flow's).
    """
    check_context(sequences, context)
    check_proposal(sampler.guide)
    if draws < MIN_DRAWS:
        raise UsageError(f"a forecast needs at least {MIN_DRAWS} draws for its diagnostics, not {draws}")
    later = sequences.observed_count(slice(context, None))
    at_once = sampler.paths_at_once(sequences.frames.shape[1:])
    work = sampler.work(len(sequences) * draws)
    values, errors, tails = [], [], []
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences, draws):
            start = batch.until(context)
            proposal = Proposal(sampler.guide, batch, scale)
            weights = []
            for count in torch.arange(draws).split(max(1, at_once // len(positions))):
                weights.append(_weights(sampler.model, proposal, batch, start, len(count)))
                work.did(len(count) * len(positions))
            whole, part = torch.cat(weights, dim=1)
            if whole.isnan().any() or part.isnan().any():
                raise UsageError("the log density of a sequence is not a number; model or guide did not fit it")
            values.append(LogMean.of(whole).value - LogMean.of(part).value)
            # Shares are K times smaller than weights over their mean.
            shares = (whole - whole.logsumexp(0)).exp() - (part - part.logsumexp(0)).exp()
            errors.append((draws * shares.var(0)).sqrt())
            tails.append(torch.from_numpy(pareto_k_hat(torch.cat([whole, part], dim=1).T.numpy())).view(2, -1).amax(0))
    scored = later > 0
    log_prob, error, k_hat = (torch.cat(v).masked_fill(~scored, 0.0) for v in (values, errors, tails))
    return ForecastScore(log_prob, error, k_hat, scored, later, context, draws)


def _weights(model: DSVAE, proposal: Proposal, batch: Batch, start: Batch, count: int) -> Tensor:
    """(2, count, B) log weights of whole clips and of their beginnings, along the same draws, on the CPU."""
    with poutine.trace() as trace:
        latents, log_q = proposal.draw(count)
    q = trace.trace.nodes
    context = start.x.shape[1]
    try:
        by_step = log_prob_by_step(q["z"]["fn"], latents.z)
    except NotImplementedError as error:
        raise NoStepsError(f"{error}, so neither is that of its first steps alone; use forecast_log_prob") from error
    valid = batch.steps.valid
    if valid is not None:
        by_step = torch.where(valid, by_step, torch.zeros_like(by_step))
    # What is left of log q(f, z) without the later steps of z.
    log_q_start = log_q - by_step[..., context:].double().sum(-1)
    whole = Joint(model, batch).at(latents).log_joint - log_q
    part = Joint(model, start).at(Latents(latents.f, latents.z[..., :context, :])).log_joint - log_q_start
    return torch.stack([whole.cpu(), part.cpu()])
