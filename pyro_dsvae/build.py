"""From recipes of parts to a model and a guide that fit the data and each other."""

from collections.abc import Callable

import torch

from pyro_dsvae.inference.objective import Objective
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.static_priors.static_prior import StaticPrior


def build(
    frame_shape: tuple[int, ...],
    seed: int,
    static_size: int,
    latent_size: int,
    static_prior: Callable[[int], StaticPrior],
    dynamic_prior: Callable[[int], DynamicPrior],
    posterior: Callable[[tuple[int, ...], int, int], Posterior],
    likelihood: Callable[[int, int, tuple[int, ...]], Likelihood],
) -> Objective:
    """Model and guide with initial weights drawn from ``seed``; the generator's state is left as it was.

    Raises `UsageError` where a part does not take frames of this shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DSVAE(
            static_prior(static_size),
            dynamic_prior(latent_size),
            likelihood(static_size, latent_size, frame_shape),
        )
        return Objective(model, posterior(frame_shape, static_size, latent_size))
