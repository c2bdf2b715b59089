"""Sliders of the dimensions of f and z that hold most."""

import panel as pn

from pyro_dsvae.explorer.dimensions import Dimension, moved, used
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf

NUMBER = 6


def latents_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Pick a clip, move its latents, see what changes. Back to the clip's own values with a button."""
    run, channels = library.run, None if library.image else library.channels
    screens = [Screen(player, "Reconstruction", channels), Screen(player, "With the sliders", channels)]
    dimensions = [*used(library, "static", NUMBER), *used(library, "dynamic", NUMBER)]
    sliders = {dimension: slider_of(dimension) for dimension in dimensions}
    settings: dict[Dimension, float | None] = dict.fromkeys(dimensions)
    busy = [False]

    def show() -> None:
        codes = picker.selection.encode_whole(run)
        screens[0].show(run.decode(codes.f, codes.z)[0], picker.name)
        f, z = moved(codes.f, codes.z, settings)
        changed = [d.name for d, value in settings.items() if value is not None]
        screens[1].show(run.decode(f, z)[0], f"{picker.name}, changed in {', '.join(changed) or 'nothing'}")

    def reset() -> None:
        busy[0] = True
        codes = picker.selection.encode_whole(run)
        for dimension, slider in sliders.items():
            settings[dimension] = None
            own = float(codes.f[0, dimension.index]) if dimension.latent == "static" else 0.0
            slider.value = min(max(own, dimension.low), dimension.high)
        busy[0] = False
        show()

    def follow(dimension: Dimension, value: float) -> None:
        if not busy[0]:
            settings[dimension] = value
            show()

    picker = Picker(library, "Clip", next(iter(library.titles)), reset)
    for dimension, slider in sliders.items():
        slider.param.watch(lambda event, d=dimension: follow(d, event.new), "value")
    back = pn.widgets.Button(label="Back to the clip", width=300)
    back.on_click(lambda event: reset())
    reset()
    columns = [
        pn.Column(f"**{name}**", *(s for d, s in sliders.items() if d.latent == latent))
        for latent, name in (("static", "f, what stays: the value"), ("dynamic", "z, what moves: added at all frames"))
    ]
    return pn.Column(picker.layout, shelf(*screens), back, pn.FlexBox(*columns))


def slider_of(dimension: Dimension) -> pn.widgets.FloatSlider:
    """The slider of one dimension."""
    low, high = dimension.low, max(dimension.high, dimension.low + 1e-6)
    return pn.widgets.FloatSlider(
        label=dimension.name, start=low, end=high, step=(high - low) / 40, value=low, width=300
    )
