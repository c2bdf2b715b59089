"""What is known of sequences beside their frames: labelled and measured factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from unicodedata import category

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

Role = Literal["static", "dynamic"]
# Characters of the name of a label or a quantity: a longer one fits no table and no picture.
LONGEST_NAME = 100


@dataclass(frozen=True)
class Label:
    """One labelled factor of every sequence.

    Attributes:
        values: (N,) int64 in ``range(len(classes))``.
        classes: Names of the classes.
        role: "static" for a factor that stays the same within a sequence (who), "dynamic" for one that describes how it
            moves (what they do).
        numbered: All classes as the file numbers them, where these are not ``classes``; else empty.
        numbers: Of each class, its number among ``numbered``.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.data.factors import Label
        >>> label = Label.occurring(np.array([1, 3, 3]), ("a", "b", "c", "d"), "static")
        >>> label.classes, label.values.tolist()
        (('b', 'd'), [0, 1, 1])
    """

    values: Tensor
    classes: tuple[str, ...]
    role: Role
    numbered: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    @classmethod
    def occurring(cls, numbers: NDArray[Any], names: tuple[str, ...], role: Role) -> "Label":
        """The label of the classes that occur, in their order.

        Args:
            numbers: (N,) integers in ``range(len(names))``.
            names: Of all classes.
            role: See the class.
        """
        found, values = np.unique(numbers, return_inverse=True)
        classes = tuple(names[i] for i in found)
        others = (names, tuple(found.tolist())) if len(found) < len(names) else ((), ())
        return cls(torch.from_numpy(values.astype(np.int64)), classes, role, *others)

    def as_numbered(self) -> "Label":
        """The same with all classes of the file."""
        if not self.numbered:
            return self
        return Label(torch.tensor(self.numbers)[self.values], self.numbered, self.role)


@dataclass(frozen=True)
class Quantity:
    """One measured factor of every frame, which describes how a sequence moves: a position, a speed, an angle.

    Attributes:
        values: (N, T, K) floating; not read beyond the end of a sequence.
        components: Names of the K numbers, such as ("x", "y").
        unit: What they are measured in, such as "pixels".
    """

    values: Tensor
    components: tuple[str, ...]
    unit: str


def check_labels(labels: Mapping[str, Label], n: int) -> None:
    """Raises `UsageError` for labels that are not of n sequences."""
    for name, label in labels.items():
        _check_names(name, label.classes)
        if label.values.shape != (n,) or label.values.dtype != torch.int64:
            raise UsageError(
                f"label {name!r} is {label.values.dtype} {tuple(label.values.shape)}; it must be int64 ({n},)"
            )
        if int(label.values.min()) < 0 or int(label.values.max()) >= len(label.classes):
            raise UsageError(
                f"label {name!r} has values outside 0..{len(label.classes) - 1}, its {len(label.classes)} classes"
            )
        if label.role not in get_args(Role):
            raise UsageError(f"label {name!r} has role {label.role!r}; it must be 'static' or 'dynamic'")


def check_quantities(quantities: Mapping[str, Quantity], labels: Mapping[str, Label], steps: Steps, n: int) -> None:
    """Raises `UsageError` for quantities that are not of n sequences of these steps."""
    for name, quantity in quantities.items():
        _check_names(name, quantity.components)
        shape = (n, steps.length, len(quantity.components))
        if name in labels:
            raise UsageError(f"{name!r} is a label and a quantity; give each a name of its own")
        if quantity.values.shape != shape or not quantity.values.is_floating_point():
            raise UsageError(
                f"quantity {name!r} is {quantity.values.dtype} {tuple(quantity.values.shape)}; it must be floating {shape}, "
                f"one value of {', '.join(quantity.components)} per frame"
            )
        exists = steps.valid
        if not torch.isfinite(quantity.values if exists is None else quantity.values[exists]).all():
            raise UsageError(f"quantity {name!r} holds non-finite values; every frame of a sequence needs finite ones")


def _check_names(name: str, parts: Sequence[str]) -> None:
    """Of a label and its classes, or a quantity and its components: what every file, table and picture can hold."""
    if not name.strip():
        raise UsageError(f"a label or a quantity is called {name!r}; give it a name")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name {name[:20]!r}… has {len(name)} characters; use at most {LONGEST_NAME}")
    if name.endswith(".npy"):
        raise UsageError(f"the name {name!r} ends in .npy, which .npz files take off; choose another one")
    for words in (name, *parts):
        if any(category(character) in ("Cc", "Cs") for character in words):
            raise UsageError(f"{name!r} has a name or a part with a control character, {words!r}; take it out")
