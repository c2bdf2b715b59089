"""The factorised posterior of Li & Mandt (2018)."""

from typing import ClassVar

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.static_half import StaticHalf
from pyro_dsvae.models.networks.gaussian_head import GaussianHead


class Factorised(StaticHalf):
    """q(f, z | x) = N(f; x_1:T) prod_t N(z_t; x_t): every z_t from its own frame, without f.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018, the "factorised" inference model.

    The arguments are those of `StaticHalf`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import Factorised
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = Factorised(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> f, z = guide(torch.rand(8, 5, 3))
        >>> f.shape, z.shape
        (torch.Size([8, 4]), torch.Size([8, 5, 2]))
    """

    head_first: ClassVar[bool] = True

    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        self.layer = nn.Sequential(nn.Linear(feature_size, hidden_size), nn.SiLU())
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        hidden = self.layer(self.dynamic_encoder(clip.x, clip.observed))
        return clip.steps.join(Normal(*self.dynamic_head(hidden)).to_event(1))
