"""An autoregressive prior with a gated recurrent unit."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePrior, State
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import run_gru


class GRU(AutoregressivePrior):
    """p(z_t | z_<t) = N(mu(h_t), diag sigma(h_t)^2) with h_t = GRU(z_{t-1}, h_{t-1}) and a learned z_0.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    EMNLP 2014.

    Args:
        latent_size: D, supplied by the model.
        hidden_size: Units of the GRU.
        condition_on_static: Make it p(z_t | z_<t, f): the GRU reads (z_{t-1}, f), so that motion can depend on appearance.
        static_size: F, supplied by the model; needed only with ``condition_on_static``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import GRU
        >>> from pyro_dsvae.models.steps import Steps
        >>> prior = GRU(2, hidden_size=8, condition_on_static=True, static_size=3)
        >>> prior(torch.randn(4, 3), Steps(5)).rsample().shape
        torch.Size([4, 5, 2])
    """

    def __init__(
        self, latent_size: int, hidden_size: int = 128, condition_on_static: bool = False, static_size: int = 0
    ) -> None:
        super().__init__(latent_size, condition_on_static, static_size)
        self.gru = nn.GRU(self.input_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, last = run_gru(self.gru, inputs, None if state is None else state[0])
        return outputs, (last,)

    def predict(self, features: Tensor) -> TorchDistribution:
        return Normal(*self.head(features)).to_event(1)
