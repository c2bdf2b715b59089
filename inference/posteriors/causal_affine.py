"""One layer of an inverse autoregressive flow over time."""

import torch
from torch import Tensor, nn

from pyro_dsvae.models.networks.recurrent import reorder, reversal, run_lstm
from pyro_dsvae.models.ops.linear_recurrence import step_before
from pyro_dsvae.models.steps import Steps

MAX_LOG_SCALE = 3.0


class CausalAffine(nn.Module):
    """y_t = mu(h_t) + sigma(h_t) e_t with h_t = LSTM((context_t, e_{t-1}), h_{t-1}): a map from a path of noise to a path.

    mu and sigma depend only on the noise before e_t. So all steps are computed at once, and the Jacobian is triangular. The
    inverse takes T steps, one after the other. Before training the map is the identity. The scales stay between e^-3 and
    e^3, so that no stack of layers overflows.

    Args:
        latent_size: The dimension D of z_t.
        context_size: C, the features per step.
        hidden_size: Units of the LSTM.
        backwards: Read each sequence from its own last step to its first. A stack of layers in one direction gives a path
            whose steps are normal given its past; a stack in both directions does not.
    """

    def __init__(self, latent_size: int, context_size: int, hidden_size: int, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.lstm = nn.LSTM(context_size + latent_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 2 * latent_size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, e: Tensor, context: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
        """y ``(*B, T, D)`` and log sigma ``(*B, T, D)`` for e ``(*B, T, D)`` and context ``(*B, T, C)``."""
        context = context.expand(*e.shape[:-1], -1)
        e, context = self._ordered(e, steps), self._ordered(context, steps)
        hidden, _ = run_lstm(self.lstm, torch.cat([context, step_before(e)], dim=-1))
        mu, log_sigma = self._mu_and_log_sigma(hidden)
        return self._ordered(mu + log_sigma.exp() * e, steps), self._ordered(log_sigma, steps)

    def inverse(self, y: Tensor, context: Tensor, steps: Steps) -> Tensor:
        """e ``(*B, T, D)`` for y ``(*B, T, D)`` and context ``(*B, T, C)``."""
        context = context.expand(*y.shape[:-1], -1)
        y, context = self._ordered(y, steps), self._ordered(context, steps)
        e, state, path = torch.zeros_like(y[..., :1, :]), None, []
        for step, seen in zip(y.split(1, dim=-2), context.split(1, dim=-2), strict=True):
            hidden, state = run_lstm(self.lstm, torch.cat([seen, e], dim=-1), state)
            mu, log_sigma = self._mu_and_log_sigma(hidden)
            e = (step - mu) * (-log_sigma).exp()
            path.append(e)
        return self._ordered(torch.cat(path, dim=-2), steps)

    def _mu_and_log_sigma(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        mu, raw = self.head(hidden).chunk(2, dim=-1)
        return mu, MAX_LOG_SCALE * (raw / MAX_LOG_SCALE).tanh()

    def _ordered(self, values: Tensor, steps: Steps) -> Tensor:
        """In the order that the layer reads, and from it back to that of time."""
        return reorder(values, reversal(values, steps.lengths)) if self.backwards else values
