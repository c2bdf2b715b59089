"""Where a fit runs, and how: devices, precision, compilation, and where the data are kept."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import Conv2d, ConvTranspose2d

from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.distributed import launched
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# "auto", "cpu", "cuda", "cuda:1" and so on, or "mps"; `device_for` says which.
Device = str
Precision = Literal["32", "bf16"]
Compilation = Literal["none", "default", "reduce-overhead"]
Keep = Literal["auto", "device", "host"]


def device_for(name: Device) -> torch.device:
    """The device of this machine that ``device`` names; "auto" is a GPU of CUDA, or the CPU where there is none.

    Raises:
        UsageError: Where there is no such device.
    """
    kind, colon, number = name.partition(":")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"device {name}: it is one of auto, cpu, cuda, cuda:N for the GPU of number N, mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device {name}: this machine has no usable CUDA device; auto takes what there is", "device auto"
        )
    if colon and int(number) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: the last device of this machine is cuda:{torch.cuda.device_count() - 1}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps: this machine has no usable Metal device; auto takes what there is", "device auto")
    return torch.device(name)


def check_devices(devices: int, device: torch.device) -> None:
    """On the CPU any number of processes may share the cores.

    Raises:
        UsageError: For more devices than there are.
    """
    here = torch.cuda.device_count() if device.type == "cuda" else 1
    if devices < 1 or (device.type != "cpu" and devices > here):
        raise UsageError(f"devices is {devices}; this machine has {max(1, here)}")
    if devices > 1 and device.index is not None:
        raise UsageError(f"devices is {devices}, and device {device} is one; use {device.type}", "device")


@dataclass(frozen=True)
class Hardware:
    """Where a fit runs, and how.

    Attributes:
        device: "cpu", "cuda", "cuda:1", "mps", or "auto": a GPU where there is one (`device_for`).
        precision: "32", or "bf16" inside the networks (densities stay in float32).
        devices: How many devices share every batch, one process each; those that are missing are started.
        compile: Of the frame networks: "none", or the mode of `torch.compile`; "reduce-overhead" records CUDA graphs.
        data: Where the stored frames are during a fit: on the "device", on the "host", or "auto": on the device where
            they take at most half of its free memory.
    """

    device: Device = "auto"
    precision: Precision = "32"
    devices: int = 1
    compile: Compilation = "none"
    data: Keep = "auto"

    @property
    def processes(self) -> tuple[int, int]:
        """Processes per node, and nodes."""
        return launched() or (self.devices, 1)

    def launch(self, batch_size: int) -> None:
        """Start the processes that are missing, one per device, and let each take its device; needed before the fit of several.

        Raises:
            UsageError: Where they cannot share ``batch_size`` sequences evenly.
        """
        count = math.prod(self.processes)
        if batch_size % count:
            less = batch_size // count * count
            hint = f"; take {less}" if less else ""
            said = f"a batch of {batch_size} sequences cannot be shared evenly by {count} devices{hint}"
            raise UsageError(said, "optimisation.batch_size")
        self.fabric.launch()
        for thread in threading.enumerate():
            if thread.name == "child-process-observer":
                # Lightning's, which kills all processes within 5 seconds of one's death; this leaves time to say so.
                thread._sleep_period = 60  # type: ignore[attr-defined]

    @cached_property
    def fabric(self) -> "Fabric":
        """The engine for this hardware; of several processes only after `launch`."""
        from lightning_fabric import Fabric  # it takes as long to import as torch
        from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

        device = device_for(self.device)
        per_node, nodes = self.processes
        return Fabric(
            accelerator=device.type,
            devices=per_node if device.index is None else [device.index],
            num_nodes=nodes,
            # In some steps the networks from a clip to f do not learn.
            strategy="ddp_find_unused_parameters_true" if per_node * nodes > 1 else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
            # Left to guess, it takes the tasks of a SLURM job for processes of the fit, and warns wherever there is an srun.
            plugins=LightningEnvironment() if launched() is None else TorchElasticEnvironment(),
        )

    def prepare(self, networks: nn.Module) -> None:
        """Lay out the weights (`lay_out`), and compile the frame networks if asked to; names of parameters stay.

        Whole networks are compiled or none: a break in one's graph is an error. What lies around them, Pyro's handlers, would
        break in a hundred places, and LSTMs are single operators already.
        """
        lay_out(networks)
        for module in networks.modules():
            if self.compile != "none" and isinstance(module, FrameEncoder | FrameDecoder):
                module.compile(fullgraph=True, mode=self.compile)

    def place(self, parts: Mapping[str, Sequences], device: torch.device) -> dict[str, Sequences]:
        """The parts of a data set with their frames where they are to be kept; what several share is moved once."""
        tensors = {id(v): v for part in parts.values() for v in part.stored() if v is not None}
        outside = any(part.outside_memory for part in parts.values())
        if outside or not self._resident(sum(v.nbytes for v in tensors.values()), device):
            return dict(parts)
        moved = {key: value.to(device) for key, value in tensors.items()}
        return {name: part.elsewhere(lambda values: moved[id(values)]) for name, part in parts.items()}

    def _resident(self, size: int, device: torch.device) -> bool:
        if self.data == "auto" and device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            return size <= free / 2
        return self.data == "device"


def lay_out(networks: nn.Module) -> None:
    """Lay out the weights of convolutions as they run fastest. A result has the same bits only in the same layout."""
    for module in networks.modules():
        if isinstance(module, Conv2d | ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
