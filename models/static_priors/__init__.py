"""Priors p(f) of the static latent. `StaticPrior` is what each of them is, and what one of your own is."""

from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.diagonal_normal import DiagonalNormal
from pyro_dsvae.models.static_priors.flow import Flow
from pyro_dsvae.models.static_priors.gaussian_mixture import GaussianMixture
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior

__all__ = [
    "AutoregressiveMixture",
    "DiagonalNormal",
    "Flow",
    "GaussianMixture",
    "StandardNormal",
    "StaticPrior",
    "VampPrior",
]
