"""The same training step written three other ways: by hand in plain PyTorch, as textbook Pyro, with a loop over LSTM cells.

All take the networks, the views and the noise of an `Objective` with LSTM prior, LSTM posterior and normal frames, so that
what differs is the bookkeeping alone. Nothing of this project's ELBO, distributions or loop is used here.
"""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.optim
import torch
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.models.dynamic_priors.lstm import LSTM as LSTMPrior
from pyro_dsvae.models.likelihoods.normal import Normal as NormalFrames

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Networks(nn.Module):
    """The networks of an objective, out of the model and the guide that hold them."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        prior, guide, likelihood = objective.model.dynamic_prior, objective.guide, objective.model.likelihood
        assert isinstance(prior, LSTMPrior)
        assert isinstance(guide, LSTMPosterior)
        assert isinstance(likelihood, NormalFrames)
        self.start, self.prior_lstm, self.prior_head = prior.start, prior.lstm, prior.head
        self.static_encoder, self.static_head = guide.static_encoder, guide.static_head
        self.dynamic_encoder, self.context, self.lstm = guide.dynamic_encoder, guide.context, guide.lstm
        self.direct, self.dynamic_head = guide.direct, guide.dynamic_head
        self.decoder, self.likelihood = objective.model.decoder, likelihood

    def infer_f(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of q(f | x)."""
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return self.static_head(self.static_encoder(x, seen, None))  # type: ignore[no-any-return]

    def infer_z(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Locations and scales of q(z_t | f, x), (B, T, D)."""
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        features = self.dynamic_encoder(x, seen)
        joined = torch.cat([features, f.unsqueeze(1).expand(-1, x.shape[1], -1)], dim=-1)
        hidden = self.lstm(self.context(joined, None))[0] + self.direct(features)
        return self.dynamic_head(hidden)  # type: ignore[no-any-return]

    def predict_z(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Locations and scales of p(z_t | z_<t) along z (B, T, D), in one call of the LSTM."""
        before = torch.cat([self.start.expand(len(z), 1, -1), z[:, :-1]], dim=1)
        return self.prior_head(self.prior_lstm(before)[0])  # type: ignore[no-any-return]

    def predict_z_by_cells(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same, one cell after the other, as published code does it."""
        lstm = self.prior_lstm
        weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
        before = self.start.expand(len(z), -1)
        h = c = z.new_zeros(len(z), lstm.hidden_size)
        locs, scales = [], []
        for t in range(z.shape[1]):
            h, c = torch.lstm_cell(before, (h, c), *weights)
            loc, scale = self.prior_head(h)
            locs.append(loc)
            scales.append(scale)
            before = z[:, t]
        return torch.stack(locs, 1), torch.stack(scales, 1)


def normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((x - loc) / scale).square() - scale.log() - HALF_LOG_2_PI


def normal_kl(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    ratio = (q[1] / p[1]).square()
    return 0.5 * (ratio + ((q[0] - p[0]) / p[1]).square() - 1 - ratio.log())


def drawn(loc: Tensor, scale: Tensor) -> Tensor:
    return loc + scale * torch.randn_like(loc)


class HandwrittenStep:
    """One training step without Pyro: the negative ELBO by hand, Adam, the same clipping.

    by_cells  the prior in a loop over LSTM cells
    bf16      networks under autocast
    """

    def __init__(
        self, objective: Objective, rate: float, clip: float, by_cells: bool = False, bf16: bool = False
    ) -> None:
        self.networks = Networks(objective).train()
        self.predict = self.networks.predict_z_by_cells if by_cells else self.networks.predict_z
        self.device = next(self.networks.parameters()).device
        fused = not by_cells
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=rate, fused=fused)
        self.clip = clip
        self.bf16 = bf16

    def loss(self, frames: Tensor) -> Tensor:
        """The mean negative ELBO in nats per sequence of stored frames (B, T, \\*frame)."""
        networks = self.networks
        x = networks.likelihood.to_model_units(frames)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            q_f = networks.infer_f(x)
            f = drawn(*q_f)
            q_z = networks.infer_z(x, f)
            z = drawn(*q_z)
            p_z = self.predict(z)
            loc = networks.decoder(f, z)
        standard = torch.zeros_like(f), torch.ones_like(f)
        reconstruction = normal_log_prob(x, loc, networks.likelihood.scale).flatten(1).sum(1)
        kl = normal_kl(q_f, standard).sum(1) + normal_kl(q_z, p_z).sum((1, 2))
        return (kl - reconstruction).mean()

    def __call__(self, frames: Tensor) -> Tensor:
        loss = self.loss(frames)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()


class NetworksOnlyStep(HandwrittenStep):
    """Forward, backward and update of the networks with a loss that costs nothing: what no bookkeeping can go below."""

    def loss(self, frames: Tensor) -> Tensor:
        networks = self.networks
        x = networks.likelihood.to_model_units(frames)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            f, f_scale = networks.infer_f(x)
            z, z_scale = networks.infer_z(x, f)
            loc, scale = networks.predict_z(z)
            decoded = networks.decoder(f, z)
        outputs = (f_scale, z_scale, loc, scale, decoded)
        return torch.stack([v.sum() for v in outputs]).sum()


class TextbookStep:
    """Textbook Pyro: one sample statement per z_t and per frame, `SVI.step` with Pyro's own optimiser."""

    def __init__(self, objective: Objective, rate: float, clip: float) -> None:
        self.networks = Networks(objective).train()
        pyro.clear_param_store()
        # One optimiser for every parameter, as Pyro's tutorials have it.
        optimiser = pyro.optim.ClippedAdam({"lr": rate, "clip_norm": clip})
        self.svi = SVI(self.model, self.guide, optimiser, TraceMeanField_ELBO())

    def model(self, x: Tensor) -> None:
        networks: Networks = pyro.module("networks", self.networks)
        lstm = networks.prior_lstm
        weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
        zero = x.new_zeros(())
        with pyro.plate("sequences", len(x)):
            size = networks.static_head.loc.out_features
            f = pyro.sample("f", dist.Normal(zero, zero + 1).expand([size]).to_event(1))
            z = networks.start.expand(len(x), -1)
            h = c = x.new_zeros(len(x), lstm.hidden_size)
            for t in pyro.markov(range(x.shape[1])):
                h, c = torch.lstm_cell(z, (h, c), *weights)
                z = pyro.sample(f"z_{t}", dist.Normal(*networks.prior_head(h)).to_event(1))
                loc = networks.decoder(f, z.unsqueeze(1)).squeeze(1)
                frame = dist.Normal(loc, networks.likelihood.scale).to_event(x.ndim - 2)
                pyro.sample(f"x_{t}", frame, obs=x[:, t])

    def guide(self, x: Tensor) -> None:
        networks: Networks = pyro.module("networks", self.networks)
        with pyro.plate("sequences", len(x)):
            f = pyro.sample("f", dist.Normal(*networks.infer_f(x)).to_event(1))
            loc, scale = networks.infer_z(x, f)
            for t in pyro.markov(range(x.shape[1])):
                pyro.sample(f"z_{t}", dist.Normal(loc[:, t], scale[:, t]).to_event(1))

    def __call__(self, frames: Tensor) -> Tensor:
        return torch.tensor(self.svi.step(self.networks.likelihood.to_model_units(frames)) / len(frames))


Step = Callable[[Tensor], Tensor]
