"""A second device on a machine that has one: what a GPU would refuse is refused, without a GPU.

Under `second_device` the device "meta" holds values: its tensors keep theirs on the CPU, and every operator runs there. As on
a GPU an operator takes tensors of one device only, scalars and indices excepted; its noise comes from a generator of that
device; `numpy` needs a copy on the CPU. So a factory call that forgets its device fails, and so does code that indexes what
the host holds with what the device holds. Kernels, noise and speed of a GPU remain to be tried on one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

SECOND, HOST = torch.device("meta"), torch.device("cpu")
aten = torch.ops.aten
ACROSS = (aten.copy_.default, aten._to_copy.default, aten._has_same_storage_numel.default)
# A GPU takes indices from the host, though it waits for them.
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)


class TwoDevicesError(RuntimeError):
    """An operator was given tensors, or a generator, of both devices."""


class _There(Tensor):
    """A tensor of the second device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "_There":
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=SECOND
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"there({self.held})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)  # a file says nothing of devices that are not there when it is read

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_leaves([args, kwargs]) if isinstance(value, Tensor)]
    there = any(isinstance(value, _There) for value in tensors)
    if there:
        _check(func, args, tensors)
    device = kwargs.get("device")
    made_there = there if device is None else torch.device(device) == SECOND
    if made_there and isinstance(kwargs.get("generator"), torch.Generator):
        raise TwoDevicesError(f"{func} draws there from a generator of the host")
    if func is aten.copy_.default:
        made_there = isinstance(args[0], _There)
    on_host, options = tree_map(lambda v: v.held if isinstance(v, _There) else v, (args, kwargs))
    if made_there and device is not None:
        options["device"] = HOST
    result = func(*on_host, **options)
    if not made_there:
        return args[0] if func is aten.copy_.default else result
    result = tree_map(lambda v: _There(v) if isinstance(v, Tensor) and not isinstance(v, _There) else v, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if there else result


def _check(func: Any, args: Any, tensors: list[Tensor]) -> None:
    if func in ACROSS or (func in INDEXED and isinstance(args[0], _There)):
        return
    if any(not isinstance(value, _There) and value.ndim > 0 for value in tensors):
        shapes = ", ".join(f"{tuple(v.shape)} {'there' if isinstance(v, _There) else 'on the host'}" for v in tensors)
        raise TwoDevicesError(f"{func} is given tensors of two devices: {shapes}")


class _Operators(TorchDispatchMode):
    """Operators that are given no tensor: factories."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """`torch.tensor` does not write to the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)
        if func is Tensor.new_tensor:
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(args[0].device)
        if func is Tensor.tolist and isinstance(args[0], _There):
            return args[0].held.tolist()
        return func(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside, the device that is yielded holds values."""
    with _Constants(), _Operators():
        yield SECOND
