"""Labelled and measured factors of sequences, from the arrays of a user's own file."""

from collections.abc import Mapping
from typing import cast, get_args

import numpy as np
import torch

from pyro_dsvae.data.factors import Label, Quantity, Role
from pyro_dsvae.data.files.npz import Array
from pyro_dsvae.data.words import numbered_sequences
from pyro_dsvae.models.errors import UsageError

# Of more classes than this, labels are identifiers or measurements.
_MOST_CLASSES = 10_000


def label_of(name: str, arrays: Mapping[str, Array], n: int) -> Label:
    """The label ``labels_<name>`` of n sequences. The values that occur are its classes, under their own names.

    Args:
        name: Of the factor.
        arrays: Of the file: ``labels_<name>`` (n,) strings, numbers or booleans and, where there are, ``role_<name>`` and
            ``classes_<name>``, the names of the classes 0, 1, ….
        n: The number of sequences.

    Raises:
        UsageError: Where the arrays are no label.
    """
    values, role = arrays[f"labels_{name}"], arrays.get(f"role_{name}", np.array("static"))
    if role.ndim or str(role) not in get_args(Role):
        raise UsageError(f"role_{name} is {role.tolist()!r}; it must be one string, 'static' or 'dynamic'")
    if values.shape != (n,):
        raise UsageError(f"labels_{name} have shape {values.shape}; they must be ({n},), one value per sequence")
    if values.dtype.kind not in "iubfUS":
        raise UsageError(f"labels_{name} are {values.dtype}; they must be strings, numbers or booleans")
    values = _texts(values) if values.dtype.kind in "US" else values
    absent = values == "" if values.dtype.kind == "U" else ~np.isfinite(values)
    if absent.any():
        where = numbered_sequences(torch.from_numpy(absent))
        raise UsageError(f"labels_{name} have no value for {where}; give these a class of their own, or leave them out")
    if f"classes_{name}" in arrays:
        return _named(name, values, arrays[f"classes_{name}"], cast(Role, str(role)))
    return _unnamed(name, values, cast(Role, str(role)))


def quantity_of(name: str, arrays: Mapping[str, Array]) -> Quantity:
    """The quantity ``quantities_<name>`` (N, T) or (N, T, K), whose shape `SequenceData` checks.

    Args:
        name: Of the factor.
        arrays: Of the file, also ``components_<name>`` (K,) strings and ``unit_<name>``, a string, where there are.

    Raises:
        UsageError: Where the arrays are no quantity.
    """
    values = arrays[f"quantities_{name}"]
    if values.ndim not in (2, 3) or values.dtype.kind not in "iuf":
        raise UsageError(
            f"quantities_{name} are {values.dtype} {values.shape}; they must be numbers (N, T) or (N, T, K), of every frame"
        )
    values = (values if values.ndim == 3 else values[..., None]).astype(np.float32)
    unit = arrays.get(f"unit_{name}", np.array(""))
    if unit.ndim or unit.dtype.kind not in "US":
        raise UsageError(f"unit_{name} is {unit.tolist()!r}; it must be one string, such as 'pixels'")
    count = values.shape[2]
    components = arrays.get(f"components_{name}", np.arange(1, count + 1).astype(str))
    if components.shape != (count,) or components.dtype.kind not in "US":
        raise UsageError(
            f"components_{name} are {components.dtype} {components.shape}; they must be {count} strings, one for each number"
        )
    return Quantity(torch.from_numpy(values), tuple(_texts(components).tolist()), str(_texts(unit)))


def _unnamed(name: str, values: Array, role: Role) -> Label:
    kinds, numbers = np.unique(values, return_inverse=True)
    measured = values.dtype.kind == "f" and (kinds % 1 != 0).any() and len(kinds) > len(values) / 2
    if measured or len(kinds) > _MOST_CLASSES:
        raise UsageError(
            f"labels_{name} have {len(kinds)} different values in {len(values)} sequences; these are no classes: bin them"
        )
    names = tuple(str(int(kind)) if kind.dtype.kind == "f" and kind % 1 == 0 else str(kind) for kind in kinds)
    label = Label.occurring(numbers, names, role)
    if values.dtype.kind in "iub" and int(kinds[0]) >= 0 and int(kinds[-1]) < _MOST_CLASSES:
        # As versions before this one took integers: all from 0 on.
        before, found = tuple(str(i) for i in range(int(kinds[-1]) + 1)), tuple(int(kind) for kind in kinds)
        return label if before == names else Label(label.values, names, role, before, found)
    return label


def _named(name: str, values: Array, classes: Array, role: Role) -> Label:
    if classes.ndim != 1 or classes.dtype.kind not in "US":
        raise UsageError(f"classes_{name} are {classes.dtype} {classes.shape}; they must be a list of strings")
    names = tuple(_texts(classes).tolist())
    if len(set(names)) != len(names):
        raise UsageError(f"classes_{name} name the same class twice; every class needs a name of its own")
    if values.dtype.kind == "U":
        unknown = next((value for value in values.tolist() if value not in names), None)
        if unknown is not None:
            raise UsageError(f"labels_{name} hold {unknown!r}, which classes_{name} do not name")
        numbers = np.array([names.index(value) for value in values.tolist()])
    else:
        numbers = values.astype(np.int64)
        if (numbers != values).any() or numbers.min() < 0 or numbers.max() >= len(names):
            low, high = values.min(), values.max()
            raise UsageError(
                f"labels_{name} run from {low} to {high}; with {len(names)} classes_{name} they must be whole numbers in "
                f"0..{len(names) - 1}, or the names themselves"
            )
    return Label.occurring(numbers, names, role)


def _texts(values: Array) -> Array:
    """Strings, also those that are stored as bytes."""
    return values if values.dtype.kind == "U" else np.char.decode(values, "utf-8", "replace")
