"""The factorised posterior of Li & Mandt (2018)."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import DynamicEncoder, static_encoder
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.networks.gaussian_head import GaussianHead


class Factorised(Posterior):
    """q(f, z | x) = N(f; x_1:T) prod_t N(z_t; x_t): every z_t from its own frame, without f.

    Options as for the `LSTM` posterior.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018, the "factorised" inference model.
    """

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
        self.views = views = len(frame_shape) == 3 if views is None else views
        self.static_encoder = static_encoder(frame_shape, feature_size, hidden_size, width, views)
        self.static_head = GaussianHead(2 * hidden_size, static_size)
        self.dynamic_encoder = DynamicEncoder(frame_shape, feature_size, width, views)
        self.layer = nn.Sequential(nn.Linear(feature_size, hidden_size), nn.SiLU())
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)

    def static(self, clip: GuideInput) -> TorchDistribution:
        return Normal(*self.static_head(self.static_encoder(clip.x, clip.observed, clip.steps.lengths))).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        hidden = self.layer(self.dynamic_encoder(clip.x, clip.observed))
        return clip.steps.join(Normal(*self.dynamic_head(hidden)).to_event(1))
