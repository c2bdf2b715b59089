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

    Given f, z_t depends on the frames up to t only, so a running sequence can be encoded frame by frame. f itself is
    still inferred from the whole clip: online, infer it from the frames so far, or once from an earlier clip of the
    same kind. In a model with dynamics, the true posterior of z_t depends on later frames, too. A filter cannot
    represent that, so its bound is looser than that of the `LSTM` posterior.

    Source: Krishnan et al., "Structured Inference Networks for Nonlinear State Space Models", AAAI 2017, where it is the
    left-only recognition network.

    The arguments are those of `StaticHalf`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import CausalLSTM
        >>> from pyro_dsvae.inference.posteriors.guide_input import GuideInput
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = CausalLSTM(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> x, f = torch.rand(1, 5, 3), torch.zeros(1, 4)
        >>> means = [guide.dynamic(GuideInput.of(frames), f).mean for frames in (x, x[:, :3])]
        >>> torch.allclose(means[0][:, :3], means[1], atol=1e-6)  # later frames do not change earlier latents
        True
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
