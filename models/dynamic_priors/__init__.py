"""Priors p(z_1:T) of the dynamic latents. `DynamicPrior` is what each of them is, and what one of your own is."""

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.flow import Flow
from pyro_dsvae.models.dynamic_priors.gaussian_process import GaussianProcess
from pyro_dsvae.models.dynamic_priors.gru import GRU
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.dynamic_priors.switching_linear import SwitchingLinear
from pyro_dsvae.models.dynamic_priors.transformer import Transformer

__all__ = [
    "GRU",
    "IID",
    "LSTM",
    "DynamicPrior",
    "Flow",
    "GaussianProcess",
    "LinearGaussian",
    "RandomWalk",
    "SwitchingLinear",
    "Transformer",
]
