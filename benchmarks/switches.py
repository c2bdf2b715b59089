r"""What each optimisation of the training step is worth: one after the other is switched off, or on, alone.

  python benchmarks/switches.py --out benchmarks/results                  # two cores: 3 minutes and the compiler's
  python benchmarks/switches.py --device cuda --out benchmarks/results    # a GPU, with what only a GPU has

Every row is this project's step (`SVI`) with one thing changed, beside the step as it is. Both run one after the other in one
process, in changing order, and their ratio is taken within such a pair: a median above 1 says that the step as it is, is
faster. Medians over rounds with the quartiles. "kept" is what one forward pass keeps for its gradient, a cause that does not
depend on how busy the machine is; with frame networks in chunks the activations of one chunk come on top during its turn.

A switch that fails, for want of a compiler for example, says so in its row.
"""

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyro
import torch
from speed import CLIP, GPU, LATE, QUICK, RATE, Case, _spread, _spread_ratio, _wait, objective
from torch import Tensor, nn

from pyro_dsvae.inference import svi as svi_module
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training import objective as objective_module
from pyro_dsvae.inference.training.hardware import Compilation, Hardware, Keep
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors import lstm as lstm_prior
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.networks.recurrent import State

CASES = {"cpu": (QUICK[0], QUICK[2]), "cuda": (GPU[0], GPU[3], GPU[4])}
BATCHES = 4  # sequences in memory, in batches: a step gathers its own
PARTS = 8  # of the frames, when they are taken in chunks
WARM_UPS, FEWEST_ROUNDS = 3, 5


@dataclass(frozen=True)
class Switch:
    """One thing that a step may do otherwise.

    name      what is changed
    now       how the step is as it comes
    then      how it is in this row
    built     around building the step
    during    around every step, given the case
    changed   what else is done to the loop once it is built
    visits    whether the step visits every module to set its mode
    compile   as in `Hardware`
    data      as in `Hardware`
    bf16      whether the precision is the other one
    floats    whether the stored frames are float32
    gpu       whether only a GPU has it
    images    whether only frame networks of images have it
    """

    name: str
    now: str
    then: str
    built: Callable[[], AbstractContextManager[Any]] = nullcontext
    during: Callable[[Case], AbstractContextManager[Any]] = lambda case: nullcontext()
    changed: Callable[[SVI], object] = lambda loop: None
    visits: bool = False
    compile: Compilation = "none"
    data: Keep = "auto"
    bf16: bool = False
    floats: bool = False
    gpu: bool = False
    images: bool = False


@dataclass
class Outcome:
    """What was measured of a switch: milliseconds pair by pair, kept bytes, seconds of the first steps, or why not."""

    case: str
    name: str
    now: str
    then: str
    default: list[float] = field(default_factory=list)
    switched: list[float] = field(default_factory=list)
    kept: int | None = None
    first_seconds: float | None = None
    failure: str | None = None

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.default, self.switched, strict=True)]


def _parameters_as_messages() -> AbstractContextManager[Any]:
    """PyroModules called as they are tell Pyro of each of their parameters."""
    return patch.object(objective_module, "_unregistered", lambda module: module)


def _seeding_all() -> AbstractContextManager[Any]:
    return patch.object(svi_module, "seed_generators", lambda seed, device: torch.manual_seed(seed))


def _always_validated() -> AbstractContextManager[Any]:
    enabled = pyro.validation_enabled
    return patch.object(pyro, "validation_enabled", lambda is_validate=True: enabled(True))


def _adam(**how: bool) -> AbstractContextManager[Any]:
    """`SVI` builds its optimiser with other options."""
    kind = torch.optim.Adam
    return patch.object(torch.optim, "Adam", lambda parameters, lr, fused: kind(parameters, lr=lr, **how))


def _contiguous(loop: SVI) -> None:
    for module in loop.objective.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def by_cells(lstm: nn.LSTM, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """As `run_lstm`, one cell after the other, as published code does it."""
    weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    if state is None:
        zeros = inputs.new_zeros(*inputs.shape[:-2], lstm.hidden_size)
        state = zeros, zeros
    outputs = []
    for step in inputs.unbind(-2):
        state = torch.lstm_cell(step, state, *weights)
        outputs.append(state[0])
    return torch.stack(outputs, -2), state


def _in_chunks(case: Case) -> AbstractContextManager[Any]:
    at_once = max(1, case.batch * case.length // PARTS)
    return patch.object(chunks, "CHUNK_VALUES", at_once * max(chunks.MIN_VALUES, prod(case.frame)))


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def switches(case: Case, device: str) -> list[Switch]:
    """All that this case has on this device, in the order of the table."""
    precisions = ("bf16", "float32") if case.bf16 else ("float32", "bf16")
    made = [
        Switch(
            "parameters", "unknown to Pyro", "sent through its messages", during=lambda c: _parameters_as_messages()
        ),
        Switch("seeding", "one generator", "torch.manual_seed, all of them", during=lambda c: _seeding_all()),
        Switch("training mode", "set where it is not", "set in every step", visits=True),
        Switch("checks of the program", "first step", "every step", during=lambda c: _always_validated()),
        Switch("Adam", "fused", "operator by operator on lists", built=lambda: _adam(foreach=True)),
        Switch("Adam", "fused", "parameter by parameter", built=lambda: _adam(foreach=False)),
        Switch("convolutions", "channels last", "channels first", changed=_contiguous, images=True),
        Switch(
            "prior along z",
            "one call of the LSTM",
            "a loop over its cells",
            during=lambda c: patch.object(lstm_prior, "run_lstm", by_cells),
        ),
        Switch("precision of the networks", *precisions, bf16=True),
        Switch("frame networks", "as they are", "compiled", compile="default"),
        Switch("frame networks", "as they are", "compiled, CUDA graphs", compile="reduce-overhead", gpu=True),
        Switch("frames", "all at once", "an eighth at a time, computed twice", during=_in_chunks),
        Switch("stored frames", "uint8", "float32", floats=True),
        Switch("stored frames", "on the GPU", "on the host, pinned batch by batch", data="host", gpu=True),
        Switch("float32 products", "float32", "TF32", during=lambda c: _tf32(), gpu=True),
    ]
    images = len(case.frame) == 3
    return [switch for switch in made if (device == "cuda" or not switch.gpu) and (images or not switch.images)]


AS_IT_IS = Switch("", "", "")


class Step:
    """This project's step with one switch set; every instance has networks and data of its own."""

    def __init__(self, case: Case, device: str, switch: Switch) -> None:
        self.case, self.device, self.switch = case, device, switch
        generator = torch.Generator().manual_seed(0)
        shape = (BATCHES * case.batch, case.length, *case.frame)
        frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        rows = Sequences(frames / 255 if switch.floats else frames, None, None, torch.arange(len(frames)))
        options = Optimisation(batch_size=case.batch, learning_rate=RATE, max_grad_norm=CLIP)
        precision = "bf16" if case.bf16 != switch.bf16 else "32"
        hardware = Hardware(device, precision, compile=switch.compile, data=switch.data)  # type: ignore[arg-type]
        with switch.built():
            self.loop = SVI(objective(case), rows, rows, options, Budget(10**6), hardware=hardware)
        switch.changed(self.loop)

    def seconds(self) -> float:
        """Of one step, until the device has done it."""
        with self.switch.during(self.case):
            _wait(self.device)
            began = time.perf_counter()
            if self.switch.visits:
                self.loop.module.train()
            self.loop._step(LATE)
            _wait(self.device)
            return time.perf_counter() - began

    def kept_bytes(self) -> int:
        """What a step keeps from its forward pass for its gradient, every piece of memory once, parameters excepted."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.loop.objective.parameters()}
        kept: dict[int, int] = {}

        def pack(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            self.seconds()
        return sum(size for place, size in kept.items() if place not in own)


def measure(case: Case, device: str, seconds: float, only: Sequence[str] = ()) -> list[Outcome]:
    """Rounds over all switches that work, each beside the step as it is; for about ``seconds``, the first steps not counted.

    only  names of switches, or none for all
    """
    default = Step(case, device, AS_IT_IS)
    for _ in range(WARM_UPS):
        default.seconds()
    outcomes = [Outcome(case.name, "the step as it is", "", "", kept=default.kept_bytes())]
    steps: list[tuple[Outcome, Step]] = []
    for switch in switches(case, device):
        if only and switch.name not in only:
            continue
        outcome = Outcome(case.name, switch.name, switch.now, switch.then)
        outcomes.append(outcome)
        with _failing_into(outcome):
            steps.append((outcome, _started(case, device, switch, outcome)))
    start, number = time.perf_counter(), 0
    while steps and (number < FEWEST_ROUNDS or time.perf_counter() - start < seconds):
        for outcome, step in steps:
            with _failing_into(outcome):
                _pair(outcome, default, step, number % 2 == 0)
        steps = [(outcome, step) for outcome, step in steps if outcome.failure is None]
        number += 1
    outcomes[0].default = [value for outcome in outcomes for value in outcome.default]
    return outcomes


@contextmanager
def _failing_into(outcome: Outcome) -> Iterator[None]:
    """An error ends the measurement of one switch only."""
    try:
        yield
    except RuntimeError as error:  # of a compiler, or of too little memory
        cause: BaseException = error
        while (earlier := cause.__cause__ or cause.__context__) is not None:
            cause = earlier
        said = " ".join(str(cause).split())
        outcome.failure = f"{type(cause).__name__}: {said[:200]}".replace("|", "/")


def _started(case: Case, device: str, switch: Switch, outcome: Outcome) -> Step:
    """After its first steps; of compiled networks with the seconds that these took."""
    if switch.compile != "none":
        torch._dynamo.reset()
    step = Step(case, device, switch)
    took = sum(step.seconds() for _ in range(WARM_UPS))
    if switch.compile != "none":
        outcome.first_seconds = took
    else:  # compiled networks keep what they like, and hooks would have them compiled again
        outcome.kept = step.kept_bytes()
    return step


def _pair(outcome: Outcome, default: Step, step: Step, default_first: bool) -> None:
    if default_first:
        a, b = default.seconds(), step.seconds()
    else:
        b, a = step.seconds(), default.seconds()
    outcome.default.append(1e3 * a)
    outcome.switched.append(1e3 * b)


def report(outcomes: Sequence[Outcome], hardware: str) -> str:
    """Markdown: a table per case, one row per switch."""
    lines: list[str] = []
    for case in dict.fromkeys(outcome.case for outcome in outcomes):
        lines += [f"## {case}", ""]
        lines += ["| what | as it is | instead | instead, ms | instead / as it is | kept MiB | |"]
        lines += ["|---|---|---|---|---|---:|---|"]
        lines += [_row(outcome) for outcome in outcomes if outcome.case == case]
        lines.append("")
    return "\n".join([*lines, f"Median, quartiles in brackets. {hardware}"])


def _row(outcome: Outcome) -> str:
    times, ratio = outcome.switched or outcome.default, ""
    remarks = []
    if outcome.switched:
        ratio = _spread_ratio(outcome.ratios)
    if outcome.first_seconds is not None:
        compiling = outcome.first_seconds - 1e-3 * WARM_UPS * median(times) if times else outcome.first_seconds
        remarks.append(f"compiled in {compiling:.0f} s")
    if outcome.failure is not None:
        remarks.append(f"failed: {outcome.failure}")
    cells = [outcome.name, outcome.now, outcome.then, _spread(times) if len(times) > 1 else "", ratio]
    cells += ["" if outcome.kept is None else f"{outcome.kept / 2**20:,.1f}", "; ".join(remarks)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=60.0, help="per case, beside building and compiling")
    parser.add_argument("--only", nargs="*", default=(), help="names of switches, as in the table's first column")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="The .grad attribute")  # PyTorch's own, from inside its compiler
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu ({platform.machine()})"
    hardware = (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}."
    )
    outcomes: list[Outcome] = []
    for case in CASES[arguments.device]:
        # The compiler is to do its work now, whatever it has kept of an earlier run.
        with TemporaryDirectory() as folder, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
            outcomes += measure(case, arguments.device, arguments.seconds, arguments.only)
        print(report([outcome for outcome in outcomes if outcome.case == case.name], hardware), flush=True)
    if arguments.out is not None:
        stem = arguments.out / f"switches-{arguments.device}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(f"# What each switch is worth\n\n{report(outcomes, hardware)}\n")
        values = {"hardware": hardware, "results": [asdict(outcome) for outcome in outcomes]}
        stem.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
