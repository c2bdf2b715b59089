"""What shows draws of one clip: their mean, some of them, and how far they differ."""

import panel as pn
from torch import Tensor

from pyro_dsvae.explorer.curves import Axes
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf
from pyro_dsvae.figures.clip_pages import heat

SHOWN = 3


class Draws:
    """Screens for draws.

    Of images the spread is a picture of its own; of vectors it is an interval around the mean.

    Args:
        player: What plays them.
        first: What they are held against.
        each: What each is, in words.
        axes: Of vectors; None for images.
    """

    def __init__(self, player: Player, first: Screen, each: str, axes: Axes | None) -> None:
        self.each = each
        self.mean = Screen(player, "Mean of draws" if axes is None else "Mean of draws, with 90 % intervals", axes)
        self.some = [Screen(player, f"Draw {i + 1}", axes) for i in range(SHOWN)]
        self.spread = Screen(player, "Spread of draws") if axes is None else None
        spread = [] if self.spread is None else [self.spread]
        self.layout: pn.FlexBox = shelf(first, self.mean, *self.some, *spread)

    def show_images(self, said: str, mean: Tensor, draws: Tensor, spread: Tensor) -> None:
        """Show draws of images.

        Args:
            said: What the mean is, in words.
            mean: (T, C, H, W).
            draws: (K, T, C, H, W).
            spread: (T, C, H, W) their standard deviation, 0 where the frames are known.
        """
        assert self.spread is not None
        self.mean.show(mean, said)
        for screen, draw in zip(self.some, draws, strict=False):
            screen.show(draw, self.each)
        most = float(spread.max())
        self.spread.show(heat(spread, most), f"standard deviation, at most {most:.2g}")

    def show_lines(
        self, said: str, mean: Tensor, draws: Tensor, times: Tensor | None, interval: tuple[Tensor, Tensor]
    ) -> None:
        """Show draws of vectors.

        Args:
            said: What the mean is, in words.
            mean: (T, P).
            draws: (K, T, P).
            times: (T,).
            interval: (T, P) lower and upper bounds.
        """
        self.mean.show(mean, said, times, *interval)
        for screen, draw in zip(self.some, draws, strict=False):
            screen.show(draw, self.each, times)
