"""Results as JSON has them."""

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


def json_values(value: Any, leave_out: Collection[str] = ()) -> Any:
    """Data classes and tensors as dictionaries, lists, numbers and strings; None for what is not finite.

    Args:
        value: A result, or a part of one.
        leave_out: Names of fields that are dropped, wherever they stand.

    Example:
        >>> import torch
        >>> from pyro_dsvae.runs.json_values import json_values
        >>> json_values({"kl": torch.tensor([0.5, torch.nan])})
        {'kl': [0.5, None]}
    """
    if isinstance(value, Tensor):
        value = value.tolist()
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in leave_out}
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): json_values(v, leave_out) for name, v in value.items()}
        case list() | tuple():
            return [json_values(v, leave_out) for v in value]
        case Path():
            return str(value)
    return value
