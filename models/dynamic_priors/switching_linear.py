"""Linear dynamics that switch between regimes."""

from typing import Literal, NamedTuple

import torch
from pyro.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.gaussian_head import MIN_SCALE
from pyro_dsvae.models.ops.forward_algorithm import predict_states
from pyro_dsvae.models.ops.precision import own_precision
from pyro_dsvae.models.steps import Steps

STAY = 0.9
INITIAL_SCALE = 0.7


class Regimes(NamedTuple):
    """The parameters that may depend on f, with batch shape ``*B`` or none.

    Attributes:
        initial: log p(s_1), (K,).
        transition: log p(s_t = j | s_{t-1} = i) in row i, (K, K).
        first: m_s, the mean of z_1, (K, D).
        offset: b_s, (K, D).
    """

    initial: Tensor
    transition: Tensor
    first: Tensor
    offset: Tensor


class Seen(NamedTuple):
    """What a continuation needs to know of the steps before it.

    Attributes:
        last: z_t, ``(*B, D)``.
        states: log p(s_t | z_1:t), ``(*B, K)``.
    """

    last: Tensor
    states: Tensor


class SwitchingLinear(DynamicPrior):
    """s_t is a Markov chain with K states; z_1 ~ N(m_s, S_s), z_t = A_s z_{t-1} + b_s + N(0, Q_s) in state s = s_t.

    The states are summed out exactly, by the forward algorithm:
    p(z_t | z_<t) = sum_k p(s_t = k | z_<t) N(z_t; A_k z_{t-1} + b_k, Q_k), a mixture of K normals. A draw of a path also
    draws its states, so no gradient flows through it. Nothing bounds A_s: a fitted path may grow without limit.

    Source: Hamilton, "A New Approach to the Economic Analysis of Nonstationary Time Series and the Business Cycle",
    Econometrica 57, 1989.

    Args:
        latent_size: D, supplied by the model.
        states: The number of states, K.
        noise: Form of Q_s: "diagonal", or "full" for noise that is correlated between dimensions. S_s is diagonal.
        condition_on_static: Make it p(z_t | z_<t, f): m_s, b_s and the log probabilities of states are shifted linearly in f.
        static_size: F, supplied by the model; needed only with ``condition_on_static``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import SwitchingLinear
        >>> from pyro_dsvae.models.steps import Steps
        >>> path = SwitchingLinear(2, states=3)(torch.zeros(4, 3), Steps(5))
        >>> z = path.rsample()
        >>> states = path.filtered(z).exp()  # p(s_t | z_1:t)
        >>> states.shape, torch.allclose(states.sum(-1), torch.ones(4, 5))
        (torch.Size([4, 5, 3]), True)
    """

    def __init__(
        self,
        latent_size: int,
        states: int = 4,
        noise: Literal["diagonal", "full"] = "diagonal",
        condition_on_static: bool = False,
        static_size: int = 0,
    ) -> None:
        super().__init__(latent_size)
        if states < 1:
            raise UsageError(f"a SwitchingLinear prior needs at least one state, not {states}")
        if noise not in ("diagonal", "full"):
            raise UsageError(f"the noise of a SwitchingLinear prior is diagonal or full, not {noise!r}")
        if condition_on_static and static_size < 1:
            raise UsageError(f"condition_on_static needs static_size, the size of f, at least 1, not {static_size}")
        self.noise = noise
        self.initial = nn.Parameter(torch.zeros(states))
        stay = torch.tensor(STAY / (1 - STAY) * max(states - 1, 1)).log()
        self.transition = nn.Parameter(stay * torch.eye(states))
        # States that begin alike receive the same gradient and never part: each has its own memory and level.
        memory = torch.linspace(0.9, 0.0, states)[:, None, None] * torch.eye(latent_size)
        self.coefficients = nn.Parameter(
            memory + 0.1 * torch.randn(states, latent_size, latent_size) / latent_size**0.5
        )
        self.offset = nn.Parameter(0.5 * torch.randn(states, latent_size))
        self.first = nn.Parameter(0.5 * torch.randn(states, latent_size))
        raw = torch.full((states, latent_size), INITIAL_SCALE).expm1().log()
        self.first_raw_scale = nn.Parameter(raw.clone())
        self.raw_scale = nn.Parameter(raw.clone())
        self.below = nn.Parameter(torch.zeros(states, latent_size, latent_size)) if noise == "full" else None
        shifts = 2 * states * latent_size + states
        self.from_static = nn.Linear(static_size, shifts) if condition_on_static else None

    def forward(self, f: Tensor, steps: Steps) -> "SwitchingLinearPath":
        return SwitchingLinearPath(self, f.shape[:-1], self.regimes(f), None, steps)

    def regimes(self, f: Tensor) -> Regimes:
        """The regimes of sequences with static latent ``f`` ``(*B, F)``."""
        if self.from_static is None:
            return Regimes(self.initial.log_softmax(-1), self.transition.log_softmax(-1), self.first, self.offset)
        with own_precision():
            shifts = self.from_static(f)
        states, size = self.offset.shape
        likely, first, offset = shifts.split([states, states * size, states * size], dim=-1)
        return Regimes(
            (self.initial + likely).log_softmax(-1),
            (self.transition + likely.unsqueeze(-2)).log_softmax(-1),
            self.first + first.unflatten(-1, (states, size)),
            self.offset + offset.unflatten(-1, (states, size)),
        )

    def emissions(self, before: Tensor, regimes: Regimes, opening: bool) -> TorchDistribution:
        """p(z_t | z_{t-1}, s_t = k), batch ``(*B, T, K)`` and event (D,).

        Args:
            before: z_{t-1}, ``(*B, T, D)``.
            regimes: The parameters that may depend on f.
            opening: Whether the first step is z_1, which has no step before it; ``before`` is then not used for it.
        """
        with own_precision():
            loc = torch.einsum("kij,...tj->...tki", self.coefficients, before) + regimes.offset.unsqueeze(-3)
        scale = softplus(self.raw_scale) + MIN_SCALE
        scale = scale.diag_embed() + self.below.tril(-1) if self.below is not None else scale
        if opening:
            first = regimes.first.unsqueeze(-3).expand_as(loc[..., :1, :, :])
            first_scale = softplus(self.first_raw_scale) + MIN_SCALE
            first_scale = first_scale.diag_embed() if self.below is not None else first_scale
            loc = torch.cat([first, loc[..., 1:, :, :]], dim=-3)
            scale = torch.stack([first_scale] + [scale] * (loc.shape[-3] - 1))
        if self.below is not None:
            return MultivariateNormal(loc, scale_tril=scale)
        return Normal(loc, scale.expand_as(loc)).to_event(1)


class SwitchingLinearPath(PathDistribution):
    """The path distribution of `SwitchingLinear` after the steps in ``seen``; None at the start of a sequence."""

    has_rsample = False

    def __init__(
        self, prior: SwitchingLinear, batch_shape: torch.Size, regimes: Regimes, seen: Seen | None, steps: Steps
    ) -> None:
        self.prior = prior
        self.regimes = regimes
        self.seen = seen
        super().__init__(batch_shape, steps, prior.latent_size)

    def conditionals(self, z: Tensor) -> TorchDistribution:
        emissions, predicted = self._filter(z)
        return MixtureSameFamily(Categorical(logits=predicted), emissions)

    def filtered(self, z: Tensor) -> Tensor:
        """log p(s_t | z_1:t) ``(*B, T, K)`` along ``z`` ``(*B, T, D)``."""
        emissions, predicted = self._filter(z)
        return (predicted + emissions.log_prob(z.unsqueeze(-2))).log_softmax(-1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Ancestral draws ``(*sample_shape, *B, T, D)`` of states and path, without gradient."""
        batch, path = (*sample_shape, *self.batch_shape), []
        with torch.no_grad():
            regimes, size = self.regimes, self.prior.latent_size
            likely = self._initial().expand(*batch, -1)
            z = self._before_first(batch)
            for t in range(self.steps.length):
                state = Categorical(logits=likely).sample()
                emissions = self.prior.emissions(z, regimes, opening=t == 0 and self.seen is None)
                chosen = state[..., None, None, None].expand(*batch, 1, 1, size)
                z = emissions.sample().gather(-2, chosen).squeeze(-2)
                rows = regimes.transition.expand(*batch, -1, -1)
                likely = rows.gather(-2, state[..., None, None].expand(*batch, 1, rows.shape[-1])).squeeze(-2)
                path.append(z)
        return torch.cat(path, dim=-2)

    def continue_from(self, z_past: Tensor, horizon: int) -> "SwitchingLinearPath":
        seen = Seen(z_past[..., -1, :], self.filtered(z_past)[..., -1, :])
        steps = self.steps.after(z_past.shape[-2], horizon)
        return SwitchingLinearPath(self.prior, z_past.shape[:-2], self.regimes, seen, steps)

    def _filter(self, z: Tensor) -> tuple[TorchDistribution, Tensor]:
        """p(z_t | z_{t-1}, s_t), batch ``(*B, T, K)`` and event (D,), and log p(s_t | z_<t) ``(*B, T, K)``."""
        before = torch.cat([self._before_first(z.shape[:-2]), z[..., :-1, :]], dim=-2)
        emissions = self.prior.emissions(before, self.regimes, opening=self.seen is None)
        evidence = emissions.log_prob(z.unsqueeze(-2))
        return emissions, predict_states(self._initial(), self.regimes.transition, evidence)

    def _before_first(self, batch: tuple[int, ...]) -> Tensor:
        """``(*B, 1, D)``, zero where there is none."""
        last = self.prior.offset.new_zeros(self.prior.latent_size) if self.seen is None else self.seen.last
        return last.unsqueeze(-2).expand(*batch, 1, -1)

    def _initial(self) -> Tensor:
        """log p(s) ``(*B, K)`` of the first step, given what was seen."""
        if self.seen is None:
            return self.regimes.initial
        return torch.logsumexp(self.seen.states.unsqueeze(-1) + self.regimes.transition, dim=-2)
