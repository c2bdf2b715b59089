"""Every two of decoder, likelihood, posterior and static size together, on small images: a step of learning, and new frames."""

import functools
from typing import Any

import pyro
import pytest
import torch

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from tests.models.test_decoders import SMALL
from tests.pairs import pairwise

B, T, F, D = 2, 3, 2, 2
# `Product` takes vectors.
FAMILIES = [name for name in PARTS["likelihood"] if name != "Product"]
CASES = pairwise(list(PARTS["decoder"]), FAMILIES, list(PARTS["posterior"]), [F, 0])


def objective(decoder: str, likelihood: str, posterior: str, shape: tuple[int, ...], static_size: int = F) -> Objective:
    guide = functools.partial(PARTS["posterior"][posterior], hidden_size=4, feature_size=4)
    network = functools.partial(PARTS["decoder"][decoder], **SMALL.get(decoder, {"width": 2}))
    prior = functools.partial(PARTS["dynamic_prior"]["LSTM"], hidden_size=4)
    frames = torch.zeros(1, T, *shape, dtype=torch.uint8)
    static = PARTS["static_prior"]["StandardNormal"]
    family: Any = PARTS["likelihood"][likelihood]
    if likelihood == "Normal":  # two numbers for each value
        family = functools.partial(family, scale_kind="predicted")
    return build(frames, 0, static_size, D, static, prior, guide, family, network)


@pytest.mark.parametrize(("decoder", "likelihood", "posterior", "static_size"), CASES)
def test_a_step_of_learning_and_new_frames(decoder: str, likelihood: str, posterior: str, static_size: int) -> None:
    pyro.set_rng_seed(0)
    made = objective(decoder, likelihood, posterior, (1, 8, 11), static_size)
    family = made.model.likelihood
    frames = torch.randint(0, 2 if likelihood == "Categorical" else 256, (B, T, 1, 8, 11), dtype=torch.uint8)
    out = made(Batch(family.to_model_units(frames), lengths=torch.tensor([T, 2])), KLWeights())
    out["loss"].backward()
    weights = dict(made.model.decoder.named_parameters())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in weights.values())
    assert sum(float(p.grad.abs().sum()) for p in weights.values() if p.grad is not None) > 0
    with torch.no_grad():
        drawn = made.model(shape=(2, T))
    assert drawn.shape == (2, T, 1, 8, 11)
    family.check(drawn)
