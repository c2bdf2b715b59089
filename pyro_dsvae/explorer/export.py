"""The page as one file that needs neither server nor network: swaps, interpolations and the map, computed before."""

import html
import itertools
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.embed import components
from bokeh.layouts import column
from bokeh.models import CustomJS, Div, LayoutDOM, Select, Slider, UIElement
from bokeh.resources import Resources
from torch import Tensor

from pyro_dsvae.actions.selection import Selection
from pyro_dsvae.explorer.curves import Curves
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.pages.map import colours_of, points_of, scatter
from pyro_dsvae.explorer.pictures import moving
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import times_of
from pyro_dsvae.figures.run import seen
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.runs.output_folder import writing

SWAPPED, ENDS, COUNT = 8, 4, 11
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{}</title><style>body {{ font-family: sans-serif }}</style><script>{}</script></head>
<body>{}{}</body></html>
"""
# The values of the controls, joined, are the key of what is shown.
SHOW = "place[part] = contents[controls.map(control => String(control.value)).join('|')]"


class Shown:
    """A place for clips that are all computed before: the values of controls tell which one is shown.

    Args:
        library: Whose clips they are.
        caption: What it is.
        controls: Bokeh widgets.
    """

    def __init__(self, library: Library, caption: str, *controls: Any) -> None:
        self.library, self.caption, self.controls = library, caption, controls
        self.contents: dict[str, Any] = {}
        self.text, self.curves = Div(), None if library.axes is None else Curves(library.axes)

    def add(self, values: tuple[object, ...], clip: Tensor, said: str, times: Tensor | None = None) -> None:
        """A clip (T, *frame), for these values of the controls."""
        key = "|".join(str(value) for value in values)
        self.contents[key] = (
            moving(clip, self.caption, said) if self.curves is None else self.curves.columns(clip, times)
        )

    def finish(self) -> UIElement:
        """The place, in which from now on the controls say what is shown."""
        begin = self.contents["|".join(str(control.value) for control in self.controls)]
        place, part = (self.text, "text") if self.curves is None else (self.curves.source, "data")
        setattr(place, part, begin)
        given = {"place": place, "part": part, "contents": self.contents, "controls": list(self.controls)}
        for control in self.controls:
            control.js_on_change("value", CustomJS(args=given, code=SHOW))
        if self.curves is None:
            return self.text
        self.text.text = f"<b>{html.escape(self.caption)}</b>"
        return column(self.text, self.curves.layout)


def write_page(library: Library, path: Path) -> None:
    """Write the file."""
    document = Document()
    parts = [_heading("Map", 2), _map(library)]
    if library.codes.f.shape[1]:
        parts = [_heading("Swap", 2), _swaps(library), _heading("Interpolate", 2), _ways(library), *parts]
    name = library.run.path.name
    player = Player(library.run.length)
    player.start(document)
    if library.image:
        player.reach(library.run.length)
    root = column(_heading(name, 1), player.layout, *parts)
    document.add_root(root)
    # Not Bokeh's own page: it also names files of Panel's widgets, which only a server has.
    scripts = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).js_raw
    script, place = components(root)
    text = PAGE.format(html.escape(f"{name} · pyro_dsvae"), "</script><script>".join(scripts), place, script)
    with writing(path):
        path.write_text(text, encoding="utf-8")


def _heading(text: str, level: int) -> Div:
    return Div(text=f"<h{level}>{html.escape(text)}</h{level}>")


def _some(library: Library, count: int) -> dict[str, Selection]:
    """A few clips, spread over all and cut to one length, by their titles."""
    titles = list(library.titles)
    places = sorted({round(i * (len(titles) - 1) / (count - 1)) for i in range(count)})
    clips = {titles[place]: library.clip(titles[place]) for place in places}
    stop = min(clip.frame_counts[0] for clip in clips.values())
    return {title: clip.until(stop) for title, clip in clips.items()}


def _choice(name: str, titles: list[str], value: str) -> Select:
    return Select(title=name, options=titles, value=value, width=300)


def _swaps(library: Library) -> LayoutDOM:
    clips = _some(library, SWAPPED)
    codes = {title: clip.encode_whole(library.run) for title, clip in clips.items()}
    titles = list(clips)
    one, other = _choice("f of", titles, titles[0]), _choice("z of", titles, titles[-1])
    shown = Shown(library, "f of one, z of the other", one, other)
    for a, b in itertools.product(titles, titles):
        clip = library.run.decode(codes[a].f, codes[b].z)[0]
        shown.add((a, b), clip, f"{a} moving as {b}", times_of(clips[b]))
    return column(one, other, shown.finish())


def _ways(library: Library) -> LayoutDOM:
    clips = _some(library, ENDS)
    codes = {title: clip.encode_whole(library.run) for title, clip in clips.items()}
    titles = list(clips)
    one, other = _choice("From", titles, titles[0]), _choice("To", titles, titles[-1])
    share = Slider(title="Share of the way (%)", start=0, end=100, step=100 // (COUNT - 1), value=50, width=300)
    shown = Shown(library, "On the way", one, other, share)
    for a, b in itertools.product(titles, titles):
        times = clips[a].batch.times
        found = library.run.interpolate_latents(Codes.joined([codes[a], codes[b]]), COUNT, times=times)
        for step, clip in enumerate(library.run.decode(found.f[:, 0], found.z[:, 0])):
            percent = step * 100 // (COUNT - 1)
            shown.add((a, b, percent), clip, f"{percent} % from {a} to {b}", times_of(clips[a]))
    return column(one, other, share, shown.finish())


def _map(library: Library) -> LayoutDOM:
    titles = list(library.titles)
    name = next(iter(library.labels), "")
    colours, key = colours_of(library, name)
    source = points_of(library)
    source.data["colour"] = colours
    clip = _choice("Clip", titles, titles[0])
    shown = Shown(library, "Clip", clip)
    for title in titles:
        chosen = library.clip(title)
        shown.add((title,), seen(chosen.batch)[0], title, times_of(chosen))
    given = {"source": source, "clip": clip, "titles": titles}
    follow = CustomJS(args=given, code="source.selected.indices = [titles.indexOf(clip.value)]")
    clicked = CustomJS(args=given, code="if (cb_obj.indices.length) clip.value = titles[cb_obj.indices[0]]")
    clip.js_on_change("value", follow)
    source.selected.js_on_change("indices", clicked)
    return column(clip, Div(text=f"{html.escape(name)}: {key}" if name else ""), shown.finish(), scatter(source))
