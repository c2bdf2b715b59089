"""A finished comparison: its table and verdicts, its figures, and what each candidate generates."""

import csv
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import panel as pn
import torch
from torch import Tensor

from pyro_dsvae.comparison.candidates import Candidate
from pyro_dsvae.data.location import existing
from pyro_dsvae.explorer.curves import Axes
from pyro_dsvae.explorer.library import unnamed
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory

SHOWN = 3
# Its tables are wider than a narrow window, and then move sideways by themselves.
TABLES = ["table { display: block; width: fit-content; max-width: 94vw; overflow-x: auto; border: none; }"]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison, read once.

    Attributes:
        report: Markdown.
        figures: PNGs by their names.
        drawn: From each candidate (n, T, *frame).
        missing: Why there is nothing of the others.
    """

    report: str
    figures: Mapping[str, bytes]
    drawn: Mapping[str, Tensor]
    missing: tuple[str, ...]


def read_comparison(out: Path) -> Comparison:
    """What the folder of a finished comparison holds.

    Raises:
        UsageError: Where it holds none.
    """
    lacking = next((name for name in ("comparison.md", "comparison.csv") if not (out / name).is_file()), None)
    if lacking is not None:
        raise UsageError(f"{out} holds no finished comparison (no {lacking}); name the folder that compare printed")
    drawn, missing = {}, []
    for candidate, run in candidates(out).items():
        try:
            drawn[candidate] = load(run).sample(SHOWN)
        except UsageError as error:
            missing.append(f"nothing is drawn from {candidate}: {error}")
    files = sorted((out / "figures").glob("*.png"))
    figures = {path.stem.replace("-", " ").replace("_", " "): path.read_bytes() for path in files}
    return Comparison((out / "comparison.md").read_text(encoding="utf-8"), figures, drawn, tuple(missing))


def comparison_page(comparison: Comparison, player: Player) -> pn.viewable.Viewable:
    """The report, and clips drawn from every candidate, side by side."""
    axes = axes_of(list(comparison.drawn.values()))
    shelves = []
    for candidate, clips in comparison.drawn.items():
        screens = [Screen(player, f"{candidate}, draw {i + 1}", axes) for i in range(SHOWN)]
        for screen, clip in zip(screens, clips, strict=True):
            screen.show(clip, "drawn from the model")
        shelves.append(shelf(*screens))
    missing = [pn.pane.Alert(html.escape(line), alert_type="warning") for line in comparison.missing]
    pictures = [
        pn.pane.PNG(data, alt_text=name, sizing_mode="scale_width", max_width=640)
        for name, data in comparison.figures.items()
    ]
    report = pn.pane.Markdown(comparison.report, sizing_mode="stretch_width", stylesheets=TABLES)
    drawn = [pn.pane.Markdown("## What each candidate generates"), *missing, *shelves]
    return pn.Column(report, *drawn, *pictures, sizing_mode="stretch_width")


def axes_of(drawn: list[Tensor]) -> Axes | None:
    """What clips (n, T, P) of vectors are drawn against, those of all candidates; None for images."""
    if not drawn or drawn[0].ndim == 5:
        return None
    values = torch.cat([clips.flatten(0, 1) for clips in drawn])
    ranges = tuple(zip(values.amin(0).tolist(), values.amax(0).tolist(), strict=True))
    return Axes(unnamed(len(ranges)), ranges)


def candidates(out: Path) -> dict[str, Path]:
    """Of every candidate one run: those that were compared, or the fits of the first seed below OUT/runs."""
    config = RunDirectory(out).config()
    if config["runs"]:
        folder = None if config["data_folder"] is None else Path(config["data_folder"])
        found: dict[str, Path] = {}
        for run in (existing(Path(run), folder) for run in config["runs"]):
            found.setdefault(run.name.rpartition("-seed")[0] or run.name, run)
        return found
    with (out / "comparison.csv").open(newline="") as file:
        names = [row["candidate"] for row in csv.DictReader(file)]
    return {name: out / "runs" / f"{Candidate(name, {}).folder}-seed{config['seed']}" for name in names}
