"""Codes of clips that are longer than training windows, against the exact posterior of the whole clip."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_space.encoding import encode
from pyro_dsvae.inference.latent_space.whole_clips import _blended, encode_whole, pooled, window_starts
from tests.inference.forecasting.test_paired_forecast import Guide
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae
from tests.oracles import LinearGaussian

# z of different frames are independent, and the posteriors of f and of z given f have independent dimensions: what `pooled`
# assumes is true.
MODEL = LinearGaussian(
    np.zeros((2, 2)),
    np.array([[0.8, 0.0], [0.0, 0.5], [0.0, 0.7]]),
    np.array([[1.2, 0.0], [0.0, 0.9], [0.0, 0.0]]),
    np.array([0.7, 1.1]),
    np.array([0.7, 1.1]),
    0.25,
)
F = 2


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def sampler(model: LinearGaussian = MODEL) -> Sampler:
    return Sampler(linear_gaussian_dsvae(), Guide(exact=model))


def simulated(lengths: list[int], model: LinearGaussian = MODEL) -> Batch:
    rng = np.random.default_rng(0)
    x = torch.zeros(len(lengths), max(lengths), 3)
    for i, length in enumerate(lengths):
        x[i, :length] = torch.from_numpy(model.simulate(length, rng))
    return Batch(x, lengths=torch.tensor(lengths))


def test_windows_of_a_clip_give_its_exact_posterior() -> None:
    batch = simulated([11, 3, 9])
    mask = torch.from_numpy(np.random.default_rng(1).random((3, 11)) < 0.8)
    found = encode_whole(sampler(), batch._replace(mask=mask), window=4)
    for i, length in enumerate([11, 3, 9]):
        seen = np.repeat(mask[i, :length, None].numpy(), 3, axis=1)
        mean, covariance = MODEL.posterior(batch.x[i, :length].numpy(), seen)
        assert torch.allclose(found.f[i], torch.from_numpy(mean[:F]), atol=1e-10)
        assert torch.allclose(found.f_scale[i], torch.from_numpy(np.diag(covariance)[:F] ** 0.5), atol=1e-10)
        assert torch.allclose(found.z[i, :length].flatten(), torch.from_numpy(mean[F:]), atol=1e-10)
        assert (found.z[i, length:] == 0).all()
    assert found.lengths is not None


def test_surplus_priors_are_divided_out_and_a_part_that_says_nothing_changes_nothing() -> None:
    prior = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.7])
    nothing = pooled(*(v.expand(5, -1) for v in prior), *prior)
    assert torch.allclose(torch.stack(nothing), torch.stack(prior))
    # Wider than the prior, as an approximate posterior may be.
    wide = pooled(torch.full((3, 2), 9.0), 3 * prior[1].expand(3, -1), *prior)
    assert torch.allclose(torch.stack(wide), torch.stack(prior))
    # Points: their mean, with equal weights.
    points = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    assert torch.allclose(pooled(points, torch.zeros(2, 2), *prior)[0], torch.tensor([1.0, 3.0]), atol=1e-4)


def test_a_clip_of_the_length_of_a_window_is_encoded_as_it_is() -> None:
    batch = simulated([6, 4], EXACT)
    whole, plain = encode_whole(sampler(EXACT), batch, window=6), encode(sampler(EXACT), batch)
    assert torch.equal(whole.f, plain.f)
    assert torch.equal(whole.z, plain.z)


def test_where_motion_has_memory_overlaps_are_nearer_to_the_whole_clip_than_windows_side_by_side() -> None:
    batch = simulated([40], EXACT)
    mean, _ = EXACT.posterior(batch.x[0].numpy(), np.ones((40, 3)))
    exact = torch.from_numpy(mean[F:]).view(40, 2)
    blended = encode_whole(sampler(EXACT), batch, window=8).z[0]
    apart = encode(sampler(EXACT), Batch(batch.x.view(5, 8, 3))).z.flatten(0, 1)
    assert (blended - exact).square().mean() < 0.5 * (apart - exact).square().mean()


@pytest.mark.parametrize("window", [2, 3, 8])
@pytest.mark.parametrize("length", [9, 10, 16, 31])
def test_windows_cover_a_clip_and_overlap_by_half(length: int, window: int) -> None:
    starts = window_starts(length, window)
    assert (starts[0], starts[-1]) == (0, length - window)
    assert all(0 < b - a <= max(1, window // 2) for a, b in itertools.pairwise(starts))


def test_seams_are_blended() -> None:
    """Windows that disagree by 1 lead over from one to the other in equal steps."""
    apart = torch.arange(3.0).view(3, 1, 1).expand(3, 8, 1)
    path = _blended(apart, [0, 4, 8], 16)[:, 0]
    assert (path.diff() >= 0).all()
    assert path.diff().max() < 0.3
    assert path[0] == 0
    assert path[-1] == 2
