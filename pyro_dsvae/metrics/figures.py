"""The figures of an evaluation: swaps, confusion matrices, and accuracies of probes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.figures.run import (
    APPEARANCE,
    BORDER,
    GAP,
    GREY,
    INK,
    LONGEST_NAME,
    MARGIN,
    MOTION,
    RULE,
    Sheet,
    Style,
    as_arrays,
    blank,
    literal,
    save,
    seen,
)
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.metrics.factors import parts_of, with_parts
from pyro_dsvae.metrics.features import one_split
from pyro_dsvae.metrics.labelled import Judged
from pyro_dsvae.metrics.probes import Probe

PAIRS = 24


def swaps(looks: Tensor, motions: Tensor, decoded: Tensor, path: Path) -> Figure:
    """Clips ``(n, T, *frame)`` decoded with f of ``looks`` and z of ``motions``, each beside its two sources."""
    sources, moves, results = as_arrays(looks), as_arrays(motions), as_arrays(decoded)
    style = Style(sources, moves, results)
    side = style.side(64)
    small = style.side(side // 2)
    look = style.frame_width(side) if style.image else style.width(small)
    arrow, head = 28, 70
    wide = look + 2 * GAP + style.width(small) + arrow + style.width(side)
    columns = 2 if len(results) > 1 else 1
    rows = -(-len(results) // columns)
    pitch, step = wide + 5 * GAP, side + 2 * BORDER + GAP
    sheet = Sheet(columns * pitch - 5 * GAP + 2 * MARGIN, head + rows * step + 2 * MARGIN)
    end = sheet.text(MARGIN, MARGIN + 8, "f of one clip", 12, APPEARANCE, weight="bold")
    end = sheet.text(end, MARGIN + 8, ", ", 12, GREY)
    end = sheet.text(end, MARGIN + 8, "z of another", 12, MOTION, weight="bold")
    sheet.text(end, MARGIN + 8, f", decoded: {len(results)} pairs drawn at random, none left out", 12, GREY)
    for i, (donor, move, result) in enumerate(zip(sources, moves, results, strict=True)):
        x, y = MARGIN + i % columns * pitch, MARGIN + head - 20 + i // columns * step
        if style.image:  # one frame tells the appearance
            sheet.clip(x, y, donor[:1], style, side, APPEARANCE)
        else:
            sheet.clip(x, y + side - small, donor, style, small, APPEARANCE)
        x += look + 2 * GAP
        sheet.clip(x, y + side - small, move, style, small, MOTION)
        x += style.width(small) + arrow
        sheet.text(x - arrow // 2, y + side // 2, "→", 13, GREY, ha="center")
        sheet.clip(x, y, result, style, side)
    return save(sheet.figure, path)


def confusion(
    true: Mapping[str, Tensor], swapped: Mapping[str, Tensor], labels: Mapping[str, Label], path: Path
) -> Figure:
    """Confusion matrices of the judge: rows true classes, columns answers, percent of every row.

    Args:
        true: Label -> (K, K) counts on true clips.
        swapped: Label -> (K, K) counts on swapped clips, against the class of the latent's donor; may be empty.
    """
    grids = [("true clips", true)] + ([("swapped clips", swapped)] if swapped else [])
    figure = blank(3.4 * len(true), 3.4 * len(grids) + 0.3)
    panels = figure.subplots(len(grids), len(true), squeeze=False)
    for row, (what, counts) in zip(panels, grids, strict=True):
        for axes, (name, matrix) in zip(row, counts.items(), strict=True):
            table = matrix.double().numpy()
            shares = table / np.maximum(table.sum(1, keepdims=True), 1)
            axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
            right = np.trace(table) / max(table.sum(), 1)
            axes.set_title(
                f"{literal(name, LONGEST_NAME)}, {what}: {right:.1%} right", fontsize=9, loc="left", color=INK
            )
            classes = [literal(kind, LONGEST_NAME) for kind in labels[name].classes]
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), classes)
            axes.tick_params(labelsize=7, colors=GREY, length=0)
            axes.spines[:].set_color(RULE)
            if len(classes) > 12:
                continue
            for (i, j), share in np.ndenumerate(shares):
                if share >= 0.005:
                    tone = "white" if share > 0.5 else INK
                    axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=tone)
    for axes in panels[:, 0]:
        axes.set_ylabel("true class", color=GREY, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("the judge's answer, %", color=GREY, fontsize=9)
    return save(figure, path)


def probes(found: Mapping[str, Mapping[str, Mapping[str, Probe]]], labels: Mapping[str, Label], path: Path) -> Figure:
    """Accuracy of the probes of every label from each latent, with chance as a line: posterior means above, draws below."""
    names = list(labels)
    figure = blank(max(6.0, 1.3 * len(names) + 2), 3.0 * len(found) + 0.8)
    places = np.arange(len(names))
    panels = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (source, latents) in zip(panels, found.items(), strict=True):
        for shift, latent, colour in ((-0.2, "f", APPEARANCE), (0.2, "z", MOTION)):
            values = [latents[latent][name] for name in names]
            axes.bar(places + shift, [v.nonlinear for v in values], 0.36, color=colour, label=f"{latent}, non-linear")
            axes.hlines(
                [v.linear for v in values], places + shift - 0.18, places + shift + 0.18, color=INK, linewidth=2
            )
        axes.hlines([], [], [], color=INK, linewidth=2, label="linear")
        chance = [latents["f"][name].chance for name in names]
        axes.hlines(chance, places - 0.45, places + 0.45, color=GREY, linestyle=":", label="chance")
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_ylabel("accuracy of the probe", color=GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=GREY)
        axes.set_title(f"What each latent tells alone, posterior {source}", fontsize=11, loc="left", color=INK)
    ticks = [
        f"{literal(name, LONGEST_NAME)}\n(belongs to {'z' if labels[name].role == 'dynamic' else 'f'})"
        for name in names
    ]
    panels[-1].set_xticks(places, [tick.replace(": ", ":\n") for tick in ticks], fontsize=8)
    handles, words = panels[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return save(figure, path)


def draw_evaluation(
    judged: Judged | None,
    found: Mapping[str, Mapping[str, Mapping[str, Probe]]],
    sampler: Sampler,
    data: SequenceData,
    latents: Latents,
    folder: Path,
    seed: int,
) -> None:
    """The figures of an evaluation with labels; of one without there are none.

    Args:
        judged: What the judge says.
        found: "means" and "draws" -> "f" and "z" -> label -> probe.
        sampler: Model and guide.
        data: The evaluated sequences.
        latents: Their posterior means.
        folder: Where to write.
        seed: Of the swaps that are shown.
    """
    if judged is None:
        return
    labels = with_parts(data, parts_of(data.labels)).labels
    confusion(judged.confusion, judged.confusion_swapped, labels, folder / "confusion.png")
    probes(found, labels, folder / "probes.png")
    if judged.swaps is None:
        return
    looks = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:PAIRS]
    motions = partners(len(data), seed)[looks]
    with sampler.evaluation(seed):
        pair = (v.to(sampler.device) for v in (latents.f[looks], latents.z[motions]))
        decoded = decode(sampler.model, *pair).cpu()
    sequences, likelihood = one_split(data), sampler.model.likelihood
    given, moving = (sequences.batch(rows, likelihood, torch.device("cpu")) for rows in (looks, motions))
    made = moving._replace(x=decoded, mask=None)  # as long as those that give z
    swaps(seen(given), seen(moving), seen(made), folder / "swaps.png")
