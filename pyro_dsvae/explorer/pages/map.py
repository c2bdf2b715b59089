"""The clips as points, by their f."""

import html
from collections.abc import Sequence

import panel as pn
from bokeh.models import ColumnDataSource
from bokeh.palettes import Category10, Category20
from bokeh.plotting import figure

from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.projection import project
from pyro_dsvae.explorer.screens import Screen, beside, shelf, times_of

SIDE = 380
# Which one is shown is seen among hundreds.
SELECTED = {"selection_line_color": "black", "selection_line_width": 3, "selection_alpha": 1.0}
NONE, PLAIN = "no label", "#0b6bcb"


def map_page(library: Library, player: Player) -> pn.viewable.Viewable:
    """Click a point, or choose a title, to see its clip; colour the points by a label."""
    run = library.run
    screens = [Screen(player, "Clip", library.axes), Screen(player, "Reconstruction", library.axes)]
    titles = list(library.titles)
    source = points_of(library)
    clip = pn.widgets.Select(label="Clip", options=titles, width=300)
    label = pn.widgets.Select(label="Colour by", options=[NONE, *library.labels], width=300)
    legend = pn.pane.HTML("", width=340)

    def show(*_: object) -> None:
        selection = library.clip(clip.value)
        codes = selection.encode_whole(run)
        screens[0].show_clip(selection, clip.value)
        screens[1].show(run.decode(codes.f, codes.z)[0], clip.value, times_of(selection))
        place = titles.index(clip.value)
        if source.selected.indices != [place]:
            source.selected.indices = [place]

    def colour(*_: object) -> None:
        colours, said = colours_of(library, label.value)
        source.data["colour"] = colours
        legend.object = said

    def clicked(attribute: str, old: Sequence[int], new: Sequence[int]) -> None:
        if new:
            clip.value = titles[new[0]]

    source.selected.on_change("indices", clicked)
    clip.param.watch(show, "value")
    label.param.watch(colour, "value")
    show()
    plot = pn.pane.Bokeh(scatter(source), width=SIDE, height=SIDE)
    return beside([clip, label, legend, shelf(*screens)], plot)


def points_of(library: Library) -> ColumnDataSource:
    """A point for every clip."""
    points = project(library.codes.f).cpu().numpy()
    titles = list(library.titles)
    return ColumnDataSource({"x": points[:, 0], "y": points[:, 1], "title": titles, "colour": [PLAIN] * len(titles)})


def scatter(source: ColumnDataSource) -> figure:
    """The points, which can be clicked."""
    plot = figure(
        width=SIDE,
        height=SIDE,
        tools="tap,pan,wheel_zoom,reset",
        title="f of clips, first two principal components",
        tooltips=[("clip", "@title")],
        name="map",
    )
    plot.scatter("x", "y", source=source, size=9, color="colour", alpha=0.8, nonselection_alpha=0.6, **SELECTED)
    return plot


def colours_of(library: Library, name: str) -> tuple[list[str], str]:
    """The colour of each clip by a label, and the legend in HTML."""
    label = library.labels.get(name)
    if label is None:
        return [PLAIN] * len(library.titles), ""
    palette = Category10[10] if len(label.classes) <= 10 else Category20[20]
    key = " ".join(
        f'<span><span aria-hidden="true" style="color:{palette[i % len(palette)]}">●</span> {html.escape(name)}</span>'
        for i, name in enumerate(label.classes)
    )
    return [palette[i % len(palette)] for i in label.values.tolist()], key
