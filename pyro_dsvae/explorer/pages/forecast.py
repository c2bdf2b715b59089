"""How a clip goes on after its first frames."""

import panel as pn
import torch

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf
from pyro_dsvae.figures.clip_pages import heat

DRAWS, SHOWN, FARTHEST = 20, 3, 16


def forecast_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Choose how many frames are given and how many are forecast; see the mean, draws and their spread."""
    run, channels = library.run, None if library.image else library.channels
    captions = ("Clip", "Mean of draws", *(f"Draw {i + 1}" for i in range(SHOWN)), "Spread of draws")
    screens = [Screen(player, caption, channels) for caption in captions]
    given = pn.widgets.IntSlider(
        label="Frames given", start=1, end=run.length, value=(5 * run.length + 4) // 8, width=300
    )
    horizon = pn.widgets.IntSlider(label="Frames to forecast", start=1, end=FARTHEST, value=8, width=300)

    def show(*_: object) -> None:
        whole = picker.selection.batch
        past = whole.until(given.value)._replace(lengths=None)
        future = None
        if past.times is not None:
            gap = past.times[:, -1:] - past.times[:, -2:-1] if past.times.shape[1] > 1 else torch.ones(1, 1)
            future = past.times[:, -1:] + gap * torch.arange(1, horizon.value + 1)
        found = run.forecast(past.x, horizon.value, past.mask, None, past.times, future, DRAWS)
        screens[0].show(whole.visible[0], picker.name)
        seen = past.visible[0]
        low, high = (torch.cat([seen, side[0]]) for side in found.interval(0.9))
        screens[1].show(
            torch.cat([seen, found.mean[0]]), f"{given.value} frames given, {horizon.value} forecast", low, high
        )
        for screen, draw in zip(screens[2:-1], found.means, strict=False):
            screen.show(torch.cat([seen, draw[0]]), "one future")
        spread = found.means.std(0, correction=0)[0]
        hot = heat(torch.cat([torch.zeros_like(seen), spread]), float(spread.max()))
        screens[-1].show(hot, f"standard deviation, at most {float(spread.max()):.2g}")

    def begin() -> None:
        count = picker.selection.frame_counts[0]
        given.param.update(end=count, value=min(given.value, count))
        show()

    picker = Picker(library, "Clip", next(iter(library.titles)), begin)
    given.param.watch(show, "value_throttled")
    horizon.param.watch(show, "value_throttled")
    show()
    return pn.Column(picker.layout, given, horizon, shelf(*screens))
