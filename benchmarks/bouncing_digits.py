"""Where bouncing digits go after the clips that were learned from, by each dynamic prior of a comparison.

    python -m pyro_dsvae.compare --data MovingDigits --vary dynamic_prior=LSTM,LinearGaussian,RandomWalk,IID,GaussianProcess \
        --steps 350 --seeds 1 --out runs/digits
    python -m benchmarks.bouncing_digits runs/digits

Every test clip is drawn anew with more frames. The first ones are those of the fits, and the frames after them are forecast.
A forecast's place of a digit is the mean, over draws without noise, of its centre of mass in each. Printed is the mean distance
from the true place in pixels, frame by frame, beside the same without a model: the last place, and straight on at the last
step. About half of the digits are reflected by a side of the box on the way; they stand apart, too.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.data.moving_digits import MovingDigits
from pyro_dsvae.loading import Run

BEYOND, DRAWS, AT_ONCE = 5, 50, 20


def places(frames: Tensor) -> Tensor:
    """Centres of mass (…, 2), x and y in pixels from the upper left corner, of frames (…, 1, H, W)."""
    mass = frames.squeeze(-3).clamp(min=0)
    rows, columns = (torch.arange(side) + 0.5 for side in mass.shape[-2:])
    total = mass.sum((-2, -1)).clamp(min=1e-6)
    return torch.stack([(mass.sum(-2) * columns).sum(-1), (mass.sum(-1) * rows).sum(-1)], dim=-1) / total.unsqueeze(-1)


def forecast_places(run: Run, past: Tensor) -> Tensor:
    """The mean over draws of the place of the digit in each of the frames to come, (B, `BEYOND`, 2)."""
    found = [
        places(run.forecast(clips, horizon=BEYOND, draws=DRAWS).means.cpu()).mean(0) for clips in past.split(AT_ONCE)
    ]
    return torch.cat(found)


def row(name: str, error: Tensor, reflected: Tensor) -> str:
    """A row of the table from distances (B, `BEYOND`)."""
    values = [
        *error.mean(0).tolist(),
        error.mean().item(),
        error[~reflected].mean().item(),
        error[reflected].mean().item(),
    ]
    return f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="the folder that compare wrote")
    parser.add_argument("--clips", type=int, default=100, help="how many test clips")
    options = parser.parse_args()
    length = MovingDigits().length
    data = MovingDigits(length=length + BEYOND).load().part("test")
    chosen = slice(options.clips)
    frames, position = data.frames[chosen], data.quantities["position"].values[chosen]
    velocity = data.quantities["velocity"].values[chosen, length - 1 :]
    truth, past = position[:, length:], frames[:, :length]
    reflected = (velocity != velocity[:, :1]).flatten(1).any(1)
    seen = places(past.float())
    step = seen[:, -1:] - seen[:, -2:-1]
    ahead = torch.arange(1, BEYOND + 1).view(1, -1, 1)
    forecasts = {"last place": seen[:, -1:].expand_as(truth), "straight on": seen[:, -1:] + step * ahead}
    for path in sorted(found.parent for found in (options.comparison / "runs").glob("*/summary.json")):  # finished fits
        run = pyro_dsvae.load(path)
        forecasts[path.name] = forecast_places(run, past)
        print(f"{path.name}: {len(past)} clips forecast", flush=True)
    print(f"{len(past)} test clips, {int(reflected.sum())} of them reflected in the {BEYOND} frames; pixels")
    ends = " | ".join(str(i + 1) for i in range(BEYOND))
    print(f"| forecast | {ends} | all | not reflected | reflected |\n|---{'|---' * (BEYOND + 3)}|")
    for name, found in forecasts.items():
        print(row(name, (found - truth).norm(dim=-1), reflected))


if __name__ == "__main__":
    main()
