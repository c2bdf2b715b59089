"""Disentangled sequential VAEs in Pyro: a part that stays, a part that moves, and parts you can swap."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_dsvae.data import (
        Arrays,
        BasicMotions,
        CartoonFaces,
        JapaneseVowels,
        LPCSprites,
        MovingDigits,
        Quantity,
        SequenceData,
        SeriesTable,
        Shards,
        SpeechFolder,
        SpokenWords,
        Sprites,
        VideoFolder,
        WatchExercises,
    )
    from pyro_dsvae.loading import Run, load

__all__ = [
    "Arrays",
    "BasicMotions",
    "CartoonFaces",
    "JapaneseVowels",
    "LPCSprites",
    "MovingDigits",
    "Quantity",
    "Run",
    "SequenceData",
    "SeriesTable",
    "Shards",
    "SpeechFolder",
    "SpokenWords",
    "Sprites",
    "VideoFolder",
    "WatchExercises",
    "load",
]


def __getattr__(name: str) -> object:
    # Importing the package stays light: torch and Pyro come with the first thing that needs them.
    if name in __all__:
        return getattr(import_module("pyro_dsvae.loading" if name in ("Run", "load") else "pyro_dsvae.data"), name)
    raise AttributeError(f"module 'pyro_dsvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
