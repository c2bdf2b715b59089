"""A fit of data with gaps does not depend on what stands in the gaps, to the last bit."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_dsvae.data import SequenceData
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.decoders import Textures
from pyro_dsvae.models.dynamic_priors import IID
from pyro_dsvae.models.static_priors import VampPrior
from tests.encoded import small_encoder

N, T = 12, 4


def data(frame_shape: tuple[int, ...], junk: float) -> SequenceData:
    """Noise with gaps in half of the values and clips of 2 to 4 steps; what does not exist or was not observed is ``junk``."""
    random = torch.Generator().manual_seed(0)
    frames = torch.rand(N, T, *frame_shape, generator=random)
    mask = torch.rand(frames.shape, generator=random) < 0.5
    lengths = torch.arange(N) % 3 + 2
    there = mask & (torch.arange(T) < lengths[:, None]).view(N, T, *[1] * len(frame_shape))
    frames = torch.where(there, frames, junk)
    stored = (255 * frames).round().byte() if junk <= 1 else frames
    return SequenceData(stored, (torch.arange(N) % 3).byte(), lengths, mask)


def fitted(given: SequenceData, out: Path, **options: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that a fit learned, and what it says of it."""
    result = fit(
        data=given,
        out=out,
        steps=2,
        static_size=3,
        latent_size=2,
        posterior=partial(LSTM, hidden_size=4, feature_size=4),
        encoder=small_encoder,
        device="cpu",
        optimisation=Optimisation(batch_size=3, evaluations=2),
        **options,
    )
    weights = torch.load(out / "checkpoint.pt", weights_only=True)["objective"]
    return weights, {name: value for name, value in result.summary.items() if "second" not in name and name != "data"}


@pytest.mark.parametrize(
    ("frame_shape", "junk", "options"),
    [
        ((3,), (2.0, 1e6), {}),
        ((3,), (2.0, 1e6), {"static_prior": VampPrior, "dynamic_prior": IID}),
        ((3, 8, 8), (2.0, 1e6), {"decoder": partial(Textures, width=2)}),
        ((3, 8, 8), (0.0, 1.0), {"decoder": partial(Textures, width=2)}),
    ],
    ids=["vectors", "pseudo-inputs", "images", "bytes"],
)
def test_what_stands_in_gaps_changes_no_bit(
    frame_shape: tuple[int, ...], junk: tuple[float, float], options: dict[str, Any], tmp_path: Path
) -> None:
    (weights, said), (others, other_said) = (
        fitted(data(frame_shape, value), tmp_path / str(value), **options) for value in junk
    )
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    assert said == other_said
