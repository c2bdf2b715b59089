r"""The Sprites benchmark: from the art to the table.

  python -m benchmarks.sprites --root DIR --out runs/sprites --device cuda              64 pixels, held-out training characters
  python -m benchmarks.sprites --root DIR --out runs/sprites --device cuda --final      the same on test characters: the page
  python -m benchmarks.sprites --root DIR --out runs/small --reduced --minutes 60       32 pixels on a CPU
  python -m benchmarks.sprites --root DIR --out runs/sprites --only default,iid         some rows
  python -m benchmarks.sprites --root DIR --out runs/sprites --reduced --final --page   the page anew, from the records alone

The row present is the package's default now, of 900 steps. The others have what was the default before, fitted alike:
default; standard-normal; no-views; factorised; iid; no-static; contrastive; no-views-paper; contrastive-paper. They are
measured under the guide itself. Rows that end in -anchored measure the same fits by anchored inference: default-anchored;
standard-normal-anchored; factorised-anchored; iid-anchored.
Without --final every figure is of characters held out from training, for development, and sprites.md and sprites.json are
written into --out. With --final test characters are evaluated, once per run, and sprites.md, sprites.json and
sprites-swaps.png go to --results. Options after -- go to every fit.

A run that was cut off goes on where it was. What is in sprites.json is not made again, there or on another machine; the
page is written anew after every run, so it may grow over days.
"""

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

import pyro_dsvae
from benchmarks.sprites.fits import fitted
from benchmarks.sprites.page import page
from benchmarks.sprites.records import FIT, PATHS, Record, Records, commit
from benchmarks.sprites.rows import FITS, PAPER_SCALE, PRESENT, ROWS, fit_of, is_anchored
from pyro_dsvae.data.lpc_sprites import CREDITS
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.inference.training.hardware import device_for
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.metrics import figures as evaluation_figures

STEPS = {32: 4_700, 64: 20_000}
PRESENT_STEPS = 900
PICTURE = "sprites-swaps.png"
DRAWS = 3  # from the prior for every clip, where one latent is kept and the other drawn


@dataclass(frozen=True)
class Plan:
    """What is run: see the command's options."""

    root: Path
    out: Path
    size: int = 64
    device: str = "auto"
    seeds: int = 3
    steps: int | None = None
    minutes: float | None = None
    rows: tuple[str, ...] = tuple(ROWS)
    split: str = "validation"
    judge: str = "own"
    extra: tuple[str, ...] = ()

    def budget(self, row: str) -> list[str]:
        """The options that end a fit."""
        usual = PRESENT_STEPS if row == PRESENT else STEPS[self.size]
        steps = usual if self.steps is None and self.minutes is None else self.steps
        given = {"--steps": steps, "--minutes": self.minutes}
        return [text for name, value in given.items() if value is not None for text in (name, str(value))]

    def options(self, row: str, seed: int) -> list[str]:
        """The options of one fit, without --out."""
        data = ["--data", "LPCSprites", "--data.root", str(self.root), "--data.size", str(self.size)]
        # exp(-error) is N(0, 1/2); of fewer pixels each has to count for more, or the other terms would outweigh the frames.
        scale = f"{math.sqrt(0.5) * self.size / 64:.8f}"
        own = [scale if word == PAPER_SCALE else word for word in FITS[fit_of(row)][1]]
        return ["--seed", str(seed), *data, *self.budget(row), *self.extra, *own]

    def folder(self, row: str, seed: int) -> Path:
        """The run directory; that of a fit which is measured in two ways is the same."""
        return self.out / f"{fit_of(row)}-{seed}"

    def commands(self, row: str, seed: int) -> tuple[str, str]:
        """What makes one run and evaluates it, whatever the machine: its directory as RUN, the folder of the sheets as DIR."""
        options = self.options(row, seed)
        options[options.index("--data.root") + 1] = "DIR"
        measured = f"--split {self.split} --judge {self.judge} --draws {DRAWS}"
        return (
            f"python -m pyro_dsvae.fit --out RUN {shlex.join(options)}",
            f"python -m pyro_dsvae.evaluate RUN {measured}{' --anchored true' if is_anchored(row) else ''}",
        )


def check_same(plan: Plan) -> None:
    """Stops where a run that is there was made with other options: rows would not be fitted alike.

    What every run is made with is written into --out before the first of them begins.
    """
    file = plan.out / "fits.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    for row in plan.rows:
        for seed in range(plan.seeds):
            folder, fit = plan.folder(row, seed), plan.commands(row, seed)[0]
            if (folder / "config.yaml").exists() and before.get(folder.name, fit) != fit:
                sys.exit(
                    f"{folder} was made with {before[folder.name]}, not {fit}: take another --out, or those options"
                )
            before[folder.name] = fit
    plan.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(before, indent=2) + "\n")


def evaluated(folder: Path, plan: Plan, anchored: bool, evaluation: Callable[..., object] = evaluate) -> dict[str, Any]:
    """evaluation.json of a finished run, made if it is not there."""
    out = folder / f"evaluation-{plan.split}-{plan.judge}{'-anchored' if anchored else ''}"
    if not (out / "evaluation.json").exists():
        evaluation(folder, out, split=plan.split, judge=plan.judge, draws=DRAWS, device=plan.device, anchored=anchored)
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return found


def collect(
    plan: Plan,
    records: Records,
    fit: Callable[[Path, Sequence[str]], dict[str, Any]] = fitted,
    evaluation: Callable[..., object] = evaluate,
) -> Iterator[tuple[str, Path]]:
    """Make and measure what the records lack, and yield row and run directory once it is recorded.

    Seed by seed, so that what there is after some hours is a whole table.
    """
    check_same(plan)
    for run in records.all():
        if run.commands != (ours := plan.commands(run.row, run.seed)):
            sys.exit(
                f"{records.file} holds row {run.row}, seed {run.seed}, made with {'; '.join(run.commands)}; not with "
                f"{'; '.join(ours)}: one page has one setting, so take another --results, or those options"
            )
    made = {(run.row, run.seed) for run in records.all()}
    missing = [(row, seed) for seed in range(plan.seeds) for row in plan.rows if (row, seed) not in made]
    for row, seed in missing:
        folder = plan.folder(row, seed)
        print(f"{ROWS[row]}, seed {seed}: {folder}", flush=True)
        code = commit()
        summary = fit(folder, [*plan.options(row, seed), "--device", plan.device])
        found = evaluated(folder, plan, is_anchored(row), evaluation)
        fit_said = {key: summary[key] for key in FIT}
        evaluation_said = {key: value for key, value in found.items() if key not in PATHS}
        records.add(Record(row, seed, plan.commands(row, seed), code, fit_said, evaluation_said))
        yield row, folder


@torch.no_grad()
def draw_swaps(run: Path, split: str, path: Path, device: str, seed: int = 0) -> None:
    """Random pairs of clips, decoded: the two, and f of the first with z of the second. No frame of the art is in it."""
    opened = pyro_dsvae.load(run, device=str(device_for(device)))
    data = opened.sequences().part(split)
    looks = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: evaluation_figures.PAIRS]
    codes = [opened.encode(data.frames[rows]) for rows in (looks, partners(len(data), seed)[looks])]
    own = [opened.decode(code.f, code.z).cpu() for code in codes]
    evaluation_figures.swaps(*own, opened.decode(codes[0].f, codes[1].z).cpu(), path)
    credit(path)


def credit(path: Path) -> None:
    """Add the art's credits below a picture."""
    picture = Image.open(path).convert("RGB")
    font = ImageFont.truetype(
        findfont("DejaVu Sans"), 13
    )  # the one of the figures, which has all the letters of the names
    lines, words = [""], CREDITS.split()
    for word in words:
        if font.getlength(f"{lines[-1]} {word}") > picture.width - 40:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    whole = Image.new("RGB", (picture.width, picture.height + 18 * len(lines) + 12), "white")
    whole.paste(picture)
    ImageDraw.Draw(whole).multiline_text((20, picture.height), "\n".join(lines), (90, 90, 90), font)
    whole.save(path)


def planned(arguments: Sequence[str]) -> tuple[Plan, argparse.Namespace]:
    """The plan that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of the sprite sheets")
    parser.add_argument("--out", type=Path, required=True, help="the folder of all runs")
    parser.add_argument("--reduced", action="store_true", help="32 pixels, on the CPU unless --device says otherwise")
    parser.add_argument("--device", type=str)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--steps",
        type=int,
        help=f"of every fit; {STEPS[64]:,} and reduced {STEPS[32]:,} where neither is given, {PRESENT_STEPS} of row {PRESENT}",
    )
    parser.add_argument("--minutes", type=float, help="of every fit")
    parser.add_argument("--only", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--judge", choices=["own", "literature"], default="own")
    parser.add_argument("--final", action="store_true", help="evaluate test characters and write the page")
    parser.add_argument("--page", action="store_true", help="write the page from the records; fit and measure nothing")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, extra = parser.parse_args(arguments[:end]), tuple(arguments[end + 1 :])
    rows = tuple(options.only.split(","))
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"--only: no row {unknown[0]!r}; rows are {', '.join(ROWS)}")
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; it is at least 1")
    device = options.device or ("cpu" if options.reduced else "auto")
    size, split = 32 if options.reduced else 64, "test" if options.final else "validation"
    plan = Plan(
        options.root,
        options.out,
        size,
        device,
        options.seeds,
        options.steps,
        options.minutes,
        rows,
        split,
        options.judge,
        extra,
    )
    return plan, options


def write_page(plan: Plan, records: Records, final: bool) -> Path:
    """sprites.md beside the records; swaps are shown where there is a picture of them."""
    target = records.file.parent
    words = ["--root", "DIR", "--out", "runs/sprites"]
    words += ["--reduced"] if plan.size == 32 else ["--device", "cuda"]
    for name in ("seeds", "steps", "minutes", "judge"):
        if (value := getattr(plan, name)) != getattr(Plan, name):
            words += [f"--{name}", str(value)]
    words += ["--final"] if final else []
    words += ["--", *plan.extra] if plan.extra else []
    setting = {"command": f"python -m benchmarks.sprites {shlex.join(words)}", "split": plan.split, "size": plan.size}
    picture = PICTURE if (target / PICTURE).exists() else None
    (target / "sprites.md").write_text(page(records.all(), {**setting, "judge": plan.judge}, picture))
    return target / "sprites.md"


def main(arguments: Sequence[str]) -> None:
    """The command."""
    plan, options = planned(arguments)
    target = options.results if options.final else plan.out
    records = Records(target / "sprites.json")
    try:
        for row, run in () if options.page else collect(plan, records):
            if options.final and row == PRESENT and run == plan.folder(row, 0):
                draw_swaps(run, plan.split, target / PICTURE, plan.device)
            write_page(plan, records, options.final)
    except CalledProcessError as error:
        sys.exit(f"a fit ended with status {error.returncode}; the same command goes on from there")
    written = write_page(plan, records, options.final)
    print(written.read_text())
    print(f"wrote: {written}")
