"""The posterior that never looks ahead."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import with_static
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.static_half import StaticHalf
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import run_lstm


class CausalLSTM(StaticHalf):
    """q(f, z | x) = N(f; x_1:T) prod_t N(z_t; f, x_1:t), diagonal normals: a filter.

    Given f, the latent of a step is settled as soon as its frame is there and later frames do not change it, so a running
    sequence can be followed frame by frame. f itself is still inferred from the clip: online, take it from the frames so
    far, or once from an earlier clip of the same kind. A filter cannot reach the posterior of a model with dynamics, whose
    z_t depends on later frames, so its bound is looser than that of the `LSTM` posterior.

    Options as for the `LSTM` posterior.

    Source: Krishnan et al., "Structured Inference Networks for Nonlinear State Space Models", AAAI 2017, where it is the
    left-only recognition network.
    """

    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        self.lstm = nn.LSTM(feature_size + static_size, hidden_size, batch_first=True)
        # As in the `LSTM` posterior, a frame also speaks of its own z_t directly.
        self.direct = nn.Linear(feature_size, hidden_size)
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        features = self.dynamic_encoder(clip.x, clip.observed)
        hidden, _ = run_lstm(self.lstm, with_static(features, f))
        hidden = hidden + self.direct(features)
        return clip.steps.join(Normal(*self.dynamic_head(hidden)).to_event(1))
