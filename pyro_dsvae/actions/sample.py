"""New clips, with or without something kept, and data sets of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.actions.output import Output, check_place, formats_of, output, segmenting_of
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.clips.writing import write_npz
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.figures.clip_pages import Cell, Page, Row
from pyro_dsvae.figures.run import APPEARANCE, GREY, MOTION, seen
from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.inference.latent_space.generation import Keep
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.run import Run

AT_ONCE = 256


def sample(
    run: Path,
    number: int = 8,
    keep: Keep | None = None,
    clip: str | None = None,
    length: int | None = None,
    augment: int | None = None,
    noise: bool = False,
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """Make new clips; with --keep they share appearance or motion with a given clip. With --augment N, make a data set.

    The data set is OUT/augmented.npz, which `fit --data Arrays --data.path` reads. With --keep static, its clips have the
    appearance of clips of the train split, or of --clip, in turn, and keep their static labels; likewise for --keep dynamic.

    Args:
        run: the run directory
        number: how many clips
        keep: static keeps the appearance of --clip, dynamic its motion
        clip: the clip to keep it of: a position in the split, or a file; by default the first
        length: frames of each clip; by default as many as the run was fitted to, or those of --clip
        augment: also write a data set of this many clips
        noise: draw frames from p(x | f, z) instead of taking its mean
        split: of the data, that --clip counts in
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, and wav for speech, with commas; all but mp4 by default
        out: the new folder; by default RUN/latents/sample-NNN
        overwrite: replace what is there
        seed: of all draws

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.sample import sample
        >>> folder = sample(Path("runs/clips"), number=3, keep="static", clip="0", format="npz")
        >>> np.load(folder / "sample.npz")["frames"].shape
        (3, 6, 3, 16, 16)
    """
    if clip is not None and keep is None:
        raise UsageError("--clip says whose appearance or motion to keep: add --keep static or --keep dynamic")
    for name, value in (("number", number), ("length", length), ("augment", augment)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}; it is a number of at least 1")
    check_seed(seed)
    opened = load(run)
    formats = formats_of(opened, format)
    check_place(out, overwrite)
    source = Source(opened, split, resize)
    given = None if keep is None else source.named(clip or "0")
    codes = None if given is None else given.encode_whole(opened)
    f, z = opened.sample_latents(number, length, seed, keep, codes, _times(source, number, length))
    frames = _decoded(opened, f, z, noise, seed)
    options = {"number": number, "keep": keep, "clip": clip, "length": length, "augment": augment, "noise": noise}
    options |= {"split": split, "seed": seed}
    with (
        output("sample", opened.path, out, formats, options, overwrite, source.rate(given)) as to,
        Bar("data set") as bar,
    ):
        to.page(_page(frames, given, keep))
        clips = {f"{i:03}": made for i, made in enumerate(frames)}
        to.clips(clips)
        timing = given.recording(0) if given is not None and keep == "dynamic" else None
        to.sounds({name: (made, timing) for name, made in clips.items()}, segmenting_of(opened))
        indices = {} if given is None else {"kept_indices": given.indices}
        to.arrays({"frames": frames, "f": f, "z": z, **indices})
        if augment is not None:
            kept = given if keep is None or clip is not None else _looks_of_training(source, augment, seed)
            _augment(to, source, augment, kept, _How(keep, length, noise, seed), bar)
    return to.path


@dataclass(frozen=True)
class _How:
    """The options of `sample` that a data set shares with its pictures."""

    keep: Keep | None
    length: int | None
    noise: bool
    seed: int


def _times(source: Source, count: int, length: int | None) -> Tensor | None:
    """(count, length) times as true clips have them, for priors that know times."""
    if not source.run.model.dynamic_prior.continuous_time or source.data.times is None:
        return None
    times = source.data.times[source.rows[torch.arange(count) % len(source.rows)]]
    more = (length or times.shape[1]) - times.shape[1]
    if more > 0:
        last = times[:, -1:] - times[:, -2:-1]
        times = torch.cat([times, times[:, -1:] + last * torch.arange(1, more + 1)], dim=1)
    return times if length is None else times[:, :length]


def _decoded(run: Run, f: Tensor, z: Tensor, noise: bool, seed: int) -> Tensor:
    if not noise:
        return run.decode(f, z)
    with evaluation(run.model, run.guide, seed + 1, run.device):
        parts = zip(f.split(AT_ONCE), z.split(AT_ONCE), strict=True)
        return torch.cat([run.model.frames(*part).sample() for part in parts])


def _page(frames: Tensor, given: Selection | None, keep: Keep | None) -> Page:
    colour = APPEARANCE if keep == "static" else MOTION
    words = {"static": "appearance", "dynamic": "motion"}
    title = [("New clips: one f and one path of z each", GREY)]
    if keep is not None:
        title = [
            (f"The {words[keep]} is kept", colour),
            (f", the {words['dynamic' if keep == 'static' else 'static']} is new", GREY),
        ]
    columns = 2 if len(frames) > 1 else 1
    rows = []
    if given is not None:
        cells: list[Cell | None] = [Cell(clip, colour) for clip in seen(given.batch)[:columns]]
        rows.append(Row(cells, ", ".join(given.names[:columns])))
    for i in range(0, len(frames), columns):
        rows.append(Row([Cell(clip) for clip in frames[i : i + columns]], apart=i == 0 and bool(rows)))
    return Page(rows, title, side=64)


# --- data sets --------------------------------------------------------------------------------------------------------


def _augment(to: Output, source: Source, count: int, kept: Selection | None, how: "_How", bar: Bar) -> None:
    """Write augmented.npz: frames as the run's data store them, labels of what is kept, and where it comes from.

    Args:
        kept: Whose appearances or motions are kept, in turn; None for all that is new.
    """
    run = source.run
    codes = None if kept is None else kept.encode(run)
    times = _times(source, count, how.length)
    f, z = run.sample_latents(count, how.length, how.seed, how.keep, codes, times)
    parts = []
    for start in range(0, count, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        frames = _decoded(run, f[some], z[some], how.noise, how.seed + start)
        parts.append(stored(frames, source.data.frames.dtype, run.model.likelihood.bytes_per_unit))
        bar(min(1.0, (start + AT_ONCE) / count))
    arrays: dict[str, Any] = {"frames": torch.cat(parts)} | ({} if times is None else {"times": times})
    rows = torch.arange(count) % (1 if kept is None else len(kept))
    for name, label in ({} if kept is None else kept.labels).items():
        if label.role == how.keep:
            arrays[f"labels_{name}"] = label.values[rows]
            arrays[f"role_{name}"] = np.array(label.role)
            arrays[f"classes_{name}"] = np.array(label.classes)
    write_npz(to.folder / "augmented.npz", arrays, to.about)


def _looks_of_training(source: Source, count: int, seed: int) -> Selection:
    """Clips of the train split, each once before one comes again, in random order."""
    train = replace(source, split="train")
    return train.at(torch.randperm(len(train.rows), generator=torch.Generator().manual_seed(seed))[:count])


def stored(frames: Tensor, dtype: torch.dtype, bytes_per_unit: int) -> Tensor:
    """Floating frames as data of this type store them."""
    if dtype != torch.uint8:
        return frames.to(dtype)
    return (frames * bytes_per_unit).round().clamp(0, 255).byte()
