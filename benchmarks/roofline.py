r"""Operations and bytes of one training step against what this device was measured to do: the roofline.

  python benchmarks/roofline.py                                            # 32 pixels, batch 32, two cores: a minute
  python benchmarks/roofline.py --device cuda --precision bf16 --size 64 --batch 512 --out benchmarks/results

Operations are counted call by call, forward and backward, with PyTorch's formulas for products and convolutions and one of our
own for LSTMs, which are single calls that PyTorch has no formula for. A multiply-add is two operations; element-wise work has
bytes, but no operations here. Bytes are those of all tensors that a call reads and writes, views excepted: caches are ignored,
so where a tensor is still in one the true traffic is less, and a part may even be faster than its line. What a call keeps to
itself (the gates of an LSTM, the copies of a convolution) is not seen either.

Every network runs alone on the tensors that it meets in a step, and their operations must add up to those of the whole step.
"densities and the rest" is the step less these and the update: casts, noise, densities and the mean over the batch.
"""

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from handwritten import Networks, drawn
from speed import CLIP, RATE, Case, _this_project, _wait, objective
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pyro_dsvae.models.decoders import Textures

aten = torch.ops.aten
MATRICES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}
# They return memory that nobody has written yet.
UNWRITTEN = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
# It may scale gradients in place; here it is not asked to.
UNCHANGED = {"_fused_adam_": "grads"}
TOLERANCE = 0.05
NETWORKS = ("static encoder", "dynamic encoder", "LSTMs", "decoder")
ADAM, REST, STEP = "clipping and Adam", "densities and the rest", "whole step"


class Cost(NamedTuple):
    """Of one operator call: operations in products, and bytes read and written."""

    name: str
    flops: int
    bytes: int


@dataclass(frozen=True)
class Ceilings:
    """What the device was measured to do.

    matrix       operations per second of the largest of the square products, float32; on a GPU in TF32, as convolutions are
    matrix_bf16  the same in bf16
    matrix_fp32  the same in float32 proper
    convolution  operations per second of the decoder's 3x3 convolution, in the precision of the step
    bandwidth    bytes per second of a copy, reading and writing
    """

    matrix: float
    matrix_bf16: float
    matrix_fp32: float
    convolution: float
    bandwidth: float


@dataclass(frozen=True)
class Row:
    """One part of a step: operations, bytes, and milliseconds; ``measured`` alone, None where it was not measured.

    roofline      max(operations / matrix ceiling, bytes / bandwidth): no part can be faster unless caches serve it
    per_operator  the same of every operator call, summed: what can be reached without fusing operators
    """

    name: str
    flops: int
    bytes: int
    roofline: float
    per_operator: float
    measured: float | None


def lstm_flops(weights: Iterable[Sequence[int]], vectors: int) -> int:
    """Operations of an LSTM over ``vectors`` inputs (batch times steps), from the shapes of its weights.

    2 * 4H(E + H) per input and layer: every weight matrix, (4H, E) and (4H, H), meets every input once. Biases do not count.
    """
    return 2 * vectors * sum(prod(shape) for shape in weights if len(shape) == 2)


def _mkldnn_lstm(inputs: Tensor, *others: Any, **options: Any) -> int:
    return lstm_flops([weight.shape for weight in others[:2]], prod(inputs.shape[:2]))


def _cudnn_lstm(inputs: Tensor, weights: Sequence[Tensor], *others: Any, **options: Any) -> int:
    return lstm_flops([weight.shape for weight in weights], prod(inputs.shape[:2]))


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """Of a backward pass: the gradients of inputs and of weights are a product each, as large as that of the forward pass."""
    return lambda *args, **options: 2 * formula(*args, **options)


FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.mkldnn_rnn_layer: _mkldnn_lstm,
    aten.mkldnn_rnn_layer_backward: _twice(_mkldnn_lstm),
    aten._cudnn_rnn: _cudnn_lstm,
    aten._cudnn_rnn_backward: _twice(_cudnn_lstm),
}


def moved_bytes(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Bytes of the tensors that an operator call reads and writes, each once each way; 0 for a view."""
    name = func.overloadpacket.__name__
    if not func._schema.is_mutable and (name in UNWRITTEN or _is_view([args, kwargs], result)):
        return 0
    changed = [
        value
        for argument, value in zip(func._schema.arguments, args, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write and UNCHANGED.get(name) != argument.name
    ]
    return _bytes([args, kwargs]) + _bytes([result, changed])


def _is_view(inputs: Any, outputs: Any) -> bool:
    """Whether all outputs lie in memory of inputs."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in _tensors(inputs)}
    made = _tensors(outputs)
    return bool(made) and all(tensor.untyped_storage().data_ptr() in memory for tensor in made)


def _bytes(values: Any) -> int:
    """Of the tensors among the leaves: each once, expanded ones as they are in memory, and of no storage more than it has."""
    sizes: dict[int, dict[tuple[int, int], int]] = defaultdict(dict)
    limits: dict[int, int] = {}
    for tensor in _tensors(values):
        storage = tensor.untyped_storage()
        size = tensor.element_size() * prod(n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
        sizes[storage.data_ptr()][tensor.data_ptr(), size] = size
        limits[storage.data_ptr()] = storage.nbytes()
    return sum(min(limits[place], sum(parts.values())) for place, parts in sizes.items())


def _tensors(values: Any) -> list[Tensor]:
    """Those with values among the leaves."""
    return [v for v in tree_leaves(values) if isinstance(v, Tensor) and v.numel()]


class Costs(TorchDispatchMode):
    """The `Cost` of every operator call under it, those of the backward pass among them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Cost] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = FLOPS.get(func.overloadpacket)
        flops = 0 if formula is None else int(formula(*args, **kwargs, out_val=result))
        self.calls.append(Cost(func.overloadpacket.__name__, flops, moved_bytes(func, args, kwargs, result)))
        return result

    @property
    def flops(self) -> int:
        return sum(call.flops for call in self.calls)

    @property
    def bytes(self) -> int:
        return sum(call.bytes for call in self.calls)


def costs(work: Callable[[], object]) -> Costs:
    """Of everything that ``work()`` does."""
    with Costs() as counted:
        work()
    return counted


def bound(flops: float, moved: float, peak: float, bandwidth: float) -> float:
    """The roofline, in milliseconds: what takes longer, the operations at their ceiling or the bytes at theirs.

    Source: Williams et al., "Roofline: An Insightful Visual Performance Model", Communications of the ACM, 2009.
    """
    return 1e3 * max(flops / peak, moved / bandwidth)


def rest_of(whole: Costs, parts: Iterable[Costs]) -> list[Cost]:
    """The calls of the whole step that are in no part, by name: operations and bytes of a name less those in the parts.

    Raises `AssertionError` where operations of the parts do not add up to those of the step.
    """
    taken = [call for part in parts for call in part.calls]
    flops = sum(call.flops for call in taken)
    difference = abs(flops - whole.flops) / whole.flops
    assert difference <= TOLERANCE, f"the parts have {flops:,} operations, the step {whole.flops:,}"
    left = {call.name: [0, 0] for call in (*whole.calls, *taken)}
    for sign, calls in ((1, whole.calls), (-1, taken)):
        for call in calls:
            left[call.name][0] += sign * call.flops
            left[call.name][1] += sign * call.bytes
    return [Cost(name, *values) for name, values in left.items()]


def network_parts(case: Case, device: str) -> dict[str, Callable[[], None]]:
    """Forward and backward of every network alone, on tensors as it meets them in a step."""
    own = objective(case).to(torch.device(device), memory_format=torch.channels_last)
    networks = Networks(own).train()
    x = torch.rand(case.batch, case.length, *case.frame, device=device)

    def precision() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=case.bf16)

    with precision(), torch.no_grad():
        f = drawn(*networks.infer_f(x))
        z = drawn(*networks.infer_z(x, f))
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        features = networks.dynamic_encoder(x, seen)
    features, f, z = (values.requires_grad_() for values in (features, f, z))

    def lstms() -> tuple[Tensor, ...]:
        joined = torch.cat([features, f.unsqueeze(1).expand(-1, case.length, -1)], dim=-1)
        hidden = networks.lstm(networks.context(joined, None))[0] + networks.direct(features)
        return (*networks.dynamic_head(hidden), *networks.predict_z(z))

    forwards: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "static encoder": lambda: networks.infer_f(x),
        "dynamic encoder": lambda: (networks.dynamic_encoder(x, seen),),
        "LSTMs": lstms,
        "decoder": lambda: (networks.decoder(f, z),),
    }
    assert tuple(forwards) == NETWORKS

    def part(forward: Callable[[], tuple[Tensor, ...]]) -> Callable[[], None]:
        with precision(), torch.no_grad():
            gradients = [torch.ones_like(output) for output in forward()]

        def work() -> None:
            for leaf in (features, f, z, *networks.parameters()):
                leaf.grad = None
            with precision():
                outputs = forward()
            torch.autograd.backward(outputs, gradients)

        return work

    return {name: part(forward) for name, forward in forwards.items()}


def adam(case: Case, device: str) -> Callable[[], object]:
    """One update of all parameters, and the clipping of gradients before it."""
    own = objective(case).to(torch.device(device), memory_format=torch.channels_last)
    for parameter in own.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.Adam(own.parameters(), lr=RATE, fused=True)

    def work() -> None:
        nn.utils.clip_grad_norm_(own.parameters(), CLIP)
        optimizer.step()

    return work


def whole_step(case: Case, device: str) -> Callable[[], object]:
    """This project's training step, the one of `speed.py`."""
    frames = torch.randint(0, 256, (case.batch, case.length, *case.frame), dtype=torch.uint8)
    return _this_project(objective(case), frames, case, device)


def milliseconds(works: dict[str, Callable[[], object]], device: str, seconds: float) -> dict[str, float]:
    """Medians of rounds that visit all in turn, after two that are thrown away."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    start = time.perf_counter()
    for number in range(10**4):
        for name, work in works.items():
            took = _timed(work, device)
            if number >= 2:
                taken[name].append(1e3 * took)
        if number >= 6 and time.perf_counter() - start > seconds:
            break
    return {name: median(values) for name, values in taken.items()}


def _timed(work: Callable[[], object], device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def ceilings(case: Case, device: str, seconds: float) -> Ceilings:
    """Measured here and now, each for about ``seconds``: the best that was seen, not the mean."""

    def rate(amount: float, work: Callable[[], object]) -> float:
        _timed(work, device)
        best, start = 0.0, time.perf_counter()
        while not best or time.perf_counter() - start < seconds:
            best = max(best, amount / _timed(work, device))
        return best

    def product(size: int, dtype: torch.dtype) -> float:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        return rate(2 * size**3, lambda: torch.mm(a, b, out=out))

    def largest(dtype: torch.dtype) -> float:
        return max(product(size, dtype) for size in MATRICES[device])

    fp32, bf16 = largest(torch.float32), largest(torch.bfloat16)
    single = fp32
    if device == "cuda":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        single = max(fp32, largest(torch.float32))
        torch.set_float32_matmul_precision(before)
    source, target = (torch.ones(COPIED_BYTES[device], dtype=torch.uint8, device=device) for _ in range(2))
    bandwidth = rate(2 * source.nbytes, lambda: target.copy_(source))
    work = _convolution(case, device)
    return Ceilings(single, bf16, fp32, rate(costs(work).flops, work), bandwidth)


def _convolution(case: Case, device: str) -> Callable[[], object]:
    """The decoder's 3x3 convolution, on the maps of all frames of a batch."""
    decoder = objective(case).model.decoder
    assert isinstance(decoder, Textures)
    channels, side = decoder.regions.in_channels, case.frame[1] // 2
    dtype = torch.bfloat16 if case.bf16 else torch.float32
    layer = nn.Conv2d(channels, decoder.regions.out_channels, 3, padding=1).to(
        device, dtype, memory_format=torch.channels_last
    )  # type: ignore[call-overload]
    maps = torch.randn(case.batch * case.length, channels, side, side, device=device, dtype=dtype)
    maps = maps.to(memory_format=torch.channels_last)
    return torch.no_grad()(lambda: layer(maps))


def measure(case: Case, device: str, seconds: float) -> tuple[list[Row], Ceilings]:
    """The rows of the parts, then that of the whole step; ``seconds`` for the step, as much again for the ceilings."""
    works: dict[str, Callable[[], object]] = {**network_parts(case, device), ADAM: adam(case, device)}
    works[STEP] = whole_step(case, device)
    for work in works.values():  # first calls allocate and check
        work()
    counted = {name: costs(work) for name, work in works.items()}
    calls = {name: counts.calls for name, counts in counted.items()}
    calls[REST] = rest_of(counted[STEP], [counts for name, counts in counted.items() if name != STEP])
    taken = milliseconds(works, device, seconds)
    top = ceilings(case, device, seconds / 10)
    peak = top.matrix_bf16 if case.bf16 else top.matrix
    rows = []
    for name in (*NETWORKS, REST, ADAM, STEP):
        flops, moved = sum(call.flops for call in calls[name]), sum(call.bytes for call in calls[name])
        each = sum(bound(call.flops, call.bytes, peak, top.bandwidth) for call in calls[name])
        rows.append(Row(name, flops, moved, bound(flops, moved, peak, top.bandwidth), each, taken.get(name)))
    return rows, top


def report(case: Case, rows: Sequence[Row], top: Ceilings, hardware: str) -> str:
    """Markdown: one row per part, then the ceilings."""
    peak = top.matrix_bf16 if case.bf16 else top.matrix
    lines = [
        "| part | GFLOP | MB | FLOP per byte | operations ms | bytes ms | roofline ms | operator by operator ms | "
        "measured ms | share of the matrix ceiling |",
        "|---|" + "---:|" * 9,
    ]
    for row in rows:
        cells = [row.name, f"{row.flops / 1e9:.2f}", f"{row.bytes / 1e6:,.0f}", f"{row.flops / max(row.bytes, 1):.1f}"]
        cells += [f"{1e3 * row.flops / peak:.2f}", f"{1e3 * row.bytes / top.bandwidth:.2f}"]
        cells += [f"{row.roofline:.2f}", f"{row.per_operator:.2f}"]
        cells += ["", ""] if row.measured is None else [f"{row.measured:.2f}", _share(row, peak)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Ceilings in {'bf16' if case.bf16 else 'float32'}: product {peak / 1e9:,.0f} GFLOP/s, copy "
        f"{top.bandwidth / 1e9:,.1f} GB/s, so {peak / top.bandwidth:.0f} FLOP per byte are needed to reach the first. "
        f"Measured beside: product in float32 {top.matrix_fp32 / 1e9:,.0f}, bf16 {top.matrix_bf16 / 1e9:,.0f} GFLOP/s; the "
        f"decoder's 3x3 convolution {top.convolution / 1e9:,.0f} GFLOP/s.",
        "",
        f"{case.frame[-1]} pixels, T = {case.length}, batch {case.batch}. {hardware}",
    ]
    return "\n".join(lines)


def _share(row: Row, peak: float) -> str:
    assert row.measured is not None
    return f"{row.flops / (1e-3 * row.measured * peak):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--size", type=int, choices=(32, 64), default=32, help="pixels on a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="for the step and, in all, for the ceilings")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    bf16 = arguments.precision == "bf16"
    case = Case("roofline", (3, arguments.size, arguments.size), 8, arguments.batch, bf16=bf16)
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu ({platform.machine()})"
    hardware = (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}."
    )
    rows, top = measure(case, arguments.device, arguments.seconds)
    text = report(case, rows, top, hardware)
    print(text)
    if arguments.out is not None:
        stem = arguments.out / f"roofline-{arguments.device}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(f"# A training step against the ceilings of the device\n\n{text}\n")
        values = {
            "hardware": hardware,
            "case": asdict(case),
            "ceilings": asdict(top),
            "rows": [asdict(r) for r in rows],
        }
        stem.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
