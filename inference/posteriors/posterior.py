"""What every posterior (guide) is."""

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pyro
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.reference import Reference


class _AbstractPyroModule(type(PyroModule), ABCMeta):  # type: ignore[misc]
    """Both of what Pyro modules and abstract classes need of their class."""


class Posterior(PyroModule, metaclass=_AbstractPyroModule):
    """An amortised guide q(f, z_1:T | x_1:T) = q(f | x) q(z_1:T | f, x): samples "f", then "z", in the model's order.

    The first three constructor arguments of every posterior are ``frame_shape``, ``static_size`` (F) and ``latent_size``
    (D), supplied by the model; all others are options. A subclass says what the two distributions are. Where q(z) is not a
    product over steps it is a `PathDistribution`, so that its KL can be taken step by step.

    views       whether q looks at random views of a clip while training (`pyro_dsvae.inference.posteriors.views`)
    reference   from which pictures q infers in evaluation; None, where it infers from the clip itself
    comparable  whether the ELBO under this guide bounds the evidence, so that models may be compared by it
    """

    views: bool = False
    comparable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.reference: Reference | None = None

    @abstractmethod
    def static(self, clip: GuideInput) -> TorchDistribution:
        """q(f | x), batch (B,) and event (F,). What is not observed must have no influence."""

    @abstractmethod
    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        """q(z_1:T | f, x), batch \\*B and event (T, D), for f (\\*B, F). What is not observed must have no influence."""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        looks: GuideInput | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample f (\\*B, F) and z (\\*B, T, D) for frames x (B, T, \\*frame); arguments as in `DSVAE.forward`.

        looks  what f is inferred from, where that is not the clip itself
        """
        clip = GuideInput.of(x, mask, lengths, times)
        with pyro.plate("sequences", x.shape[0], dim=-1):
            f = pyro.sample("f", self.static(self.seen_for_static(clip) if looks is None else looks))
            z = pyro.sample("z", self.dynamic(*self.seen_for_dynamic(clip, f)))
        return f, z

    def seen_for_static(self, clip: GuideInput) -> GuideInput:
        """What `static` is given to infer f of a clip."""
        reference = self._used_reference()
        return clip if reference is None else reference.looks(self, clip)

    def seen_for_dynamic(self, clip: GuideInput, f: Tensor) -> tuple[GuideInput, Tensor]:
        """What `dynamic` is given to infer z of a clip, where f was drawn."""
        reference = self._used_reference()
        if reference is None:
            return clip, f
        seen, looks = reference.motion(self, clip)
        return seen, looks.expand_as(f)

    @contextmanager
    def without_reference(self) -> Iterator[None]:
        """Inside, q infers from clips themselves: a tighter bound, where latents may tell of each other."""
        reference, self.reference = self.reference, None
        try:
            yield
        finally:
            self.reference = reference

    @property
    def inferred_from_pictures(self) -> bool:
        """Whether evaluation infers from the reference's pictures: there is one, and the fit found that they cost little."""
        return self.reference is not None and self.reference.ready

    def _used_reference(self) -> Reference | None:
        return self.reference if self.inferred_from_pictures and not self.training else None
