"""Sequences of thousands of steps: work and memory in proportion to T, frame networks a part at a time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.networks import earlier_decoder
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.counting import calls, saved_values
from tests.decoded import small_decoder
from tests.encoded import small_encoder

F, D = 4, 2
SHAPES = pytest.mark.parametrize("shape", [(3, 17, 17), (6,)], ids=["image", "vector"])

# --- frame networks ---------------------------------------------------------------------------------------------------


def frames_per_chunk(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], count: int) -> None:
    values = max(chunks.MIN_VALUES, torch.Size(shape).numel())
    monkeypatch.setattr(chunks, "CHUNK_VALUES", count * values)
    assert chunks.frames_at_once(shape) == count


def value_and_gradients(network: nn.Module, *inputs: Tensor) -> list[Tensor]:
    value = network(*inputs)
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).view_as(value)
    return [value, *torch.autograd.grad((value * weights).sum(), [*inputs, *network.parameters()])]


def encoders(shape: tuple[int, ...]) -> list[nn.Module]:
    made: list[nn.Module] = [frame_encoder(shape, 7, width=1)]
    return made if len(shape) == 1 else [*made, Patches(shape, 7, width=1)]


@SHAPES
@pytest.mark.parametrize("count", [1, 4, 11])
def test_encoders_in_chunks_are_the_encoders(
    shape: tuple[int, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 6, *shape, dtype=torch.float64, requires_grad=True)
    for encoder in encoders(shape):
        whole = value_and_gradients(encoder.double(), x)
        with monkeypatch.context() as patch:
            frames_per_chunk(patch, shape, count)
            torch.testing.assert_close(value_and_gradients(encoder, x), whole)
            with torch.no_grad():
                torch.testing.assert_close(encoder(x), whole[0])


@SHAPES
@pytest.mark.parametrize("count", [1, 6, 23])
def test_decoders_in_chunks_are_the_decoders(
    shape: tuple[int, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    decoder = earlier_decoder(shape, 1)(F, D, shape).double()
    f = torch.randn(2, 2, F, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 2, 7, D, dtype=torch.float64, requires_grad=True)
    whole = value_and_gradients(decoder, f, z)
    frames_per_chunk(monkeypatch, shape, count)
    torch.testing.assert_close(value_and_gradients(decoder, f, z), whole)
    with torch.no_grad():
        torch.testing.assert_close(decoder(f, z), whole[0])


@SHAPES
def test_no_network_meets_more_frames_at_once_than_it_may(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames_per_chunk(monkeypatch, shape, 5)
    met: list[int] = []

    def noting(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def wrapped(*inputs: Tensor) -> Tensor:
            result = method(*inputs)
            met.append(result.numel() // result.shape[-1] if len(inputs) == 1 else inputs[1].shape[:-1].numel())
            return result

        return wrapped

    encoder, decoder = frame_encoder(shape, 7, width=1), earlier_decoder(shape, 1)(F, D, shape)
    monkeypatch.setattr(encoder, "encode", noting(encoder.encode))
    monkeypatch.setattr(decoder, "decode", noting(decoder.decode))
    encoder(torch.rand(3, 4, *shape))
    assert met == [5, 5, 2]
    met.clear()
    decoder(torch.randn(2, F), torch.randn(2, 7, D))
    assert met == [4, 4, 4, 2]  # two steps of two sequences
    met.clear()
    decoder(torch.randn(9, F), torch.randn(9, 2, D))
    assert met == [9, 9]  # a step of all sequences is the least


def test_chunks_bound_what_is_kept_for_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (3, 32, 32)
    decoder = earlier_decoder(shape, 4)(F, D, shape)
    f, z = torch.randn(1, F), torch.randn(1, 64, D)
    whole = saved_values(lambda: decoder(f, z))
    frames_per_chunk(monkeypatch, shape, 8)
    parts = saved_values(lambda: decoder(f, z))
    assert whole > 64 * 4 * 32 * 32  # several maps of every frame
    assert parts < whole / 100  # latents and weights only


# --- the whole step ---------------------------------------------------------------------------------------------------


def objective(length: int, prior: Any, guide: Any) -> Objective:
    examples = torch.zeros(1, length, 6)
    return build(
        examples,
        0,
        8,
        4,
        StandardNormal,
        prior,
        partial(guide, hidden_size=8, feature_size=8),
        Normal,
        small_decoder,
        encoder=small_encoder,
    )


PAIRS = {
    "LSTM": (partial(LSTM, hidden_size=8), LSTMPosterior),
    "RandomWalk": (RandomWalk, StructuredGaussian),
    "LinearGaussian": (LinearGaussian, StructuredGaussian),
}


def step(pair: str, length: int) -> SVI:
    torch.manual_seed(0)
    rows = Sequences(torch.randn(2, length, 6), None, None, torch.arange(2))
    return SVI(objective(length, *PAIRS[pair]), rows, rows, Optimisation(), Budget(10), hardware=Hardware("cpu"))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_step_makes_no_tensor_that_grows_faster_than_t(pair: str) -> None:
    """A T x T matrix of one dimension alone would have 16 MB."""
    sizes = {length: calls(partial(step(pair, length)._step, 0.5)).largest for length in (500, 2_000)}
    assert sizes[2_000] <= 4.5 * sizes[500]
    assert sizes[2_000] < 4_000_000


@pytest.mark.parametrize("pair", PAIRS)
def test_no_operator_is_called_once_per_step_of_time(pair: str) -> None:
    """Doubling T adds at most one level of the odd-even reductions, a fixed number of calls."""

    def total(length: int) -> int:
        loop = step(pair, length)
        loop._step(0.5)  # the first has checks of its own
        return calls(lambda: loop._step(0.5)).total

    counts = [total(length) for length in (256, 512, 1_024)]
    assert counts[2] - counts[1] <= 1.2 * (counts[1] - counts[0]) + 5
    assert counts[2] - counts[1] < 200


@pytest.mark.parametrize("pair", PAIRS)
def test_ten_thousand_steps(pair: str) -> None:
    loop = step(pair, 10_000)
    terms = [loop._step(0.0) for _ in range(2)]
    assert torch.isfinite(torch.stack(terms)).all()
    loop._check_parameters()


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_time_grows_in_proportion_to_t(pair: str) -> None:
    """As ratios within one process: ten times the steps take at most fifteen times as long."""

    def seconds(length: int) -> float:
        loop = step(pair, length)
        loop._step(0.5)
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            loop._step(0.5)
            taken.append(time.perf_counter() - began)
        return min(taken)

    assert seconds(10_000) < 15 * seconds(1_000)
