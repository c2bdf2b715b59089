"""Distributions over latents and frames that torch and Pyro do not have, and what is asked of a density."""

from pyro_dsvae.models.distributions.density import (
    detached,
    from_base,
    log_prob_by_step,
    overdispersed,
    teacher_forced,
    to_base,
    unwrapped,
)
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import GaussianPath, Moments, kl_to_path, moments
from pyro_dsvae.models.distributions.linear_gaussian_path import LinearGaussianPath, MatrixTransitions
from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution
from pyro_dsvae.models.distributions.path import OverdispersedPath, PathDistribution
from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal

__all__ = [
    "DiagonalChain",
    "FlowDistribution",
    "GaussianPath",
    "LinearGaussianPath",
    "MatrixTransitions",
    "Moments",
    "OverdispersedPath",
    "PathDistribution",
    "SharedScaleNormal",
    "Transitions",
    "detached",
    "from_base",
    "kl_to_path",
    "log_prob_by_step",
    "moments",
    "overdispersed",
    "teacher_forced",
    "to_base",
    "unwrapped",
]
