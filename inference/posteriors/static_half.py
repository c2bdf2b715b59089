"""The static half that most posteriors share."""

from abc import abstractmethod
from typing import ClassVar

from pyro.distributions import Normal, TorchDistribution

from pyro_dsvae.inference.posteriors.encoders import DynamicEncoder
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views.choice import Views, chosen_views
from pyro_dsvae.models.networks.frames import EncoderRecipe
from pyro_dsvae.models.networks.gaussian_head import GaussianHead


class StaticHalf(Posterior):
    """q(f | x) = N(f; mu(x), diag sigma(x)^2), and the encoders of f and of z; a subclass adds q(z | f, x).

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        encoder: Makes the encoder of frames, for a frame shape and a number of features; supplied by the model.
        hidden_size: Units of each LSTM or hidden layer.
        feature_size: Features per frame.
        views: Guide views (`GuideViews`): none, recolour, turn, jitter, rescale, other_window, vocal_tract, or your own; by
            default turn for images and none for vectors. --posterior.views.help Turn says what turn assumes.

    Attributes:
        head_first: Whether the head of f is built before the encoder of z. The order determines the initial weights, and the
            position of each parameter in the optimiser's state of a checkpoint.
    """

    head_first: ClassVar[bool] = False

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        static_size: int,
        latent_size: int,
        encoder: EncoderRecipe,
        hidden_size: int = 128,
        feature_size: int = 128,
        views: Views = None,
    ) -> None:
        super().__init__()
        self.views = chosen_views(views, frame_shape)
        self.static_encoder = self.views.static_encoder(frame_shape, feature_size, hidden_size, encoder)
        if self.head_first:
            self.static_head = GaussianHead(2 * hidden_size, static_size)
        self.dynamic_encoder = DynamicEncoder(self.views, encoder(frame_shape, feature_size))
        if not self.head_first:
            self.static_head = GaussianHead(2 * hidden_size, static_size)
        self.build(static_size, latent_size, hidden_size, feature_size)

    @abstractmethod
    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        """Add the networks from the features of every frame, which ``dynamic_encoder`` gives, to q(z | f, x)."""

    def static(self, clip: GuideInput) -> TorchDistribution:
        return Normal(*self.static_head(self.static_encoder(clip.x, clip.observed, clip.steps.lengths))).to_event(1)
