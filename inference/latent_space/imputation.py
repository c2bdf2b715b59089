"""Imputation: what was not observed of clips, given what was."""

from dataclasses import dataclass
from typing import Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.sampling.hmc import Langevin
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sampling.resampling import Conditioning, PosteriorDraws, draw_posterior
from pyro_dsvae.models.distributions.point import over_draws, point
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError

Method = Literal["amortised", "refined", "langevin"]
METHODS = ("amortised", "refined", "langevin")

# Steps with few draws are as good as fewer with more, and there are many clips to fit.
REFINEMENT = Refinement(steps=100, draws=2, check=50)
# Of a likelihood that does not know its variance.
SAMPLES = 8


@dataclass(frozen=True)
class Imputation:
    """K posterior draws for each of B clips. Frames are ``(B, T, *frame)`` in units of the frames, 0 at steps that do
    not exist.

    Attributes:
        mean: E[x | observed]: observed values as they are, the others from ``model_mean``.
        sd: Standard deviation of every value given what was observed, including the noise of the likelihood; 0 where
            observed.
        model_mean: Mean over draws of E[x | f, z], at every value: the reconstruction, for noisy input. Of classes the most
            frequent among the most probable ones.
        model_sd: Standard deviation over draws of E[x | f, z]: the uncertainty of the frame without noise.
        means: ``(K, B, T, *frame)``, E[x | f, z] of every draw.
        x: The frames, 0 where not observed.
        observed: Bool.
        posterior: f (K, B, F), z (K, B, T, D) and diagnostics of the draws.
    """

    mean: Tensor
    sd: Tensor
    model_mean: Tensor
    model_sd: Tensor
    means: Tensor
    x: Tensor
    observed: Tensor
    posterior: PosteriorDraws

    @property
    def draws(self) -> Tensor:
        """Completed clips ``(K, B, T, *frame)``: observed values as they are, the others from the mean of each draw."""
        return torch.where(self.observed, self.x, self.means)

    @property
    def f(self) -> Tensor:
        """(K, B, F)"""
        return self.posterior.f

    @property
    def z(self) -> Tensor:
        """(K, B, T, D)"""
        return self.posterior.z

    @property
    def from_prior(self) -> Tensor:
        """(B,) bool, True where nothing was observed, so that the draws are from the prior."""
        return self.posterior.from_prior


def impute(
    sampler: Sampler,
    batch: Batch,
    draws: int = 50,
    method: Method = "refined",
    seed: int = 0,
    resample: bool = True,
    refinement: Refinement | None = None,
    langevin: Langevin | None = None,
    proposals: int | None = None,
) -> Imputation:
    """Draw f, z and the frames given the observed values of ``batch``.

        f, z ~ p(f, z | observed x),    x_missing ~ p(x | f, z)

    What was not observed has no term in the likelihood, so the draws are conditioned on exactly what was observed. With
    everything observed, ``model_mean`` is the reconstruction of noisy clips. Clips of which nothing was observed get draws
    from the prior, which ``from_prior`` says.

    Args:
        sampler: Model and guide.
        batch: The clips, on the sampler's device.
        draws: The number of draws, K.
        method: "amortised": the guide as it is. "refined": a map of its draws is fitted to every clip first (`refine`).
            "langevin": every refined draw is then moved by a Markov chain of its own (`move`), for guides whose shape is
            wrong. Each costs several times the one before.
        seed: Of all noise; the global generators are left as they were.
        resample: Weight draws by p(x, f, z) / q(f, z | x) and keep K by their weights (`PosteriorDraws`); after refining
            and before chains. `Delta` has no density; its point is used as it is.
        refinement: Options of "refined"; by default 100 steps with 2 draws.
        langevin: Options of "langevin"; by default 100 moves.
        proposals: How many draws are weighted, by default four times K.

    Raises:
        UsageError: For an unknown method, for shapes that do not fit, and for `Delta` with a method other than amortised.
    """
    if method not in METHODS:
        raise UsageError(f"imputation knows the methods {', '.join(METHODS)}, not {method!r}")
    _check(batch)
    check_memory(f"{draws} draws of {len(batch.x)} clips", 2 * draws, *batch.x.shape)
    observed, x = batch.observed, batch.visible
    how = Conditioning(
        draws,
        None if method == "amortised" else refinement or REFINEMENT,
        resample,
        4 * draws if proposals is None else proposals,
        (langevin or Langevin()) if method == "langevin" else None,
    )
    paths = sampler.paths_at_once(x.shape[1:])
    work = sampler.work(len(x) * (how.cost + draws))
    with sampler.evaluation(seed, gradients=method != "amortised"):
        posterior = draw_posterior(sampler.model, sampler.guide, batch._replace(x=x), how, paths, work)
        means, noise = _decoded(sampler.model, posterior, paths)
    work.did(len(x) * draws)
    exists = batch.steps.valid
    if exists is not None:
        exists = exists[(..., *(None,) * (x.ndim - 2))]
        means, noise = (torch.where(exists, v, torch.zeros_like(v)) for v in (means, noise))
    model_mean = over_draws(means, sampler.model.likelihood.nominal_channels)
    spread = means.var(0, correction=min(1, draws - 1))
    return Imputation(
        torch.where(observed, x, model_mean),
        torch.where(observed, torch.zeros_like(x), (spread + noise).sqrt()),
        model_mean,
        spread.sqrt(),
        means,
        x,
        observed,
        posterior,
    )


def _check(batch: Batch) -> None:
    x, mask, lengths, _ = batch
    if x.ndim < 3 or 0 in x.shape[:2]:
        raise UsageError(f"imputation needs frames (B, T, *frame), B and T at least 1, not {tuple(x.shape)}")
    if mask is not None and mask.shape not in (x.shape[:2], x.shape):
        raise UsageError(
            f"mask has shape {tuple(mask.shape)}; of frames {tuple(x.shape)} it must be {tuple(x.shape[:2])} or that of the "
            "frames"
        )
    if lengths is not None and not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
        raise UsageError(f"lengths lie from 1 to the {x.shape[1]} frames that are there")


def _decoded(model: DSVAE, posterior: PosteriorDraws, at_once: int) -> tuple[Tensor, Tensor]:
    """E[x | f, z] ``(K, B, T, *frame)`` and the mean over draws of Var[x | f, z] ``(B, T, *frame)``."""
    means, noise = [], []
    for f, z in zip(*(v.flatten(0, 1).split(at_once) for v in posterior.latents), strict=True):
        frames = model.frames(f, z)
        means.append(point(frames))
        noise.append(_variance(frames))
    count = posterior.f.shape[:2]
    return torch.cat(means).unflatten(0, count), torch.cat(noise).unflatten(0, count).mean(0)


def _variance(frames: TorchDistribution) -> Tensor:
    try:
        return frames.variance
    except NotImplementedError:
        # Its mean over many draws is what counts.
        return (frames.sample((SAMPLES,)) - frames.mean).square().mean(0)
