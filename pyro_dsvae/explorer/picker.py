"""The choice of one clip: of the data of the run, or a file of the reader's own."""

import html
from collections.abc import Callable

import panel as pn

from pyro_dsvae.actions.selection import Selection
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.uploads import LARGEST, convertible, read_upload
from pyro_dsvae.models.errors import UsageError

CHUNK = 1_000_000  # bytes of one message


class Picker:
    """A clip and the controls that choose it.

    Args:
        library: The clips on offer.
        name: What it is for.
        title: Of the clip to begin with.
        changed: Called after every choice.

    Attributes:
        selection: The clip.
        name: What it is called: its place and its labels, or the file.
    """

    def __init__(self, library: Library, name: str, title: str, changed: Callable[[], None]) -> None:
        self.library, self.changed = library, changed
        self.selection: Selection = library.clip(title)
        self.name = title
        self.chosen = pn.widgets.Select(label=name, options=list(library.titles), value=title, width=300)
        self.upload = pn.widgets.FileDropper(
            label=f"{name}: or a file of yours",
            max_file_size=f"{LARGEST // 1_000_000}MB",
            chunk_size=CHUNK,
            previews=[],
            width=300,
            height=104,
        )
        self.said = pn.pane.Alert("", alert_type="warning", visible=False, width=300)
        self.convert = pn.widgets.Button(label="Convert it", visible=False, width=300)
        self.chosen.param.watch(self._choose, "value")
        self.upload.param.watch(self._read, "value")
        self.convert.on_click(self._convert)
        self.layout = pn.Column(self.chosen, self.upload, self.said, self.convert)

    def _choose(self, event: object) -> None:
        self._take(self.library.clip(self.chosen.value), self.chosen.value)

    def _take(self, selection: Selection, name: str) -> None:
        before = self.selection, self.name
        self.selection, self.name = selection, name
        self.said.visible = self.convert.visible = False
        try:
            self.changed()
        except UsageError as error:  # such as a clip without an observed value
            self.selection, self.name = before
            self._say(error)

    def _say(self, error: UsageError) -> None:
        self.said.object = html.escape(str(error))  # which names a file as its owner did
        self.said.visible = True

    def _file(self) -> tuple[str, bytes] | None:
        """The latest file; no other is kept."""
        if not self.upload.value:
            return None
        name, content = list(self.upload.value.items())[-1]
        return name, content.encode() if isinstance(content, str) else content

    def _read(self, event: object) -> None:
        if (file := self._file()) is None:
            return
        try:
            found = read_upload(*file, self.library.source)
            self._take(found, found.names[0])
        except UsageError as error:
            self._say(error)
            self.convert.visible = convertible(*file, self.library.source)
        if not self.convert.visible:
            self.upload.value.clear()

    def _convert(self, event: object) -> None:
        if (file := self._file()) is not None:
            found = read_upload(*file, self.library.source, convert=True)
            self._take(found, found.names[0])
            self.upload.value.clear()
