"""Opening a finished run."""

from dataclasses import replace
from pathlib import Path

import torch

from pyro_dsvae.configuration.build import build_from
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.memory.conversion import Given
from pyro_dsvae.inference.training.hardware import Device, device_for, lay_out
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.pretrained import resolved
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.run import Run

__all__ = ["Run", "load"]


def load(
    path: str | Path, checkpoint: str = "best.pt", device: Device = "cpu", data: "DataSource | Given | None" = None
) -> Run:
    """Open the run at ``path``, with the parameters of the highest held-out ELBO. Its data are not read.

    Args:
        path: The run directory; or "sprites", the run that comes with the package.
        checkpoint: "best.pt", or "checkpoint.pt" for the last state.
        device: Where to put model and guide, as for `fit`.
        data: The data that the run was fitted to, for a run whose data were in memory, or are no longer where they were.

    Returns:
        The fitted model, with methods to encode, swap, sample, forecast and more.

    Raises:
        UsageError: Where there is no run, it is damaged, or this machine has no such device.

    Example:
        >>> import pyro_dsvae
        >>> run = pyro_dsvae.load("runs/clips")
        >>> run.frame_shape, run.length
        ((3, 16, 16), 6)
        >>> type(run.model.dynamic_prior).__name__
        'LSTM'
    """
    place = device_for(device)
    directory = RunDirectory.open(resolved(Path(path)))
    state = directory.load(checkpoint, place)
    options = for_frames(directory.options(), tuple(state.get("frame_shape", ())))
    # What is initialised from data is overwritten by the checkpoint; only shapes matter.
    examples = torch.zeros(1, state.get("length", 1), *state.get("frame_shape", ()), dtype=torch.uint8)
    # Contrastive terms have no weights, and are of no use after the fit.
    objective = build_from(replace(options, contrastive=None), examples)
    lay_out(objective)
    try:
        objective.load_state_dict(state["objective"])
    except (KeyError, RuntimeError) as error:
        raise UsageError(
            f"{directory.path / checkpoint} does not fit its config.yaml; restore either, or fit again"
        ) from error
    objective.to(place).eval()
    kept = {name: value for name, value in state.items() if name != "objective"}
    source = options.source if data is None else data if isinstance(data, DataSource) else InMemory.of(data)
    return Run(directory.path, options.config(), source, objective.model, objective.guide, kept, objective.anchor)
