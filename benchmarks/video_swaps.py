r"""Swaps of moving pictures, judged: cartoon faces that were never seen, and a folder of mp4 files with damaged ones in it.

  python -m benchmarks.video_swaps faces --out runs/faces                       # CartoonFaces, 64 pixels, seeds 0, 1, 2
  python -m benchmarks.video_swaps faces --out runs/faces --size 32 --seeds 0 -- --steps 1500
  python -m benchmarks.video_swaps sprites --out runs/clips --seeds 0           # sprites before textures that drift, as mp4

Options after -- go to every fit. Fits that are there already are not repeated, and one that was cut off goes on. Every run is
evaluated on its test split: `swaps.png` in RUN/evaluation has its pictures. Printed is, for each label and in the mean over
seeds, the share of swaps in which the judge sees what it should: f replaced (a dynamic label is kept, a static one is taken
over) and z replaced (the reverse); the controls chance and reconstruction; the judge on true clips; and what the better of two
probes tells of draws of f and of z.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import av
import numpy as np
from torch import Tensor

import pyro_dsvae
from benchmarks.sprites.fits import fitted
from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.evaluate import evaluate

TARGETS = {
    "faces": (0.95, 0.95),
    "sprites": (0.95, 0.90),
}  # of the dynamic labels named first, and of the mean of static ones
ENLARGED, RATE = 3, 12
COLUMNS = ("f replaced", "z replaced", "chance", "reconstructed", "judge", "probe of f", "probe of z", "most frequent")


def write_clip(path: Path, frames: Tensor) -> None:
    """An mp4 (H.264, every frame by itself) of a clip (T, 3, H, W) uint8, each pixel as a square of ENLARGED."""
    pixels = np.repeat(np.repeat(frames.permute(0, 2, 3, 1).numpy(), ENLARGED, 1), ENLARGED, 2)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "16", "g": "1", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
        for each in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(each), "rgb24")))
        container.mux(stream.encode())


def write_folder(folder: Path, size: int, clips: int) -> None:
    """Clips of `Sprites` on textures, a table of their labels, two files that are cut short, and one that is no video."""
    data = Sprites(size=size, ground="texture").load()
    order = np.random.RandomState(0).permutation(len(data))[:clips]
    folder.mkdir(parents=True)
    rows = []
    for i in order.tolist():
        write_clip(folder / f"{i:05}.mp4", data.frames[i])
        split = SPLITS[int(data.split[i])]
        rows.append([f"{i:05}.mp4", split, *(label.classes[int(label.values[i])] for label in data.labels.values())])
    whole = (folder / rows[0][0]).read_bytes()
    for name, size_kept in (("cut-a.mp4", len(whole) // 2), ("cut-b.mp4", len(whole) // 5)):
        (folder / name).write_bytes(whole[:size_kept])
    (folder / "text.mp4").write_text("This is no video.\n")
    rows += [[name, "train", *rows[0][2:]] for name in ("cut-a.mp4", "cut-b.mp4", "text.mp4")]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", *data.labels])
        writer.writerows(rows)


def options_of(show: str, out: Path, size: int, clips: int) -> list[str]:
    """The options of `fit` that name the data; files that these need are written."""
    if show == "faces":
        return ["--data", "CartoonFaces", "--data.size", str(size)]
    folder = out / "clips"
    if not folder.exists():
        write_folder(folder, size, clips)
    named = {"path": folder, "labels": folder / "labels.csv", "window": 8, "height": size}
    return [
        "--data",
        "VideoFolder",
        *(part for name, value in named.items() for part in (f"--data.{name}", str(value))),
    ]


def shares(found: Mapping[str, Any], label: str) -> list[float]:
    """The row of a label: one number for each of `COLUMNS`."""
    swaps = found["judged"]["swaps"]
    columns = [swaps[name][label] for name in ("f_replaced", "z_replaced", "chance", "reconstructed")]
    probes = [found["probes"]["draws"][latent][label] for latent in ("f", "z")]
    best = [max(each["linear"], each["nonlinear"]) for each in probes]
    return [*columns, found["accuracy"][label], *best, probes[0]["chance"]]


def page(show: str, evaluations: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> str:
    """The table of the means over seeds, and whether the targets are reached."""
    rows = {
        label: [mean(each) for each in zip(*(shares(e, label) for e in evaluations), strict=True)] for label in roles
    }
    lines = [f"| label | role | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    lines += [f"| {name} | {roles[name]} | {' | '.join(f'{v:.1%}' for v in row)} |" for name, row in rows.items()]
    moving = next(row for name, row in rows.items() if roles[name] == "dynamic")
    staying = [row for name, row in rows.items() if roles[name] == "static"]
    for i, column in enumerate(COLUMNS[:2]):
        for what, value, target in (
            ("the first dynamic label", moving[i], TARGETS[show][0]),
            ("static labels in the mean", mean(row[i] for row in staying), TARGETS[show][1]),
        ):
            lines.append(
                f"{column}: {what} {value:.1%}, target {target:.0%}: {'reached' if value >= target else 'missed'}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("show", choices=list(TARGETS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, help="pixels of a side: 64 for faces, 32 for sprites unless given")
    parser.add_argument("--clips", type=int, default=3_000, help="mp4 files, at least 200")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"]
    size = arguments.size or {"faces": 64, "sprites": 32}[arguments.show]
    data = options_of(arguments.show, arguments.out, size, arguments.clips)
    evaluations, roles = [], {}
    for seed in arguments.seeds:
        run = arguments.out / f"seed-{seed}"
        summary = fitted(run, [*data, "--seed", str(seed), *options])
        if not (run / "evaluation" / "evaluation.json").exists():
            evaluate(run)
        evaluations.append(json.loads((run / "evaluation" / "evaluation.json").read_text()))
        roles = roles or roles_of(run)
        print(f"seed {seed}: {summary['steps']:,} steps, {summary['seconds']:,.0f} s, {summary['device']}")
    print(page(arguments.show, evaluations, roles))


def roles_of(run: Path) -> dict[str, str]:
    """Label -> static or dynamic."""
    return {name: label.role for name, label in pyro_dsvae.load(run).sequences().labels.items()}


if __name__ == "__main__":
    main()
