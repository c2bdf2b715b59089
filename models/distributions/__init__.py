"""Distributions over latents and frames that torch and Pyro do not have; paths of latents above all."""

from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import GaussianPath, Moments
from pyro_dsvae.models.distributions.linear_gaussian_path import LinearGaussianPath, MatrixTransitions
from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal

__all__ = [
    "DiagonalChain",
    "FlowDistribution",
    "GaussianPath",
    "LinearGaussianPath",
    "MatrixTransitions",
    "Moments",
    "PathDistribution",
    "SharedScaleNormal",
    "Transitions",
]
