"""The pictures of a comparison: evidence, k-hat, rate and distortion, and the motion that every prior draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.figures.clip_pages import Cell, Page, Row, write_png
from pyro_dsvae.figures.run import GREY, INK, MOTION, RULE, blank, literal, save
from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.inference.prediction import decode, posterior_means
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.loading import Run

COLOURS = ("#0b6bcb", "#d9730d", "#2d7d46", "#8250df", "#cf222e", "#0598bc", "#9a6700", "#6a737d")
CLIPS = 2


def rate_distortion(points: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> Figure:
    """Rate KL(f) + KL(z) against distortion E_q[-log p(x | f, z)], nats per sequence: a dot per fit, a ring per candidate.

    Lines join points of equal ELBO.
    """
    figure = blank(7.5, 5)
    axes = figure.subplots()
    values = np.array([point for fits in points.values() for point in fits], dtype=np.float64)
    low, high = values.min(0), values.max(0)
    room = np.maximum(0.15 * (high - low), 1e-3 * np.abs(high).max() + 1e-6)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for total in np.linspace(left + bottom, right + top, 9)[1:-1]:
        axes.axline((left, total - left), slope=-1, color=RULE, linewidth=0.8, zorder=0)
    for number, (name, fits) in enumerate(points.items()):
        colour, marker = COLOURS[number % len(COLOURS)], "osD^vP*X"[number // len(COLOURS) % 8]
        x, y = np.array(fits, dtype=np.float64).T
        axes.scatter(x, y, s=18, color=colour, marker=marker, alpha=0.6, linewidths=0)
        axes.scatter(
            x.mean(),
            y.mean(),
            s=110,
            facecolors="none",
            edgecolors=colour,
            marker=marker,
            linewidths=1.8,
            label=literal(name),
        )
    axes.set_xlabel("rate: KL of f + KL of z, nats per sequence", color=GREY)
    axes.set_ylabel("distortion: E[−log p(x | f, z)], nats per sequence", color=GREY)
    axes.set_title(
        "Rate and distortion; grey lines: equal ELBO, down and left is better", fontsize=10, loc="left", color=INK
    )
    axes.tick_params(labelsize=9, colors=GREY)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return save(figure, path)


def drawn_motion(runs: Mapping[str, Run], data: SequenceData, sequences: Sequences, seed: int, path: Path) -> Figure:
    """Held-out clips, and below each, for every candidate, the same appearance with motion drawn from the candidate's prior.

    f is inferred from the clip by the candidate's own guide, and z ~ p(z | f). Mean frames are shown.
    """
    places = torch.linspace(0, len(sequences) - 1, 2 * CLIPS + 1).round().long()[1::2].unique()
    real: Tensor | None = None
    drawn: dict[str, Tensor] = {}
    for name, run in runs.items():
        device = next(run.model.parameters()).device
        clips = sequences.batch(places, run.model.likelihood, device)
        with evaluation(run.model, run.guide, seed, device):
            f, _ = posterior_means(run.guide, *clips)
            z = run.model.dynamic_prior(f, clips.steps).sample()
            drawn[name] = decode(run.model, f, z).cpu()
        real = clips.x.cpu() if real is None else real
    assert real is not None
    lengths = [data.length] * len(places) if data.lengths is None else data.lengths[sequences.rows[places]].tolist()
    rows = []
    for i, length in enumerate(lengths):
        rows.append(Row([Cell(real[i, :length], MOTION)], "real clip", apart=i > 0))
        rows += [Row([Cell(clips[i, :length])], name) for name, clips in drawn.items()]
    title = [("The appearance of a real clip, ", INK), ("its motion drawn from each prior", MOTION)]
    return write_png(Page(rows, title, side=64), path)
