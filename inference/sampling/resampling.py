"""Draws from the posterior of clips given their observed values, with diagnostics."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide, Work
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sampling.affine_map import AffineMap
from pyro_dsvae.inference.sampling.gap_filling import fill_where_better
from pyro_dsvae.inference.sampling.hmc import Chains, Langevin, move
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sampling.refinement import Refinement, refine
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError, check_count

# Weights are tempered until they are worth this share of the draws that are kept.
WORTH = 0.25
HALVINGS = 40
# Draws of the guide that say how wide chains step, where they are not weighed anyway.
SCALE_DRAWS = 50


@dataclass(frozen=True)
class Conditioning:
    """How the latents are drawn, in this order.

    Attributes:
        draws: K, the draws that are kept.
        refinement: Fit a map of the guide's draws to every clip (`refine`); None: use the guide as it is.
        resample: Weight draws by p(x, f, z) / q(f, z | x), and keep K by their weights.
        proposals: How many draws are weighted.
        langevin: Move the K draws by Markov chains; None: leave them.
    """

    draws: int
    refinement: Refinement | None = None
    resample: bool = True
    proposals: int = 400
    langevin: Langevin | None = None

    def __post_init__(self) -> None:
        check_count("draws", self.draws)
        if self.resample and self.proposals < self.draws:
            raise UsageError(f"{self.draws} draws cannot be kept of {self.proposals} proposals; propose more")

    @property
    def cost(self) -> float:
        """Work per clip, in draws that are scored once."""
        chains = 0.0 if self.langevin is None else self.langevin.cost * self.draws
        return self.drawn + chains + (0.0 if self.refinement is None else self.refinement.cost)

    @property
    def drawn(self) -> int:
        """How many draws are taken of the guide."""
        return self.proposals if self.resample else self.draws

    @property
    def together(self) -> int:
        """Latent paths of one clip whose decoding takes memory at the same time; with gradients one counts as four."""
        refined = 0 if self.refinement is None else max(4 * self.refinement.draws, self.refinement.check)
        moved = 0 if self.langevin is None else 4 * self.draws
        return max(refined, moved) or self.drawn


@dataclass(frozen=True)
class PosteriorDraws:
    """K draws for each of B clips.

    Attributes:
        f: (K, B, F).
        z: (K, B, T, D), zero at steps that do not exist.
        effective_sample_size: (B,) of the weighted draws; NaN where none were weighted.
        power: (B,) exponent of the weights, 1 where they were used as they are. It is below 1 where the guide is so far off
            that a few draws would have all the weight; the draws then lie between guide and posterior.
        acceptance: (B,) of the chains (`Chains`); NaN where none ran.
        autocorrelation: (B,) likewise.
        from_prior: (B,) bool, True where nothing was observed: the draws are from the prior.
    """

    f: Tensor
    z: Tensor
    effective_sample_size: Tensor
    power: Tensor
    acceptance: Tensor
    autocorrelation: Tensor
    from_prior: Tensor

    @property
    def latents(self) -> Latents:
        return Latents(self.f, self.z)

    @classmethod
    def joined(cls, parts: Sequence["PosteriorDraws"]) -> "PosteriorDraws":
        """Several batches as one."""
        names = ("effective_sample_size", "power", "acceptance", "autocorrelation", "from_prior")
        f, z = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("f", "z"))
        return cls(f, z, *(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def rows(self, rows: Tensor) -> "PosteriorDraws":
        """Those of some of the clips."""
        values = (self.effective_sample_size, self.power, self.acceptance, self.autocorrelation, self.from_prior)
        return PosteriorDraws(self.f[:, rows], self.z[:, rows], *(v[rows] for v in values))


def draw_posterior(
    model: DSVAE, guide: Guide, batch: Batch, how: Conditioning, paths: int, work: Work
) -> PosteriorDraws:
    """Draw from p(f, z | x) for the observed values of ``batch``. Clips of which nothing was observed get draws from
    the prior.

    To be called within `evaluation`, with gradients where draws are refined or moved. `Delta` has no density, so its
    point is used as it is. ``paths`` bounds how many latent paths are decoded at once.

    Args:
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x).
        batch: The clips.
        how: Which steps the draws go through.
        paths: How many latent paths may be decoded at once.
        work: To report to.
    """
    if isinstance(guide, Posterior) and not guide.comparable:
        if how.refinement is not None or how.langevin is not None:
            raise UsageError(
                f"the posterior {type(guide).__name__} is a point, which is not refined or moved; use it amortised as it is, "
                "or fit any other posterior"
            )
        how = Conditioning(how.draws, resample=False)
    seen = batch.observed_count() > 0
    size = max(1, paths // how.together)
    order, parts = [], []
    for rows in seen.nonzero().squeeze(-1).split(size):
        if len(rows):
            parts.append(_given(model, guide, batch.rows(rows), how, paths, work))
            order.append(rows)
    unseen = (~seen).nonzero().squeeze(-1)
    if len(unseen):
        parts.append(_of_prior(model, batch.rows(unseen), how, work))
        order.append(unseen)
    return PosteriorDraws.joined(parts).rows(torch.cat(order).argsort())


def _of_prior(model: DSVAE, batch: Batch, how: Conditioning, work: Work) -> PosteriorDraws:
    unknown = batch.x.new_full((len(batch.x),), torch.nan)
    latents = _existing(Joint(model, batch).draw(how.draws).latents, batch)
    work.did(len(batch.x) * how.cost)
    everywhere = torch.ones_like(unknown, dtype=torch.bool)
    return PosteriorDraws(*latents, unknown, torch.ones_like(unknown), unknown, unknown, everywhere)


def _given(model: DSVAE, guide: Guide, batch: Batch, how: Conditioning, paths: int, work: Work) -> PosteriorDraws:
    joint, count = Joint(model, batch), len(batch.x)
    guide = fill_where_better(model, guide, batch)
    affine_map: AffineMap | None = None
    if how.refinement is not None:
        affine_map = refine(model, guide, batch, how.refinement).affine_map
        work.did(count * how.refinement.cost)
    proposal = Proposal(guide, batch, affine_map=affine_map)
    latents, log_weights = [], []
    for chunk in torch.arange(how.drawn).split(max(1, paths // count)):
        drawn, log_q = proposal.draw(len(chunk))
        latents.append(drawn)
        if how.resample:
            log_weights.append(joint.at(drawn).log_joint - log_q)
        work.did(count * len(chunk))
    drawn = Latents(*(torch.cat(parts) for parts in zip(*latents, strict=True)))
    spread = drawn
    unknown = batch.x.new_full((count,), torch.nan)
    effective, power = unknown, torch.ones_like(unknown)
    if how.resample:
        effective, power, drawn = _resampled(drawn, torch.cat(log_weights), how.draws)
    moved = Chains(drawn, unknown, unknown)
    if how.langevin is not None:
        if len(spread.f) < SCALE_DRAWS:
            spread, _ = proposal.draw(SCALE_DRAWS)
        scale = Latents(*(v.std(0).clamp(min=1e-6) for v in spread))
        cost = count * how.draws * how.langevin.cost / how.langevin.transitions
        moved = move(joint, drawn, scale, how.langevin, lambda: work.did(cost))
    kept = _existing(moved.latents, batch)
    nowhere = torch.zeros_like(unknown, dtype=torch.bool)
    return PosteriorDraws(*kept, effective, power, moved.acceptance, moved.autocorrelation, nowhere)


def _existing(latents: Latents, batch: Batch) -> Latents:
    exists = batch.steps.valid
    return latents if exists is None else Latents(latents.f, latents.z * exists.unsqueeze(-1))


def _resampled(latents: Latents, log_weights: Tensor, draws: int) -> tuple[Tensor, Tensor, Latents]:
    """The effective number of the weighed, the power used (both (B,)), and ``draws`` of the latents (P, B, ...).

    The power is the largest up to 1 with which the weights are worth a quarter as many draws as are kept. Without it, one draw
    would have all the weight where a guide of a large clip is off by a few nats, and uncertainty would vanish.
    """
    log_weights = log_weights.nan_to_num(-torch.inf)
    log_weights = log_weights - log_weights.max(0).values.clamp(min=torch.finfo(log_weights.dtype).min)
    least = WORTH * draws
    low, high = torch.zeros_like(log_weights[0]), torch.ones_like(log_weights[0])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = _effective(middle * log_weights) >= least
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    effective = _effective(log_weights)
    power = torch.where(effective >= least, torch.ones_like(low), low)
    rows = systematic(_shares(power * log_weights), draws)
    columns = torch.arange(log_weights.shape[1], device=rows.device)
    kept = Latents(latents.f[rows, columns], latents.z[rows, columns])
    return effective.to(latents.f.dtype), power.to(latents.f.dtype), kept


def systematic(shares: Tensor, draws: int) -> Tensor:
    """Systematic resampling: indices (K, B), in which i occurs K ``shares[i, b]`` times for clip b.

    The number is rounded up or down at random; the order is random.

    Source: Carpenter, Clifford & Fearnhead, "Improved particle filter for nonlinear problems", IEE Proceedings 146, 1999.
    """
    ends = shares.cumsum(0).T.contiguous()
    places = torch.arange(draws, dtype=ends.dtype, device=ends.device)
    places = (places + torch.rand(len(ends), 1, dtype=ends.dtype, device=ends.device)) / draws * ends[:, -1:]
    rows = torch.searchsorted(ends, places).clamp(max=len(shares) - 1)
    shuffled = torch.rand(rows.shape, device=rows.device).argsort(1)
    return rows.gather(1, shuffled).T


def _shares(log_weights: Tensor) -> Tensor:
    return log_weights.nan_to_num(-torch.inf).softmax(0)


def _effective(log_weights: Tensor) -> Tensor:
    return 1 / _shares(log_weights).square().sum(0)
