"""What the roofline counts: operations and bytes of hand-computed calls."""

from collections.abc import Callable

import pytest
import roofline
import torch
from roofline import Cost, Costs, bound, costs, lstm_flops, moved_bytes, rest_of
from speed import Case
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pyro_dsvae.models.networks.recurrent import runs_in_bfloat16

aten = torch.ops.aten


def backward(module: nn.Module, x: Tensor) -> Costs:
    """Forward, and backward from a gradient that is there already."""
    outputs = module(x)
    y = outputs[0] if isinstance(outputs, tuple) else outputs
    gradient = torch.ones_like(y)

    def work() -> None:
        again = module(x)
        torch.autograd.backward(again[0] if isinstance(again, tuple) else again, gradient)

    return costs(work)


def test_a_linear_layer_has_three_products_and_without_a_gradient_of_its_input_two() -> None:
    layer = nn.Linear(5, 7)
    assert backward(layer, torch.randn(3, 5, requires_grad=True)).flops == 3 * 2 * 3 * 5 * 7
    assert backward(layer, torch.randn(3, 5)).flops == 2 * 2 * 3 * 5 * 7


def test_a_convolution_is_counted_place_by_place() -> None:
    """Each of 4 x 4 places of 6 output channels meets 3 x 3 pixels of 2 channels; both gradients are as large."""
    layer = nn.Conv2d(2, 6, 3, stride=2, padding=1)
    x = torch.randn(5, 2, 8, 8, requires_grad=True)
    assert backward(layer, x).flops == 3 * 2 * 5 * (4 * 4 * 6) * (3 * 3 * 2)


def test_a_transposed_convolution_is_counted_by_its_inputs_places() -> None:
    layer = nn.ConvTranspose2d(2, 6, 4, stride=2, padding=1)
    x = torch.randn(5, 2, 8, 8, requires_grad=True)
    assert backward(layer, x).flops == 3 * 2 * 5 * (8 * 8 * 2) * (4 * 4 * 6)


BATCH, STEPS, INPUT, HIDDEN = 2, 3, 5, 7


def test_an_lstm_has_4_h_e_plus_h_products_per_step() -> None:
    assert lstm_flops([(28, 5), (28, 7), (28,), (28,)], 6) == 2 * BATCH * STEPS * 4 * HIDDEN * (INPUT + HIDDEN)


def test_the_fused_lstm_is_counted_like_its_own_products() -> None:
    """In float64 there is no fused operator: PyTorch then calls the products one by one, and counts them itself.

    It is right to leave out the gradient of the first hidden state, which nobody asks for.
    """
    lstm, x = nn.LSTM(INPUT, HIDDEN, batch_first=True), torch.randn(BATCH, STEPS, INPUT, requires_grad=True)
    fused, single = backward(lstm, x), backward(lstm.double(), x.detach().double().requires_grad_())
    if not any(call.name == "mkldnn_rnn_layer_backward" for call in fused.calls):
        pytest.skip("this build of PyTorch has no fused LSTM on the CPU")
    assert not any("rnn" in call.name for call in single.calls)
    assert single.flops == fused.flops - 2 * BATCH * 4 * HIDDEN * HIDDEN
    assert fused.flops == 3 * 2 * BATCH * STEPS * 4 * HIDDEN * (INPUT + HIDDEN)


def test_the_lstm_of_a_gpu_is_counted_alike() -> None:
    """Its operator takes (T, B, E) and the list of weights; here only the formula is asked."""
    weights = [torch.empty(4 * HIDDEN, n) for n in (INPUT, HIDDEN)] + [torch.empty(4 * HIDDEN)] * 2
    inputs = torch.empty(STEPS, BATCH, INPUT)
    expected = 2 * BATCH * STEPS * 4 * HIDDEN * (INPUT + HIDDEN)
    assert roofline.FLOPS[aten._cudnn_rnn](inputs, weights, 4, None, out_val=None) == expected
    assert roofline.FLOPS[aten._cudnn_rnn_backward](inputs, weights, 4, None, out_val=None) == 2 * expected


@pytest.mark.parametrize(
    ("work", "values"),
    [
        (lambda a, b: a + b, 3 * 12),
        (lambda a, b: a * a, 2 * 12),  # one tensor, read once
        (lambda a, b: a + b[0].expand(3, 4), 12 + 4 + 12),
        (lambda a, b: a.mul_(b), 3 * 12),
        (lambda a, b: a.sum(), 12 + 1),
        (lambda a, b: a.view(12)[2:].reshape(2, 5).t().detach(), 0),
        (lambda a, b: torch.empty_like(a), 0),
        (lambda a, b: torch.zeros_like(a), 12 + 12),
        (lambda a, b: torch.cat([a, b]), 24 + 24),
        (lambda a, b: a @ b.t(), 12 + 12 + 9),
    ],
    ids=["add", "square", "expanded", "in place", "sum", "views", "empty", "zeros", "cat", "product"],
)
def test_bytes_are_those_of_the_tensors_read_and_written(work: Callable[[Tensor, Tensor], object], values: int) -> None:
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    assert costs(lambda: work(a, b)).bytes == 4 * values


def test_adam_reads_four_tensors_and_writes_three() -> None:
    weights = nn.Parameter(torch.randn(100))
    optimizer = torch.optim.Adam([weights], fused=True)
    weights.grad = torch.randn(100)
    optimizer.step()
    counted = [call for call in costs(optimizer.step).calls if call.name == "_fused_adam_"]
    assert [call.bytes for call in counted] == [4 * 7 * 100 + 4]  # and the number of the step
    assert moved_bytes(aten.add.Tensor, (weights.detach(), 1), {}, weights.detach() + 1) == 4 * 200


def test_the_bound_is_the_slower_of_operations_and_bytes() -> None:
    assert bound(flops=6e9, moved=1e9, peak=3e9, bandwidth=1e9) == 2000
    assert bound(flops=6e9, moved=5e9, peak=3e9, bandwidth=1e9) == 5000


def test_what_is_in_no_part_is_left_and_parts_must_add_up() -> None:
    whole, part = Costs(), Costs()
    whole.calls = [Cost("mm", 100, 10), Cost("mm", 100, 10), Cost("log", 0, 7)]
    part.calls = [Cost("mm", 200, 20)]
    assert rest_of(whole, [part]) == [Cost("mm", 0, 0), Cost("log", 0, 7)]
    part.calls = [Cost("mm", 180, 20)]
    with pytest.raises(AssertionError, match="180 operations, the step 200"):
        rest_of(whole, [part])


NO_LSTM = pytest.mark.skipif(not runs_in_bfloat16(), reason="this processor has no LSTM in bfloat16")


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=NO_LSTM)])
def test_the_networks_alone_have_the_operations_of_the_step(bf16: bool) -> None:
    """Not one product lies outside them, and what is left has bytes."""
    case = Case("tests", (3, 32, 32), 4, 2, bf16=bf16)
    step, update = roofline.whole_step(case, "cpu"), roofline.adam(case, "cpu")
    for work in (step, update):
        work()
    whole, parts = costs(step), [costs(w) for w in (*roofline.network_parts(case, "cpu").values(), update)]
    with FlopCounterMode(display=False) as known:
        step()
    assert known.get_total_flops() == whole.flops - sum(call.flops for call in whole.calls if "rnn" in call.name)
    rest = rest_of(whole, parts)
    assert sum(part.flops for part in parts) == whole.flops > 10**8
    assert all(call.flops == 0 and call.bytes >= 0 for call in rest)
    left = {call.name for call in rest if call.bytes}
    assert {"normal_", "log", "div"} <= left
    assert not left & {"_fused_adam_", "_foreach_norm", "convolution", "convolution_backward", "addmm", "bmm"}
