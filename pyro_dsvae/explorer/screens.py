"""What shows a clip on a page."""

from collections.abc import Sequence

import panel as pn
from torch import Tensor

from pyro_dsvae.explorer.curves import columns, curves, nothing
from pyro_dsvae.explorer.pictures import moving
from pyro_dsvae.explorer.player import Player


class Screen:
    """A place for one clip.

    Args:
        player: What plays it.
        caption: What it is.
        channels: The names of the values of a frame, for vectors.
    """

    def __init__(self, player: Player, caption: str, channels: Sequence[str] | None = None) -> None:
        self.player, self.caption, self.channels = player, caption, channels
        self.source = nothing()
        self.text = pn.pane.HTML("", width=160 if channels is None else 340)
        self.layout = pn.Column(self.text, margin=(4, 8))
        if channels is not None:
            self.layout.append(pn.pane.Bokeh(curves(self.source, caption)))

    def show(self, clip: Tensor, said: str, low: Tensor | None = None, high: Tensor | None = None) -> None:
        """Show a clip (T, *frame).

        Args:
            clip: uint8 or floating images, or vectors in the units of the data.
            said: What is seen, in words.
            low, high: Of vectors, an interval around each value.
        """
        if self.channels is None:
            self.player.reach(len(clip))
            self.text.object = moving(clip, self.caption, said)
        else:
            self.text.object = said
            self.source.data = columns(clip, self.channels, low, high)


def shelf(*screens: Screen) -> pn.FlexBox:
    """Screens side by side, one below the other where the page is narrow."""
    return pn.FlexBox(*(screen.layout for screen in screens))
