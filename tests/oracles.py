"""Independent oracles: the textbook DSVAE with one site per frame, and exact linear-Gaussian evidence.

Nothing here uses the vectorised code under test: networks are called one frame and one recurrent step at a time (only
their parameters are shared), and the linear-Gaussian quantities are computed with NumPy and SciPy.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro import poutine
from pyro.distributions import Bernoulli, Normal
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors import lstm as lstm_posterior
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.frame_features import FrameFeatures
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views import OrderedStaticEncoder
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors import lstm as lstm_prior
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli as BernoulliLikelihood
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM

Array = NDArray[np.float64]

# Both classes are called LSTM.
LSTMPosterior = lstm_posterior.LSTM
LSTMPrior = lstm_prior.LSTM

# --- noise and gradients ----------------------------------------------------------------------------------------------


class FrozenNoise(Messenger):
    """Every latent draw becomes mean + standard deviation * given noise.

    f  (\\*B, F) noise of site "f"
    z  (\\*B, T, D) noise of site "z", or of the sites "z_0", "z_1", ...
    """

    def __init__(self, f: Tensor, z: Tensor) -> None:
        super().__init__()
        self.f = f
        self.z = z

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        name = msg["name"]
        noise = self.f if name == "f" else self.z if name == "z" else self.z[..., int(name.removeprefix("z_")), :]
        msg["value"] = msg["fn"].mean + msg["fn"].variance.sqrt() * noise
        msg["done"] = True


class SiteCounter(Messenger):
    """Counts the sample statements that are visited, without those of plates."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def _pyro_sample(self, msg: Any) -> None:
        if not site_is_subsample(msg):
            self.names.append(msg["name"])


def gradients(loss: Tensor, *modules: nn.Module) -> dict[str, Tensor]:
    """d loss / d parameter for every parameter of every module; zero where the loss does not depend on it."""
    named = {f"{i}.{name}": p for i, module in enumerate(modules) for name, p in module.named_parameters()}
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), grads, strict=True)}


def assert_same_gradients(actual: dict[str, Tensor], expected: dict[str, Tensor], rtol: float) -> None:
    """Every gradient within ``rtol`` of the largest entry of the expected one."""
    assert actual.keys() == expected.keys()
    overall = max(float(g.abs().max()) for g in expected.values())
    for name, g in expected.items():
        # A gradient that is zero but for rounding is measured against the largest of all.
        tolerance = max(rtol * float(g.abs().max()), 1e-3 * rtol * overall)
        assert float((actual[name] - g).abs().max()) <= tolerance, name


# --- the textbook DSVAE -----------------------------------------------------------------------------------------------


def lstm_step(lstm: nn.LSTM, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One step of an LSTM by its equations: (h, c) after input x (\\*B, E)."""
    h, c = state
    weights: Any = lstm
    gates = x @ weights.weight_ih_l0.T + weights.bias_ih_l0 + h @ weights.weight_hh_l0.T + weights.bias_hh_l0
    i, f, g, o = gates.chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_loop(lstm: nn.LSTM, inputs: Iterable[Tensor]) -> list[Tensor]:
    """The outputs of an LSTM for one sequence, step by step from zero."""
    zero = next(lstm.parameters()).new_zeros(lstm.hidden_size)
    state, outputs = (zero, zero), []
    for x in inputs:
        state = lstm_step(lstm, x, state)
        outputs.append(state[0])
    return outputs


def bidirectional_loop(lstm: BidirectionalLSTM, inputs: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Outputs per step and the summary for one sequence: both directions after they have read everything."""
    ahead = lstm_loop(lstm.forwards, inputs)
    back = lstm_loop(lstm.backwards, inputs[::-1])[::-1]
    return [torch.cat(pair) for pair in zip(ahead, back, strict=True)], torch.cat([ahead[-1], back[0]])


@dataclass(frozen=True)
class Batch:
    """Frames, which of their values count, and which steps exist, spelt out: values (B, T, \\*frame), exists (B, T)."""

    x: Tensor
    values: Tensor
    exists: Tensor

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> "Batch":
        exists = torch.zeros(x.shape[:2], dtype=torch.bool)
        values = torch.zeros(x.shape, dtype=torch.bool)
        for b in range(x.shape[0]):
            for t in range(x.shape[1]):
                exists[b, t] = lengths is None or t < int(lengths[b])
                values[b, t] = exists[b, t] & (True if mask is None else mask[b, t])
        return cls(x, values, exists)


def textbook_model(model: DSVAE, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None) -> None:
    """f, then z_t and x_t for one t after the other, each with its own masks."""
    batch = Batch.of(x, mask, lengths)
    size, length = x.shape[:2]
    prior, likelihood = model.dynamic_prior, model.likelihood
    f_size = model.static_prior.static_size
    zero = x.new_zeros(())
    with pyro.plate("sequences", size):
        f = pyro.sample("f", Normal(zero, zero + 1).expand([f_size]).to_event(1))
        if isinstance(prior, LSTMPrior):
            z = prior.start.expand(size, -1)
            hidden = zero.expand(size, prior.lstm.hidden_size)
            state = (hidden, hidden)
        for t in pyro.markov(range(length)):
            if isinstance(prior, LSTMPrior):
                state = lstm_step(prior.lstm, z, state)
                loc, scale = prior.head(state[0])
            else:
                assert isinstance(prior, IID)
                loc = zero.expand(size, prior.latent_size)
                scale = loc + 1
            with poutine.mask(mask=batch.exists[:, t]):
                z = pyro.sample(f"z_{t}", Normal(loc, scale).to_event(1))
            decoded = model.decoder(f, z.unsqueeze(1)).squeeze(1)
            if isinstance(likelihood, NormalLikelihood):
                frame = Normal(decoded, likelihood.scale)
            else:
                assert isinstance(likelihood, BernoulliLikelihood)
                frame = Bernoulli(logits=decoded, validate_args=False)
            # Values are masked one by one where some are missing, whole frames through poutine.
            some = batch.values[:, t].flatten(1)
            partial = bool((some.any(1) != some.all(1)).any())
            if partial:
                frame = frame.mask(batch.values[:, t])
            with poutine.mask(mask=batch.values[:, t].flatten(1).any(1)):
                pyro.sample(f"x_{t}", frame.to_event(x.ndim - 2), obs=x[:, t])


def visible(batch: Batch, b: int, t: int) -> Tensor:
    """One frame with zeros where it was not observed."""
    return batch.x[b, t] * batch.values[b, t]


def frame_features(network: FrameFeatures, batch: Batch, b: int) -> list[Tensor]:
    """The features of every existing frame of sequence b, encoded one at a time."""
    features = []
    for t in range(int(batch.exists[b].sum())):
        if batch.values[b, t].any():
            features.append(network.encoder(visible(batch, b, t).unsqueeze(0))[0])
        else:
            features.append(network.missing)
    return features


def textbook_guide(guide: Posterior, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None) -> None:
    """f, then every z_t by its own statement. For guides without views, or in evaluation mode."""
    assert isinstance(guide, LSTMPosterior | Factorised)
    batch = Batch.of(x, mask, lengths)
    size, length = x.shape[:2]
    summaries = []
    for b in range(size):
        encoder: Any = guide.static_encoder
        if isinstance(encoder, OrderedStaticEncoder):
            summaries.append(bidirectional_loop(encoder.lstm, frame_features(encoder.frames, batch, b))[1])
        else:
            seen = [t for t in range(length) if batch.values[b, t].any()]
            frames = [encoder.encoder(visible(batch, b, t).unsqueeze(0))[0] for t in seen]
            nothing = x.new_zeros(encoder.encoder.feature_size)
            summaries.append(encoder.layers(sum(frames) / len(frames) if frames else nothing))
    with pyro.plate("sequences", size):
        f = pyro.sample("f", Normal(*guide.static_head(torch.stack(summaries))).to_event(1))
        hidden: list[list[Tensor]] = []
        for b in range(size):
            features = frame_features(guide.dynamic_encoder.frames, batch, b)
            if isinstance(guide, LSTMPosterior):
                context, _ = bidirectional_loop(guide.context, [torch.cat([v, f[b]]) for v in features])
                recurrent = lstm_loop(guide.lstm, context)
                outputs = [h + guide.direct(v) for h, v in zip(recurrent, features, strict=True)]
            else:
                outputs = [guide.layer(v) for v in features]
            hidden.append(outputs + [torch.zeros_like(outputs[0])] * (length - len(outputs)))
        for t in pyro.markov(range(length)):
            loc, scale = guide.dynamic_head(torch.stack([h[t] for h in hidden]))
            with poutine.mask(mask=batch.exists[:, t]):
                pyro.sample(f"z_{t}", Normal(loc, scale).to_event(1))


# --- the linear-Gaussian model ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearGaussian:
    """f ~ N(0, I), z_1 ~ N(0, diag p0), z_t = A z_{t-1} + N(0, diag q), x_t = W f + C z_t + N(0, r I); all variances."""

    A: Array
    C: Array
    W: Array
    p0: Array
    q: Array
    r: float

    @classmethod
    def example(cls, frame: int = 3, static: int = 2, latent: int = 2, seed: int = 0) -> "LinearGaussian":
        rng = np.random.default_rng(seed)
        angle = 0.5
        A = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])[:latent, :latent]
        return cls(
            A,
            rng.standard_normal((frame, latent)),
            rng.standard_normal((frame, static)),
            np.array([1.0, 1.5])[:latent],
            np.array([0.3, 0.2])[:latent],
            0.25,
        )

    def kalman_evidence(self, x: Array, observed: Array) -> float:
        """log p(x) of one sequence x (T, P) from its values where ``observed`` (T, P): f is part of the state."""
        static, latent = self.W.shape[1], self.C.shape[1]
        H = np.hstack([self.W, self.C])
        F = np.eye(static + latent)
        F[static:, static:] = self.A
        Q = np.diag(np.concatenate([np.zeros(static), self.q]))
        m = np.zeros(static + latent)
        P = np.diag(np.concatenate([np.ones(static), self.p0]))
        total = 0.0
        for t in range(len(x)):
            if t > 0:
                m, P = F @ m, F @ P @ F.T + Q
            rows = observed[t].astype(bool)
            if not rows.any():
                continue
            h = H[rows]
            S = h @ P @ h.T + self.r * np.eye(len(h))
            e = x[t, rows] - h @ m
            total -= 0.5 * (e @ np.linalg.solve(S, e) + np.linalg.slogdet(S)[1] + len(h) * np.log(2 * np.pi))
            K = np.linalg.solve(S, h @ P).T
            m, P = m + K @ e, P - K @ h @ P
        return float(total)

    def prior_covariance(self, length: int) -> Array:
        """Covariance of u = (f, z_1, ..., z_T)."""
        static, latent = self.W.shape[1], self.C.shape[1]
        cov = np.eye(static + length * latent)
        marginal = np.diag(self.p0)
        for t in range(length):
            if t > 0:
                marginal = self.A @ marginal @ self.A.T + np.diag(self.q)
            block = marginal
            for s in range(t, length):
                i, j = static + t * latent, static + s * latent
                cov[j : j + latent, i : i + latent] = block
                cov[i : i + latent, j : j + latent] = block.T
                block = self.A @ block
        return cov

    def emission(self, length: int) -> Array:
        """The matrix from u to the noiseless x_1, ..., x_T in a row."""
        return np.hstack([np.tile(self.W, (length, 1)), np.kron(np.eye(length), self.C)])

    def dense_evidence(self, x: Array, observed: Array) -> float:
        """The same as `kalman_evidence` from one multivariate normal over all observed values."""
        rows = observed.astype(bool).reshape(-1)
        if not rows.any():
            return 0.0
        M = self.emission(len(x))[rows]
        cov = M @ self.prior_covariance(len(x)) @ M.T + self.r * np.eye(len(M))
        return float(multivariate_normal(np.zeros(len(M)), cov).logpdf(x.reshape(-1)[rows]))

    def posterior(self, x: Array, observed: Array) -> tuple[Array, Array]:
        """Mean and covariance of u = (f, z_1, ..., z_T) given the observed values."""
        rows = observed.astype(bool).reshape(-1)
        M = self.emission(len(x))[rows]
        cov = np.linalg.inv(np.linalg.inv(self.prior_covariance(len(x))) + M.T @ M / self.r)
        return cov @ M.T @ x.reshape(-1)[rows] / self.r, cov

    def simulate(self, length: int, rng: np.random.Generator) -> Array:
        """One sequence (T, P)."""
        f, z, frames = rng.standard_normal(self.W.shape[1]), np.zeros(self.C.shape[1]), []
        for t in range(length):
            noise = rng.standard_normal(len(z))
            z = np.sqrt(self.p0) * noise if t == 0 else self.A @ z + np.sqrt(self.q) * noise
            frames.append(self.W @ f + self.C @ z + np.sqrt(self.r) * rng.standard_normal(len(self.W)))
        return np.array(frames)


# --- statistics -------------------------------------------------------------------------------------------------------


def mean_and_error(draw: Callable[[], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Mean over ``count`` calls and its standard error."""
    values = torch.stack([draw() for _ in range(count)])
    return values.mean(0), values.std(0) / count**0.5
