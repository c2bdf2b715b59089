"""The evidence by annealed importance sampling: a check that does not rest on how good the guide is."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler, Work, check_proposal
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.hmc import Point, joined, parted, transition
from pyro_dsvae.inference.sampling.importance_weights import LogMean
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

Start = Literal["prior", "guide"]

PILOT_CHAINS = 4
SCALE_DRAWS = 200
FIRST_STEP = 0.5
ADAPTATION = 0.2
TARGET_ACCEPTANCE = 0.8
# From the prior nearly everything happens while the likelihood hardly counts; a guide is near the posterior already.
POWER = {"prior": 4.0, "guide": 1.0}


@dataclass(frozen=True)
class AnnealedEvidence:
    """What C annealed chains say of log p(x_i), per sequence (N,), float64 on the CPU, in nats per sequence.

    Attributes:
        log_evidence: Log of the chains' mean weight: in expectation a lower bound, as in importance sampling.
        standard_error: By the delta method over chains (`LogMean`): few chains, so take it as rough.
        effective_sample_size: Of the C weights; near 1 the annealing was too fast and the value is too low.
        acceptance: Share of accepted moves.
    """

    log_evidence: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    acceptance: Tensor


def annealed_evidence(
    sampler: Sampler,
    sequences: Sequences,
    chains: int = 16,
    temperatures: int = 500,
    leapfrogs: int = 5,
    start: Start = "prior",
    seed: int = 0,
) -> AnnealedEvidence:
    """log p(x_i) of every sequence, by chains that move from draws of a start density to the posterior.

        pi_b(f, z) = start(f, z)^(1 - b) p(x, f, z)^b,    b = (j / J)^c for j = 0, ..., J
        log w = sum_j (b_j - b_{j-1}) (log p(x, f, z) - log start(f, z)) at the chain's state before its move at b_j

    E[w] = p(x) whatever the moves are, as long as each leaves its pi_b invariant. Each move is one transition of
    Hamiltonian Monte Carlo on f and z jointly. Its step sizes, one per sequence and temperature, are adapted with 4
    pilot chains that are then discarded. In the chains that count they are fixed, so they bias no weight. Coordinates
    are scaled by standard deviations between those of the start's draws and those of the guide's; this affects the
    efficiency of the moves only. The cost is (chains + 4) temperatures (leapfrogs + 1) gradients of the log density per
    sequence.

    Sources: Neal, "Annealed importance sampling", Statistics and Computing 11, 2001; Wu, Burda, Salakhutdinov & Grosse, "On
    the quantitative analysis of decoder-based generative models", ICLR 2017.

    Args:
        sampler: Model and guide, any posterior but `Delta`.
        sequences: The sequences.
        chains: C, at least 2.
        temperatures: The number of temperatures, J.
        leapfrogs: Steps of each transition.
        start: "prior": p(f) p(z), for a check that does not depend on the guide, with c = 4. "guide": q(f, z | x), which
            needs far fewer temperatures but misses modes that the guide misses, with c = 1.
        seed: Of all noise; the global generators are left as they were.

    Raises:
        UsageError: For numbers that are too small, an unknown start, and a guide without density.
    """
    check_proposal(sampler.guide)
    for name, value, least in (("chains", chains, 2), ("temperatures", temperatures, 2), ("leapfrogs", leapfrogs, 1)):
        if value < least:
            raise UsageError(f"annealed importance sampling needs {name} of at least {least}, not {value}")
    if start not in POWER:
        raise UsageError(f"annealing starts from the prior or the guide, not {start!r}")
    betas = [(j / temperatures) ** POWER[start] for j in range(temperatures + 1)]
    work = sampler.work(len(sequences) * (temperatures * (PILOT_CHAINS + chains)))
    parts, accepted = [], []
    with sampler.evaluation(seed, gradients=True):
        for positions, batch in sampler.chunks(sequences, 4 * chains):
            annealing = _Annealing(
                Joint(sampler.model, batch), Proposal(sampler.guide, batch), start, betas, leapfrogs, work
            )
            step_sizes = annealing.run(PILOT_CHAINS, None).step_sizes
            run = annealing.run(chains, step_sizes)
            bad = positions[run.log_weights.isnan().any(0).cpu()].tolist()
            if bad:
                raise UsageError(f"the log density of sequence {bad[0]} is not a number; model or guide did not fit it")
            parts.append(LogMean.of(run.log_weights.cpu()))
            accepted.append(run.acceptance.cpu())
    return AnnealedEvidence(
        torch.cat([part.value for part in parts]),
        torch.cat([part.standard_error for part in parts]),
        torch.cat([part.effective_sample_size for part in parts]),
        torch.cat(accepted),
    )


@dataclass(frozen=True)
class _Run:
    """log_weights (C, B), step_sizes (J - 1, B), acceptance (B,)."""

    log_weights: Tensor
    step_sizes: Tensor
    acceptance: Tensor


@dataclass(frozen=True)
class _Point:
    """A state (C, B, n) of the chains: log start and log target (C, B), and the gradient of log pi_b (C, B, n)."""

    state: Tensor
    log_start: Tensor
    log_target: Tensor
    gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        return (1 - beta) * self.log_start + beta * self.log_target


class _Annealing:
    """The chains of one batch of sequences. f and z are one vector of n entries here."""

    def __init__(
        self, joint: Joint, proposal: Proposal, start: Start, betas: list[float], leapfrogs: int, work: Work
    ) -> None:
        self.joint, self.proposal, self.start = joint, proposal, start
        self.betas, self.leapfrogs, self.work = betas, leapfrogs, work
        guided, _ = proposal.draw(SCALE_DRAWS)
        self.static_size, self.latent_size = guided.f.shape[-1], guided.z.shape[-1]
        self.target_precision = 1 / joined(guided).var(0).clamp(min=1e-12)
        self.start_precision = 1 / joined(self._begin(SCALE_DRAWS)).var(0).clamp(min=1e-12)
        # Steps that do not exist have a flat density, on which a chain would walk off; so they stay where they are.
        exists = joint.batch.steps.valid
        self.moving = torch.ones_like(self.target_precision)
        if exists is not None:
            steps = exists.unsqueeze(-1).expand(-1, -1, self.latent_size).flatten(1)
            self.moving[:, self.static_size :] = steps.to(self.moving)

    def run(self, chains: int, step_sizes: Tensor | None) -> _Run:
        """Anneal. Without step sizes these are adapted on the way, and the weights have no meaning."""
        state = joined(self._begin(chains))
        log_weights = torch.zeros(state.shape[:-1], dtype=torch.float64, device=state.device)
        current = state.new_full(state.shape[1:2], math.log(FIRST_STEP))
        used, accepted = [], []
        for j in range(1, len(self.betas)):
            beta = self.betas[j]
            point = self._at(state, beta)
            log_weights += (beta - self.betas[j - 1]) * (point.log_target - point.log_start)
            self.work.did(state.shape[0] * state.shape[1])
            if beta == 1:
                break
            step = current.exp() if step_sizes is None else step_sizes[j - 1]
            state, acceptance = self._moved(point, beta, step)
            used.append(step)
            accepted.append(acceptance)
            current = current + ADAPTATION * (acceptance - TARGET_ACCEPTANCE)
        return _Run(log_weights, torch.stack(used), torch.stack(accepted).mean(0))

    def _begin(self, count: int) -> Latents:
        return self.joint.draw(count).latents if self.start == "prior" else self.proposal.draw(count)[0]

    def _at(self, state: Tensor, beta: float) -> _Point:
        with torch.enable_grad():
            u = state.detach().requires_grad_()
            latents = parted(u, self.static_size, self.latent_size)
            scored = self.joint.at(latents)
            log_start = scored.log_prior if self.start == "prior" else self.proposal.log_prob(latents)
            density = (1 - beta) * log_start + beta * scored.log_joint
            (gradient,) = torch.autograd.grad(density.sum(), u)
        return _Point(state, log_start.detach(), scored.log_joint.detach(), gradient)

    def _moved(self, point: _Point, beta: float, step: Tensor) -> tuple[Tensor, Tensor]:
        """The state after one transition that leaves pi_b as it is, and the mean probability of acceptance (B,)."""
        precision = (1 - beta) * self.start_precision + beta * self.target_precision
        # Random lengths, whatever the state is, keep trajectories from coming full circle.
        length = step * torch.empty_like(point.log_start, dtype=step.dtype).uniform_(0.7, 1.3)
        step_size = length.unsqueeze(-1) * precision.rsqrt() * self.moving

        def at(moved: Tensor) -> Point:
            end = self._at(moved, beta)
            return Point(end.state, end.log_density(beta), end.gradient)

        here = Point(point.state, point.log_density(beta), point.gradient)
        end, probability = transition(at, here, step_size, self.leapfrogs)
        return end.state, probability.mean(0).to(step.dtype)
