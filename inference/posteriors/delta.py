"""Point estimates: the control without uncertainty."""

from pyro.distributions import Delta as Point
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import Smoother, encoders
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.ops.precision import full_precision


class Delta(Posterior):
    """q(f, z | x) = delta(f - f(x_1:T)) delta(z - z(f, x_1:T)): an auto-encoder with the priors as penalties.

    What it maximises is log p(x, f, z) at the point, in place of the ELBO. A density has no entropy to pay for its
    sharpness, so this bounds no evidence, can grow without limit where a prior learns its scale, and must not be compared
    with the ELBO of any other posterior. It is here as a control of what the uncertainty is worth.

    Options as for the `LSTM` posterior, whose means it takes.
    """

    comparable: bool = False

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        static_size: int,
        latent_size: int,
        hidden_size: int = 128,
        feature_size: int = 128,
        width: int = 16,
        views: bool | None = None,
    ) -> None:
        super().__init__()
        self.views, self.static_encoder, self.dynamic_encoder = encoders(
            frame_shape, feature_size, hidden_size, width, views
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
