"""What shows a clip on a page."""

import html
from collections.abc import Sequence

import panel as pn
from torch import Tensor

from pyro_dsvae.actions.selection import Selection
from pyro_dsvae.explorer.curves import Axes, Curves
from pyro_dsvae.explorer.pictures import moving
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.figures.run import seen


class Screen:
    """A place for one clip.

    Args:
        player: What plays it.
        caption: What it is.
        axes: Of vectors; None for images.
    """

    def __init__(self, player: Player, caption: str, axes: Axes | None = None) -> None:
        self.player, self.caption, self.axes = player, caption, axes
        self.text = pn.pane.HTML("", width=176 if axes is None else 320)
        self.layout = pn.Column(self.text, margin=(4, 0))
        self.curves = None if axes is None else Curves(axes)
        if self.curves is not None:
            self.layout.append(pn.pane.Bokeh(self.curves.layout))

    def show(
        self,
        clip: Tensor,
        said: str,
        times: Tensor | None = None,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> None:
        """Show a clip (T, *frame).

        Args:
            clip: uint8 or floating images, or vectors in the units of the data.
            said: What is seen, in words.
            times: (T,) of the frames of vectors.
            low, high: Of vectors, an interval around each value.
        """
        if self.curves is None or self.axes is None:
            self.player.reach(len(clip))
            self.text.object = moving(clip, self.caption, said)
        else:
            lines = [f"<b>{html.escape(self.caption)}</b>", html.escape(said), self.axes.left_out]
            self.text.object = "<br>".join(line for line in lines if line)
            self.curves.show(clip, times, low, high)

    def show_clip(self, clip: Selection, said: str) -> None:
        """Show a clip of the data or of the reader, with gaps where nothing was observed."""
        self.show(seen(clip.batch)[0], said, times_of(clip))


def times_of(clip: Selection) -> Tensor | None:
    """(T,) of the frames of a clip, where the data have times."""
    return None if clip.batch.times is None else clip.batch.times[0]


def titled(title: str, control: pn.widgets.Widget) -> pn.Column:
    """A control whose own label is read out and not seen, below one that is seen."""
    return pn.Column(pn.pane.HTML(html.escape(title), margin=(5, 10, 0, 10)), control)


def beside(controls: Sequence[pn.viewable.Viewable], *shown: pn.viewable.Viewable) -> pn.FlexBox:
    """Controls to the left of what they change, above it where the page is narrow."""
    right = pn.Column(*shown, sizing_mode="stretch_width", styles={"flex": "1 1 340px"})
    return pn.FlexBox(pn.Column(*controls, width=330), right, sizing_mode="stretch_width")


def shelf(*screens: Screen) -> pn.FlexBox:
    """Screens side by side, one below the other where the page is narrow."""
    return pn.FlexBox(*(screen.layout for screen in screens), sizing_mode="stretch_width")
