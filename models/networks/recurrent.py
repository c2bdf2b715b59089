"""Recurrent networks over the time axis, for any number of batch dimensions and ragged lengths."""

import functools

import torch
from torch import Tensor, nn

from pyro_dsvae.models.ops.precision import full_precision

State = tuple[Tensor, Tensor]


def run_lstm(lstm: nn.LSTM, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run a one-layer batch-first LSTM with any number of batch dimensions; `torch.nn.LSTM` takes one.

    Under autocast on a CPU that cannot run it in bfloat16, as those without AVX-512 cannot, it runs in float32.

    Args:
        lstm: The network.
        inputs: ``(*B, T, E)``.
        state: Hidden and cell state, each ``(*B, H)``; None for zeros.

    Returns:
        Outputs ``(*B, T, H)`` and the last state.
    """
    if torch.is_autocast_enabled("cpu") and not runs_in_bfloat16():
        with torch.autocast("cpu", enabled=False):
            full = None if state is None else (full_precision(state[0]), full_precision(state[1]))
            return run_lstm(lstm, full_precision(inputs), full)
    batch = inputs.shape[:-2]
    flat_state = None
    if state is not None:
        expanded = (s.expand(*batch, s.shape[-1]).reshape(1, -1, s.shape[-1]) for s in state)
        flat_state = tuple(s.contiguous() for s in expanded)
    outputs, (hidden, cell) = lstm(inputs.reshape(-1, *inputs.shape[-2:]), flat_state)
    return (
        outputs.reshape(*batch, *outputs.shape[-2:]),
        (hidden[0].reshape(*batch, -1), cell[0].reshape(*batch, -1)),
    )


@functools.cache
def runs_in_bfloat16() -> bool:
    """Whether this processor can run an LSTM in bfloat16. PyTorch does not tell; it raises."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        try:
            nn.LSTM(1, 1, device="cpu", dtype=torch.float32)(torch.zeros(1, 1, device="cpu", dtype=torch.float32))
        except RuntimeError:
            return False
    return True


def run_gru(gru: nn.GRU, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a one-layer batch-first GRU with any number of batch dimensions.

    Args:
        gru: The network.
        inputs: ``(*B, T, E)``.
        state: ``(*B, H)``; None for zeros.

    Returns:
        Outputs ``(*B, T, H)`` and the last state ``(*B, H)``.
    """
    batch = inputs.shape[:-2]
    if state is not None:
        state = state.expand(*batch, state.shape[-1]).reshape(1, -1, state.shape[-1]).contiguous()
    outputs, hidden = gru(inputs.reshape(-1, *inputs.shape[-2:]), state)
    return outputs.reshape(*batch, *outputs.shape[-2:]), hidden[0].reshape(*batch, -1)


class BidirectionalLSTM(nn.Module):
    """Two LSTMs, one reading each sequence forwards and one backwards *from its own last step*.

    For ragged sequences this equals packing, without copying the lengths to the host. Outputs at steps that do not exist
    are meaningless and never influence those that do.

    Args:
        input_size: E, features of an input.
        hidden_size: H, units of each LSTM.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backwards = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs ``(*B, T, 2H)`` for ``inputs`` ``(*B, T, E)`` and ``lengths`` (B,)."""
        order = reversal(inputs, lengths)
        ahead, _ = run_lstm(self.forwards, inputs)
        back, _ = run_lstm(self.backwards, reorder(inputs, order))
        return torch.cat([ahead, reorder(back, order)], dim=-1)

    def summary(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Both final states joined, ``(*B, 2H)``: each direction after it has read the whole sequence."""
        outputs = self(inputs, lengths)
        hidden_size = outputs.shape[-1] // 2
        last = reversal(inputs, lengths)[..., :1]
        ahead = reorder(outputs[..., :hidden_size], last)
        return torch.cat([ahead[..., 0, :], outputs[..., 0, hidden_size:]], dim=-1)


def reversal(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Indices ``(*B, T)`` that reverse each sequence within its length and leave the rest in place."""
    steps = torch.arange(inputs.shape[-2], device=inputs.device)
    if lengths is None:
        return steps.flip(0).expand(inputs.shape[:-1])
    backwards = lengths.unsqueeze(-1) - 1 - steps
    return torch.where(backwards >= 0, backwards, steps).expand(inputs.shape[:-1])


def reorder(values: Tensor, order: Tensor) -> Tensor:
    """``values`` ``(*B, T, E)`` at the steps ``order`` ``(*B, T')``."""
    return values.gather(-2, order.unsqueeze(-1).expand(*order.shape, values.shape[-1]))
