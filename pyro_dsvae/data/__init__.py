"""Data sources. `DataSource` is what each of them is, and what one of your own is; it loads `SequenceData`."""

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import DataSource, Label, SequenceData
from pyro_dsvae.data.lpc_sprites import LPCSprites
from pyro_dsvae.data.sprites import Sprites

__all__ = ["Arrays", "DataSource", "LPCSprites", "Label", "SequenceData", "Sprites"]
