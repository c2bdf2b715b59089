"""A DSVAE with linear frames whose evidence and posterior are known, for studies that need to know what is right."""

from dataclasses import dataclass

import pyro
import torch
from pyro.distributions import MultivariateNormal, TransformedDistribution
from torch import Tensor
from torch.distributions.transforms import ReshapeTransform

from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.likelihoods.normal import Normal as NormalFrames
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal


class LinearDecoder(FrameDecoder):
    """W f + C z_t for W (P, F) and C (P, D)."""

    def __init__(self, W: Tensor, C: Tensor) -> None:
        super().__init__((len(W),))
        self.W, self.C = W, C

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return (f @ self.W.T).unsqueeze(-2) + z @ self.C.T


def linear_dsvae(prior: DynamicPrior, W: Tensor, C: Tensor, scale: float) -> DSVAE:
    """Any dynamic prior under linear frames."""
    frames = NormalFrames((len(W),), scale=scale, scale_kind="fixed")
    return DSVAE(StandardNormal(W.shape[1]), prior, LinearDecoder(W, C), frames)


@dataclass(frozen=True)
class Exact:
    """Latents that forget with a time constant: cov(z_t, z_s) = exp(-|t - s| / timescale) I; f ~ N(0, I)."""

    W: Tensor
    C: Tensor
    scale: float
    steps: int
    timescale: float

    @property
    def model(self) -> DSVAE:
        """The same by the parts of the library."""
        return linear_dsvae(LinearGaussian(self.C.shape[1], self.timescale), self.W, self.C, self.scale)

    @property
    def prior_covariance(self) -> Tensor:
        """Of (f, z_1, ..., z_T) in a row."""
        time = torch.arange(self.steps).to(self.W)
        dynamic = torch.exp(-(time[:, None] - time).abs() / self.timescale)
        dynamic = torch.kron(dynamic, torch.eye(self.C.shape[1]))
        return torch.block_diag(torch.eye(self.W.shape[1]), dynamic)

    @property
    def emission(self) -> Tensor:
        """From (f, z_1, ..., z_T) to the noiseless x_1, ..., x_T in a row."""
        return torch.cat([self.W.repeat(self.steps, 1), torch.kron(torch.eye(self.steps), self.C)], dim=1)

    @property
    def evidence(self) -> MultivariateNormal:
        """p(x), over frames in a row."""
        noiseless = self.emission @ self.prior_covariance @ self.emission.T
        covariance = noiseless + self.scale**2 * torch.eye(len(noiseless))
        return MultivariateNormal(torch.zeros(len(covariance)), covariance)

    def simulate(self, count: int) -> Tensor:
        """Frames (count, T, P)."""
        return self.evidence.sample((count,)).unflatten(-1, (self.steps, -1))


class PosteriorGuide:
    """The exact posterior, its standard deviations ``stretch`` times as large and its means off by ``shift`` of them."""

    def __init__(self, exact: Exact, stretch: float = 1.0, shift: float = 0.0) -> None:
        M, r = exact.emission, exact.scale**2
        covariance = torch.linalg.inv(torch.linalg.inv(exact.prior_covariance) + M.T @ M / r)
        self.gain = covariance @ M.T / r
        self.offset = shift * covariance.diagonal().sqrt()
        self.tril = stretch * torch.linalg.cholesky(covariance)
        self.static, self.shape = exact.W.shape[1], torch.Size((exact.steps, exact.C.shape[1]))

    def __call__(self, x: Tensor, *_: object) -> None:
        F, tril = self.static, self.tril
        loc = x.flatten(1) @ self.gain.T + self.offset
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", MultivariateNormal(loc[:, :F], scale_tril=tril[:F, :F]))
            noise = torch.linalg.solve_triangular(tril[:F, :F], (f - loc[:, :F]).unsqueeze(-1), upper=False).squeeze(-1)
            flat = MultivariateNormal(loc[:, F:] + noise @ tril[F:, :F].T, scale_tril=tril[F:, F:])
            pyro.sample("z", TransformedDistribution(flat, [ReshapeTransform(flat.event_shape, self.shape)]))


def sequences(frames: Tensor) -> Sequences:
    """All rows of complete sequences."""
    return Sequences(frames, None, None, torch.arange(len(frames)))
