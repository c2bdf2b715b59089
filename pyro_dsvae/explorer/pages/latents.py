"""Sliders of the dimensions of f and z that hold most."""

import panel as pn

from pyro_dsvae.explorer.dimensions import Dimension, moved, used
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside, shelf, times_of

NUMBER = 6
NAMES = "Behind each dimension: the label that it tells most about, and how much of its variance that label explains."


def latents_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Pick a clip, move its latents, see what changes. Back to the clip's own values with a button."""
    run = library.run
    screens = [Screen(player, "Reconstruction", library.axes), Screen(player, "With the sliders", library.axes)]
    dimensions = [*used(library, "static", NUMBER), *used(library, "dynamic", NUMBER)]
    sliders = {dimension: slider_of(dimension) for dimension in dimensions}
    settings: dict[Dimension, float | None] = dict.fromkeys(dimensions)
    busy = [False]

    def show() -> None:
        codes, times = picker.selection.encode_whole(run), times_of(picker.selection)
        screens[0].show(run.decode(codes.f, codes.z)[0], picker.name, times)
        f, z = moved(codes.f, codes.z, settings)
        changed = [d.name for d, value in settings.items() if value is not None]
        said = f"{picker.name}, {'changed in ' + ', '.join(changed) if changed else 'unchanged'}"
        screens[1].show(run.decode(f, z)[0], said, times)

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
    headings = {"static": "<b>f, what stays</b>: sets the value", "dynamic": "<b>z, what moves</b>: adds at all frames"}
    columns = [
        pn.Column(pn.pane.HTML(heading, margin=(5, 10)), *(s for d, s in sliders.items() if d.latent == latent))
        for latent, heading in headings.items()
    ]
    meaning = pn.pane.HTML(NAMES, width=320) if library.labels else None
    return beside([picker.layout, back, *([] if meaning is None else [meaning])], shelf(*screens), pn.FlexBox(*columns))


def slider_of(dimension: Dimension) -> pn.widgets.FloatSlider:
    """The slider of one dimension."""
    low, high = dimension.low, max(dimension.high, dimension.low + 1e-6)
    return pn.widgets.FloatSlider(
        label=dimension.name, start=low, end=high, step=(high - low) / 40, value=low, width=300
    )
