"""Disentangled sequential VAEs in Pyro: a part that stays, a part that moves, and parts you can swap."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_dsvae.loading import Run, load

__all__ = ["Run", "load"]


def __getattr__(name: str) -> object:
    # Importing the package stays light: torch and pyro come with the first thing that needs them.
    if name in __all__:
        from pyro_dsvae import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'pyro_dsvae' has no attribute {name!r}")
