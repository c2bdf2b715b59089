"""Equal error rates of constructed scores, warping distances by the definition, and baselines of series."""

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.metrics.equal_error import equal_error_of_scores, equal_error_rate
from pyro_dsvae.metrics.probes import Probe
from pyro_dsvae.metrics.series import measure_series
from pyro_dsvae.models.ops.dynamic_time_warping import nearest_by_warping, warping_distances


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0),
        ([0.2, 0.1], [0.9, 0.8], 1.0),
        ([0.9, 0.8, 0.3], [0.7, 0.2, 0.1], 1 / 3),
        ([0.9, 0.4, 0.3, 0.2], [0.8, 0.7, 0.6, 0.1], 0.75),
        ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5),  # no threshold tells them apart
        ([0.9, 0.1], [0.5], 0.5),
        ([1.0, 0.9, 0.8, 0.2], [0.5, 0.1], 1 / 4),  # between misses 1/4 at alarms 0 and at alarms 1/2
    ],
)
def test_equal_error_rates_of_constructed_scores(same: list[float], different: list[float], expected: float) -> None:
    scores = torch.tensor(same + different).double()
    order = torch.randperm(len(scores))
    kinds = torch.tensor([True] * len(same) + [False] * len(different))
    assert equal_error_of_scores(scores[order], kinds[order]) == pytest.approx(expected, abs=1e-9)
    assert equal_error_of_scores(7 * scores[order] - 3, kinds[order]) == equal_error_of_scores(scores, kinds)


def test_normal_scores_have_the_rate_of_their_distance() -> None:
    """Phi(-d / 2) for two unit normals at distance d."""
    for distance in (0.0, 1.0, 3.0):
        scores = torch.cat([torch.randn(20_000) + distance, torch.randn(20_000)])
        expected = 0.5 * math.erfc(distance / 2 / math.sqrt(2))
        assert equal_error_of_scores(scores, torch.arange(40_000) < 20_000) == pytest.approx(expected, abs=0.01)


def test_a_sequence_is_never_paired_with_itself() -> None:
    """Codes that all differ, each of a class of its own or all of one: no trial of one kind is left."""
    codes = torch.randn(6, 3)
    assert math.isnan(equal_error_rate(codes, torch.arange(6)))
    assert math.isnan(equal_error_rate(codes, torch.zeros(6).long()))
    # Orthogonal codes of pairs: as far from their partner as from all others, and equal to themselves alone.
    ring = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert equal_error_rate(ring, torch.tensor([0, 1, 0, 1])) == pytest.approx(1.0)


def test_level_unit_and_directions_of_codes_do_not_matter_nor_dimensions_that_hardly_vary() -> None:
    torch.manual_seed(0)
    classes = torch.arange(60) % 3
    codes = torch.nn.functional.one_hot(classes, 3) + 0.1 * torch.randn(60, 3)
    assert equal_error_rate(codes, classes) < 0.02
    turned, _ = torch.linalg.qr(torch.randn(3, 3).double())
    moved = 1e3 + 1e4 * codes.double() @ turned
    assert equal_error_rate(moved, classes) == pytest.approx(equal_error_rate(codes, classes), abs=1e-9)
    idle = torch.cat([codes, 0.01 * torch.randn(60, 200)], dim=1)
    assert equal_error_rate(idle, classes) < 0.02
    assert equal_error_rate(torch.randn(60, 3), classes) == pytest.approx(0.5, abs=0.1)
    constant = torch.cat([codes, torch.full((60, 1), 3e7)], dim=1)
    assert equal_error_rate(constant, classes) < 0.02
    assert equal_error_rate(moved, classes, reference=moved[:40]) < 0.02


def warped(x: np.ndarray, y: np.ndarray) -> float:
    """By the recurrence, cell by cell."""
    table = np.full((len(x) + 1, len(y) + 1), np.inf)
    table[0, 0] = 0
    for s in range(len(x)):
        for t in range(len(y)):
            cost = ((x[s] - y[t]) ** 2).sum()
            table[s + 1, t + 1] = cost + min(table[s, t + 1], table[s + 1, t], table[s, t])
    return float(np.sqrt(table[-1, -1]))


@pytest.mark.parametrize("length", [1, 2, 5, 7])
def test_warping_distances_are_those_of_the_recurrence(length: int) -> None:
    x, others, lengths = torch.randn(7, 2), torch.randn(6, 9, 2), torch.tensor([9, 1, 4, 2, 9, 7])
    expected = [warped(x[:length].numpy(), y[:n].numpy()) for y, n in zip(others, lengths.tolist(), strict=True)]
    found = warping_distances(x, length, others, lengths)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_a_series_is_nearest_to_itself_at_another_speed() -> None:
    def wave(speed: float, pitch: float) -> Tensor:
        return torch.sin(pitch * torch.arange(0, 6, speed)).unsqueeze(-1)

    def padded(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
        return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(c) for c in clips])

    known, lengths = padded([wave(0.2, 1.0), wave(0.2, 2.2)])
    asked, asked_lengths = padded([wave(0.31, 2.2), wave(0.13, 1.0), wave(0.4, 2.2)])
    found = nearest_by_warping(known, lengths, torch.tensor([5, 3]), asked, asked_lengths)
    assert found.tolist() == [3, 5, 3]


def speakers(count: int, seed: int) -> tuple[SequenceData, Latents]:
    """Series of three levels, with a course that says nothing of them, half of the values missing; f knows the level, z not."""
    rng = torch.Generator().manual_seed(seed)
    who, lengths = torch.arange(count) % 3, torch.randint(4, 9, (count,), generator=rng)
    frames = 1e3 * (3.0 * who[:, None, None] + torch.randn(count, 8, 2, generator=rng))
    mask = torch.rand(frames.shape, generator=rng) < 0.5
    mask[:, 0] = True
    label = Label(who, ("a", "b", "c"), "static")
    split = torch.full((count,), 2 * (seed > 0), dtype=torch.uint8)
    data = SequenceData(frames, split, lengths, mask, labels={"who": label, "what": replace(label, role="dynamic")})
    f = torch.nn.functional.one_hot(who, 3) + 0.1 * torch.randn(count, 3, generator=rng)
    return data, Latents(f, torch.randn(count, 8, 2, generator=rng))


def test_series_that_differ_in_level_are_told_by_every_baseline_and_codes_by_their_content() -> None:
    (train, train_latents), (data, latents) = speakers(90, 0), speakers(45, 1)
    probes = {"who": Probe(0.9, 0.8, 0.4)}
    found, notes = measure_series(train_latents, train, latents, data, probes, 0)
    assert set(found) == {"who"}  # static labels alone
    scores = found["who"]
    assert scores.accuracy["f"] == 0.9
    assert scores.chance == 0.4
    assert scores.accuracy["nearest by warping"] > 0.8
    assert scores.accuracy["linear, of summaries"] > 0.8
    assert scores.equal_error_f < 0.05
    assert 0.35 < scores.equal_error_z < 0.65
    assert ("ROCKET" in scores.accuracy) == (find_spec("aeon") is not None) == (not notes)


def test_shuffled_labels_are_told_by_none() -> None:
    (train, train_latents), (data, latents) = speakers(90, 0), speakers(45, 1)
    mixed = replace(data.labels["who"], values=data.labels["who"].values[torch.randperm(45)])
    data = replace(data, labels={"who": mixed})
    found, _ = measure_series(train_latents, train, latents, data, {"who": Probe(0.3, 0.3, 0.3)}, 0)
    assert max(share for who, share in found["who"].accuracy.items() if who != "f") < 0.6
    assert found["who"].equal_error_f > 0.4


def test_values_that_were_not_observed_touch_no_baseline() -> None:
    (train, train_latents), (data, latents) = speakers(30, 0), speakers(15, 1)
    probes = {"who": Probe(0.9, 0.8, 0.4)}
    assert data.mask is not None
    other = replace(data, frames=torch.where(data.mask, data.frames, torch.tensor(1e6)))
    assert measure_series(train_latents, train, latents, other, probes, 0) == measure_series(
        train_latents, train, latents, data, probes, 0
    )


def test_images_have_no_baselines_of_series() -> None:
    data, latents = speakers(9, 0)
    images = SequenceData(torch.rand(9, 8, 1, 8, 8), data.split, labels=data.labels)
    assert measure_series(latents, images, latents, images, {"who": Probe(0.9, 0.8, 0.4)}, 0) == ({}, [])
