"""Series of the UEA archive as sktime ships them, in their standard split."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.memory.conversion import padded
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.models.errors import UsageError

Array = NDArray[Any]


def archived(
    loader: str, label: str, role: Role, channels: tuple[str, ...], validation: float, seed: int
) -> SequenceData:
    """A data set of the archive: its test set is the test split; of its training set a share of each class validates.

    Args:
        loader: The function of ``sktime.datasets``.
        label: The name of the classes.
        role: Of the label.
        channels: Names of the P numbers of a step.
        validation: Fraction of the training set.
        seed: Of the validation split.

    Raises:
        UsageError: Where sktime is missing.
    """
    load = getattr(needed("sktime.datasets", "series", f"--data {loader.removeprefix('load_')}"), loader)
    series: list[Array] = []
    classes: list[str] = []
    split: list[NDArray[np.uint8]] = []
    for part in ("train", "test"):
        table, found = load(split=part, return_type="nested_univ")
        series += [np.stack([np.asarray(cell, dtype=np.float32) for cell in row], 1) for row in table.to_numpy()]
        classes += [str(name) for name in found]
        test = np.full(len(found), SPLITS.index("test"), np.uint8)
        split.append(validated(np.asarray(found).astype(str), validation, seed) if part == "train" else test)
    names, numbers = np.unique(classes, return_inverse=True)
    arrays = padded(series)
    lengths = arrays.get("lengths")
    return SequenceData(
        torch.from_numpy(arrays["frames"]),
        torch.from_numpy(np.concatenate(split)),
        lengths=None if lengths is None else torch.from_numpy(lengths),
        labels={label: Label.occurring(numbers, tuple(names.tolist()), role)},
        names=Names(channels, tuple(str(i) for i in range(len(series))), "sequence", "step"),
    )


def validated(classes: Array, validation: float, seed: int) -> NDArray[np.uint8]:
    """(n,) "train", and "validation" for this share of each class, at least one, in random places."""
    if not 0 < validation < 1:
        raise UsageError(f"validation = {validation}; it is a fraction between 0 and 1, and 0 leaves that split empty")
    split = np.zeros(len(classes), np.uint8)
    random = np.random.RandomState(seed)  # its stream is the same in every NumPy
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        held = max(1, round(len(rows) * validation))
        split[random.permutation(rows)[:held]] = SPLITS.index("validation")
    return split
