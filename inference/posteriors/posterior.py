"""What every posterior (guide) is, and what it reads."""

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass

import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyro_dsvae.models.dsvae import observed_values
from pyro_dsvae.models.steps import Steps


class _AbstractPyroModule(type(PyroModule), ABCMeta):  # type: ignore[misc]
    """Both of what Pyro modules and abstract classes need of their class."""


class Posterior(PyroModule, metaclass=_AbstractPyroModule):
    """An amortised guide q(f, z_1:T | x_1:T): samples "f", then "z", in the model's order.

    The first three constructor arguments of every posterior are ``frame_shape``, ``static_size`` (F) and ``latent_size``
    (D), supplied by the model; all others are options.

    progress  share of the fit that is done, 0 to 1, set by the training loop; guide views may depend on it
    """

    progress: float = 1.0

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sample f (\\*B, F) and z (\\*B, T, D) for frames x (B, T, \\*frame); arguments as in `DSVAE.forward`.

        What is not observed must have no influence on either.
        """


@dataclass(frozen=True)
class Clip:
    """What a guide may see of a batch.

    x         (B, T, \\*frame), zero where not observed
    observed  (B, T) bool, True where at least one value of the frame was observed
    steps     the time axis
    """

    x: Tensor
    observed: Tensor
    steps: Steps

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> "Clip":
        """The visible part of frames x (B, T, \\*frame)."""
        steps = Steps(x.shape[1], lengths)
        values = observed_values(mask, steps, x.ndim - 2)
        if values is None:
            return cls(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device), steps)
        return cls(torch.where(values, x, torch.zeros_like(x)), values.flatten(2).any(dim=2), steps)
