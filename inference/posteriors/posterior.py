"""What every posterior (guide) is, and what it reads."""

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyro_dsvae.models.dsvae import observed_values
from pyro_dsvae.models.steps import Steps


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
    def of(
        cls, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> "Clip":
        """The visible part of frames x (B, T, \\*frame)."""
        steps = Steps(x.shape[1], lengths, times)
        values = observed_values(mask, steps, x.ndim - 2)
        if values is None:
            return cls(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device), steps)
        return cls(torch.where(values, x, torch.zeros_like(x)), values.flatten(2).any(dim=2), steps)

    def rows(self, rows: slice) -> "Clip":
        """Some sequences of the batch."""
        lengths, times = (None if v is None else v[rows] for v in (self.steps.lengths, self.steps.times))
        return Clip(self.x[rows], self.observed[rows], Steps(self.steps.length, lengths, times))


class _AbstractPyroModule(type(PyroModule), ABCMeta):  # type: ignore[misc]
    """Both of what Pyro modules and abstract classes need of their class."""


class Posterior(PyroModule, metaclass=_AbstractPyroModule):
    """An amortised guide q(f, z_1:T | x_1:T) = q(f | x) q(z_1:T | f, x): samples "f", then "z", in the model's order.

    The first three constructor arguments of every posterior are ``frame_shape``, ``static_size`` (F) and ``latent_size``
    (D), supplied by the model; all others are options. A subclass says what the two distributions are. Where q(z) is not a
    product over steps it is a `PathDistribution`, so that its KL can be taken step by step.

    views       whether q looks at random views of a clip while training (`pyro_dsvae.inference.posteriors.views`)
    comparable  whether the ELBO under this guide bounds the evidence, so that models may be compared by it
    """

    views: bool = False
    comparable: ClassVar[bool] = True

    @abstractmethod
    def static(self, clip: Clip) -> TorchDistribution:
        """q(f | x), batch (B,) and event (F,). What is not observed must have no influence."""

    @abstractmethod
    def dynamic(self, clip: Clip, f: Tensor) -> TorchDistribution:
        """q(z_1:T | f, x), batch \\*B and event (T, D), for f (\\*B, F). What is not observed must have no influence."""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        looks: Clip | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample f (\\*B, F) and z (\\*B, T, D) for frames x (B, T, \\*frame); arguments as in `DSVAE.forward`.

        looks  what f is inferred from, where that is not the clip itself
        """
        clip = Clip.of(x, mask, lengths, times)
        with pyro.plate("sequences", x.shape[0], dim=-1):
            f = pyro.sample("f", self.static(clip if looks is None else looks))
            z = pyro.sample("z", self.dynamic(clip, f))
        return f, z
