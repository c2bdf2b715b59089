"""The autoregressive prior of Li & Mandt (2018)."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePrior, Memory
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import run_lstm


class LSTM(AutoregressivePrior):
    """p(z_t | z_<t) = N(mu(h_t), diag sigma(h_t)^2) with h_t = LSTM(z_{t-1}, h_{t-1}) and a learned z_0.

    latent_size          D, supplied by the model
    hidden_size          units of the LSTM
    condition_on_static  p(z_t | z_<t, f): the LSTM reads (z_{t-1}, f), so that how things move depends on what they are
    static_size          F, supplied by the model; needed only with ``condition_on_static``

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018.
    """

    def __init__(
        self, latent_size: int, hidden_size: int = 128, condition_on_static: bool = False, static_size: int = 0
    ) -> None:
        super().__init__(latent_size, condition_on_static, static_size)
        self.lstm = nn.LSTM(self.input_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size)

    def read(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        return run_lstm(self.lstm, inputs, None if memory is None else (memory[0], memory[1]))

    def predict(self, features: Tensor) -> TorchDistribution:
        return Normal(*self.head(features)).to_event(1)
