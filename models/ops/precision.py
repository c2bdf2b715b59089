"""Sums that must not be rounded to half precision."""

import torch


def own_precision() -> torch.autocast:
    """A context in which everything runs in the precision of its tensors: autocast off, on whichever device it is on."""
    return torch.autocast("cuda" if torch.is_autocast_enabled("cuda") else "cpu", enabled=False)
