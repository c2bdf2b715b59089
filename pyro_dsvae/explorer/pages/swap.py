"""Two clips side by side, and each with the motion of the other."""

import panel as pn

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside, shelf, times_of


def swap_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Pick or upload two clips; see them, and both swaps."""
    run = library.run
    captions = ("First clip", "Second clip", "f of the first, z of the second", "f of the second, z of the first")
    screens = [Screen(player, caption, library.axes) for caption in captions]

    def show() -> None:
        a, b = first.selection, second.selection
        codes = a.encode_whole(run), b.encode_whole(run)
        screens[0].show_clip(a, first.name)
        screens[1].show_clip(b, second.name)
        screens[2].show(run.decode(codes[0].f, codes[1].z)[0], f"{first.name} moving as {second.name}", times_of(b))
        screens[3].show(run.decode(codes[1].f, codes[0].z)[0], f"{second.name} moving as {first.name}", times_of(a))

    one, other = library.differing()
    first, second = Picker(library, "First clip", one, show), Picker(library, "Second clip", other, show)
    show()
    return beside([first.layout, second.layout], shelf(*screens[:2]), shelf(*screens[2:]))
