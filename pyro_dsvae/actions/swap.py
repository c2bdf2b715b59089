"""Every appearance with every motion."""

from pathlib import Path

from torch import Tensor

from pyro_dsvae.actions.output import check_place, formats_of, output, segmenting_of
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.figures.clip_pages import Cell, Page, Row
from pyro_dsvae.figures.run import APPEARANCE, GREY, MOTION, seen
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import check_seed


def swap(
    run: Path,
    appearances: str | None = None,
    motions: str | None = None,
    count: int = 3,
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """A grid of clips, each with the appearance of its row and the motion of its column, and as long as that motion.

    Of a run on speech: words of the column in the voice of the row, as WAV files in clips/.

    Clips that are longer than those of the fit, such as whole videos, are read in windows that overlap: f is pooled over a
    clip by its precision, and z blended where windows meet. An mp4 keeps the sound of the video that gives its motion.

    Args:
        run: the run directory
        appearances: clips that give f, one per row: positions in the split (3,7 or 0:4) or files; by default clips that differ
        motions: clips that give z, one per column, alike
        count: how many appearances, and motions, where none are named
        split: of the data, that positions count in
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, and wav for speech, with commas; all but mp4 by default
        out: the new folder; by default RUN/latents/swap-NNN
        overwrite: replace what is there
        seed: of the choice where no clips are named

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.swap import swap
        >>> folder = swap(Path("runs/clips"), appearances="0,1", motions="2", format="npz")
        >>> np.load(folder / "swap.npz")["frames"].shape  # two rows, one column
        (2, 1, 6, 3, 16, 16)
    """
    check_seed(seed)
    opened = load(run)
    formats = formats_of(opened, format)
    check_place(out, overwrite)
    source = Source(opened, split, resize)
    rows = source.named_or_varied(appearances, count, "static", seed)
    # Other clips than the appearances.
    columns = source.named_or_varied(motions, count, "dynamic", seed + 1)
    appearance, motion = rows.encode_whole(opened), columns.encode_whole(opened)
    frames = opened.decode(appearance.f[:, None], motion.z[None])
    counts = {*rows.frame_counts, *columns.frame_counts}
    if len(counts) > 1:
        print(
            f"clips have {min(counts)} to {max(counts)} frames; each swap is as long as the clip that gives its motion"
        )
    options = {"appearances": appearances, "motions": motions, "count": count, "split": split, "seed": seed}
    with output("swap", opened.path, out, formats, options, overwrite, source.rate(columns)) as to:
        to.page(_page(rows, columns, frames))
        pairs = {f"appearance-{i:02}-motion-{j:02}": (i, j) for i in range(len(rows)) for j in range(len(columns))}
        to.clips(
            {name: _existing(frames[i, j], columns, j) for name, (i, j) in pairs.items()},
            {name: columns.film(j) for name, (_, j) in pairs.items()},
        )
        to.sounds(
            {name: (_existing(frames[i, j], columns, j), columns.recording(j)) for name, (i, j) in pairs.items()},
            segmenting_of(opened),
        )
        lengths = {} if columns.batch.lengths is None else {"motion_lengths": columns.batch.lengths}
        to.arrays(
            {
                "frames": frames,
                "f": appearance.f,
                "z": motion.z,
                "look_indices": rows.indices,
                "motion_indices": columns.indices,
                **lengths,
            }
        )
    return to.path


def _existing(frames: Tensor, clips: Selection, row: int) -> Tensor:
    return frames if clips.batch.lengths is None else frames[: clips.batch.lengths[row]]


def _page(rows: Selection, columns: Selection, frames: Tensor) -> Page:
    image = rows.batch.x.ndim == 5
    appearance, motion = ("appearance", "motion") if image else ("static part", "dynamic part")
    donors = [Cell(_existing(clip, columns, j), MOTION) for j, clip in enumerate(seen(columns.batch))]
    grid = [Row([None, *donors], f"motion of\n{', '.join(columns.names)}" if len(columns) == 1 else "")]
    for i, name in enumerate(rows.names):
        # One frame tells an appearance.
        given = seen(rows.batch)[i, :1] if image else _existing(seen(rows.batch)[i], rows, i)
        made = [Cell(_existing(clip, columns, j)) for j, clip in enumerate(frames[i])]
        grid.append(Row([Cell(given, APPEARANCE), *made], name, apart=i == 0))
    title = [
        ("Each row has the ", GREY),
        (f"{appearance} of its left clip", APPEARANCE),
        (", each column the ", GREY),
        (f"{motion} of its top clip", MOTION),
    ]
    return Page(grid, title, ["", *columns.names], side=64)
