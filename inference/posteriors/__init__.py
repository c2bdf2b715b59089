"""Guides q(f, z_1:T | x_1:T). `Posterior` is what each is, and what one of your own is; `Anchored` goes around another."""

from pyro_dsvae.inference.posteriors.anchored import Anchored
from pyro_dsvae.inference.posteriors.autoregressive import Autoregressive
from pyro_dsvae.inference.posteriors.causal_lstm import CausalLSTM
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.flow import Flow
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian

__all__ = [
    "LSTM",
    "Anchored",
    "Autoregressive",
    "CausalLSTM",
    "Delta",
    "Factorised",
    "Flow",
    "Posterior",
    "StructuredGaussian",
]
