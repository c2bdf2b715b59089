"""The controls that play all clips of a page. They work in the browser alone: no frame is told to a server."""

from bokeh.document import Document
from bokeh.layouts import row
from bokeh.models import Button, CustomJS, LayoutDOM, Slider, Toggle

PER_SECOND = 7
# Tells every clip of the page which frame is shown.
SHOW = "document.documentElement.style.setProperty('--frame', frame.value)"
# Without sync, the server would be sent every frame, and could come to nothing else.
STEP = "const by = n => frame.setv({value: (frame.value + n + frame.end + 1) % (frame.end + 1)}, {sync: false});"
# Handles of Bokeh's sliders have no names, without which a screen reader says numbers only.
PLAY = """
const name = () => {
  for (const view of Bokeh.index.query(view => view.model.type.endsWith('Slider')))
    view.shadow_el.querySelectorAll('.noUi-handle').forEach(handle => handle.ariaLabel = view.model.title)
}
clearInterval(window.naming)
window.naming = setInterval(name, 500)
clearInterval(window.playing)
if (play.active) window.playing = setInterval(() => by(1), 1000 / speed.value)"""


class Player:
    """Play and pause, a frame on or back, the frame, the speed.

    Args:
        length: T of the clips.

    Attributes:
        layout: All of it.
    """

    def __init__(self, length: int) -> None:
        self._play = Toggle(label="Play", active=True, width=90, margin=(5, 10))
        self._frame = Slider(title="Frame", start=0, end=max(1, length - 1), value=0, step=1, width=170, margin=(5, 10))
        self._speed = Slider(
            title="Frames a second", start=1, end=20, value=PER_SECOND, step=1, width=170, margin=(5, 10)
        )
        self._frame.js_on_change("value", CustomJS(args={"frame": self._frame}, code=SHOW))
        self._run = self._callback(PLAY)
        self._play.js_on_change("active", self._run)
        self._speed.js_on_change("value", self._run)
        steps = []
        for name, by in (("Frame back", -1), ("Frame on", 1)):
            button = Button(label=name, width=100)
            button.js_on_event("button_click", self._callback(f"play.active = false; by({by})"))
            steps.append(button)
        self.layout: LayoutDOM = row(
            row(self._play, *steps), row(self._frame, self._speed), styles={"flex-wrap": "wrap"}, visible=False
        )

    def _callback(self, code: str) -> CustomJS:
        return CustomJS(args={"play": self._play, "frame": self._frame, "speed": self._speed}, code=STEP + code)

    @property
    def end(self) -> int:
        """The last frame."""
        last: int = self._frame.end
        return last

    def reach(self, length: int) -> None:
        """Play as many frames as the longest clip has that is shown. Before the first there is nothing to play."""
        self.layout.visible = True
        self._frame.end = max(self._frame.end, length - 1)

    def start(self, document: Document) -> None:
        """Begin to play when the page is there."""
        document.js_on_event("document_ready", self._run)
