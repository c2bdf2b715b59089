"""Sprites on grounds: the same characters before something else, which tells nothing of them and moves as it says."""

import numpy as np
import pytest
import torch

from pyro_dsvae.data import sprites
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.embedded.grounds import CYCLES, DRIFT, Ground, Grounds
from pyro_dsvae.data.embedded.pixel_art import pose
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.models.errors import UsageError

BITS = "621cb28cd86b"  # of the sprites on black before there were grounds


@pytest.fixture(scope="module")
def black() -> SequenceData:
    return Sprites().load()


@pytest.fixture(scope="module")
def covers() -> torch.Tensor:
    """(216, 8, 3, 32, 32): in all channels, how far each pixel is covered in clip "walk front", skin 0; from 0 to 255."""
    frames = [next(sprites._compose(32, pose("walk", f, False), covers=True))[:, 3:] for f in range(8)]
    return torch.from_numpy(np.stack(frames, 1)).expand(-1, -1, 3, -1, -1)


def test_black_is_what_it_was(black: SequenceData) -> None:
    assert black.fingerprint().startswith(BITS)


@pytest.mark.parametrize("ground", ["grey", "colour", "texture"])
def test_characters_stay_and_the_rest_is_the_ground(ground: Ground, black: SequenceData, covers: torch.Tensor) -> None:
    data = Sprites(ground=ground).load()
    assert data.labels.keys() == black.labels.keys()
    assert torch.equal(data.split, black.split)
    walks = slice(0, 216 * 9, 9)  # "walk front" of the characters of skin 0
    clips, plain = data.frames[walks], black.frames[walks]
    assert torch.equal(clips[covers == 255], plain[covers == 255])
    assert not plain[covers == 0].any()
    # Between both, a value is between those of the character and of the ground.
    soft = (covers > 0) & (covers < 255)
    assert (clips[soft].int() >= plain[soft]).all()
    seen = [clips[i][:, :, :, :4][covers[i][:, :, :, :4] == 0].view(8, 3, -1).float() for i in range(216)]
    colours = torch.stack([values.mean((0, 2)) for values in seen])
    spread = torch.stack([values.std((0, 2)) for values in seen])
    if ground == "grey":
        assert (colours == 128).all()
    else:
        assert colours.std(0).min() > 15  # every clip has its own
    assert (spread.amin() > 2) if ground == "texture" else (spread == 0).all()


def test_a_texture_drifts_at_one_speed() -> None:
    """Of a pattern of whole cycles, a shift turns the phase of every Fourier coefficient by frequency times shift."""
    grounds = Grounds.draw("texture", 20)
    rows = np.arange(20)
    first, later = (np.fft.fft2(grounds.at(rows, t, 32).mean(1)) for t in (0, 5))
    frequency = np.fft.fftfreq(32, 1 / 32)
    turn = frequency[:, None] * grounds.drift[:, 1, None, None] + frequency * grounds.drift[:, 0, None, None]
    np.testing.assert_allclose(later, first * np.exp(-2j * np.pi * 5 * turn), atol=0.05 * np.abs(first[:, 1:]).max())
    power = np.abs(first)
    assert power[:, np.abs(frequency) > CYCLES].max() < 0.01 * power.max()
    assert np.abs(grounds.drift).max() <= DRIFT
    assert np.abs(grounds.drift).mean() * 32 * 7 > 5  # pixels in a clip: enough to see


def test_grounds_stay_in_range_and_know_nothing_of_the_action() -> None:
    for kind in ("grey", "colour", "texture"):
        grounds = Grounds.draw(kind, 11664)
        reach = grounds.amplitude.sum(1)
        assert (grounds.base - reach).min() >= 0
        assert (grounds.base + reach).max() <= 255
        for values in (grounds.base, grounds.drift):
            by_action = values.reshape(1296, 9, -1).mean(0)
            error = 5 * values.std(0) / np.sqrt(1296) + 1e-3
            assert (np.abs(by_action - values.mean(0)) <= error).all()


def test_the_right_view_is_before_a_ground_of_its_own() -> None:
    data = Sprites(ground="colour").load()
    corner = data.frames[:, :, :, 0, 0].unflatten(0, (1296, 9))
    assert (corner == corner[:, :, :1]).all()
    assert len(corner[:, :, 0].flatten(0, 1).unique(dim=0)) > 11000


def test_refuses_other_grounds() -> None:
    with pytest.raises(UsageError, match="ground is 'white'; it is one of black, grey, colour, texture"):
        Sprites(ground="white")  # type: ignore[arg-type]
