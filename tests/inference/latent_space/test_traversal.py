"""Traversals against NumPy's quantiles, exact marginals and decoding one at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.latent_space.traversal import Traversal, traverse_dynamic, traverse_static
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.models.errors import UsageError
from tests.inference.test_contracts import Case, objective
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae

T, F, D = 5, 3, 2
SHARES = np.linspace(0.02, 0.98, 7)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def clip(case: Case | None = None) -> tuple[Any, Tensor, Tensor]:
    return objective(case or Case()).double().eval().model, torch.randn(F), torch.randn(T, D)


def assert_frames_are_decoded(model: Any, found: Traversal) -> None:
    for i in range(len(found.dimensions)):
        for v in range(found.values.shape[1]):
            torch.testing.assert_close(found.frames[i, v], decode(model, found.f[i, v], found.z[i, v]))


@pytest.mark.parametrize("dimensions", [None, [2, 0], torch.tensor([1])])
def test_one_dimension_of_f_takes_the_quantiles_and_nothing_else_moves(dimensions: Any) -> None:
    model, f, z = clip()
    reference = torch.randn(200, F) * torch.tensor([1.0, 3.0, 0.1]) + 5
    found = traverse_static(model, f, z, reference, dimensions)
    chosen = [0, 1, 2] if dimensions is None else [int(d) for d in dimensions]
    assert found.dimensions.tolist() == chosen
    assert found.f.shape == (len(chosen), 7, F)
    for i, d in enumerate(chosen):
        expected = torch.from_numpy(np.quantile(reference[:, d].numpy(), SHARES))
        torch.testing.assert_close(found.values[i], expected)
        torch.testing.assert_close(found.f[i, :, d], expected)
        others = [other for other in range(F) if other != d]
        assert torch.equal(found.f[i][:, others], f[others].expand(7, -1))
    assert torch.equal(found.z, z.expand(len(chosen), 7, T, D))
    assert_frames_are_decoded(model, found)


@pytest.mark.parametrize("dimensions", [None, [1]])
def test_one_dimension_of_z_is_moved_as_a_whole_and_nothing_else_moves(dimensions: list[int] | None) -> None:
    model, f, z = clip()
    reference = torch.randn(50, 8, D) * torch.tensor([1.0, 3.0]) + 5
    found = traverse_dynamic(model, f, z, reference, dimensions, 5)
    chosen = dimensions or [0, 1]
    assert found.z.shape == (len(chosen), 5, T, D)
    for i, d in enumerate(chosen):
        spread = reference[..., d].numpy().std(ddof=1)
        expected = torch.from_numpy(spread * np.array([-2.0, -1, 0, 1, 2]))
        torch.testing.assert_close(found.values[i], expected)
        torch.testing.assert_close(found.z[i, :, :, d] - z[:, d], expected.unsqueeze(-1).expand(5, T))
        assert torch.equal(found.z[i, :, :, 1 - d], z[:, 1 - d].expand(5, T))
    assert torch.equal(found.f, f.expand(len(chosen), 5, F))
    torch.testing.assert_close(found.frames[0, 2], decode(model, f, z))
    assert_frames_are_decoded(model, found)


def test_without_a_reference_the_prior_is_one() -> None:
    """Quantiles of the standard normal, and the standard deviation of all steps of the exact path, by its covariance."""
    model = linear_gaussian_dsvae()
    static = traverse_static(model, torch.zeros(2), torch.zeros(T, 2))
    expected = math.sqrt(2) * torch.erfinv(2 * torch.from_numpy(SHARES) - 1)
    torch.testing.assert_close(static.values, expected.expand(2, 7), rtol=0, atol=0.15)
    dynamic = traverse_dynamic(model, torch.zeros(2), torch.zeros(T, 2), count=3)
    variance = np.diag(EXACT.prior_covariance(T))[2:].reshape(T, 2).mean(0)
    torch.testing.assert_close(dynamic.values[:, 2], torch.from_numpy(2 * np.sqrt(variance)), rtol=0.15, atol=0)


@pytest.mark.parametrize("option", ["static_prior", "dynamic_prior", "likelihood"])
def test_every_prior_and_likelihood_is_traversed(option: str) -> None:
    for name in PARTS[option]:
        model, f, z = clip(Case(**{option: name}))
        for found in (traverse_static(model, f, z, count=3), traverse_dynamic(model, f, z, count=3)):
            assert torch.isfinite(found.frames).all(), name
            assert (found.values.diff(dim=1) > 0).all(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": [3]}, r"dimensions 0 to 2, so there is none to traverse in \[3\]"),
        ({"dimensions": [-1]}, "dimensions 0 to 2"),
        ({"count": 1}, "at least 2 values"),
        ({"reference": torch.zeros(5, 2)}, r"must be \(N, 3\)"),
        ({"f": torch.zeros(1, F)}, r"one clip, f \(F,\) and z \(T, D\), not \(1, 3\)"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    model, f, z = clip()
    with pytest.raises(UsageError, match=message):
        traverse_static(model, **{"f": f, "z": z, **options})
    if "reference" in options:
        with pytest.raises(UsageError, match=r"must be \(N, T, 2\)"):
            traverse_dynamic(model, f, z, torch.zeros(5, 3))
    if "count" in options:
        with pytest.raises(UsageError, match="at least 2 values"):
            traverse_dynamic(model, f, z, **options)
