"""Data sources. `DataSource` is what each of them is, and what one of your own is; it loads `SequenceData`."""

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.cartoon_faces import CartoonFaces
from pyro_dsvae.data.dataset import DataSource, Label, Quantity, Recommended, SequenceData
from pyro_dsvae.data.lpc_sprites import LPCSprites
from pyro_dsvae.data.moving_digits import MovingDigits
from pyro_dsvae.data.packaged.basic_motions import BasicMotions
from pyro_dsvae.data.packaged.japanese_vowels import JapaneseVowels
from pyro_dsvae.data.packaged.watch_exercises import WatchExercises
from pyro_dsvae.data.series_table import SeriesTable
from pyro_dsvae.data.shard.shards import Shards
from pyro_dsvae.data.speech.speech_folder import SpeechFolder
from pyro_dsvae.data.speech.spoken_words import SpokenWords
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.data.video_folder import VideoFolder

__all__ = [
    "Arrays",
    "BasicMotions",
    "CartoonFaces",
    "DataSource",
    "JapaneseVowels",
    "LPCSprites",
    "Label",
    "MovingDigits",
    "Quantity",
    "Recommended",
    "SequenceData",
    "SeriesTable",
    "Shards",
    "SpeechFolder",
    "SpokenWords",
    "Sprites",
    "VideoFolder",
    "WatchExercises",
]
