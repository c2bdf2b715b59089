"""What every posterior (guide) is."""

from abc import ABCMeta, abstractmethod

from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.latent_density import sample_posterior
from pyro_dsvae.inference.posteriors.views.guide_views import GuideViews
from pyro_dsvae.inference.posteriors.views.no_views import NoViews
from pyro_dsvae.models.networks.frames import FrameEncoder
from pyro_dsvae.models.standardisation import Standardisation, standardised


class _AbstractPyroModule(type(PyroModule), ABCMeta):  # type: ignore[misc]
    """Both of what Pyro modules and abstract classes need of their class."""


class Posterior(PyroModule, metaclass=_AbstractPyroModule):
    """An amortised guide q(f, z_1:T | x_1:T) = q(f | x) q(z_1:T | f, x). It samples "f", then "z", in the model's order.

    The first four constructor arguments of every posterior are ``frame_shape``, ``static_size`` (F), ``latent_size`` (D) and
    ``encoder``, which makes an encoder of frames for a frame shape and a number of features. The model supplies them; all
    others are options. A subclass defines the two distributions. Where q(z) is not a
    product over steps it is a `PathDistribution`, so that its KL can be computed step by step.

    Attributes:
        views: What each half of q sees of a clip in training.
        comparable: Whether the ELBO under this guide bounds the evidence, so that models can be compared by it.
        standardisation: That of the model, for what the guide sees; None where the model has none.
    """

    views: GuideViews = NoViews()
    comparable: bool = True
    standardisation: Standardisation | None

    def __init__(self) -> None:
        super().__init__()
        self.register_module("standardisation", None)

    @abstractmethod
    def static(self, clip: GuideInput) -> TorchDistribution:
        """q(f | x), batch (B,) and event (F,). What was not observed must have no influence."""

    @abstractmethod
    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        """q(z_1:T | f, x), batch ``*B`` and event (T, D), for f ``(*B, F)``. What was not observed must have no influence."""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample f ``(*B, F)`` and z ``(*B, T, D)`` for frames x ``(B, T, *frame)``; arguments as in `DSVAE.forward`."""
        return sample_posterior(self, self.see(x, mask, lengths, times))

    def see(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> GuideInput:
        """What the guide may see of frames x ``(B, T, *frame)``: standardised where the model is, zero where not observed."""
        return GuideInput.of(standardised(x, self.standardisation), mask, lengths, times, self.reads_gaps)

    @property
    def reads_gaps(self) -> bool:
        """Whether its encoder of frames reads what `with_gaps` puts beside series."""
        return any(isinstance(module, FrameEncoder) and module.reads_gaps for module in self.modules())
