"""All pages under one set of buttons, with the controls that play their clips."""

from collections.abc import Callable, Mapping
from pathlib import Path

import panel as pn

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.pages.comparison import Comparison, comparison_page
from pyro_dsvae.explorer.pages.fill import fill_page
from pyro_dsvae.explorer.pages.forecast import forecast_page
from pyro_dsvae.explorer.pages.interpolate import interpolate_page
from pyro_dsvae.explorer.pages.latents import latents_page
from pyro_dsvae.explorer.pages.map import map_page
from pyro_dsvae.explorer.pages.sample import sample_page
from pyro_dsvae.explorer.pages.swap import swap_page
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.server import REPORT
from pyro_dsvae.pretrained import results_folder

Page = Callable[[Library, Player], pn.viewable.Viewable]
PAGES: Mapping[str, Page] = {
    "Swap": swap_page,
    "Latents": latents_page,
    "Sample": sample_page,
    "Interpolate": interpolate_page,
    "Map": map_page,
    "Fill in": fill_page,
    "Forecast": forecast_page,
}
OF_F = ("Swap", "Interpolate", "Map")  # what a model without f has not
# Buttons and boxes that would be wider than a narrow window wrap or shrink.
STYLE = ":host, .bk-btn-group { flex-wrap: wrap; max-width: 96vw; }"


def report_of(library: Library) -> Path:
    """The report of ppc, where it is written unless the reader says otherwise."""
    return results_folder(library.run.path) / "ppc" / "report.html"


def page(library: Library, compared: Comparison | None = None) -> pn.viewable.Viewable:
    """The whole page: each part of it is made when it is first asked for.

    Args:
        library: The run and its clips.
        compared: A finished comparison, shown first.
    """
    pn.extension("filedropper")  # whose scripts are part of the page from the beginning
    player = Player(library.run.length)
    if pn.state.curdoc is not None:
        player.start(pn.state.curdoc)
    pages = {name: make for name, make in PAGES.items() if library.codes.f.shape[1] or name not in OF_F}
    if compared is not None:
        pages = {"Comparison": lambda library, player: comparison_page(compared, player), **pages}
    made: dict[str, pn.viewable.Viewable] = {}
    body = pn.Column()
    chooser = pn.widgets.RadioButtonGroup(
        label="Page", options=list(pages), stylesheets=[STYLE], color="primary", variant="outline"
    )

    def turn(*_: object) -> None:
        name = chooser.value
        if name not in made:
            made[name] = pages[name](library, player)
        body[:] = [made[name]]

    chooser.param.watch(turn, "value")
    turn()
    clips = f"{len(library.titles)} clips of the {library.source.split} split"
    title = f"# {library.run.path.name}\n{type(library.run.data).__name__}: {clips}"
    if report_of(library).is_file():
        title += f'. <a href="{REPORT}" target="_blank">What ppc found</a>'
    heading = pn.pane.Markdown(title, stylesheets=["h1, p { margin: 2px 0; }"])
    return pn.Column(heading, chooser, pn.pane.Bokeh(player.layout), body, sizing_mode="stretch_width")
