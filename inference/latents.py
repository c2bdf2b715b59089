"""The two latents of a batch as one value."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Latents(NamedTuple):
    """f ``(*B, F)`` and z ``(*B, T, D)``."""

    f: Tensor
    z: Tensor

    def rows(self, rows: Tensor) -> "Latents":
        """Those of some of the sequences, for a batch (B,)."""
        return Latents(self.f[rows], self.z[rows])

    @classmethod
    def joined(cls, parts: Sequence["Latents"]) -> "Latents":
        """Several batches (B,) as one."""
        return cls(torch.cat([part.f for part in parts]), torch.cat([part.z for part in parts]))
