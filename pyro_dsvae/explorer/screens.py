"""What shows a clip on a page, and what plays all of them."""

from collections.abc import Sequence

import panel as pn
from torch import Tensor

from pyro_dsvae.explorer.curves import columns, curves, nothing
from pyro_dsvae.explorer.pictures import moving

# Tells every clip of the page which frame is shown. It is all the JavaScript that playing needs.
SHOW_FRAME = "document.documentElement.style.setProperty('--frame', cb_obj.value)"
INTERVAL = 150  # milliseconds


class Stage:
    """The controls that play all clips of a page: play, pause, step, speed.

    Args:
        length: T of the clips.
    """

    def __init__(self, length: int) -> None:
        self.player = pn.widgets.Player(
            label="Frame",
            start=0,
            end=length - 1,
            value=0,
            interval=INTERVAL,
            loop_policy="loop",
            direction=1,
            show_loop_controls=False,
            show_value=True,
            visible_buttons=["slower", "previous", "pause", "play", "next", "faster"],
            width=320,
        )
        self.player.jscallback(value=SHOW_FRAME)

    def reach(self, length: int) -> None:
        """Play as many frames as the longest clip has that is shown."""
        self.player.end = max(self.player.end, length - 1)


class Screen:
    """A place for one clip.

    Args:
        stage: What plays it.
        caption: What it is.
        channels: The names of the values of a frame, for vectors.
    """

    def __init__(self, stage: Stage, caption: str, channels: Sequence[str] | None = None) -> None:
        self.stage, self.caption, self.channels = stage, caption, channels
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
            self.stage.reach(len(clip))
            self.text.object = moving(clip, self.caption, said)
        else:
            self.text.object = said
            self.source.data = columns(clip, self.channels, low, high)


def shelf(*screens: Screen) -> pn.FlexBox:
    """Screens side by side, one below the other where the page is narrow."""
    return pn.FlexBox(*(screen.layout for screen in screens))
