"""The posterior whose steps know the path before them."""

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import linear

from pyro_dsvae.inference.posteriors.encoders import with_static
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.static_half import StaticHalf
from pyro_dsvae.models.distributions.normalizing_flow import own_precision
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM, State, run_lstm
from pyro_dsvae.models.ops.precision import full_precision
from pyro_dsvae.models.steps import Steps


class Autoregressive(StaticHalf):
    """q(f, z | x) = N(f; x_1:T) prod_t N(z_t; z_<t, f, x_1:T), diagonal normals given the past of the path.

    A bidirectional LSTM reads every frame and f. An LSTM over its outputs and z_{t-1} gives the mean and the scale of
    z_t. The joint density is not normal, and its steps depend on each other, as those of the true posterior do.
    Sampling takes T steps, one after the other; a density takes one pass, and the KL has a closed form per step.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018, whose "full" inference model is this one with the
    arrow from z_{t-1} to z_t; the recurrence on draws follows Chung et al., "A Recurrent Latent Variable Model for
    Sequential Data", NeurIPS 2015.

    The arguments are those of `StaticHalf`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import Autoregressive
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = Autoregressive(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> f, z = guide(torch.rand(8, 5, 3))
        >>> f.shape, z.shape
        (torch.Size([8, 4]), torch.Size([8, 5, 2]))
    """

    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        self.context = BidirectionalLSTM(feature_size + static_size, hidden_size)
        # As in the `LSTM` posterior, a frame also speaks of its own z_t directly.
        self.direct = nn.Linear(feature_size, hidden_size)
        self.cell = Cell(2 * hidden_size, latent_size, hidden_size)

    def dynamic(self, clip: GuideInput, f: Tensor) -> "PosteriorPath":
        features = self.dynamic_encoder(clip.x, clip.observed)
        context = full_precision(self.context(with_static(features, f), clip.steps.lengths))
        direct = full_precision(self.direct(features)).expand(*f.shape[:-1], -1, -1)
        first = self.cell.start.expand(*f.shape[:-1], 1, -1)
        return PosteriorPath(self.cell, context, direct, first, None, clip.steps)


class Cell(nn.Module):
    """h_t = LSTM((context_t, z_{t-1}), h_{t-1}) with a learned z_0, and N(mu(h_t + direct_t), sigma(h_t + direct_t)^2)."""

    def __init__(self, context_size: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(latent_size))
        self.lstm = nn.LSTM(context_size + latent_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)

    def along(self, context: Tensor, first: Tensor, z: Tensor, state: State | None) -> tuple[Tensor, State]:
        """h ``(*B, T, H)`` and the last state, given the path z ``(*B, T, D)``."""
        batch = torch.broadcast_shapes(z.shape[:-2], first.shape[:-2])
        before = torch.cat([first.expand(*batch, 1, -1), z[..., :-1, :].expand(*batch, -1, -1)], dim=-2)
        return run_lstm(self.lstm, torch.cat([context.expand(*batch, -1, -1), before], dim=-1), state)

    def unroll(self, context: Tensor, direct: Tensor, first: Tensor, state: State | None, noise: Tensor) -> Tensor:
        """The path ``(*B, T, D)`` that the noise ``(*B, T, D)`` leads to."""
        size = context.shape[-1]
        w_in, w_state, b_in, b_state = self.lstm.all_weights[0]
        # What does not depend on z is done for all steps at once; the loop is left with one product for the gates.
        gates_in = linear(context, w_in[:, :size], b_in + b_state).unbind(-2)
        weight = torch.cat([w_in[:, size:], w_state], dim=1)
        z = first[..., 0, :].expand(*noise.shape[:-2], -1)
        zero = z.new_zeros(*z.shape[:-1], self.lstm.hidden_size)
        hidden, cell = (zero, zero) if state is None else (s.expand_as(zero) for s in state)
        path = []
        for gate_in, at, e in zip(gates_in, direct.unbind(-2), noise.unbind(-2), strict=True):
            gates = gate_in + linear(torch.cat([z, hidden], dim=-1), weight)
            i, f, g, o = gates.chunk(4, dim=-1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            loc, scale = self.head(hidden + at)
            z = loc + scale * e
            path.append(z)
        return torch.stack(path, dim=-2)


class PosteriorPath(PathDistribution):
    """The path distribution of `Autoregressive` after ``first`` ``(*B, 1, D)`` in recurrent state ``state``.

    Its recurrence runs in the precision of its weights, whatever autocast says. So a draw and its density agree, up to
    rounding of float32.

    Args:
        cell: The recurrent network.
        context: What the clip says of every step, ``(*B, T, C)``, float32 or wider.
        direct: What a frame says of its own step, ``(*B, T, H)``, float32 or wider.
        first: The step before the first.
        state: The recurrent state before it, or None.
        steps: The time axis.
    """

    def __init__(
        self, cell: Cell, context: Tensor, direct: Tensor, first: Tensor, state: State | None, steps: Steps
    ) -> None:
        self.cell = cell
        self.context = context
        self.direct = direct
        self.first = first
        self.state = state
        super().__init__(first.shape[:-2], steps, first.shape[-1])

    @property
    def mean(self) -> Tensor:
        """The path ``(*B, T, D)`` on which every step is its conditional mean given the means before it.

        It is a typical path, not E z_1:T, which has no closed form.
        """
        return self._unroll(self.first.new_zeros(self.shape()))

    def conditionals(self, z: Tensor) -> TorchDistribution:
        with own_precision():
            hidden, _ = self.cell.along(self.context, self.first, z, self.state)
            return Normal(*self.cell.head(hidden + self.direct)).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = torch.randn(self.shape(sample_shape), dtype=self.first.dtype, device=self.first.device)
        return self._unroll(noise)

    def continue_from(self, z_past: Tensor, horizon: int) -> "PosteriorPath":
        """See `PathDistribution.continue_from`; for later steps of the same clip.

        Raises:
            ValueError: Past the end of the clip.
        """
        past = z_past.shape[-2]
        if past + horizon > self.steps.length:
            raise ValueError(f"the path has {self.steps.length} steps; it says nothing of step {past + horizon}")
        with own_precision():
            _, state = self.cell.along(self.context[..., :past, :], self.first, z_past, self.state)
        context, direct = (v[..., past : past + horizon, :] for v in (self.context, self.direct))
        return PosteriorPath(self.cell, context, direct, z_past[..., -1:, :], state, self.steps.after(past, horizon))

    def _unroll(self, noise: Tensor) -> Tensor:
        with own_precision():
            return self.cell.unroll(self.context, self.direct, self.first, self.state, noise)
