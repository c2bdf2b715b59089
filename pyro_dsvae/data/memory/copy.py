"""A copy of sequences in one file of tensors and plain values, which is read without running any code."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pyro_dsvae.data.dataset import OPTIONAL, SequenceData
from pyro_dsvae.data.factors import Label, Quantity
from pyro_dsvae.data.names import Clock, Names
from pyro_dsvae.inference.files import DAMAGE
from pyro_dsvae.models.errors import UsageError

SCHEMA = 1


def write_copy(path: Path, data: SequenceData) -> None:
    """Write the sequences into a file."""
    state: dict[str, Any] = {name: getattr(data, name) for name in ("frames", "split", *OPTIONAL)}
    state |= {
        "schema": SCHEMA,
        "labels": {name: _plain(label) for name, label in data.labels.items()},
        "quantities": {name: _plain(quantity) for name, quantity in data.quantities.items()},
        "names": None if data.names is None else asdict(data.names),
    }
    torch.save(state, path)


def read_copy(path: Path) -> SequenceData:
    """The sequences in a file.

    Raises:
        UsageError: Where it is damaged, or of another version.
    """
    try:
        state = torch.load(path, weights_only=True)
        if state.pop("schema") != SCHEMA:
            raise UsageError(f"{path} is of another version; give the data again")
        names = state["names"]
        state["labels"] = {name: Label(**label) for name, label in state["labels"].items()}
        state["quantities"] = {name: Quantity(**quantity) for name, quantity in state["quantities"].items()}
        if names is not None:
            state["names"] = Names(**{**names, "clock": Clock(**names["clock"])})
        return SequenceData(**state)
    except UsageError:
        raise
    except DAMAGE as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}); restore it, or give the data again") from error


def _plain(factor: Label | Quantity) -> dict[str, Any]:
    return dict(vars(factor))
