r"""The two pictures of the idea, static part changed and dynamic part changed, from decoded frames alone.

  python -m benchmarks.sprites.swap_picture RUN --out docs/latents/sprites-art.png --seed 0

Random, unpicked test clips: one source, three whose f replaces its own, three whose z does. Where the data are not this
project's to copy, no true frame is shown: source and donors are the model's reconstructions, too.
"""

import argparse
from pathlib import Path

import torch

import pyro_dsvae
from pyro_dsvae.figures import run as figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run = pyro_dsvae.load(options.run)
    data = run.sequences()
    rows = data.rows("test")
    chosen = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed))[:7]]
    codes = run.encode(data.frames[chosen])
    shown = run.decode(codes.f, codes.z)
    looks = run.decode(codes.f[1:4], codes.z[:1].expand(3, -1, -1))
    motions = run.decode(codes.f[:1].expand(3, -1), codes.z[4:])
    figures.swap(shown[0], shown[1:4], looks, shown[4:], motions, options.out)


if __name__ == "__main__":
    main()
