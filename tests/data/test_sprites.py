"""The embedded data set: what it promises about its shapes, its factors and its lack of short cuts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_dsvae.data import sprites
from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.embedded.parts import PALETTES, Palette
from pyro_dsvae.data.embedded.pixel_art import MOTIONS, pose
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.models.errors import UsageError

ATTRIBUTES = ("skin", "trousers", "top", "hair")


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return Sprites(32).load()


def by_character(data: SequenceData) -> Tensor:
    """(6, 6, 6, 6, 72, 3, H, W): skin, trousers, top, hair, then action and frame."""
    return data.frames.unflatten(0, (6, 6, 6, 6, 9)).flatten(4, 5)


def different_pixels(pictures: Tensor, attribute: int) -> Tensor:
    """(pairs, n): how many pixels differ clearly between each two of the 6 variants on axis ``attribute``."""
    variants = pictures.movedim(attribute, 0).flatten(1, -4).to(torch.int16)
    pairs = torch.combinations(torch.arange(6))
    return torch.stack([((variants[a] - variants[b]).abs() > 16).any(1).sum((1, 2)) for a, b in pairs.tolist()])


def softmax_accuracy(features: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> float:
    """Of a linear classifier with 9 classes, fitted on ``train`` and scored on ``test``."""
    scaled = (features - features[train].mean(0)) / (features[train].std(0) + 1e-4)
    scaled = torch.cat([scaled.clamp(-8, 8), torch.ones(len(scaled), 1)], 1)
    weights = torch.zeros(scaled.shape[1], 9, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (
            torch.nn.functional.cross_entropy(scaled[train] @ weights, labels[train]) + 1e-4 * weights.square().sum()
        )
        value.backward()
        return value

    optimiser.step(loss)
    return float(((scaled @ weights).argmax(1) == labels)[test].float().mean())


def test_shapes_and_labels(data: SequenceData) -> None:
    assert data.frames.shape == (11664, 8, 3, 32, 32)
    assert data.frames.dtype == torch.uint8
    assert list(data.labels) == ["action", *ATTRIBUTES]
    assert [data.labels[name].role for name in data.labels] == ["dynamic"] + ["static"] * 4
    assert data.labels["action"].classes[:4] == ("walk front", "walk left", "walk right", "cast front")
    assert all(len(data.labels[name].classes) == 6 for name in ATTRIBUTES)
    skin, trousers, top, hair = (data.labels[name].values for name in ATTRIBUTES)
    character = skin * 216 + trousers * 36 + top * 6 + hair
    assert torch.equal(character * 9 + data.labels["action"].values, torch.arange(11664))


def test_split_by_character(data: SequenceData) -> None:
    parts = data.split.unflatten(0, (1296, 9))
    assert torch.equal(parts, parts[:, :1].expand(-1, 9))
    assert torch.bincount(parts[:, 0]).tolist() == [900, 100, 296]
    for split in SPLITS:
        part = data.part(split)
        assert all(len(label.values.unique()) == len(label.classes) for label in part.labels.values()), split


def test_the_split_is_pinned(data: SequenceData) -> None:
    test = (data.split[::9] == SPLITS.index("test")).nonzero().squeeze(1)
    validation = (data.split[::9] == SPLITS.index("validation")).nonzero().squeeze(1)
    assert test[:5].tolist() == [0, 2, 5, 11, 12]
    assert validation[:5].tolist() == [3, 4, 15, 24, 26]


def test_all_sequences_differ(data: SequenceData) -> None:
    assert len({clip.tobytes() for clip in data.frames.numpy()}) == 11664


@pytest.mark.parametrize("attribute", range(4), ids=ATTRIBUTES)
def test_every_attribute_shows_in_every_frame(data: SequenceData, attribute: int) -> None:
    others = [[0, 2, 5] if axis != attribute else list(range(6)) for axis in range(4)]
    pictures = by_character(data)[torch.meshgrid(*map(torch.tensor, others), indexing="ij")]
    assert int(different_pixels(pictures, attribute).min()) >= (25, 20, 35, 50)[attribute]


@pytest.mark.parametrize("attribute", range(4), ids=ATTRIBUTES)
def test_variants_differ_in_shape(monkeypatch: pytest.MonkeyPatch, attribute: int) -> None:
    """With the same one colour for everything that an attribute draws, its variants must still look different."""
    colours = ((220, 180, 150), (60, 90, 200), (200, 60, 60), (120, 200, 80))
    plain = {
        name: {variant: Palette(colour, colour, colour) for variant in variants}
        for (name, variants), colour in zip(PALETTES.items(), colours, strict=True)
    }
    monkeypatch.setattr(sprites, "PALETTES", plain)
    for side in (False, True):
        pictures = torch.from_numpy(np.concatenate(list(sprites._compose(32, pose("walk", 1, side)))))
        pictures = pictures.unflatten(0, (6, 6, 6, 6))
        assert int(different_pixels(pictures[..., None, :, :, :], attribute).min()) >= (12, 10, 25, 40)[attribute]


def test_right_mirrors_left(data: SequenceData) -> None:
    clips = data.frames.unflatten(0, (1296, 3, 3))
    assert torch.equal(clips[:, :, 2], clips[:, :, 1].flip(-1))
    different = (clips[:, :, 2] != clips[:, :, 1]).any(3).sum((-2, -1))
    assert int(different.min()) > 100


def test_motions_are_cycles_of_different_frames_with_shared_ones(data: SequenceData) -> None:
    clips = data.frames.unflatten(0, (1296, 3, 3))
    for character in range(0, 1296, 37):
        for motion, least in zip(range(3), (8, 6, 6), strict=True):
            for direction in range(3):
                frames = {frame.tobytes() for frame in clips[character, motion, direction].numpy()}
                assert len(frames) >= least, (character, MOTIONS[motion], direction)
    assert torch.equal(clips[:, 1, :, 0], clips[:, 2, :, 0])  # cast and slash begin in the same pose


def test_motion_is_large_enough_to_see(data: SequenceData) -> None:
    steps = (data.frames[:, 1:] != data.frames[:, :-1]).any(2).sum((-2, -1))
    assert int(steps.min()) >= 80


def test_colours_of_a_frame_do_not_tell_the_action_but_the_pictures_do(data: SequenceData) -> None:
    characters = torch.arange(11664) // 9 % 3 == 0
    frames, action = data.frames[characters], data.labels["action"].values[characters]
    train, test = (data.split[characters] == SPLITS.index(name) for name in ("train", "test"))
    moment = torch.randint(8, (len(frames),), generator=torch.Generator().manual_seed(0))
    one = frames[torch.arange(len(frames)), moment].flatten(2)
    tones = (one // 64).long()
    bins = tones[:, 0] * 16 + tones[:, 1] * 4 + tones[:, 2]
    histogram = torch.zeros(len(one), 64).scatter_add_(1, bins, torch.ones(bins.shape))
    centred = one / 255 - (one / 255).mean(2, keepdim=True)
    moments = torch.cat([(one / 255).mean(2), (centred @ centred.mT).flatten(1)], 1)
    assert softmax_accuracy(histogram, action, train, test) < 0.6
    assert softmax_accuracy(moments, action, train, test) < 0.4
    pooled = torch.nn.functional.avg_pool2d(frames.flatten(0, 1).float(), 4).reshape(len(frames), -1)
    assert softmax_accuracy(pooled, action, train, test) > 0.95


def test_timing_is_the_same_for_all_characters(data: SequenceData) -> None:
    """Which frames of a clip lie near and far from each other says what is done, not who does it."""
    clips = data.frames.unflatten(0, (1296, 9))[::7].flatten(3).float()
    distances = torch.cdist(clips, clips)  # (characters, 9, 8, 8)
    pairs = distances[..., *torch.triu_indices(8, 8, 1)]
    centred = pairs - pairs.mean(-1, keepdim=True)
    profile = centred / centred.norm(dim=-1, keepdim=True)
    mean = profile.mean(0)
    similar = (profile * mean / mean.norm(dim=-1, keepdim=True)).sum(-1)
    assert float(similar.min()) > 0.9


def test_the_same_on_every_load(data: SequenceData) -> None:
    assert Sprites(32).load().fingerprint() == data.fingerprint()


@pytest.mark.parametrize("size", [33, 48, 64])
def test_other_sizes_show_the_same_figures(data: SequenceData, size: int) -> None:
    large = torch.from_numpy(next(sprites._compose(size, pose("cast", 0, False)))).float()
    assert large.shape == (216, 3, size, size)
    small = data.frames[3 : 216 * 9 : 9, 0].float()
    pooled = torch.nn.functional.interpolate(large, (8, 8), mode="area")
    assert float((pooled - torch.nn.functional.interpolate(small, (8, 8), mode="area")).abs().mean()) < 5


@pytest.mark.parametrize("size", [31, 65])
def test_refuses_other_sizes(size: int) -> None:
    with pytest.raises(UsageError, match=f"size is {size}"):
        Sprites(size)
