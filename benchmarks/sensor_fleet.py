"""A fleet of sensors whose truth is known: does `compare` find the family that the readings come from, and do intervals hold?

    python -m benchmarks.sensor_fleet --out runs/fleet             # five fits, their comparison, tables and a picture
    python -m benchmarks.sensor_fleet --out runs/fleet --seeds 3

Each of 240 sensors has a level of its own, and two latents that swing with a period of 12 hours while they forget with a time
constant of 15: a linear stochastic differential equation, so that `LinearGaussian` is the true family. Four channels are linear
in both, with noise of .3. 24 readings at irregular times, two hours apart on average; a fifth of the values is missing.

Fits differ in their dynamic prior only, and fits that are there are not repeated. Then a third of the observed values of each
test sensor is hidden, and imputed by each model. The truth itself stands beside them: the exact Kalman smoother.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.ops.stats import crps_empirical
from torch import Tensor

import pyro_dsvae
from benchmarks.sprites.fits import fitted
from pyro_dsvae.compare import compare
from pyro_dsvae.figures.run import INK, MOTION, blank, plain_axes, save
from pyro_dsvae.inference.estimation import evaluation
from pyro_dsvae.loading import Run

SENSORS, READINGS, CHANNELS, NOISE, STEPS, DRAWS = 240, 24, 4, 0.3, 400, 50
PERIOD, MEMORY = 12.0, 15.0
PRIORS: Mapping[str, list[str]] = {
    "LinearGaussian": [],
    "GaussianProcess": ["--dynamic_prior.kernel", "matern32"],
    "GaussianProcess rbf": ["--dynamic_prior.kernel", "rbf"],
    "RandomWalk": [],
    "IID": [],
}
LEVELS = (0.5, 0.8, 0.9, 0.95)
Array = NDArray[np.float64]


def loadings() -> tuple[Array, Array]:
    """From the level (2,) and from the latents (2,) to the channels."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(CHANNELS, 2)), rng.normal(size=(CHANNELS, 2))


def covariance(times: Array) -> Array:
    """Cov(z_1:T), (T 2, T 2): exp(-|dt| / memory) times a rotation by 2 pi dt / period."""
    ahead = times[:, None] - times
    angle = 2 * np.pi * ahead / PERIOD
    blocks = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    blocks *= np.exp(-np.abs(ahead) / MEMORY)[..., None, None]
    return blocks.transpose(0, 2, 1, 3).reshape(2 * len(times), 2 * len(times))


def simulate() -> Mapping[str, Array]:
    """The arrays of a file for `Arrays`."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.gamma(2, 1, (SENSORS, READINGS)), 1)
    of_level, of_latents = loadings()
    z = np.stack([rng.multivariate_normal(np.zeros(2 * READINGS), covariance(each)) for each in times])
    clean = rng.normal(size=(SENSORS, 1, 2)) @ of_level.T + z.reshape(SENSORS, READINGS, 2) @ of_latents.T
    frames = clean + NOISE * rng.normal(size=clean.shape)
    mask = rng.random(frames.shape) < 0.8
    split = np.repeat([0, 1, 2], [160, 40, 40])
    return {"frames": frames.astype(np.float32), "mask": mask, "times": times, "split": split}


def smoothed(x: Array, seen: Array, times: Array) -> tuple[Array, Array]:
    """Means and standard deviations (T, P) of readings given those that are ``seen``, under the truth."""
    of_level, of_latents = loadings()
    steps = len(times)
    to_x = np.kron(np.eye(steps), of_latents)
    prior = np.kron(np.ones((steps, steps)), of_level @ of_level.T) + to_x @ covariance(times) @ to_x.T
    at = seen.reshape(-1)
    gain = prior[:, at] @ np.linalg.inv(prior[np.ix_(at, at)] + NOISE**2 * np.eye(at.sum()))
    variance = np.diag(prior - gain @ prior[at]) + NOISE**2
    return (gain @ x.reshape(-1)[at]).reshape(x.shape), np.sqrt(variance).reshape(x.shape)


def drawn(run: Run, x: Tensor, seen: Tensor, times: Tensor) -> Tensor:
    """Draws (K, N, T, P) of all readings, with noise."""
    found = run.impute(x, seen, None, times, draws=DRAWS, method="refined")
    with evaluation(run.model, run.guide, 0, run.device):
        return torch.stack([run.model.frames(f, z).sample() for f, z in zip(found.f, found.z, strict=True)])


def scores(samples: Tensor, x: Tensor, asked: Tensor) -> list[float]:
    """Root mean squared error, CRPS, and the share of values in intervals of each level."""
    inside = []
    for level in LEVELS:
        low, high = torch.quantile(samples, torch.tensor([(1 - level) / 2, (1 + level) / 2]), dim=0)
        inside.append(float(((low <= x) & (x <= high))[asked].double().mean()))
    error = (samples.mean(0) - x).square()[asked].mean().sqrt()
    return [float(error), float(crps_empirical(samples, x)[asked].mean()), *inside]


def picture(found: Mapping[str, list[float]], path: Path) -> None:
    """Coverage against level."""
    figure = blank(5, 4)
    axes = figure.subplots()
    levels = [100 * level for level in LEVELS]
    axes.plot([45, 100], [45, 100], color=INK, linewidth=0.8, label="nominal")
    for name, values in found.items():
        bold = {"color": MOTION, "linewidth": 2.2} if name == "LinearGaussian" else {"linewidth": 1.0}
        axes.plot(levels, [100 * share for share in values[2:]], marker="o", markersize=3, label=name, **bold)
    plain_axes(axes)
    axes.set_xlabel("level of the interval, %")
    axes.set_ylabel("hidden values inside, %")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "fleet.npz"
    if not file.exists():
        np.savez(file, **simulate())
    small = ["--config", "series", "--static_size", "2", "--latent_size", "2", "--encoder", "MaskedDense"]
    small += ["--data", "Arrays", "--data.path", str(file), "--steps", str(STEPS), "--device", "cpu"]
    runs = {}
    for name, more in PRIORS.items():
        for seed in range(options.seeds):
            runs[name, seed] = options.out / f"{name.replace(' ', '-')}-{seed}"
            prior = ["--dynamic_prior", name.partition(" ")[0], *more, "--seed", str(seed)]
            fitted(runs[name, seed], [*small, *prior])
    result = compare(
        runs=list(runs.values()), out=options.out / f"comparison-{options.seeds}", split="test", sequences=40, draws=400
    )
    print(result)
    test = pyro_dsvae.load(runs["LinearGaussian", 0]).sequences().part("test")
    assert test.mask is not None
    assert test.times is not None
    hidden = torch.rand(test.frames.shape, generator=torch.Generator().manual_seed(2)) < 1 / 3
    seen, asked = test.mask & ~hidden, test.mask & hidden
    exact = [
        smoothed(x, there, at)
        for x, there, at in zip(test.frames.double().numpy(), seen.numpy(), test.times.numpy(), strict=True)
    ]
    mean, sd = (torch.from_numpy(np.stack(values)).float() for values in zip(*exact, strict=True))
    torch.manual_seed(0)
    found = {"the truth": scores(mean + sd * torch.randn(2000, *mean.shape), test.frames, asked)}
    for name in PRIORS:
        run = pyro_dsvae.load(runs[name, 0])
        found[name] = scores(drawn(run, test.frames, seen, test.times), test.frames, asked)
    print(
        f"\n| | RMSE | CRPS | {' | '.join(f'in {level:.0%}' for level in LEVELS)} |\n|---|{'---|' * (2 + len(LEVELS))}"
    )
    for name, values in found.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    picture(found, options.out / "coverage.png")
    print(f"wrote: {options.out / 'coverage.png'}")


if __name__ == "__main__":
    main()
