"""Decoding begins at the typical colour of what is behind figures."""

from functools import partial

import pytest
import torch

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors import LSTM
from pyro_dsvae.models.decoders import FrameDecoder, Joined, Regions
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

GROUND = (51, 128, 204)


def frames(ground: tuple[int, int, int] = GROUND) -> torch.Tensor:
    """Four clips of noise, two fifths of a frame, on one colour: (4, 2, 3, 10, 10) uint8."""
    clips = torch.randint(0, 256, (4, 2, 3, 10, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clips[..., 4:, :] = torch.tensor(ground, dtype=torch.uint8).view(3, 1, 1)
    return clips


def decoder(
    examples: torch.Tensor | Batch, likelihood: type[Likelihood] = Normal, kind: type[FrameDecoder] = Regions
) -> FrameDecoder:
    posterior = partial(LSTM, hidden_size=4, feature_size=4, views="none")
    objective = build(
        examples, 0, 2, 2, StandardNormal, IID, posterior, likelihood, partial(kind, width=4), None, None, None
    )
    return objective.model.decoder


@pytest.mark.parametrize("kind", [Regions, Joined])
def test_a_new_decoder_gives_the_ground_beside_what_its_network_says(kind: type[FrameDecoder]) -> None:
    made = decoder(frames(), kind=kind)
    f, z = torch.zeros(5, 2), torch.zeros(5, 3, 2)
    expected = made.decode(f, z) + torch.tensor(GROUND).view(3, 1, 1) / 255
    torch.testing.assert_close(made(f, z), expected)


def test_on_black_and_where_numbers_are_no_colours_it_is_zero() -> None:
    for made in (decoder(frames((0, 0, 0))), decoder(frames() // 255, Bernoulli)):
        assert made.origin is not None
        assert not made.origin.any()


def test_missing_values_do_not_count() -> None:
    examples = frames().float() / 255
    examples[0] = torch.nan
    torch.testing.assert_close(decoder(examples).origin, torch.tensor(GROUND).view(3, 1, 1) / 255)


def test_masked_bytes_do_not_count() -> None:
    """Bytes have no NaN: without their mask, a ground that is mostly hidden would begin as black."""
    examples = frames()
    mask = torch.rand(examples.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    made = decoder(Batch(examples.masked_fill(~mask, 0), mask))
    torch.testing.assert_close(made.origin, torch.tensor(GROUND).view(3, 1, 1) / 255)


def test_a_decoder_of_before_begins_at_zero() -> None:
    made = decoder(frames())
    state = {name: value for name, value in made.state_dict().items() if name != "origin"}
    made.load_state_dict(state)
    assert made.origin is not None
    assert not made.origin.any()
