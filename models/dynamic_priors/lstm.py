"""The autoregressive prior of Li & Mandt (2018)."""

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.path_distribution import PathDistribution
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import State, run_lstm
from pyro_dsvae.models.steps import Steps


class LSTM(DynamicPrior):
    """p(z_t | z_<t) = N(mu(h_t), diag sigma(h_t)^2) with h_t = LSTM(z_{t-1}, h_{t-1}) and a learned z_0.

    latent_size  D, supplied by the model
    hidden_size  units of the LSTM

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018.
    """

    def __init__(self, latent_size: int, hidden_size: int = 128) -> None:
        super().__init__(latent_size)
        self.start = nn.Parameter(torch.zeros(latent_size))
        self.lstm = nn.LSTM(latent_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size)

    def forward(self, f: Tensor, steps: Steps) -> "LSTMPath":
        batch_shape = f.shape[:-1]
        return LSTMPath(self, self.start.expand(*batch_shape, 1, -1), None, steps)


class LSTMPath(PathDistribution):
    """The path distribution of `LSTM` after it has seen ``first`` (\\*B, 1, D) in recurrent state ``state``."""

    def __init__(self, prior: LSTM, first: Tensor, state: State | None, steps: Steps) -> None:
        self.prior = prior
        self.first = first
        self.state = state
        super().__init__(first.shape[:-2], steps, first.shape[-1])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        inputs = torch.cat([self.first.expand(*z.shape[:-2], 1, -1), z[..., :-1, :]], dim=-2)
        hidden, _ = run_lstm(self.prior.lstm, inputs, self.state)
        return Normal(*self.prior.head(hidden)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        z = self.first.expand(*sample_shape, *self.first.shape)
        state, path = self.state, []
        if state is not None:
            state = (state[0].expand(*z.shape[:-2], -1), state[1].expand(*z.shape[:-2], -1))
        for _ in range(self.steps.length):
            hidden, state = run_lstm(self.prior.lstm, z, state)
            z = Normal(*self.prior.head(hidden)).rsample()
            path.append(z)
        return torch.cat(path, dim=-2)

    def continue_from(self, z_past: Tensor, horizon: int) -> "LSTMPath":
        inputs = torch.cat([self.first.expand(*z_past.shape[:-2], 1, -1), z_past[..., :-1, :]], dim=-2)
        _, state = run_lstm(self.prior.lstm, inputs, self.state)
        return LSTMPath(self.prior, z_past[..., -1:, :], state, Steps(horizon))
