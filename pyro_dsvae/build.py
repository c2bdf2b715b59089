"""From recipes of parts to a model and a guide that fit the data and each other."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from pyro_dsvae.inference.objective import Objective
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

Part = TypeVar("Part")


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
            _made("static_prior", lambda: static_prior(static_size)),
            _made("dynamic_prior", lambda: dynamic_prior(latent_size)),
            _made("likelihood", lambda: likelihood(static_size, latent_size, frame_shape)),
        )
        return Objective(model, _made("posterior", lambda: posterior(frame_shape, static_size, latent_size)))


def _made(name: str, recipe: Callable[[], Part]) -> Part:
    """The part. Raises `UsageError` where its options, such as a size of 0, make none."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Initializing zero-element")
            return recipe()
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, UserWarning) as error:
        raise UsageError(f"--{name} cannot be built with these options: {error}") from error
