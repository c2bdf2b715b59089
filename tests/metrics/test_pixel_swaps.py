"""What swaps do to pixels, on clips whose appearance and motion are known."""

import math

import pytest
import torch
from torch import Tensor

from pyro_dsvae.metrics.pixel_swaps import _shares, distances, motion_field

T, SIDE = 8, 32
B = 12


def moving(step: Tensor, phase: float = 0.0) -> Tensor:
    """(T, 1, SIDE, SIDE): smooth texture that moves by ``step`` (x, y) pixels a frame."""
    t, y, x = torch.meshgrid(torch.arange(T), torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x, y = x - step[0] * t, y - step[1] * t
    return (torch.sin(0.5 * x + phase) + torch.cos(0.4 * y - 0.3 * x)).unsqueeze(1).double()


@pytest.mark.parametrize("step", [(0.5, 0.25), (-0.7, 0.0), (0.0, 0.4)])
def test_the_motion_field_is_the_displacement(step: tuple[float, float]) -> None:
    found = motion_field(moving(torch.tensor(step))[None])[0, ..., 6:-6, 6:-6].mean((0, 2, 3))
    assert torch.allclose(found, torch.tensor(step).double(), atol=0.1 * math.hypot(*step))


def test_the_motion_field_does_not_change_with_contrast_and_colour() -> None:
    clip = moving(torch.tensor([0.5, 0.25]))[None]
    assert torch.allclose(motion_field(3 - 0.2 * clip), motion_field(clip), atol=1e-9)
    red = torch.cat([clip, 0 * clip, 0 * clip], dim=2)
    assert torch.allclose(motion_field(red), motion_field(clip), atol=1e-9)
    assert (motion_field(torch.ones(1, T, 3, 8, 8)) == 0).all()


def clips(appearance: Tensor, motion: Tensor) -> Tensor:
    """(B, T, 3, SIDE, SIDE): grounds of a colour each, before which a disc goes its way."""
    t = torch.arange(T).view(1, T, 1, 1)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    place = 16 + motion[..., None, None] * (t.unsqueeze(2) - 3.5)
    disc = torch.sigmoid(5 - ((x - place[:, :, 0]).square() + (y - place[:, :, 1]).square()).sqrt()).unsqueeze(2)
    return (1 - disc) * appearance.view(-1, 1, 3, 1, 1) + disc * (1 - appearance).view(-1, 1, 3, 1, 1)


def shares(swapped: Tensor, of_a: Tensor, of_b: Tensor, lengths: Tensor | None = None) -> list[float]:
    return _shares(distances(swapped, of_a, of_b, lengths))


def test_swaps_that_are_right_wrong_and_of_models_that_ignore_a_latent() -> None:
    generator = torch.Generator().manual_seed(0)
    f = torch.rand(3, B, 3, generator=generator).double() * torch.tensor([0.3, 0.3, 0.3])
    z = torch.randn(3, B, 1, 2, generator=generator).double() * 0.6
    of_a, of_b, other = (clips(f[i], z[i]) for i in range(3))
    right, wrong = clips(f[0], z[1]), clips(f[1], z[0])
    mean, motion = shares(right, of_a, of_b)
    assert mean > 0.7
    assert motion < 0.1
    assert shares(wrong, of_a, of_b) == pytest.approx([1 - v for v in shares(wrong, of_b, of_a)])
    assert shares(wrong, of_a, of_b)[0] < 0.3
    assert shares(wrong, of_a, of_b)[1] > 0.9
    assert shares(of_b, of_a, of_b) == [0, 0]  # ignores f
    assert shares(of_a, of_a, of_b) == [1, 1]  # ignores z
    for control in shares(other, of_a, of_b):
        assert abs(control - 0.5) < 0.25


def test_what_comes_after_the_end_of_a_clip_does_not_count() -> None:
    generator = torch.Generator().manual_seed(1)
    swapped, of_a, of_b = torch.rand(3, 2, T, 3, 8, 8, generator=generator).double().unbind(0)
    lengths = torch.tensor([5, 5])
    whole = distances(swapped, of_a, of_b, lengths)
    assert torch.allclose(whole, distances(*(v[:, :5] for v in (swapped, of_a, of_b))))
    assert not torch.allclose(whole, distances(swapped, of_a, of_b))
