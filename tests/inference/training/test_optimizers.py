"""Muon against the singular value decomposition, and which parameters it takes."""

import pytest
import torch
from torch import nn

from pyro_dsvae.inference.training.optimizers import SMALLEST, Muon, layer_weights, orthogonalised


@pytest.mark.parametrize(("rows", "columns"), [(40, 64), (64, 40), (48, 48)])
def test_the_update_has_the_singular_vectors_of_the_gradient_and_singular_values_near_one(
    rows: int, columns: int
) -> None:
    u, _ = torch.linalg.qr(torch.randn(2, rows, min(rows, columns)))
    v, _ = torch.linalg.qr(torch.randn(2, columns, min(rows, columns)))
    matrices = u * torch.logspace(2, 0, min(rows, columns)) @ v.mT
    found = u.mT @ orthogonalised(matrices) @ v
    values = found.diagonal(dim1=1, dim2=2)
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (found - torch.diag_embed(values)).abs().max() < 1e-3


def test_a_weight_without_gradient_stays() -> None:
    weight = nn.Parameter(torch.randn(40, 40))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    Muon([{"params": [weight]}], lr=0.1).step()
    assert torch.equal(weight, before)


def test_a_step_is_along_the_nesterov_momentum_and_ignores_the_size_of_the_gradient() -> None:
    """Two steps on a convolution and on a matrix of its shape, whose momentum is written out here."""
    first, second = torch.randn(2, 40, 5, 3, 3)
    steps = {}
    for scale in (1.0, 1000.0):
        weights = [nn.Parameter(torch.zeros(40, 5, 3, 3)), nn.Parameter(torch.zeros(40, 45))]
        optimizer = Muon([{"params": weights}], lr=0.1)
        for gradient in (first, second):
            for weight in weights:
                weight.grad = scale * gradient.view_as(weight)
            optimizer.step()
        assert torch.equal(weights[0].flatten(1), weights[1])
        steps[scale] = weights[1].detach()
    torch.testing.assert_close(steps[1000.0], steps[1.0], rtol=1e-3, atol=1e-5)
    momenta = [0.05 * first, 0.95 * 0.05 * first + 0.05 * second]
    nesterov = [0.05 * g + 0.95 * m for g, m in zip((first, second), momenta, strict=True)]
    expected = -sum(orthogonalised(n.view(1, 40, 45))[0] for n in nesterov) * 0.1 * 0.2 * 45**0.5
    torch.testing.assert_close(steps[1.0], expected, rtol=1e-4, atol=1e-5)


def test_only_weights_of_layers_that_are_large_enough_are_made_orthogonal() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.head = nn.Linear(SMALLEST, SMALLEST), nn.Linear(SMALLEST, SMALLEST - 1)
            self.recurrent = nn.LSTM(SMALLEST, SMALLEST)
            self.convolution = nn.Conv2d(SMALLEST, SMALLEST, 3)
            self.table = nn.Parameter(torch.zeros(SMALLEST, SMALLEST))

    net = Net()
    weights = [net.linear.weight, net.recurrent.weight_ih_l0, net.recurrent.weight_hh_l0, net.convolution.weight]
    assert {id(weight) for weight in layer_weights(net)} == {id(weight) for weight in weights}


@pytest.mark.parametrize("shape", [(2, 40, 160), (2, 160, 40), (1, 48, 48)])
def test_the_iteration_in_one_square_factor_is_that_of_the_matrix(shape: tuple[int, ...]) -> None:
    """Singular values from 1 to 1e-4, each put through the polynomial five times. Rounding of x x^T grows by 3.4^8."""
    shorter = min(shape[1:])
    u, _ = torch.linalg.qr(torch.randn(shape[0], shape[1], shorter))
    v, _ = torch.linalg.qr(torch.randn(shape[0], shape[2], shorter))
    values = torch.logspace(0, -4, shorter, dtype=torch.float64)
    found = orthogonalised(u * values.float() @ v.mT)
    expected = values / values.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(found, u * expected.float() @ v.mT, rtol=0, atol=5e-4)
