"""The output of an action: its folder, its formats, and the record of its options."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_dsvae.clips.writing import write_npz, write_strip
from pyro_dsvae.figures import clip_pages as latent_figures
from pyro_dsvae.figures.clip_pages import Page
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.json_values import json_values
from pyro_dsvae.runs.output_folder import check_free, new_folder, new_numbered_folder
from pyro_dsvae.runs.versions import installed

FORMATS = ("gif", "png", "npz")
WITH_CSV = (*FORMATS, "csv")
MOST_STRIPS = 64


@dataclass(frozen=True)
class Output:
    """A folder that is being filled: pictures NAME.png and NAME.gif, arrays NAME.npz, and single clips in clips/.

    Attributes:
        action: Name of the action, and of its files.
        path: Where it will be found.
        folder: Where to write it.
        formats: Which of `FORMATS`.
        about: Version, action, run and options, for options.json and for every .npz.
    """

    action: str
    path: Path
    folder: Path
    formats: Sequence[str]
    about: Mapping[str, Any]

    def page(self, page: Page) -> None:
        """A picture, and an animation of it."""
        if "png" in self.formats:
            latent_figures.write_png(page, self.folder / f"{self.action}.png")
        if "gif" in self.formats and page.image:
            latent_figures.write_gif(page, self.folder / f"{self.action}.gif")

    def arrays(self, arrays: Mapping[str, Any]) -> None:
        """One file of arrays."""
        if "npz" in self.formats:
            write_npz(self.folder / f"{self.action}.npz", arrays, self.about)

    def strips(self, clips: Mapping[str, Tensor]) -> None:
        """Single clips (T, C, H, W) as PNG strips, which can be given back as inputs; at most `MOST_STRIPS` of them."""
        some = list(clips.items())[:MOST_STRIPS]
        if "png" in self.formats and some and some[0][1].ndim == 4:
            (self.folder / "clips").mkdir()
            for name, clip in some:
                write_strip(self.folder / "clips" / f"{name}.png", clip)


@contextmanager
def output(
    action: str,
    run: Path,
    out: Path | None,
    formats: Sequence[str],
    options: Mapping[str, Any],
    overwrite: bool = False,
) -> Iterator[Output]:
    """The folder of an action, which appears whole or not at all: ``out``, or the next free RUN/latents/ACTION-NNN."""
    about = {
        "pyro_dsvae": installed("pyro-dsvae"),
        "command": f"python -m pyro_dsvae.latents {action}",
        "run": str(run.resolve()),
        "options": json_values(options),
    }
    with ExitStack() as stack:
        if out is None:
            path, folder = stack.enter_context(new_numbered_folder(run / "latents", action))
        else:
            path, folder = out, stack.enter_context(new_folder(out, overwrite))
        (folder / "options.json").write_text(json.dumps(about, indent=2) + "\n")
        yield Output(action, path, folder, formats, about)


def check_place(out: Path | None, overwrite: bool) -> None:
    """Check, before the work begins, that the folder which the user named may be written.

    Raises:
        UsageError: Where it is there already and may not be replaced.
    """
    if out is not None:
        check_free(out, overwrite)


def chosen_formats(text: str | None, image: bool, known: Sequence[str] = FORMATS) -> list[str]:
    """The formats in "gif,png"; by default all that suit the frames. CSV is for series.

    Raises:
        UsageError: For others.
    """
    if text is None:
        return [name for name in known if name != ("csv" if image else "gif")]
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise UsageError(f"--format got {text!r}; it is one or more of {', '.join(known)}, with commas between them")
    if "gif" in names and not image:
        raise UsageError("--format gif is for images, but the frames of this run are vectors: take png or npz")
    if "csv" in names and image:
        raise UsageError("--format csv is for series, but the frames of this run are images: take npz")
    return names
