"""Networks: frame encoders and decoders, and the sequence networks inside priors and guides."""

from pyro_dsvae.models.networks.attention import CausalTransformer
from pyro_dsvae.models.networks.conv import ConvEncoder, PatchEncoder
from pyro_dsvae.models.networks.dense import DenseEncoder
from pyro_dsvae.models.networks.factory import frame_encoder
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM

__all__ = [
    "BidirectionalLSTM",
    "CausalTransformer",
    "ConvEncoder",
    "DenseEncoder",
    "FrameDecoder",
    "FrameEncoder",
    "GaussianHead",
    "PatchEncoder",
    "frame_encoder",
]
