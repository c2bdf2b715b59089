"""What a piece of code does, counted: operator calls, the largest tensor, values read back to the host."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operators that bring a value to the host, and on a GPU wait for everything before them.
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")


class Calls(TorchDispatchMode):
    """Counts every operator under it.

    counts   operator name -> calls, those of the backward pass among them
    largest  bytes of the largest tensor that was made
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.counts[func.overloadpacket.__name__] += 1
        # An expanded tensor has many values and little memory.
        sizes = [v.untyped_storage().nbytes() for v in tree_leaves(result) if isinstance(v, Tensor)]
        self.largest = max([self.largest, *sizes])
        return result

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def reads(self) -> dict[str, int]:
        """Calls of operators that read values back."""
        return {name: self.counts[name] for name in READS if self.counts[name]}


def calls(work: Callable[[], object]) -> Calls:
    """What ``work()`` does."""
    with Calls() as counted:
        work()
    return counted


def saved_values(work: Callable[[], Tensor]) -> int:
    """Values that the graph of ``work()`` keeps for its gradient, each storage once."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() // value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        result = work()
    assert result.requires_grad
    return sum(kept.values())
