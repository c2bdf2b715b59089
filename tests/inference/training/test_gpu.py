"""A fit on a GPU: precision, and that no step waits for what the GPU computes.

python -m pytest -m gpu
"""

from typing import Any

import pytest
import torch

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.flow import Flow
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def loop(frame: tuple[int, ...] = (3, 32, 32), **hardware: Any) -> SVI:
    """The default parts on 16 clips, after one step: the first has checks of its own."""
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (16, 8, *frame), dtype=torch.uint8)
    made = build(frames[:1], 0, 16, 4, AutoregressiveMixture, Flow, LSTMPosterior, Normal)
    rows = Sequences(frames, None, None, torch.arange(16))
    svi = SVI(made, rows, rows, Optimisation(batch_size=8), Budget(100), hardware=Hardware("cuda", **hardware))
    svi._step(0.25)
    return svi


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("kept", ["device", "host"])
@pytest.mark.parametrize("progress", [0.25, 0.9], ids=["views", "recombined, both priors"])
def test_no_step_waits_for_the_gpu(precision: str, kept: str, progress: float) -> None:
    svi = loop(precision=precision, data=kept)
    svi._step(progress)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = [svi._step(progress) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(values).all() for values in terms)


def test_half_precision_stays_near_single() -> None:
    """Twenty steps of each from the same weights: the networks' rounding is a small share of the terms."""
    found = {}
    for precision in ("32", "bf16"):
        svi = loop(precision=precision)
        values = [svi._step(0.25) for _ in range(19)][-1].cpu()
        assert torch.isfinite(values).all()
        assert all(p.dtype == torch.float32 for p in svi.objective.parameters())
        found[precision] = values[1]
    torch.testing.assert_close(found["bf16"], found["32"], rtol=0.1, atol=0.0)


def test_frames_stay_on_the_gpu_where_they_fit() -> None:
    assert loop().train.frames.is_cuda
    assert not loop(data="host").train.frames.is_cuda
