"""The autoregressive prior of Li & Mandt (2018)."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePrior, State
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import run_lstm


class LSTM(AutoregressivePrior):
    """p(z_t | z_<t) = N(mu(h_t), diag sigma(h_t)^2) with h_t = LSTM(z_{t-1}, h_{t-1}) and a learned z_0.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018.

    Args:
        latent_size: D, supplied by the model.
        hidden_size: Units of the LSTM.
        condition_on_static: Make it p(z_t | z_<t, f): the LSTM reads (z_{t-1}, f), so that motion can depend on appearance.
        static_size: F, supplied by the model; needed only with ``condition_on_static``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import LSTM
        >>> from pyro_dsvae.models.steps import Steps
        >>> path = LSTM(2, hidden_size=8)(torch.zeros(4, 3), Steps(5))  # 4 sequences of 5 steps
        >>> z = path.rsample()
        >>> z.shape, path.log_prob(z).shape
        (torch.Size([4, 5, 2]), torch.Size([4]))
        >>> path.continue_from(z, horizon=3).rsample().shape
        torch.Size([4, 3, 2])
    """

    def __init__(
        self, latent_size: int, hidden_size: int = 128, condition_on_static: bool = False, static_size: int = 0
    ) -> None:
        super().__init__(latent_size, condition_on_static, static_size)
        self.lstm = nn.LSTM(self.input_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return run_lstm(self.lstm, inputs, None if state is None else (state[0], state[1]))

    def predict(self, features: Tensor) -> TorchDistribution:
        return Normal(*self.head(features)).to_event(1)
