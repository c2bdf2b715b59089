"""New clips; or new motions of one appearance, or new appearances of one motion."""

from collections.abc import Mapping

import panel as pn

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.picker import Picker
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, beside, shelf, times_of, titled
from pyro_dsvae.inference.latent_space.generation import Keep

SHOWN, LAST_SEED = 4, 1_000_000
KEPT: Mapping[str, Keep | None] = {"nothing": None, "f of the clip": "static", "z of the clip": "dynamic"}


def sample_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Draw clips of seed 0, 1, 2, …, with what the reader keeps."""
    run = library.run
    screens = [Screen(player, caption, library.axes) for caption in ("Clip", *(f"Draw {i + 1}" for i in range(SHOWN)))]
    seed = pn.widgets.IntInput(label="Seed", value=0, start=0, end=LAST_SEED, width=140)
    kept = pn.widgets.RadioButtonGroup(label="Keep", options=list(KEPT), value="nothing")

    def show(*_: object) -> None:
        keep = KEPT[kept.value]
        codes = None if keep is None else picker.selection.encode(run)
        drawn = run.decode(*run.sample_latents(SHOWN, seed=seed.value or 0, keep=keep, codes=codes))
        screens[0].show_clip(picker.selection, picker.name)
        times = times_of(picker.selection) if keep == "dynamic" else None
        for screen, clip in zip(screens[1:], drawn, strict=True):
            screen.show(clip, f"drawn from the model, {kept.value} kept", times)

    picker = Picker(library, "Clip", next(iter(library.titles)), show)
    again = pn.widgets.Button(label="Draw others", width=140, align="end")
    again.on_click(lambda event: seed.param.update(value=((seed.value or 0) + 1) % (LAST_SEED + 1)))
    seed.param.watch(show, "value")
    kept.param.watch(show, "value")
    show()
    return beside([titled("Keep", kept), picker.layout, pn.Row(seed, again)], shelf(*screens))
