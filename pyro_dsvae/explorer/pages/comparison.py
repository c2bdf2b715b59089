"""A finished comparison: its table and verdicts, its figures, and what each candidate generates."""

import csv
from pathlib import Path

import panel as pn

from pyro_dsvae.comparison.candidates import Candidate
from pyro_dsvae.data.location import existing
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.screens import Screen, shelf
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory

SHOWN = 3


def check_comparison(out: Path) -> None:
    """Raises `UsageError` where ``out`` is no finished comparison."""
    if not (out / "comparison.md").is_file():
        raise UsageError(f"{out} holds no finished comparison (no comparison.md); name the folder that compare printed")


def comparison_page(out: Path, player: Player) -> pn.viewable.Viewable:
    """The report, and clips drawn from every candidate, side by side."""
    figures = sorted((out / "figures").glob("*.png"))
    pictures = [pn.pane.PNG(str(path), alt_text=path.stem.replace("-", " "), width=340) for path in figures]
    drawn = []
    for candidate, run in candidates(out).items():
        opened = load(run)
        screens = [Screen(player, f"{candidate}, draw {i + 1}", channels_of(opened.frame_shape)) for i in range(SHOWN)]
        for screen, clip in zip(screens, opened.sample(SHOWN), strict=True):
            screen.show(clip, "drawn from the model")
        drawn.append(shelf(*screens))
    report = pn.pane.Markdown((out / "comparison.md").read_text(), sizing_mode="stretch_width")
    return pn.Column(report, *drawn, pn.FlexBox(*pictures), sizing_mode="stretch_width")


def channels_of(frame_shape: tuple[int, ...]) -> list[str] | None:
    """Names for the values of vectors; None for images."""
    return None if len(frame_shape) == 3 else [str(i) for i in range(frame_shape[0])]


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
