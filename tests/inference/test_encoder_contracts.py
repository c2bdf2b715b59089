"""Every two of encoder, posterior and views together, and of encoder, decoder and shape for one and two numbers per value."""

import functools

import pyro
import pytest
import torch

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.views import Jitter
from pyro_dsvae.inference.posteriors.views.choice import BY_NAME
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.models.likelihoods import Normal
from tests.models import test_decoders, test_encoders
from tests.pairs import pairwise

B, T, D = 2, 3, 2
SHAPES = [(1, 8, 256), (4, 256, 8), (1, 13, 10), (4, 64, 47)]
# Encoders that read gaps take vectors (`tests/inference/posteriors/test_gaps.py`), and so does that of spectra.
READERS = [name for name in PARTS["encoder"] if not PARTS["encoder"][name].reads_gaps and name != "Spectral"]
VIEWS = [name for name, views in BY_NAME.items() if "images" in views().takes]


def objective(
    encoder: str, decoder: str, posterior: str, shape: tuple[int, ...], static_size: int, views: str, scale: str
) -> Objective:
    guide = functools.partial(PARTS["posterior"][posterior], hidden_size=4, feature_size=4, views=views)
    reader = functools.partial(PARTS["encoder"][encoder], **test_encoders.SMALL.get(encoder, {"width": 2}))
    writer = functools.partial(PARTS["decoder"][decoder], **test_decoders.SMALL.get(decoder, {"width": 2}))
    prior = functools.partial(PARTS["dynamic_prior"]["LSTM"], hidden_size=4)
    family = functools.partial(Normal, scale_kind=scale)
    start = PARTS["static_prior"]["StandardNormal"]
    return build(torch.zeros(1, T, *shape), 0, static_size, D, start, prior, guide, family, writer, encoder=reader)


def step(made: Objective, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """The gradients of the frame encoders after a step."""
    pyro.set_rng_seed(0)
    out = made(Batch(torch.rand(B, T, *shape), lengths=torch.tensor([T, 2])), KLWeights())
    out["loss"].backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in made.parameters())
    # `Jitter` reads frames of f one by one; the encoder of the same name in `Recolour` is its own.
    alone = "static_encoder.encoder." if isinstance(made.guide.views, Jitter) else ".frames.encoder."
    return {
        n: p.grad
        for n, p in made.guide.named_parameters()
        if (".frames.encoder." in n or alone in n) and p.grad is not None
    }


@pytest.mark.parametrize(("encoder", "posterior", "views"), pairwise(READERS, list(PARTS["posterior"]), VIEWS))
def test_a_step_of_learning_reaches_the_encoder_of_z_and_where_f_sees_whole_frames_that_of_f(
    encoder: str, posterior: str, views: str
) -> None:
    made = objective(encoder, "Regions", posterior, (1, 8, 11), 2, views, "global")
    gradients = step(made, (1, 8, 11))
    sizes = {
        half: sum(float(g.abs().sum()) for n, g in gradients.items() if half in n) for half in ("static", "dynamic")
    }
    assert sizes["dynamic"] > 0
    assert (sizes["static"] > 0) == (views != "recolour")
    assert type(made.guide.dynamic_encoder.frames.encoder) is PARTS["encoder"][encoder]


@pytest.mark.parametrize(("encoder", "decoder", "shape"), pairwise(READERS, list(PARTS["decoder"]), SHAPES))
def test_every_encoder_and_decoder_take_frames_of_any_shape(encoder: str, decoder: str, shape: tuple[int, ...]) -> None:
    """With two numbers per value and f, and with one and without f."""
    for static_size, scale, numbers in ((2, "predicted", 2), (0, "global", 1)):
        made = objective(encoder, decoder, "LSTM", shape, static_size, "none", scale)
        with torch.no_grad():
            f, z = made.guide(torch.rand(1, 2, *shape))
            frames = made.model.frames(f, z).mean
        assert (f.shape, z.shape, frames.shape) == ((1, static_size), (1, 2, D), (1, 2, *shape))
        assert torch.isfinite(frames).all()
        assert made.model.decoder.frame_shape == (shape[0] * numbers, *shape[1:])
