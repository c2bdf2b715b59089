"""Moving digits: every label is read from the pixels, the images are held out, and motion knows nothing of appearance."""

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.moving_digits import COLOURS, MARGIN, SIZES, MovingDigits, image_split
from pyro_dsvae.models.errors import UsageError

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return MovingDigits(clips=1000).load()


@pytest.fixture(scope="module")
def coloured() -> SequenceData:
    return MovingDigits(size=40, length=6, colour=True, clips=200, seed=3).load()


def centre_of_mass(grey: Tensor) -> Tensor:
    """(…, 2): x and y in pixels from the upper left corner, of (…, H, W)."""
    middle = torch.arange(grey.shape[-1]) + 0.5
    mass = grey.double().sum((-2, -1))
    return (
        torch.stack([grey.double().sum(-2) @ middle.double(), grey.double().sum(-1) @ middle.double()], -1)
        / mass[..., None]
    )


def shrunk(data: SequenceData, t: int) -> Floats:
    """(N, 64): frame t read back at 8 x 8 points around the position that the label tells, 1 and more = white."""
    position, size = data.quantities["position"].values[:, t].double(), data.labels["size"].values
    scale = torch.tensor(list(SIZES.values()))[size] * data.frame_shape[-1] / 8
    points = torch.arange(8, dtype=torch.float64) - 3.5
    # grid_sample: -1 and 1 are the frame's borders.
    x, y = (
        (2 * (position[:, axis, None] + points * scale[:, None]) / data.frame_shape[-1] - 1).float() for axis in (0, 1)
    )
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    read = torch.nn.functional.grid_sample(data.frames[:, t].float() / 255, grid, align_corners=False)
    return read.amax(1).flatten(1).double().numpy()


def centred(images: Floats) -> Floats:
    """(N, 64): each 8 x 8 image shifted, between pixels, so that its centre of mass is in its middle."""
    whole = torch.from_numpy(images)
    shift = (centre_of_mass(whole) - 4) / 4
    theta = torch.eye(2, 3, dtype=torch.float64).repeat(len(whole), 1, 1)
    theta[:, :, 2] = shift
    grid = torch.nn.functional.affine_grid(theta, [len(whole), 1, 8, 8], align_corners=False)
    return torch.nn.functional.grid_sample(whole[:, None], grid, align_corners=False).flatten(1).numpy()


def test_shapes_and_labels(data: SequenceData) -> None:
    assert data.frames.shape == (1000, 12, 1, 32, 32)
    assert data.frames.dtype == torch.uint8
    assert [(name, label.role, len(label.classes)) for name, label in data.labels.items()] == [
        ("digit", "static", 10),
        ("size", "static", 3),
    ]
    assert [(q.unit, q.components) for q in data.quantities.values()] == [
        ("pixels", ("x", "y")),
        ("pixels per frame", ("x", "y")),
    ]
    assert data.split.bincount().tolist() == [800, 100, 100]


@pytest.mark.parametrize("which", ["data", "coloured"])
def test_position_is_the_centre_of_mass_of_the_pixels(which: str, request: pytest.FixtureRequest) -> None:
    clips: SequenceData = request.getfixturevalue(which)
    error = centre_of_mass(clips.frames.sum(2)) - clips.quantities["position"].values
    assert error.norm(dim=-1).max() < 0.1
    # Placed between pixels: the places fill the unit interval.
    fraction = clips.quantities["position"].values.flatten() % 1
    assert fraction.histc(10, 0, 1).min() > 0.07 * len(fraction)


def test_no_ink_is_lost_at_a_border(data: SequenceData) -> None:
    mass = data.frames.double().sum((2, 3, 4))
    assert ((mass - mass.mean(1, keepdim=True)).abs() / mass.mean(1, keepdim=True)).max() < 0.02


def test_size_is_the_height_of_the_ink(data: SequenceData) -> None:
    # Of every image of load_digits all eight rows hold ink.
    height = (data.frames.amax((2, 4)) > 8).double().sum(-1).mean(1)
    means = [float(height[data.labels["size"].values == i].mean()) for i in range(3)]
    assert np.diff(means) == pytest.approx([2, 2], abs=0.5)
    middles = (np.array(means)[1:] + np.array(means)[:-1]) / 2
    assert (np.digitize(height, middles) == data.labels["size"].values.numpy()).mean() > 0.95


def test_colour_is_that_of_the_pixels(coloured: SequenceData) -> None:
    total = coloured.frames.double().sum((1, 3, 4))
    tones = torch.tensor(list(COLOURS.values()), dtype=torch.float64)
    likeness = torch.nn.functional.cosine_similarity(total[:, None], tones[None], dim=-1)
    assert torch.equal(likeness.argmax(1), coloured.labels["colour"].values)
    assert coloured.frames.shape == (200, 6, 3, 40, 40)


@pytest.mark.parametrize("which", ["data", "coloured"])
def test_a_nearest_neighbour_reads_the_digit(which: str, request: pytest.FixtureRequest) -> None:
    clips: SequenceData = request.getfixturevalue(which)
    images, kinds = load_digits(return_X_y=True)
    neighbour = KNeighborsClassifier(1, metric="cosine").fit(centred(images.reshape(-1, 8, 8) / 16), kinds)
    for t in (0, clips.length - 1):
        assert (neighbour.predict(shrunk(clips, t)) == clips.labels["digit"].values.numpy()).mean() > 0.97


def test_images_of_one_split_are_in_no_other(data: SequenceData) -> None:
    split = image_split()
    assert split.bincount().tolist() == [1438, 180, 179]
    images = load_digits().data.reshape(-1, 8, 8) / 16
    finder = NearestNeighbors(n_neighbors=1, metric="cosine").fit(centred(images))
    found = finder.kneighbors(shrunk(data, 0), return_distance=False)[:, 0]
    # Some images are almost alike, so that the nearest one is not always the one that was drawn.
    for part in range(len(SPLITS)):
        mine = (data.split == part).numpy()
        assert (split.numpy()[found[mine]] == part).mean() > 0.9
    assert len(np.unique(found[(data.split == 2).numpy()])) > 50


def test_velocity_moves_position_and_turns_at_the_walls(data: SequenceData) -> None:
    position, velocity = (data.quantities[name].values.double().numpy() for name in ("position", "velocity"))
    low, high = MARGIN * 32, (1 - MARGIN) * 32
    x, v = position[:, 0], velocity[:, 0]
    for t in range(1, data.length):  # frame by frame, with a mirror at each wall
        x = x + v
        below, above = x < low, x > high
        x = np.where(below, 2 * low - x, np.where(above, 2 * high - x, x))
        v = np.where(below | above, -v, v)
        np.testing.assert_allclose(position[:, t], x, atol=1e-4)
        np.testing.assert_allclose(velocity[:, t], v, atol=1e-4)
    assert (np.sign(velocity[:, 0]) != np.sign(velocity[:, -1])).mean() > 0.2
    speed = np.linalg.norm(velocity, axis=-1)
    assert speed.min() >= 0.5 - 1e-5
    assert speed.max() <= 2 + 1e-5


def test_digits_are_even_and_independent_of_motion(data: SequenceData) -> None:
    for part in range(len(SPLITS)):
        counts = data.labels["digit"].values[data.split == part].bincount(minlength=10)
        assert int(counts.max() - counts.min()) <= 1
    # Analysis of variance: who is drawn tells nothing of where it is and how fast.
    for quantity in data.quantities.values():
        for label in data.labels.values():
            first = quantity.values[:, 0].double()
            groups = [first[label.values == kind] for kind in range(len(label.classes))]
            between = sum(len(g) * (g.mean(0) - first.mean(0)).square() for g in groups) / (len(groups) - 1)
            within = sum((g - g.mean(0)).square().sum(0) for g in groups) / (len(first) - len(groups))
            assert torch.as_tensor(between / within).max() < 5


def test_two_digits_are_both_shown() -> None:
    clips = MovingDigits(digits=2, clips=300, length=4).load()
    first, second = (clips.labels[f"digit_{i}"].values for i in (1, 2))
    assert (first < second).all()
    assert list(clips.quantities) == ["position_1", "velocity_1", "position_2", "velocity_2"]
    # Where they are far from each other, each half of the frame has the centre of mass of one.
    a, b = (clips.quantities[f"position_{i}"].values[:, 0] for i in (1, 2))
    pixels = torch.arange(32) + 0.5
    nearer = (pixels - a[:, 0, None, None]).square() + (pixels[:, None] - a[:, 1, None, None]).square() < (
        pixels - b[:, 0, None, None]
    ).square() + (pixels[:, None] - b[:, 1, None, None]).square()
    apart = (a - b).norm(dim=-1) > 14
    assert apart.sum() > 20
    for mine, place in ((nearer, a), (~nearer, b)):
        error = centre_of_mass(clips.frames[:, 0, 0] * mine) - place
        assert error[apart].norm(dim=-1).median() < 0.5


def test_the_same_seed_draws_the_same_clips(data: SequenceData) -> None:
    assert MovingDigits(clips=1000).load().fingerprint() == data.fingerprint()
    assert MovingDigits(clips=1000, seed=1).load().fingerprint() != data.fingerprint()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 16}, "24 to 128"),
        ({"length": 1}, "at least 2 frames"),
        ({"digits": 3}, "1 or 2"),
        ({"clips": 20}, "at least 100"),
        ({"seed": -1}, "must lie in 0"),
    ],
)
def test_options_out_of_range(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MovingDigits(**wrong)  # type: ignore[arg-type]


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'pyro-dsvae\[evaluate\]'"):
        MovingDigits(clips=100).load()
