"""Guide views of natural video: what is one for all frames of a clip, and what f cannot know."""

import pyro
import pytest
import torch
from torch.nn.functional import conv2d

from pyro_dsvae.inference.posteriors.views import Jitter
from pyro_dsvae.inference.posteriors.views.photographs import blur, jitter_colours, reframe
from pyro_dsvae.models.encoders import Convolutional

B, T, C, H, W = 6, 4, 3, 12, 16
SEEN = torch.ones(B, T, dtype=torch.bool)


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def film() -> torch.Tensor:
    return torch.rand(B, T, C, H, W, dtype=torch.float64)


def test_frames_that_are_alike_stay_alike_and_clips_change_each_in_its_own_way() -> None:
    still = torch.rand(1, 1, C, H, W, dtype=torch.float64).expand(B, T, -1, -1, -1)
    y = Jitter(flip=0.5).dynamic_view(still, SEEN, training=True)
    assert torch.allclose(y, y[:, :1].expand_as(y))
    apart = (y[:, None, 0] - y[None, :, 0]).abs().flatten(2).mean(2)
    assert (apart[~torch.eye(B, dtype=torch.bool)] > 0.02).all()


def test_colours_change_by_one_affine_map_of_each_clip() -> None:
    x = film()
    y = jitter_colours(x, 0.7)
    pixels = torch.cat([x, torch.ones_like(x[:, :, :1])], dim=2).transpose(2, 4).reshape(B, -1, C + 1)
    found = torch.linalg.lstsq(pixels, y.transpose(2, 4).reshape(B, -1, C))
    assert torch.allclose(pixels @ found.solution, y.transpose(2, 4).reshape(B, -1, C), atol=1e-9)
    # Greys, relative to the mean, keep to the grey axis.
    matrix = found.solution[:, :C].transpose(1, 2)
    grey = matrix @ torch.ones(C, dtype=torch.float64)
    assert torch.allclose(grey, grey[:, :1].expand(B, C), atol=1e-9)
    assert torch.equal(jitter_colours(x, 0.0), x) or torch.allclose(jitter_colours(x, 0.0), x)


def test_blurs_are_gaussian_of_one_width_for_each_clip() -> None:
    dot = torch.zeros(200, 2, 1, 13, 13, dtype=torch.float64)
    dot[..., 6, 6] = 1
    y = blur(dot, 1.0)
    assert torch.allclose(y.sum((-2, -1)), torch.ones(200, 2, 1, dtype=torch.float64))
    assert torch.equal(y[:, 0], y[:, 1])
    row = y[:, 0, 0, 6]
    # exp(-k^2 / 2 s^2), so the logarithms fall as squares of the distance.
    ratio = (row[:, 6] / row[:, 8]).log() / (row[:, 6] / row[:, 7]).log()
    wide = row[:, 7] > 1e-6
    assert torch.allclose(ratio[wide], torch.full_like(ratio[wide], 4.0))
    sd = (2 * (row[:, 6] / row[:, 7]).log()).rsqrt()[wide]
    assert 0.9 < sd.max() <= 1.0
    kernel = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    flat = torch.ones(1, 1, 1, 5, 5, dtype=torch.float64)
    assert torch.allclose(blur(flat, 1.0), flat)  # the edge is continued, unlike by
    assert not torch.allclose(conv2d(flat[0], kernel, padding=1), flat[0])


def test_crops_and_mirror_images_move_every_frame_alike() -> None:
    ramp = torch.arange(W, dtype=torch.float64).expand(400, T, 1, H, W)
    y = reframe(ramp, crop=0.25, flip=0.3)
    assert torch.allclose(y, y[:, :1].expand_as(y))
    slope = y[:, 0, 0, 0].diff(dim=1)[:, 4:-4]
    assert torch.allclose(slope, slope[:, :1].expand_as(slope), atol=1e-9)
    assert ((slope[:, 0].abs() > 0.75) & (slope[:, 0].abs() <= 1)).all()
    assert abs((slope[:, 0] < 0).double().mean() - 0.3) < 4 * (0.21 / 400) ** 0.5
    assert (y[:, 0, 0, 0].min() >= 0).all()
    assert torch.allclose(reframe(ramp, 0.0, 0.0), ramp)
    assert torch.allclose(reframe(ramp, 0.0, 1.0), ramp.flip(-1))


def test_f_knows_no_order_and_sees_only_frames_that_are_there() -> None:
    static = Jitter(frames=2).static_encoder((C, H, W), 5, 7, lambda shape, size: Convolutional(shape, size, 2)).eval()
    x, seen = torch.rand(B, T, C, H, W), SEEN.clone()
    seen[:, -1] = False
    order = torch.tensor([2, 0, 1, 3])
    found = static(x, seen, None)
    assert torch.allclose(found, static(x[:, order], seen, None), atol=1e-6)
    assert torch.allclose(found, static(x[:, :-1], seen[:, :-1], None), atol=1e-6)
    assert not torch.allclose(found, static(x[:, [0, 0, 1, 3]], seen, None), atol=1e-6)
    static.train()
    assert not torch.allclose(static(x, seen, None), static(x, seen, None), atol=1e-6)


def test_what_is_not_observed_stays_unseen() -> None:
    x, seen = torch.rand(B, T, C, H, W), SEEN.clone()
    seen[:, 1], x[:, 1] = False, 0
    assert (Jitter().dynamic_view(x, seen, training=True)[:, 1] == 0).all()
    assert torch.equal(Jitter().dynamic_view(x, seen, training=False), x)
