"""Markov chains that move draws of the latents towards the posterior, for all clips and all chains at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.proposal import Joint
from pyro_dsvae.models.errors import UsageError

FIRST_STEP = 0.5
ADAPTATION = 0.2
# The best shares of accepted moves in many dimensions, of one leapfrog step and of several.
TARGET_OF_ONE, TARGET_OF_MANY = 0.6, 0.8


@dataclass(frozen=True)
class Langevin:
    """Options of the chains.

    Attributes:
        transitions: Moves of every chain. Step sizes, one per clip, are adapted in the first half and fixed in the second.
        leapfrogs: Gradient steps within a move. 1 is the Metropolis-adjusted Langevin algorithm; more is Hamiltonian Monte
            Carlo, whose moves are longer and cost as much more.
    """

    transitions: int = 100
    leapfrogs: int = 1

    def __post_init__(self) -> None:
        for name, least in (("transitions", 2), ("leapfrogs", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"HMC needs {name} of at least {least}, not {getattr(self, name)}")

    @property
    def cost(self) -> float:
        """Work per chain, in draws that are scored once."""
        return 3 * self.transitions * self.leapfrogs


class Point(NamedTuple):
    """States of the chains, with their log density and its gradient.

    Attributes:
        state: (C, B, n), of C chains for each of B clips.
        log_density: (C, B).
        gradient: (C, B, n).
    """

    state: Tensor
    log_density: Tensor
    gradient: Tensor


def transition(at: Callable[[Tensor], Point], point: Point, step_size: Tensor, leapfrogs: int) -> tuple[Point, Tensor]:
    """One move of Hamiltonian Monte Carlo, which leaves the density invariant.

    Args:
        at: From a state to its log density and gradient.
        point: The current states.
        step_size: (C, B, n), for every coordinate, in proportion to its scale; independent of the state.
        leapfrogs: Gradient steps.

    Returns:
        The next states, and the probability (C, B) with which each move was accepted.
    """
    momentum = torch.randn_like(point.state)
    energy = momentum.square().sum(-1) / 2 - point.log_density
    end = point
    for _ in range(leapfrogs):
        momentum = momentum + step_size * end.gradient / 2
        end = at(end.state + step_size * momentum)
        momentum = momentum + step_size * end.gradient / 2
    change = momentum.square().sum(-1) / 2 - end.log_density - energy
    # A trajectory that ran into what is not a number is refused, as one of infinite energy is.
    probability = (-change).exp().clamp(max=1).nan_to_num(0.0)
    accept = torch.rand_like(probability) < probability
    moved = (torch.where(accept[(..., *(None,) * (a.ndim - 2))], b, a) for a, b in zip(point, end, strict=True))
    return Point(*moved), probability


class Chains(NamedTuple):
    """The ends of the chains, and diagnostics per clip.

    Attributes:
        latents: (C, B, ...).
        acceptance: (B,) share of accepted moves in the second half, with the final step sizes.
        autocorrelation: (B,) correlation of a chain's end with its start, mean over coordinates. Near 0 the start is
            forgotten; near 1 the draws are still those of the start. NaN with a single chain.
    """

    latents: Latents
    acceptance: Tensor
    autocorrelation: Tensor


def move(joint: Joint, start: Latents, scale: Latents, options: Langevin, did: Callable[[], None]) -> Chains:
    """Run a chain from every draw (C, B, ...) of ``start``, each with invariant density p(f, z | x).

    The step sizes of the second half do not depend on its states, so each of its moves is exact. How close the ends are to
    the posterior depends on the number of moves. To be called within `evaluation` with gradients.

    Sources: Roberts & Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations",
    Bernoulli 2, 1996; Neal, "MCMC using Hamiltonian dynamics", Handbook of Markov Chain Monte Carlo, 2011.

    Args:
        joint: p(x, f, z) of the clips.
        start: Draws of the guide.
        scale: (B, ...) approximate standard deviation of every latent; it affects the efficiency only.
        options: Moves and gradient steps.
        did: Called after every move.
    """
    static_size, latent_size = start.f.shape[-1], start.z.shape[-1]

    def at(state: Tensor) -> Point:
        with torch.enable_grad():
            u = state.detach().requires_grad_()
            density = joint.at(parted(u, static_size, latent_size)).log_joint
            (gradient,) = torch.autograd.grad(density.sum(), u)
        return Point(u.detach(), density.detach(), gradient)

    widths = joined(scale)
    exists = joint.batch.steps.valid
    if exists is not None:
        # Steps that do not exist have a flat density, on which a chain would walk off; so they stay where they are.
        widths = widths.clone()
        widths[:, static_size:] *= exists.unsqueeze(-1).expand(-1, -1, latent_size).flatten(1)
    first = at(joined(start))
    point, accepted = first, []
    log_step = widths.new_zeros(widths.shape[:1]) + torch.tensor(FIRST_STEP).log()
    target = TARGET_OF_ONE if options.leapfrogs == 1 else TARGET_OF_MANY
    for number in range(options.transitions):
        # Random lengths, whatever the state is, keep trajectories from coming full circle.
        length = log_step.exp() * torch.empty(point.state.shape[:2], device=widths.device).uniform_(0.7, 1.3)
        point, probability = transition(at, point, length.unsqueeze(-1) * widths, options.leapfrogs)
        if number < options.transitions // 2:
            log_step = log_step + ADAPTATION * (probability.mean(0).to(log_step.dtype) - target)
        else:
            accepted.append(probability.mean(0))
        did()
    latents = parted(point.state, static_size, latent_size)
    return Chains(latents, torch.stack(accepted).mean(0), _autocorrelation(first.state, point.state, widths > 0))


def joined(latents: Latents) -> Tensor:
    """f and z as one vector, ``(*B, F + T D)``."""
    return torch.cat([latents.f, latents.z.flatten(-2)], dim=-1)


def parted(state: Tensor, static_size: int, latent_size: int) -> Latents:
    """The latents that `joined` made one vector."""
    return Latents(state[..., :static_size], state[..., static_size:].unflatten(-1, (-1, latent_size)))


def _autocorrelation(start: Tensor, end: Tensor, moving: Tensor) -> Tensor:
    """(B,) correlation over chains of end and start, mean over the coordinates that move."""
    if len(start) < 2:
        return start.new_full(start.shape[1:2], torch.nan)
    a, b = (v - v.mean(0) for v in (start, end))
    together = (a * b).sum(0) / (a.square().sum(0) * b.square().sum(0)).sqrt().clamp(min=1e-30)
    return (together * moving).sum(-1) / moving.sum(-1)
