"""A density over both latents, whatever it is made of."""

from typing import Protocol

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.posteriors.guide_input import GuideInput


class LatentDensity(Protocol):
    """q(f | x) q(z_1:T | f, x), as two distributions: a `Posterior`, or something around one."""

    def static(self, clip: GuideInput, /) -> TorchDistribution:
        """q(f | x), batch (B,) and event (F,)."""

    def dynamic(self, clip: GuideInput, f: Tensor, /) -> TorchDistribution:
        """q(z_1:T | f, x), batch ``*B`` and event (T, D), for f ``(*B, F)``."""


def sample_posterior(q: LatentDensity, clip: GuideInput) -> tuple[Tensor, Tensor]:
    """The guide as a Pyro program: sample "f", then "z", in the model's order.

    Args:
        q: The density over both latents.
        clip: What it may see.

    Returns:
        f ``(*B, F)`` and z ``(*B, T, D)``.
    """
    with pyro.plate("sequences", len(clip.x), dim=-1):
        f = pyro.sample("f", q.static(clip))
        z = pyro.sample("z", q.dynamic(clip, f))
    return f, z
