"""How a clip goes on after its first frames."""

import panel as pn
import torch

from pyro_dsvae.explorer.draws import Draws
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside
from pyro_dsvae.figures.run import seen

DRAWS, FARTHEST = 20, 16


def forecast_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Choose how many frames are given and how many are forecast; see the mean, draws and their spread."""
    run = library.run
    whole = Screen(player, "Clip", library.axes)
    drawn = Draws(player, whole, "one future", library.axes)
    given = pn.widgets.IntSlider(
        label="Frames given", start=1, end=run.length, value=(5 * run.length + 4) // 8, width=300
    )
    horizon = pn.widgets.IntSlider(label="Frames to forecast", start=1, end=FARTHEST, value=8, width=300)

    def show(*_: object) -> None:
        past = picker.selection.batch.until(given.value)._replace(lengths=None)
        future = None
        if past.times is not None:
            gap = past.times[:, -1:] - past.times[:, -2:-1] if past.times.shape[1] > 1 else torch.ones(1, 1)
            future = past.times[:, -1:] + gap * torch.arange(1, horizon.value + 1)
        found = run.forecast(past.x, horizon.value, past.mask, None, past.times, future, DRAWS)
        whole.show_clip(picker.selection, picker.name)
        known = seen(past)[0]
        mean, *draws = (torch.cat([known, frames[0]]) for frames in (found.mean, *found.means))
        said = f"{given.value} frames given, {horizon.value} forecast"
        if library.image:
            spread = found.means.std(0, correction=0)[0]
            drawn.show_images(said, mean, torch.stack(draws), torch.cat([torch.zeros_like(known), spread]))
        else:
            times = None if past.times is None or future is None else torch.cat([past.times, future], dim=1)[0]
            low, high = (torch.cat([known, side[0]]) for side in found.interval(0.9))
            drawn.show_lines(said, mean, torch.stack(draws), times, (low, high))

    def begin() -> None:
        count = picker.selection.frame_counts[0]
        given.param.update(end=count, value=min(given.value, count))
        show()

    picker = Picker(library, "Clip", next(iter(library.titles)), begin)
    given.param.watch(show, "value_throttled")
    horizon.param.watch(show, "value_throttled")
    show()
    return beside([picker.layout, given, horizon], drawn.layout)
