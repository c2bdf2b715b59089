"""Decoders from (f, z_t) to the parameters of a frame. `FrameDecoder` is what each of them is, and what one of your own is."""

from pyro_dsvae.models.decoders.dense import Dense
from pyro_dsvae.models.decoders.film import FiLM
from pyro_dsvae.models.decoders.joined import Joined
from pyro_dsvae.models.decoders.regions import Regions
from pyro_dsvae.models.decoders.textures import Textures
from pyro_dsvae.models.networks.frames import FrameDecoder

__all__ = ["Dense", "FiLM", "FrameDecoder", "Joined", "Regions", "Textures"]
