"""The full posterior of Li & Mandt (2018)."""

from typing import ClassVar

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import with_static
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.static_half import StaticHalf
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM, run_lstm


class LSTM(StaticHalf):
    """q(f, z | x) = N(f; x_1:T) prod_t N(z_t; f, x_1:T), diagonal normals.

    f is computed from both ends of a bidirectional LSTM over the frames. z_t is computed from a bidirectional LSTM over
    every frame and f, followed by an LSTM. With guide views (`GuideViews`) each is computed from what it may see.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018, the "full" inference model.

    The arguments are those of `StaticHalf`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import LSTM
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = LSTM(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> f, z = guide(torch.rand(8, 5, 3))  # one draw for each of 8 sequences of 5 frames
        >>> f.shape, z.shape
        (torch.Size([8, 4]), torch.Size([8, 5, 2]))
    """

    head_first: ClassVar[bool] = True

    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        self.context = BidirectionalLSTM(feature_size + static_size, hidden_size)
        self.lstm = nn.LSTM(2 * hidden_size, hidden_size, batch_first=True)
        # What a frame says of its own z_t need not pass two recurrent layers, which learn slowly; see also the small
        # initial scale: whichever latent becomes informative first keeps what both could carry.
        self.direct = nn.Linear(feature_size, hidden_size)
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        features = self.dynamic_encoder(clip.x, clip.observed)
        features = features.expand(*f.shape[:-1], *features.shape[-2:])
        hidden, _ = run_lstm(self.lstm, self.context(with_static(features, f), clip.steps.lengths))
        hidden = hidden + self.direct(features)
        return clip.steps.join(Normal(*self.dynamic_head(hidden)).to_event(1))
