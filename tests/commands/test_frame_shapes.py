"""Images that are neither square nor of three channels, through every command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import evaluate, fit, latents, ppc
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER
from tests.pictures import pictures

N, T = 24, 4
SMALL = ["--static_size=3", "--latent_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4"]
FEW = [
    "--steps=3",
    "--optimisation.evaluations=1",
    "--optimisation.batch_size=4",
    "--device=cpu",
    *SMALL_ENCODER,
]


@pytest.mark.parametrize("shape", [(1, 8, 13), (4, 17, 8)], ids=str)
def test_every_command_takes_rectangular_frames(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bright bar at a height that is a label; the judges, the figures and the checks look at it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
    monkeypatch.setattr("pyro_dsvae.judges.own.STEPS", 4)
    monkeypatch.setattr("pyro_dsvae.metrics.probes.STEPS", 20)
    monkeypatch.setattr("pyro_dsvae.metrics.probes.ITERATIONS", 10)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (N, T, *shape), dtype=np.uint8)
    place, look = np.arange(N) % 2, np.arange(N) // 2 % 2
    frames[np.arange(N), :, :, 2 + 3 * place] += (60 + 60 * look)[:, None, None, None].astype(np.uint8)
    split = np.repeat([0, 1, 2], N // 3)
    np.savez("clips.npz", frames=frames, split=split, labels_place=place, labels_look=look, role_place="dynamic")
    data = ["--data=Arrays", "--data.path=clips.npz"]
    with pictures():
        assert fit.main([*data, *SMALL, *FEW, *SMALL_DECODER, "--out=run"]) == 0
        assert evaluate.main(["run", "--out=scores"]) == 0
        assert ppc.main(["run", "--out=checks", "--sequences=4", "--simulations=50", "--evidence_draws=25"]) == 0
    assert {path.name for path in Path("run/figures").iterdir()} >= {"reconstruction.png", "swap.png", "sample.png"}
    assert latents.main(["swap", "run", "--out=swapped"]) == 0
    run = pyro_dsvae.load("run")
    x = run.sequences().part("test").frames[:2]
    assert run.swap(x, x.flip(0)).shape == (2, T, *shape)
    assert run.forecast(x, horizon=2).mean.shape == (2, 2, *shape)
    assert torch.isfinite(run.encode(x).f).all()
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 3
