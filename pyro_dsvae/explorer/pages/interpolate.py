"""From one clip to another, by hand."""

from collections.abc import Mapping

import panel as pn
from torch import Tensor

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside, shelf, times_of, titled
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.runs.run import Latent

COUNT = 11
LATENTS: Mapping[str, Latent] = {"f and z": "both", "f": "static", "z": "dynamic"}


def interpolate_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Pick two clips and go from one to the other along the geometry of the priors."""
    run = library.run
    screens = [Screen(player, caption, library.axes) for caption in ("First clip", "On the way", "Second clip")]
    share = pn.widgets.IntSlider(label="Share of the way (%)", start=0, end=100, step=100 // (COUNT - 1), width=300)
    latent = pn.widgets.RadioButtonGroup(label="What changes", options=list(LATENTS))
    way: list[Tensor] = []

    def show(*_: object) -> None:
        clip, times = way[share.value * (COUNT - 1) // 100], times_of(first.selection)
        said = f"{share.value} % from {first.name} to {second.name}"
        screens[1].show(clip, said, None if times is None else times[: len(clip)])

    def change(*_: object) -> None:
        ends = first.selection, second.selection
        stop = min(end.frame_counts[0] for end in ends)
        codes = Codes.joined([end.until(stop).encode(run) for end in ends])
        times = ends[0].batch.times
        found = run.interpolate_latents(
            codes, COUNT, LATENTS[latent.value], times if times is None else times[:, :stop]
        )
        way[:] = run.decode(found.f[:, 0], found.z[:, 0])
        for screen, picker in ((screens[0], first), (screens[2], second)):
            screen.show_clip(picker.selection, picker.name)
        show()

    one, other = library.differing()
    first, second = Picker(library, "First clip", one, change), Picker(library, "Second clip", other, change)
    share.param.watch(show, "value")
    latent.param.watch(change, "value")
    change()
    changes = titled("What changes", latent)
    return beside([first.layout, second.layout], pn.FlexBox(changes, share), shelf(*screens))
