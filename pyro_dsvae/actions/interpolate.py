"""From one clip to another."""

from pathlib import Path

from torch import Tensor

from pyro_dsvae.actions.output import check_place, formats_of, output, segmenting_of
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.data.factors import Role
from pyro_dsvae.figures.clip_pages import Cell, Page, Row
from pyro_dsvae.figures.run import APPEARANCE, GREY, MOTION, seen
from pyro_dsvae.inference.latent_space.interpolation import Interpolation
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.runs.run import Latent

WORDS = {
    "static": [("The appearance goes over", APPEARANCE), (", the motion is that of the first clip", GREY)],
    "dynamic": [("The motion goes over", MOTION), (", the appearance is that of the first clip", GREY)],
    "both": [("The appearance", APPEARANCE), (" and ", GREY), ("the motion", MOTION), (" go over", GREY)],
}


def interpolate(
    run: Path,
    between: str | None = None,
    latent: Latent = "both",
    steps: int = 7,
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """Go from one clip to another in f, in z, or in both, along the geometry of the priors; the longer one is cut.

    Of a run on speech, --latent static says the words of the first recording in voices between both, as WAV files in clips/.

    Args:
        run: the run directory
        between: the two clips, such as 3,40: positions in the split or files; by default two that differ
        latent: static changes f only, dynamic z only, both both
        steps: clips along the way, with both ends
        split: of the data, that positions count in
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, and wav for speech, with commas; all but mp4 by default
        out: the new folder; by default RUN/latents/interpolate-NNN
        overwrite: replace what is there
        seed: of the choice where no clips are named

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.interpolate import interpolate
        >>> folder = interpolate(Path("runs/clips"), between="0,1", steps=3, format="npz")  # doctest: +IGNORE_OUTPUT
        >>> np.load(folder / "interpolate.npz")["shares"].tolist()
        [0.0, 0.5, 1.0]
    """
    check_seed(seed)
    if steps < 2:
        raise UsageError(f"--steps is {steps}; it is at least 2, with both ends")
    opened = load(run)
    formats = formats_of(opened, format)
    check_place(out, overwrite)
    role: Role = "dynamic" if latent == "dynamic" else "static"
    source = Source(opened, split, resize)
    ends = source.named_or_varied(between, 2, role, seed)
    if len(ends) != 2:
        raise UsageError(f"--between takes two clips, such as 3,40, not {len(ends)}")
    times = None if ends.batch.times is None else ends.batch.times[:1]
    found = opened.interpolate_latents(ends.encode_whole(opened), steps, latent, times)
    frames = opened.decode(found.f[:, 0], found.z[:, 0])
    one, other = ends.frame_counts
    if one != other:
        print(f"the clips have {one} and {other} frames; only the first {min(one, other)} of both are used")
    options = {"between": between, "latent": latent, "steps": steps, "split": split, "seed": seed}
    with output("interpolate", opened.path, out, formats, options, overwrite, source.rate(ends)) as to:
        to.page(_page(ends, found, frames, latent))
        clips = {f"{i:02}": clip for i, clip in enumerate(frames)}
        to.clips(clips)
        to.sounds({name: (clip, ends.recording(0)) for name, clip in clips.items()}, segmenting_of(opened))
        to.arrays(
            {"frames": frames, "f": found.f[:, 0], "z": found.z[:, 0], "shares": found.shares, "indices": ends.indices}
        )
    for name, way in found.geometry.items():
        print(f"{name}: {way}")
    return to.path


def _page(ends: Selection, found: Interpolation, frames: Tensor, latent: Latent) -> Page:
    length = frames.shape[1]
    rows = [Row([Cell(seen(ends.batch)[0, :length], GREY)], ends.names[0])]
    rows += [Row([Cell(clip)], f"{share:.0%}") for share, clip in zip(found.shares.tolist(), frames, strict=True)]
    rows.append(Row([Cell(seen(ends.batch)[1, :length], GREY)], ends.names[1]))
    return Page(rows, WORDS[latent], side=64)
