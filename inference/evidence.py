"""The evidence of held-out sequences by importance sampling, with its error and its diagnostics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Guide, Sampler, Work, check_proposal
from pyro_dsvae.inference.inference_data import MIN_DRAWS, UNRELIABLE, pareto_k_hat
from pyro_dsvae.inference.sampling.importance_weights import LogMean, bounds
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sampling.refinement import Refined, Refinement, refine
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Estimates of log p(x_i) from K draws, per sequence (N,), float64 on the CPU, in nats per sequence.

    Attributes:
        log_evidence: log (1/K sum_k w_ik). In expectation it is a lower bound, too low by about half its squared error.
        standard_error: Of the Monte Carlo estimate alone, not of the data, by the delta method (`LogMean`).
        effective_sample_size: Of the K weights.
        k_hat: Shape of the weights' upper tail (`pareto_k_hat`).
        bounds: From k to the bound with k draws of the same weights: 1 gives the ELBO of the proposal, K ``log_evidence``.
        observed_values: (N,) int64, values of x that were observed; all others are integrated out.
        draws: The number of draws, K.
        discrete: Whether the likelihood is a probability mass, so that bits per dimension are defined.
        gap_closed: ELBO gained by refining each sequence's posterior; None without refinement.
        gap_error: Its standard error.
    """

    log_evidence: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    k_hat: Tensor
    bounds: Mapping[int, Tensor]
    observed_values: Tensor
    draws: int
    discrete: bool
    gap_closed: Tensor | None = None
    gap_error: Tensor | None = None

    @property
    def elbo(self) -> Tensor:
        """(N,) the mean log weight."""
        return self.bounds[1]

    @property
    def unreliable(self) -> Tensor:
        """(N,) bool, True where k-hat is above .7: the value is then a loose bound, and its standard error too small."""
        return self.k_hat > UNRELIABLE

    @property
    def unreliable_share(self) -> float:
        """Share of sequences with k-hat above .7."""
        return float(self.unreliable.double().mean())

    @property
    def bits_per_dimension(self) -> Tensor | None:
        """(N,) -log2 p(x) per observed value; None for a density, whose bits depend on the unit of x."""
        return -self.log_evidence / (math.log(2) * self.observed_values) if self.discrete else None


def estimate_evidence(
    sampler: Sampler,
    sequences: Sequences,
    draws: int = 1_000,
    scale: float = 1.0,
    defensive: float = 0.0,
    refinement: Refinement | None = None,
    seed: int = 0,
) -> Evidence:
    """log p(x_i) = log E_q[w], w = p(x_i, f, z) / q(f, z | x_i), by the mean of K weights, for each of ``sequences``.

    Any proposal q gives an unbiased mean weight; its quality determines the error. Whole latents are weighted jointly, with
    model and guide in evaluation mode. Missing values, lengths and times are taken into account: values that were not
    observed are integrated out, so the result is the evidence of the observed ones.

    Sources: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016; Owen & Zhou, "Safe and effective
    importance sampling", JASA 95, 2000 (defensive mixtures).

    Args:
        sampler: Model and guide, any posterior but `Delta`.
        sequences: The sequences.
        draws: K, at least 25.
        scale: The proposal's standard deviations over the guide's. Above 1 for guides that are too narrow (variational guides
            are): for a little more variance, the tails cover the posterior.
        defensive: Share a of draws from the prior. q becomes (1 - a) q + a p(f) p(z | f), with the exact density of this
            mixture, so no weight exceeds p(x | f, z) / a. A fixed number comes from each part.
        refinement: Fit a map of the guide's draws to every sequence first (`refine`).
        seed: Of all noise; the global generators are left as they were.

    Raises:
        UsageError: For numbers outside these ranges, a guide without density, and a log density that is not a number.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.estimation import Sampler
        >>> from pyro_dsvae.inference.evidence import estimate_evidence
        >>> from pyro_dsvae.inference.posteriors import LSTM as Guide
        >>> from pyro_dsvae.inference.sequences import Sequences
        >>> from pyro_dsvae.models import encoders
        >>> from pyro_dsvae.models.decoders import Dense
        >>> from pyro_dsvae.models.dsvae import DSVAE
        >>> from pyro_dsvae.models.dynamic_priors import IID
        >>> from pyro_dsvae.models.likelihoods import Normal
        >>> from pyro_dsvae.models.static_priors import StandardNormal
        >>> model = DSVAE(StandardNormal(4), IID(2), Dense(4, 2, (3,)), Normal((3,)))
        >>> guide = Guide((3,), 4, 2, encoders.Dense)
        >>> sampler = Sampler(model, guide, torch.device("cpu"))
        >>> found = estimate_evidence(sampler, Sequences.of(torch.rand(8, 5, 3)), draws=100)
        >>> found.log_evidence.shape, bool((found.log_evidence >= found.elbo).all())
        (torch.Size([8]), True)
    """
    from_prior = _checked(sampler.guide, draws, scale, defensive)
    at_once = sampler.paths_at_once(sequences.frames.shape[1:])
    work = sampler.work(len(sequences) * (draws + (0 if refinement is None else refinement.cost)))
    with sampler.evaluation(seed, gradients=refinement is not None):
        refined = None
        if refinement is not None:
            refined = _refined(sampler, sequences, refinement, work)
        parts, counts = [], []
        for positions, batch in sampler.chunks(sequences, draws):
            affine_map = None if refined is None else refined.affine_map.rows(positions.to(sampler.device))
            proposal = Proposal(sampler.guide, batch, scale, affine_map)
            weights = _Weights(Joint(sampler.model, batch), proposal, draws, from_prior)
            log_weights, stratum = weights.draw(max(1, at_once // len(positions)), work)
            bad = positions[log_weights.isnan().any(0)].tolist()
            if bad:
                raise UsageError(f"the log density of sequence {bad[0]} is not a number; model or guide did not fit it")
            parts.append((LogMean.of(log_weights, stratum), bounds(log_weights), pareto_k_hat(log_weights.T.numpy())))
            counts.append(batch.observed_count().cpu())
    means, bounded, tails = zip(*parts, strict=True)
    return Evidence(
        log_evidence=torch.cat([m.value for m in means]),
        standard_error=torch.cat([m.standard_error for m in means]),
        effective_sample_size=torch.cat([m.effective_sample_size for m in means]),
        k_hat=torch.cat([torch.from_numpy(k) for k in tails]),
        bounds={k: torch.cat([b[k] for b in bounded]) for k in bounded[0]},
        observed_values=torch.cat(counts),
        draws=draws,
        discrete=sampler.model.likelihood.discrete,
        gap_closed=None if refined is None else refined.gap_closed.cpu(),
        gap_error=None if refined is None else refined.standard_error.cpu(),
    )


def _checked(guide: Guide, draws: int, scale: float, defensive: float) -> int:
    """The number of draws from the prior. Raises `UsageError` for options that make no estimate."""
    check_proposal(guide)
    if draws < MIN_DRAWS:
        raise UsageError(f"evidence needs at least {MIN_DRAWS} draws for its diagnostics, not {draws}")
    if not 0 < scale < math.inf:
        raise UsageError(f"the scale of a proposal must be positive, not {scale}")
    if not 0 <= defensive < 1:
        raise UsageError(f"a defensive share must be at least 0 and below 1, not {defensive}")
    from_prior = round(defensive * draws)
    if defensive > 0 and not 2 <= from_prior <= draws - 2:
        raise UsageError(
            f"a defensive share of {defensive} of {draws} draws leaves fewer than 2 for one part of the mixture; "
            "take more draws"
        )
    return from_prior


class _Weights:
    """K log weights of every sequence of a batch, ``from_prior`` of them along draws from the prior."""

    def __init__(self, joint: Joint, proposal: Proposal, draws: int, from_prior: int) -> None:
        self.joint, self.proposal, self.draws, self.from_prior = joint, proposal, draws, from_prior

    def draw(self, chunk: int, work: Work) -> tuple[Tensor, Tensor | None]:
        """(K, B) in chunks of ``chunk`` draws, and (K,) bool, which came from the prior; None where none did."""
        weights, origins = [], []
        for start in range(0, self.draws, chunk):
            stop = min(start + chunk, self.draws)
            prior = stop * self.from_prior // self.draws - start * self.from_prior // self.draws
            counts = (stop - start - prior, prior)
            log_weights = torch.cat([self._weigh(n, p) for n, p in zip(counts, (False, True), strict=True) if n])
            origin = torch.arange(stop - start) >= counts[0]
            if self.from_prior:
                # Bounds with fewer draws take the first of them, so both kinds have to be everywhere.
                order = torch.randperm(stop - start)
                log_weights, origin = log_weights[order], origin[order]
            weights.append(log_weights)
            origins.append(origin)
            work.did(log_weights.numel())
        return torch.cat(weights), torch.cat(origins) if self.from_prior else None

    def _weigh(self, count: int, prior: bool) -> Tensor:
        if prior:
            scored = self.joint.draw(count)
            log_q = self.proposal.log_prob(scored.latents)
        else:
            latents, log_q = self.proposal.draw(count)
            scored = self.joint.at(latents)
        if self.from_prior:
            share = self.from_prior / self.draws
            log_q = torch.logaddexp(log_q + math.log1p(-share), scored.log_prior + math.log(share))
        return (scored.log_joint - log_q).cpu()


def _refined(sampler: Sampler, sequences: Sequences, options: Refinement, work: Work) -> Refined:
    """What was found for all sequences, in batches of many: each is alone with few draws per step."""
    found = []
    # A backward pass keeps what a chunk without gradients lets go.
    for positions, batch in sampler.chunks(sequences, max(4 * options.draws, options.check)):
        found.append(refine(sampler.model, sampler.guide, batch, options))
        work.did(len(positions) * options.cost)
    return Refined.joined(found)
