"""Point estimates: the control without uncertainty."""

from pyro.distributions import Delta as Point
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import Smoother, encoders
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views.choice import Views
from pyro_dsvae.models.networks.frames import EncoderRecipe
from pyro_dsvae.models.ops.precision import full_precision


class Delta(Posterior):
    """q(f, z | x) = delta(f - f(x_1:T)) delta(z - z(f, x_1:T)): an auto-encoder with the priors as penalties.

    It is the control without uncertainty. It maximises log p(x, f, z) at a point, instead of the ELBO. A density at a point
    has no entropy, so the objective does not bound the evidence, can grow without limit where a prior learns its scale, and
    must not be compared with the ELBO of another posterior.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        encoder: Makes the encoder of frames, for a frame shape and a number of features; supplied by the model.
        hidden_size: Units of each LSTM.
        feature_size: Features per frame.
        views: Guide views (`GuideViews`): none, recolour, turn, jitter, rescale, other_window, vocal_tract, or your own; by
            default turn for images and none for vectors. --posterior.views.help Turn says what turn assumes.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import Delta
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = Delta(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> x = torch.rand(8, 5, 3)
        >>> torch.equal(guide(x)[0], guide(x)[0]), guide.comparable  # no noise; its objective bounds no evidence
        (True, False)
    """

    comparable: bool = False

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
        self.views, self.static_encoder, self.dynamic_encoder = encoders(
            frame_shape, feature_size, hidden_size, encoder, views
        )
        self.static_head = nn.Linear(2 * hidden_size, static_size)
        self.smoother = Smoother(feature_size, static_size, hidden_size)
        self.dynamic_head = nn.Linear(hidden_size, latent_size)

    def static(self, clip: GuideInput) -> TorchDistribution:
        f = self.static_head(self.static_encoder(clip.x, clip.observed, clip.steps.lengths))
        return Point(full_precision(f), event_dim=1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        hidden = self.smoother(self.dynamic_encoder(clip.x, clip.observed), f, clip.steps.lengths)
        return Point(full_precision(self.dynamic_head(hidden)), event_dim=2)
