"""The pictures of predictive checks, each small enough for a telephone; side by side on a page where there is room."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_dsvae.checks.label_discrepancies import is_share
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.figures.arviz import plot_pit, plot_statistics
from pyro_dsvae.figures.run import APPEARANCE, GREY, INK, MOTION, RULE, Sheet, Style, as_arrays, blank, literal, save
from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand, histograms
from pyro_dsvae.inference.calibration.intervals import Calibration
from pyro_dsvae.inference.calibration.ranks import BINS, RankTest
from pyro_dsvae.inference.finding import p_equals
from pyro_dsvae.inference.latent_checks.aggregated_posterior import Aggregate
from pyro_dsvae.inference.latent_checks.checks import NOTHING
from pyro_dsvae.inference.predictive_checks.checks import Check, PredictiveChecks, by_key
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, Level

DATA, NOISY, MEAN = "#57606a", "#c2410c", "#0b6bcb"
COLOURS: Mapping[Level, str] = {"frames": "#8250df", "dynamic": MOTION, "static": APPEARANCE, "population": INK}
NAMES: Mapping[Level, str] = {
    "frames": "new frames",
    "dynamic": "new motion",
    "static": "new appearances",
    "population": "generated",
}
WORST, STATISTICS = 6, 4
# Of the name of a discrepancy.
MOST_LETTERS = 48
# Effects beyond this, in standard deviations, are drawn at the edge.
EDGE = 6.0


@dataclass(frozen=True)
class Shown:
    """A few clips as pictures, ``(n, T, *frame)``.

    Attributes:
        data: As observed.
        rows: Level -> one replication of each, with observation noise.
        means: Level -> the same without.
    """

    data: Tensor
    rows: Mapping[Level, Tensor]
    means: Mapping[Level, Tensor]


def draw(result: PPCResult, shown: Shown, folder: Path) -> None:
    """All figures of the report: PNG files in ``folder``, named after what they show."""
    folder.mkdir(parents=True)
    clips(shown, folder / "clips.png")
    frames = result.checks.frames
    if frames.checks:
        effects(frames, result.means.frames, folder / "effects.png")
    worst, means = worst_checks(frames), by_key(result.means.frames)
    for number, check in enumerate(worst, 1):
        distribution(check, means.get(check.key), folder / f"discrepancy-{number}.png")
    statistics = [c for c in worst if not c.values.realised][:STATISTICS]
    if statistics:
        observed = {_titled(c): c.values.observed[0] for c in statistics}
        plot_statistics(observed, {_titled(c): c.values.replicated for c in statistics}, folder / "statistics.png")
    if result.checks.labels is not None:
        shares = [c for c in result.checks.labels.checks if is_share(c.name) and c.level == "population"]
        if shares:
            labels(shares, folder / "labels.png")
    _draw_calibration(result, folder)
    _draw_latents(result, folder)


def _draw_calibration(result: PPCResult, folder: Path) -> None:
    if result.calibration is not None:
        found = {"frames given their latents": result.calibration.given_latents}
        for ahead in (result.calibration.forecasts[:1], result.calibration.forecasts[1:][-1:]):
            found |= {f"{c.horizon} {'frame' if c.horizon == 1 else 'frames'} ahead": c for c in ahead}
        for number, (title, calibrated) in enumerate(found.items()):
            plot_pit(calibrated.values.one, title, folder / f"pit-{number}.png")
            pit_histogram(calibrated, title, folder / f"pit-histogram-{number}.png")
    seen = result.simulated
    if seen is None:
        return
    for name, test in (("f", seen.static), ("z", seen.dynamic)):
        if len(test.width):
            ranks(test, seen.draws, seen.band, f"q({name})", folder / f"sbc-{name}.png")
    if seen.log_joint is not None:
        ranks(seen.log_joint, seen.joint_draws, seen.band, "log p(x, f, z)", folder / "sbc-joint.png")


def _draw_latents(result: PPCResult, folder: Path) -> None:
    if result.latents is not None:
        found = result.latents
        for name, aggregate in (("f", found.static), ("z-steps", found.steps), ("z-paths", found.paths)):
            if aggregate is not None:
                aggregated(aggregate, folder / f"aggregated-{name}.png")
    if result.use is not None:
        use = result.use
        if len(use.active_static):
            bars("f", use.kl_static_per_dimension, use.active_static, APPEARANCE, folder / "kl-f.png")
        bars("z", use.kl_dynamic_per_dimension, use.active_dynamic, MOTION, folder / "kl-z.png")


def worst_checks(checks: PredictiveChecks, count: int = WORST) -> list[Check]:
    """The most severe check of the mean of each discrepancy; of equally severe ones, that of generated clips."""
    best: dict[str, Check] = {}
    for check in checks.checks:
        if check.statistic == "mean" and check.finding:
            kept = best.get(check.name)
            if kept is None or check.severity > kept.severity:
                best[check.name] = check
    return sorted(best.values(), key=lambda c: -c.severity)[:count]


def _titled(check: Check) -> str:
    return f"{literal(check.name, MOST_LETTERS)}, {NAMES[check.level]}"


# --- pictures ---------------------------------------------------------------------------------------------------------


def clips(shown: Shown, path: Path) -> Figure:
    """Each clip above its replications at every level, without and with observation noise."""
    rows = [("data", as_arrays(shown.data))]
    for level in LEVELS:
        rows.append((NAMES[level], as_arrays(shown.means[level])))
        if level in ("frames", "population"):
            rows.append((f"{NAMES[level]} + noise", as_arrays(shown.rows[level])))
    style = Style(*(values for _, values in rows))
    side, label = style.side(64), 240
    step = side + GAP_OF_ROWS
    count = len(shown.data)
    columns = 2 if count > 1 else 1
    pitch = style.width(side) + 3 * GAP_OF_ROWS
    height = len(rows) * step + 3 * GAP_OF_ROWS
    sheet = Sheet(label + columns * pitch + GAP_OF_ROWS, -(-count // columns) * height + GAP_OF_ROWS)
    for i in range(count):
        x, y = label + i % columns * pitch, GAP_OF_ROWS + i // columns * height
        for name, values in rows:
            if i % columns == 0:
                colour = INK if name == "data" else GREY
                sheet.text(label - GAP_OF_ROWS, y + side // 2, name, 9, colour, ha="right")
            sheet.clip(x, y, values[i], style, side)
            y += step
    return save(sheet.figure, path)


GAP_OF_ROWS = 6


# --- discrepancies ----------------------------------------------------------------------------------------------------


def effects(checks: PredictiveChecks, means: PredictiveChecks, path: Path) -> Figure:
    """Every discrepancy's mean at every level: how far replications are from the data, in standard deviations over clips."""
    names = list(dict.fromkeys(c.name for c in checks.checks))
    figure, axes = _panel(6.4, 0.9 + 0.27 * len(names))
    places = {name: i for i, name in enumerate(reversed(names))}
    for found, filled in ((checks, True), (means, False)):
        for check in found.checks:
            if check.statistic != "mean" or check.name not in places:
                continue
            signed = np.copysign(min(check.severity, EDGE), check.replicated - check.observed)
            colour = COLOURS[check.level]
            height = places[check.name] + 0.22 - 0.15 * LEVELS.index(check.level)
            face = colour if filled else "white"
            axes.plot(signed, height, "o", markersize=4.5, markerfacecolor=face, markeredgecolor=colour)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_xscale("symlog", linthresh=0.5)
    axes.set_xlim(-EDGE * 1.25, EDGE * 1.25)
    ticks = [-6, -2, -0.5, 0, 0.5, 2, 6]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), [literal(name, MOST_LETTERS) for name in reversed(names)])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("replications minus data, standard deviations over clips (6: or more)", fontsize=8, color=GREY)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    for level in LEVELS:
        axes.plot([], [], "o", color=COLOURS[level], markersize=5, label=NAMES[level])
    axes.plot([], [], "o", markerfacecolor="white", markeredgecolor=GREY, markersize=5, label="without noise")
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8, handletextpad=0.1, columnspacing=1)
    return save(figure, path)


def distribution(check: Check, mean: Check | None, path: Path) -> Figure:
    """The discrepancy of every clip: of the data, of replications, and of replications without noise."""
    figure, axes = _panel(3.4, 2.5)
    drawn = [("data", check.values.observed, DATA), ("with noise", check.values.replicated, NOISY)]
    if check.values.realised:
        drawn[1] = ("replications", check.values.replicated, NOISY)
    if mean is not None:
        drawn.append(("decoder means", mean.values.replicated, MEAN))
    values = [v[~v.isnan()].numpy() for _, v, _ in drawn]
    low, high = (f(np.quantile(v, q) for v in values) for f, q in ((min, 0.005), (max, 0.995)))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 37)
    for (name, _, colour), v in zip(drawn, values, strict=True):
        share = np.histogram(v.clip(low, high), edges)[0] / len(v)
        filled = name == "data"
        axes.stairs(share, edges, fill=filled, color=colour, alpha=0.45 if filled else 1, linewidth=1.4, label=name)
    axes.set_yticks([])
    axes.set_title(_titled(check), fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=7.5)
    return save(figure, path)


def labels(shares: list[Check], path: Path) -> Figure:
    """Share of clips in which the judge sees each class: in the data, and in generated clips."""
    figure, axes = _panel(6.4, 0.9 + 0.2 * len(shares))
    shares = sorted(shares, key=lambda c: c.name, reverse=True)
    places = np.arange(len(shares))
    axes.barh(places + 0.2, [c.observed for c in shares], 0.38, color=DATA, alpha=0.5, label="data")
    axes.barh(places - 0.2, [c.replicated for c in shares], 0.38, color=NOISY, label="generated")
    axes.set_yticks(places, [literal(c.name.removeprefix("share seen as "), MOST_LETTERS) for c in shares])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(-0.6, len(shares) - 0.4)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return save(figure, path)


# --- calibration ------------------------------------------------------------------------------------------------------


def pit_histogram(found: Calibration, title: str, path: Path) -> Figure:
    """Share of all values in each twentieth of the predictive distribution, with two standard errors."""
    figure, axes = _panel(3.4, 2.5)
    coverage = found.values
    count = len(coverage.histogram)
    middle = (np.arange(count) + 0.5) / count
    axes.bar(middle, coverage.histogram.numpy(), 0.9 / count, color=MEAN, alpha=0.55)
    error = 2 * coverage.histogram_error.numpy()
    axes.errorbar(middle, coverage.histogram.numpy(), error, fmt="none", color=INK, linewidth=0.9)
    axes.axhline(1 / count, color=GREY, linewidth=1, linestyle="--")
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel("PIT of all values; level: calibrated", fontsize=8.5, color=GREY)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return save(figure, path)


def ranks(test: RankTest, draws: int, band: ECDFBand, title: str, path: Path) -> Figure:
    """ECDF of the ranks less that of the uniform, one line per dimension; of z one step at random of every simulation."""
    rank = test.ranks
    if rank.ndim == 3:
        generator = torch.Generator().manual_seed(0)
        step = (torch.rand(rank.shape[:2], generator=generator) * (rank[..., 0] >= 0)).argmax(1)
        rank = rank[torch.arange(len(rank)), step]
    u = (rank + 0.5) / (draws + 1)
    share = histograms(u, BINS)[..., :-1].cumsum(-1).double() / len(u) - band.points
    figure, axes = _panel(3.4, 2.5)
    points = band.points.numpy()
    low, high = (b - band.points for b in (band.lower, band.upper))
    axes.fill_between(points, low.numpy(), high.numpy(), color="#d0d7de", alpha=0.7, linewidth=0)
    outside = ((share < low - 1e-9) | (share > high + 1e-9)).any(-1)
    for line, off in zip(share.numpy(), outside.tolist(), strict=True):
        axes.plot(points, line, color=NOISY if off else MEAN, linewidth=0.9, alpha=0.8 if len(share) < 20 else 0.45)
    axes.axhline(0, color=GREY, linewidth=0.8)
    some = "" if len(share) == 1 else f": {int(outside.sum())} of {len(share)} outside"
    axes.set_title(title + some, fontsize=10, color=INK)
    axes.set_xlabel("rank of the true value / draws", fontsize=8.5, color=GREY)
    axes.set_ylabel("ECDF - uniform", fontsize=8.5, color=GREY)
    return save(figure, path)


# --- latents ----------------------------------------------------------------------------------------------------------


def aggregated(found: Aggregate, path: Path) -> Figure:
    """Draws for real sequences over draws from the prior, on their two first principal components."""
    figure, axes = _panel(3.4, 2.9)
    for points, colour, name in ((found.prior, "#8c959f", "prior"), (found.posterior, NOISY, "real sequences")):
        axes.plot(*points.T.numpy(), "o", markersize=3, alpha=0.55, color=colour, markeredgewidth=0, label=name)
    axes.set_title(f"{found.what}: MMD, {p_equals(found.p_value)}", fontsize=10, color=INK)
    axes.set_xlabel(f"2 components, {100 * found.explained:.0f} % of the variance", fontsize=8.5, color=GREY)
    axes.set(xticks=[], yticks=[])
    axes.margins(y=0.12)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, markerscale=2)
    return save(figure, path)


def bars(name: str, information: Tensor, active: Tensor, colour: str, path: Path) -> Figure:
    """Information of each dimension about its sequence, the largest first; unused dimensions in grey."""
    figure, axes = _panel(3.4, 2.3)
    order = information.argsort(descending=True)
    used = (active | (information > NOTHING))[order].tolist()
    places = np.arange(len(order))
    axes.bar(places, information[order].numpy(), color=[colour if u else "#b6bec7" for u in used])
    axes.set_title(f"{name}: {sum(used)} of {len(used)} dimensions used", fontsize=10, color=INK)
    axes.set_xlabel(f"dimensions of {name}, sorted", fontsize=8.5, color=GREY)
    axes.set_ylabel("nats per sequence", fontsize=8.5, color=GREY)
    axes.set_xticks([])
    return save(figure, path)


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = blank(width, height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    return figure, axes
