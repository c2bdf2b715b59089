"""Networks: what frame encoders and decoders are, and the sequence networks inside priors and guides."""

from pyro_dsvae.models.networks.attention import CausalTransformer
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM

__all__ = [
    "BidirectionalLSTM",
    "CausalTransformer",
    "FrameDecoder",
    "FrameEncoder",
    "GaussianHead",
]
