"""Encoders from a frame to features. `FrameEncoder` is what each of them is, and what one of your own is."""

from pyro_dsvae.models.encoders.convolutional import Convolutional
from pyro_dsvae.models.encoders.dense import Dense
from pyro_dsvae.models.encoders.masked_dense import MaskedDense
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.encoders.pyramid import Pyramid
from pyro_dsvae.models.encoders.spectral import Spectral
from pyro_dsvae.models.encoders.tcn import TCN
from pyro_dsvae.models.networks.frames import FrameEncoder

__all__ = ["TCN", "Convolutional", "Dense", "FrameEncoder", "MaskedDense", "Patches", "Pyramid", "Spectral"]
