"""The decoder with textures against its formula, computed pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import group_norm, silu

from pyro_dsvae.models.decoders import Regions, Textures


def _decoder(seed: int = 0, frame: tuple[int, ...] = (3, 16, 24), **options: int) -> Textures:
    torch.manual_seed(seed)
    decoder = Textures(5, 3, frame, width=4, **options).double()
    with torch.no_grad():
        # So that textures are placed far apart, bent and seen.
        decoder.placement[-1].weight.normal_(0, 0.5)
        decoder.depth.weight.normal_(0, 0.3)
        decoder.placement[-1].bias.view(-1, 7)[:, 6] += 3
    return decoder


def _bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """An image (C, S, S) at coordinates from -1 to 1 between its edges; beyond its last pixels as at them."""
    side = image.shape[-1]
    column, row = (min(max((v + 1) * side / 2 - 0.5, 0), side - 1) for v in (x, y))
    left, top = min(int(column), side - 2), min(int(row), side - 2)
    across, down = column - left, row - top
    upper = image[:, top, left] * (1 - across) + image[:, top, left + 1] * across
    lower = image[:, top + 1, left] * (1 - across) + image[:, top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def test_every_pixel_is_the_formula() -> None:
    decoder = _decoder(regions=3, textures=2)
    f, z = torch.randn(1, 5).double(), torch.randn(1, 1, 3).double()
    with torch.no_grad():
        shown = decoder(f, z)[0, 0].numpy()
        maps = decoder.layout(z).reshape(1, *decoder.base)
        for upsample in decoder.upsamplings:
            maps = silu(group_norm(upsample(maps), 1))
        logits = decoder.regions(4 * maps)[0].numpy()  # (4 corners, 3 regions), 8, 12
        depth = decoder.depth(maps)[0].numpy()
        front, bend = depth[:4], np.tanh(depth[4:])
        colours = decoder.colours(f).view(3, 3).numpy()
        drawn = decoder.texture_layers(decoder.texture_maps(f).view(1, 16, 4, 4)).view(2, 4, 16, 16).numpy()
        placed = decoder.placement(z).view(2, 7).numpy()
    for row in range(16):
        for column in range(24):
            corner = 2 * (row % 2) + column % 2
            at = np.exp(logits[corner * 3 : corner * 3 + 3, row // 2, column // 2])
            x, y = (2 * column + 1) / 24 - 1, (2 * row + 1) / 16 - 1
            # The displacement is read between the places of its map, as an image twice as large would be.
            low_row, low_column = (min(max((v + 0.5) / 2 - 0.5, 0), n - 1) for v, n in ((row, 8), (column, 12)))
            top, left = min(int(low_row), 6), min(int(low_column), 10)
            down, across = low_row - top, low_column - left
            d = (bend[:, top, left] * (1 - across) + bend[:, top, left + 1] * across) * (1 - down) + (
                bend[:, top + 1, left] * (1 - across) + bend[:, top + 1, left + 1] * across
            ) * down
            pictures, strengths = [at / at.sum() @ colours], [front[corner, row // 2, column // 2]]
            for texture, numbers, zoom in zip(drawn, placed, (1.0, 2.5), strict=True):
                matrix = zoom * np.eye(2) + numbers[:4].reshape(2, 2)
                place = matrix @ (x, y) + 2 * np.tanh(numbers[4:6]) + d
                read = _bilinear(texture, *place)
                pictures.append(read[:3])
                strengths.append(4 * read[3] + numbers[6] - 2 - 40 * max(0, np.abs(place).max() - 1))
            weights = np.exp(strengths) / np.exp(strengths).sum()
            np.testing.assert_allclose(shown[:, row, column], weights @ np.array(pictures), atol=1e-5)


def test_it_is_regions_where_textures_are_transparent() -> None:
    decoder, regions = _decoder(frame=(3, 16, 16)), Regions(5, 3, (3, 16, 16), width=4).double()
    with torch.no_grad():
        decoder.placement[-1].bias.view(-1, 7)[:, 6] = -1e3
        for name in ("layout", "upsamplings"):
            getattr(regions, name).load_state_dict(getattr(decoder, name).state_dict())
        # Regions keep the four pixels of a place last and the colours first.
        weight = decoder.regions.weight.unflatten(0, (4, 24)).transpose(0, 1).flatten(0, 1)
        bias = decoder.regions.bias.unflatten(0, (4, 24)).T.flatten() / 4
        regions.regions.load_state_dict({"weight": weight, "bias": bias})
        look = decoder.colours.state_dict()
        for name in ("2.weight", "2.bias"):
            look[name] = look[name].unflatten(0, (24, 3)).transpose(0, 1).flatten(0, 1)
        regions.look.load_state_dict(look)
        f, z = torch.randn(2, 5).double(), torch.randn(2, 4, 3).double()
        torch.testing.assert_close(decoder(f, z), regions(f, z))


def test_a_texture_goes_where_its_placement_says() -> None:
    """Moved by four pixels of a frame of 32, the picture of one texture is the same picture, four pixels further on."""
    decoder = _decoder(frame=(1, 32, 32), textures=1)
    with torch.no_grad():
        decoder.placement[-1].weight.zero_()
        decoder.placement[-1].bias.zero_()
        decoder.depth.weight.zero_()
        decoder.regions.weight.zero_()
        decoder.regions.bias.zero_()
        f, z = torch.randn(1, 5).double(), torch.randn(1, 1, 3).double()
        there = decoder(f, z)[0, 0, 0]
        # A texture's own coordinates move the other way: by 4 pixels of 2 / 32 each.
        decoder.placement[-1].bias[4] = math.atanh(-4 * 2 / 32 / 2)
        moved = decoder(f, z)[0, 0, 0]
    torch.testing.assert_close(moved[:, 4:], there[:, :-4])
    assert (moved - there).abs().max() > 0.05


def test_f_draws_once_and_z_t_places_every_frame() -> None:
    decoder = _decoder()
    f, z = torch.randn(2, 5).double(), torch.randn(2, 6, 3).double()
    with torch.no_grad():
        whole = decoder(f, z)
        frames = torch.stack([decoder(f, z[:, t : t + 1])[:, 0] for t in range(6)], dim=1)
        # Particles on the left, shared f: each is decoded as by itself.
        particles = decoder(f, torch.stack([z, z.flip(1)]))
    torch.testing.assert_close(whole, frames)
    torch.testing.assert_close(particles, torch.stack([whole, whole.flip(1)]))


@pytest.mark.parametrize(("static_size", "frame"), [(0, (1, 8, 8)), (4, (4, 9, 21)), (4, (2, 16, 130))])
def test_it_takes_frames_of_any_shape_and_every_weight_learns(static_size: int, frame: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    decoder = Textures(static_size, 3, frame, width=2)
    x = decoder(torch.randn(2, static_size), torch.randn(2, 3, 3))
    assert x.shape == (2, 3, *frame)
    x.square().sum().backward()
    still = [name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []
