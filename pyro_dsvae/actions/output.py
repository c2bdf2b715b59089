"""The output of an action: its folder, its formats, and the record of its options."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_dsvae.clips.films import Film, write_film, write_pictures
from pyro_dsvae.clips.sounds import write_sound
from pyro_dsvae.clips.writing import FRAME_MS, write_gif, write_npz, write_strip
from pyro_dsvae.data.speech.recordings import Recording
from pyro_dsvae.data.speech.segments import Segmenting
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.figures import clip_pages as latent_figures
from pyro_dsvae.figures.clip_pages import Page
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.pretrained import default_out
from pyro_dsvae.runs.json_values import json_values
from pyro_dsvae.runs.output_folder import check_free, new_folder, new_numbered_folder
from pyro_dsvae.runs.run import Run
from pyro_dsvae.runs.versions import installed

FORMATS = ("gif", "png", "npz", "mp4")
WITH_CSV = (*FORMATS, "csv")
# Formats of images; mp4 is made where it is asked for, since it needs an extra.
ANIMATED = ("gif", "mp4")
MOST_CLIPS = 64
LONGEST_STRIP = 256  # frames; pictures that are wider can hardly be opened


@dataclass(frozen=True)
class Output:
    """A folder that is being filled: pictures NAME.png, NAME.gif and NAME.mp4, arrays NAME.npz, and single clips in clips/.

    Attributes:
        action: Name of the action, and of its files.
        path: Where it will be found.
        folder: Where to write it.
        formats: Which of `FORMATS`.
        about: Version, action, run and options, for options.json and for every .npz.
        rate: Frames a second of animations.
    """

    action: str
    path: Path
    folder: Path
    formats: Sequence[str]
    about: Mapping[str, Any]
    rate: float = 1000 / FRAME_MS

    def page(self, page: Page) -> None:
        """A picture, and an animation of it."""
        if "png" in self.formats:
            latent_figures.write_png(page, self.folder / f"{self.action}.png")
        if "gif" in self.formats and page.image:
            latent_figures.write_gif(page, self.folder / f"{self.action}.gif", round(1000 / self.rate))
        if "mp4" in self.formats and page.image:
            pictures, size = latent_figures.moments(page)
            write_pictures(self.folder / f"{self.action}.mp4", pictures, size, self.rate)

    def arrays(self, arrays: Mapping[str, Any]) -> None:
        """One file of arrays."""
        if "npz" in self.formats:
            write_npz(self.folder / f"{self.action}.npz", arrays, self.about)

    def clips(self, clips: Mapping[str, Tensor], sounds: Mapping[str, Film | None] | None = None) -> None:
        """Single clips (T, C, H, W), which can be given back as inputs; at most `MOST_CLIPS` of them.

        Args:
            clips: By the names of their files. They become PNG strips, GIF and mp4.
            sounds: By the same names, the films whose sound goes with them.
        """
        some = list(clips.items())[:MOST_CLIPS]
        kinds = [kind for kind in ("png", "gif", "mp4") if kind in self.formats]
        if not kinds or not some or some[0][1].ndim != 4:
            return
        (self.folder / "clips").mkdir()
        for name, clip in some:
            path = self.folder / "clips" / name
            film = None if sounds is None else sounds.get(name)
            rate = self.rate if film is None or film.rate is None else film.rate
            if "png" in kinds and len(clip) <= LONGEST_STRIP:
                write_strip(path.with_suffix(".png"), clip)
            if "gif" in kinds:
                write_gif(path.with_suffix(".gif"), clip, round(1000 / rate))
            if "mp4" in kinds:
                write_film(path.with_suffix(".mp4"), clip, rate, film)

    def sounds(
        self,
        clips: Mapping[str, tuple[Tensor, Recording | None]],
        how: Segmenting | None,
        known: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Single clips of speech (T, P) as WAV files; at most `MOST_CLIPS` of them.

        Args:
            clips: By the names of their files, each with the recording that gave its timing, where it is known.
            how: How recordings became frames; None for clips that are no speech.
            known: By the same names, (T,) bool, of which frames the recording's phase may be used; None for all.
        """
        if "wav" not in self.formats or how is None:
            return
        (self.folder / "clips").mkdir(exist_ok=True)
        for name, (frames, timing) in list(clips.items())[:MOST_CLIPS]:
            heard = None if known is None else known[name]
            write_sound(self.folder / "clips" / f"{name}.wav", frames, how, timing, heard)


@contextmanager
def output(
    action: str,
    run: Path,
    out: Path | None,
    formats: Sequence[str],
    options: Mapping[str, Any],
    overwrite: bool = False,
    rate: float | None = None,
) -> Iterator[Output]:
    """The folder of an action, which appears whole or not at all: ``out``, or the next free RUN/latents/ACTION-NNN
    (`default_out`).

    ``rate`` is that of animations, in frames a second, where it is known.
    """
    about = {
        "pyro_dsvae": installed("pyro-dsvae"),
        "command": f"python -m pyro_dsvae.latents {action}",
        "run": str(run.resolve()),
        "options": json_values(options),
    }
    with ExitStack() as stack:
        if out is None:
            path, folder = stack.enter_context(new_numbered_folder(default_out(run) / "latents", action))
        else:
            path, folder = out, stack.enter_context(new_folder(out, overwrite))
        (folder / "options.json").write_text(json.dumps(about, indent=2) + "\n")
        yield Output(action, path, folder, formats, about, rate or Output.rate)


def check_place(out: Path | None, overwrite: bool) -> None:
    """Check, before the work begins, that the folder which the user named may be written.

    Raises:
        UsageError: Where it is there already and may not be replaced.
    """
    if out is not None:
        check_free(out, overwrite)


def segmenting_of(run: Run) -> Segmenting | None:
    """How recordings became the frames of a run on speech; None for any other run."""
    return run.data.segmenting() if isinstance(run.data, SpeechSource) else None


def formats_of(run: Run, text: str | None, known: Sequence[str] = FORMATS) -> list[str]:
    """`chosen_formats` of a run, with WAV where it is on speech."""
    wav = () if segmenting_of(run) is None else ("wav",)
    return chosen_formats(text, len(run.frame_shape) == 3, (*known, *wav))


def chosen_formats(text: str | None, image: bool, known: Sequence[str] = FORMATS) -> list[str]:
    """The formats in "gif,png"; by default all that suit the frames, but mp4. CSV is for series, GIF and mp4 for images,
    WAV for speech.

    Raises:
        UsageError: For others, for mp4 without PyAV, and for WAV without soundfile.
    """
    if "wav" in known and (text is None or "wav" in text.lower()):
        needed("soundfile", "speech", "a WAV file")  # before the work
    if text is None:
        return [name for name in known if name not in (("csv", "mp4") if image else ANIMATED)]
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise UsageError(f"--format got {text!r}; it is one or more of {', '.join(known)}, with commas between them")
    moving = next((name for name in names if name in ANIMATED), None)
    if moving is not None and not image:
        raise UsageError(f"--format {moving} is for images, but the frames of this run are vectors: take png or npz")
    if "mp4" in names:
        needed("av", "video", "an mp4 file")  # before the work
    if "csv" in names and image:
        raise UsageError("--format csv is for series, but the frames of this run are images: take npz")
    return names
