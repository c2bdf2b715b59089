"""One latent dimension at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.actions.output import check_place, chosen_formats, output
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.data.dataset import Label, Split
from pyro_dsvae.figures.clip_pages import Cell, Page, Row
from pyro_dsvae.figures.run import APPEARANCE, GREY, LONGEST_NAME, MOTION, literal
from pyro_dsvae.inference.latent_checks.usage import latent_usage
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.inference.latent_space.traversal import DEVIATIONS, OUTER, Traversal, check_dimensions
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.run import Progress, Run

# Below this share of its variance a dimension is not said to be about a label.
TELLING = 0.1


def traverse(
    run: Path,
    clip: str = "0",
    latent: Literal["static", "dynamic"] = "static",
    number: int = 8,
    dimensions: str | None = None,
    steps: int = 7,
    reference: int = 400,
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """Change one dimension of a latent at a time, the most informative first, so that one sees what it means.

    A dimension of f goes through the values that it takes over many clips, from the 2nd to the 98th percentile; one of z is
    moved at all steps by up to two standard deviations. Where the data have labels, each is marked with the one that it
    tells most about: the share of its variance, over those clips, that lies between the classes.

    Args:
        run: the run directory
        clip: the clip to start from: a position in the split, or a file
        latent: static for f, dynamic for z
        number: how many dimensions, in the order of their information
        dimensions: which instead, such as 3,17
        steps: values of each
        reference: clips of the split that tell values, information and labels
        split: of the data
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, with commas; all but mp4 by default
        out: the new folder; by default RUN/latents/traverse-NNN
        overwrite: replace what is there
        seed: of the draws that tell the information

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.traverse import traverse
        >>> folder = traverse(Path("runs/clips"), dimensions="0,1", steps=3, reference=4, format="npz")
        >>> np.load(folder / "traverse.npz")["frames"].shape  # two dimensions, three values
        (2, 3, 6, 3, 16, 16)
    """
    for name, value, least in (("number", number, 1), ("steps", steps, 2), ("reference", reference, 2)):
        if value < least:
            raise UsageError(f"--{name} is {value}; it is at least {least}")
    check_seed(seed)
    opened = load(run)
    formats = chosen_formats(format, len(opened.frame_shape) == 3)
    check_place(out, overwrite)
    sizes = opened.model.static_prior.static_size, opened.model.dynamic_prior.latent_size
    part, size = ("f", sizes[0]) if latent == "static" else ("z", sizes[1])
    chosen = None if dimensions is None else _listed(dimensions)
    check_dimensions(part, [] if chosen is None else chosen, size)
    source = Source(opened, split, resize)
    start = source.named(clip)
    if len(start) != 1:
        raise UsageError(f"--clip names {len(start)} clips; a traversal starts from one")
    others = source.at(source.spread(reference))
    with Bar("information of every dimension") as bar:
        codes = others.encode(opened)
        nats = use_of_dimensions(opened, others, codes, latent, seed, bar)
    order = nats.argsort(descending=True)[:number] if chosen is None else torch.tensor(chosen)
    found = opened.traverse(start.encode(opened), codes, latent, order, steps)
    meaning = [told(values_of(codes, latent, int(d)), others.labels) for d in order]
    options = {"clip": clip, "latent": latent, "number": number, "dimensions": dimensions, "steps": steps}
    options |= {"reference": reference, "split": split, "seed": seed}
    with output("traverse", opened.path, out, formats, options, overwrite, source.rate(start)) as to:
        to.page(_page(found, nats[order], meaning, latent, "nats" if opened.guide.comparable else "variance"))
        to.arrays(
            {
                "frames": found.frames,
                "f": found.f,
                "z": found.z,
                "dimensions": found.dimensions,
                "values": found.values,
                "information": nats,
                "indices": start.indices,
            }
        )
    return to.path


def use_of_dimensions(
    run: Run, clips: Selection, codes: Codes, latent: str, seed: int = 0, progress: Progress | None = None
) -> Tensor:
    """How much each dimension of f (F,) or z (D,) holds of clips: its KL in nats.

    Of a guide without density it is the variance of the means over clips and steps.
    """
    if not run.guide.comparable:
        return codes.f.var(0) if latent == "static" else codes.z.flatten(0, 1).var(0)
    use = latent_usage(run.sampler(progress), Sequences.of(*clips.batch), seed, draws=8)
    return (use.kl_static_per_dimension if latent == "static" else use.kl_dynamic_per_dimension).float()


def values_of(codes: Codes, latent: str, dimension: int) -> Tensor:
    """(N, P) what one dimension says of each clip: one number, or its path."""
    return codes.f[:, dimension : dimension + 1] if latent == "static" else codes.z[:, :, dimension]


@dataclass(frozen=True)
class Told:
    """A label, and the share of a dimension's variance that lies between its classes."""

    label: str
    share: float


def told(values: Tensor, labels: Mapping[str, Label]) -> Told | None:
    """The label that explains most of the variance of ``values`` (N, P); None where no label explains any.

    It is the share of the variance that class means explain, less what as many classes would explain by chance: with SSW the
    sum of squares within and SST in total,

        1 - (SSW / (N - K)) / (SST / (N - 1))

    Source: Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935 (epsilon squared).
    """
    total = (values - values.mean(0)).square().sum().double()
    best = None
    for name, label in labels.items():
        kinds, members = label.values.unique(return_inverse=True)
        if len(kinds) < 2 or len(values) <= len(kinds) or not total > 0:
            continue
        sums = values.new_zeros(len(kinds), values.shape[1]).index_add_(0, members, values)
        means = sums / members.bincount().unsqueeze(1)
        within = (values - means[members]).square().sum().double()
        share = 1 - float((within / (len(values) - len(kinds))) / (total / (len(values) - 1)))
        if share > TELLING and (best is None or share > best.share):
            best = Told(name, share)
    return best


def _listed(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--dimensions got {text!r}; it takes numbers with commas between them, such as 3,17"
        ) from None


def _page(found: Traversal, nats: Tensor, meaning: list[Told | None], latent: str, unit: str) -> Page:
    letter, colour = ("f", APPEARANCE) if latent == "static" else ("z", MOTION)
    rows = []
    for d, frames, amount, about in zip(found.dimensions.tolist(), found.frames, nats.tolist(), meaning, strict=True):
        words = f"{amount:.1f} {unit}"
        if about is not None:
            words += f"; {literal(about.label, LONGEST_NAME)} explains {100 * about.share:.0f} % of its variance"
        rows.append(Row([Cell(clip) for clip in frames], f"{letter} {d}\n{words}"))
    count = found.values.shape[1]
    columns = [f"{share:.0%}" for share in torch.linspace(OUTER, 1 - OUTER, count).tolist()]
    if latent == "dynamic":
        moves = torch.linspace(-DEVIATIONS, DEVIATIONS, count).tolist()
        columns = [f"{move:+.1f} sd" if move else "as it is" for move in moves]
    title = [(f"One dimension of {letter} at a time", colour), (", the others as in the clip", GREY)]
    still = found.frames.shape[2] // 2 if latent == "static" else None
    return Page(rows, title, columns, side=64 if latent == "static" else 32, still=still)
