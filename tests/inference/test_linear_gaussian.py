"""A linear-Gaussian DSVAE, where evidence and posterior are known: the bound is below it, and tight at the posterior."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import MultivariateNormal, Normal, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.inference.elbo import CLOSED_FORM, CLOSED_FORM_PER_STEP, MONTE_CARLO, SequenceELBO
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.encoded import small_encoder
from tests.oracles import Array, LinearGaussian, LSTMPosterior, mean_and_error

T, P, F, D = 6, 3, 2, 2
EXACT = LinearGaussian.example(P, F, D)

# --- the model, built from parts of one's own -------------------------------------------------------------------------


class LinearGaussianPrior(DynamicPrior):
    """z_1 ~ N(0, diag p0), z_t = A z_{t-1} + N(0, diag q)."""

    def forward(self, f: Tensor, steps: Steps) -> "LinearGaussianPath":
        return LinearGaussianPath(f.shape[:-1], steps, None)


class LinearGaussianPath(PathDistribution):
    """The path after ``last`` (\\*B, D), or from the start."""

    def __init__(self, batch_shape: torch.Size, steps: Steps, last: Tensor | None) -> None:
        super().__init__(batch_shape, steps, D)
        self.A, self.p0, self.q = (torch.from_numpy(m) for m in (EXACT.A, EXACT.p0, EXACT.q))
        self.last = last

    def conditionals(self, z: Tensor) -> TorchDistribution:
        first = torch.zeros_like(z[..., :1, :]) if self.last is None else self.last.unsqueeze(-2) @ self.A.T
        loc = torch.cat([first.expand(*z.shape[:-2], 1, D), z[..., :-1, :] @ self.A.T], dim=-2)
        variances = [self.p0 if self.last is None and t == 0 else self.q for t in range(z.shape[-2])]
        return Normal(loc, torch.stack(variances).sqrt()).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        z = torch.zeros(self.shape(sample_shape), dtype=self.A.dtype)
        for t in range(self.steps.length):
            z = torch.cat([z[..., :t, :], self.conditionals(z).rsample()[..., t:, :]], dim=-2)
        return z

    def continue_from(self, z_past: Tensor, horizon: int) -> "LinearGaussianPath":
        return LinearGaussianPath(z_past.shape[:-2], Steps(horizon), z_past[..., -1, :])


class LinearDecoder(FrameDecoder):
    """W f + C z_t."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return (f @ torch.from_numpy(EXACT.W).T).unsqueeze(-2) + z @ torch.from_numpy(EXACT.C).T


def linear_gaussian_dsvae() -> DSVAE:
    frames = FixedNormal((P,), scale=math.sqrt(EXACT.r), scale_kind="fixed")
    return DSVAE(StandardNormal(F), LinearGaussianPrior(D), LinearDecoder((P,)), frames).double()


# --- data: complete, with missing frames, ragged, with missing values -------------------------------------------------


class Data:
    """Four sequences, the arguments of the model, and what is known exactly about each."""

    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(1)
        self.x = torch.from_numpy(np.stack([EXACT.simulate(T, rng) for _ in range(4)]))
        self.mask: Tensor | None = None
        self.lengths: Tensor | None = None
        observed = torch.ones(4, T, P, dtype=torch.bool)
        if "frames" in kind:
            self.mask = torch.tensor([[1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1], [0] * 6, [1] * 6], dtype=torch.bool)
            observed &= self.mask.unsqueeze(-1)
        if "values" in kind:
            self.mask = torch.from_numpy(rng.random((4, T, P)) < 0.6)
            observed &= self.mask
        if "ragged" in kind:
            self.lengths = torch.tensor([6, 4, 3, 1])
        lengths = [T] * 4 if self.lengths is None else self.lengths.tolist()
        # The model must not look at what is not observed.
        exists = torch.arange(T) < torch.tensor(lengths)[:, None]
        self.x[~(observed & exists.unsqueeze(-1))] = math.nan
        self.sequences: list[tuple[Array, Array]] = [
            (self.x[b, :n].numpy(), observed[b, :n].numpy()) for b, n in enumerate(lengths)
        ]
        self.args = (self.x, self.mask, self.lengths)
        self.evidence = torch.tensor([EXACT.kalman_evidence(*s) for s in self.sequences], dtype=torch.float64)


KINDS = ["complete", "missing frames", "missing values", "ragged", "missing frames, ragged", "missing values, ragged"]


@pytest.fixture(params=KINDS)
def data(request: pytest.FixtureRequest) -> Data:
    pyro.set_rng_seed(0)
    return Data(request.param)


def test_both_exact_evidences_agree(data: Data) -> None:
    dense = [EXACT.dense_evidence(*sequence) for sequence in data.sequences]
    assert data.evidence.tolist() == pytest.approx(dense, abs=1e-8)


def test_the_generative_process_is_the_one_of_the_oracle() -> None:
    """log p(f) + log p(z) + log p(x | f, z) of a traced model against the dense densities."""
    model = linear_gaussian_dsvae()
    trace = pyro.poutine.trace(model).get_trace(shape=(4, T))
    trace.compute_log_prob()
    f, z, x = (trace.nodes[site]["value"] for site in "fzx")
    joint = sum(trace.nodes[site]["log_prob"] for site in "fzx")
    for b in range(4):
        u = torch.cat([f[b], z[b].flatten()])
        prior = MultivariateNormal(torch.zeros_like(u), torch.from_numpy(EXACT.prior_covariance(T)))
        mean = torch.from_numpy(EXACT.emission(T)) @ u
        expected = prior.log_prob(u) + Normal(mean, math.sqrt(EXACT.r)).log_prob(x[b].flatten()).sum()
        torch.testing.assert_close(joint[b], expected)


# --- guides -----------------------------------------------------------------------------------------------------------


class GaussianPath(TorchDistribution):
    """A normal over whole paths, batch (B,), event (T, D), with any correlation; the last steps may not exist.

    loc     (B, T, D)
    tril    (B, TD, TD) Cholesky factor of the covariance; the identity where steps do not exist
    exists  (B, TD) which entries have a density
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, loc: Tensor, tril: Tensor, exists: Tensor) -> None:
        self.loc, self.tril, self.exists = loc, tril, exists
        super().__init__(loc.shape[:-2], loc.shape[-2:], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "GaussianPath":
        assert torch.Size(batch_shape) == self.batch_shape
        return self

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype).flatten(-2)
        return self.loc + (self.tril @ noise.unsqueeze(-1)).reshape(*sample_shape, *self.loc.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        centred = (value - self.loc).flatten(-2).unsqueeze(-1)
        noise = torch.linalg.solve_triangular(self.tril, centred, upper=False).squeeze(-1)
        terms = -0.5 * noise**2 - self.tril.diagonal(dim1=-2, dim2=-1).log() - 0.5 * math.log(2 * math.pi)
        return (terms * self.exists).sum(-1)


def exact_guide(data: Data, scale: float = 1.0) -> Callable[..., None]:
    """q(f) q(z | f), the exact posterior (with ``scale`` 1) of every sequence; z is correlated over time."""
    posteriors = [EXACT.posterior(*sequence) for sequence in data.sequences]

    def guide(*_: Any) -> None:
        with pyro.plate("sequences", len(posteriors), dim=-1):
            loc_f = torch.stack([torch.from_numpy(m[:F]) for m, _ in posteriors])
            cov_f = torch.stack([torch.from_numpy(S[:F, :F]) for _, S in posteriors])
            f = pyro.sample("f", MultivariateNormal(loc_f, cov_f))
            loc = torch.zeros(len(posteriors), T * D, dtype=torch.float64)
            tril = torch.eye(T * D, dtype=torch.float64).repeat(len(posteriors), 1, 1)
            exists = torch.zeros(len(posteriors), T * D, dtype=torch.bool)
            for b, (m, S) in enumerate(posteriors):
                n = len(m) - F
                regression = S[F:, :F] @ np.linalg.inv(S[:F, :F])
                loc[b, :n] = torch.from_numpy(m[F:]) + torch.from_numpy(regression) @ (f[b] - loc_f[b])
                tril[b, :n, :n] = scale * torch.from_numpy(np.linalg.cholesky(S[F:, F:] - regression @ S[:F, F:]))
                exists[b, :n] = True
            pyro.sample("z", GaussianPath(loc.unflatten(-1, (T, D)), tril, exists))

    return guide


class DiagonalGuide:
    """Independent normals for every entry of f and z, with means off by ``shift`` and scales by ``stretch``.

    The defaults are the best such guide: exact means, and variances 1 / diagonal of the posterior precision.
    """

    def __init__(self, data: Data, shift: float = 0.0, stretch: float = 1.0) -> None:
        self.data = data
        self.q = []
        gaps = []
        for sequence in data.sequences:
            m, S = EXACT.posterior(*sequence)
            precision = np.linalg.inv(S)
            variance = stretch**2 / np.diag(precision)
            offset = shift * np.sqrt(np.diag(S))
            # KL(q || posterior): how far this guide's ELBO lies below the evidence.
            trace, distance = np.diag(precision) @ variance, offset @ precision @ offset
            gaps.append(0.5 * (trace + distance - len(m) - np.log(variance).sum() - np.linalg.slogdet(precision)[1]))
            self.q.append((torch.from_numpy(m + offset), torch.from_numpy(variance).sqrt()))
        self.gap = torch.tensor(gaps, dtype=torch.float64)

    def __call__(self, *_: Any) -> None:
        loc = torch.zeros(len(self.q), F + T * D, dtype=torch.float64)
        scale = torch.ones_like(loc)
        for b, (m, s) in enumerate(self.q):
            loc[b, : len(m)], scale[b, : len(m)] = m, s
        with pyro.plate("sequences", len(self.q), dim=-1):
            pyro.sample("f", Normal(loc[:, :F], scale[:, :F]).to_event(1))
            steps = Normal(loc[:, F:].unflatten(-1, (T, D)), scale[:, F:].unflatten(-1, (T, D))).to_event(1)
            pyro.sample("z", Steps(T, self.data.lengths).join(steps))


# --- the bound --------------------------------------------------------------------------------------------------------


def test_every_draw_from_the_exact_posterior_gives_the_exact_evidence(data: Data) -> None:
    elbo, model, guide = SequenceELBO(), linear_gaussian_dsvae(), exact_guide(data)
    draws = [elbo.terms(model, guide, *data.args) for _ in range(20)]
    assert dict(draws[0].estimators) == {"f": MONTE_CARLO, "z": MONTE_CARLO}
    deviation = torch.stack([terms.elbo for terms in draws]) - data.evidence
    assert deviation.abs().max().item() < 1e-8  # zero variance: not only within 0.05 nats on average


@pytest.mark.parametrize("data", ["complete", "missing values, ragged"], indirect=True)
def test_a_posterior_that_is_slightly_wrong_does_not(data: Data) -> None:
    """The counterpart: 20 % too wide, and the bound is neither exact nor without variance."""
    elbo, model, guide = SequenceELBO(), linear_gaussian_dsvae(), exact_guide(data, scale=1.2)
    draws = torch.stack([elbo.terms(model, guide, *data.args).elbo for _ in range(200)])
    assert (draws.std(0) > 0.05).all()
    assert (draws.mean(0) < data.evidence).all()


@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (0.0, 1.5), (0.7, 0.6)], ids=["best", "wide", "off"])
def test_a_diagonal_guide_stays_below_the_evidence_by_its_kl(data: Data, shift: float, stretch: float) -> None:
    """E[ELBO] = log p(x) - KL(q || p(. | x)), strictly below the evidence for every diagonal guide, the best included."""
    guide = DiagonalGuide(data, shift, stretch)
    elbo = SequenceELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=1)
    model = linear_gaussian_dsvae()
    first = elbo.terms(model, guide, *data.args)
    assert dict(first.estimators) == {"f": CLOSED_FORM, "z": CLOSED_FORM_PER_STEP}
    mean, error = mean_and_error(lambda: elbo.terms(model, guide, *data.args).elbo, 40)
    # A sequence without any observation and one step has a diagonal posterior: there, and only there, the gap is 0.
    assert (mean <= data.evidence + 4 * error).all()
    assert (error < 0.1).all()
    torch.testing.assert_close(mean, data.evidence - guide.gap, rtol=0.0, atol=4 * error.max().item() + 1e-8)
    correlated = torch.tensor([observed.any() for _, observed in data.sequences])
    assert (guide.gap[correlated] > 0.02).all()
    assert (mean < data.evidence - 4 * error)[correlated].all()


def test_an_untrained_amortised_guide_stays_below_the_evidence(data: Data) -> None:
    guide = LSTMPosterior((P,), F, D, small_encoder, hidden_size=4, feature_size=4).double()
    elbo = SequenceELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=1)
    model = linear_gaussian_dsvae()
    with torch.no_grad():
        mean, error = mean_and_error(lambda: elbo.terms(model, guide, *data.args).elbo, 20)
    assert (mean <= data.evidence + 4 * error).all()


def test_path_density_and_continuation_of_the_prior_agree_with_the_dense_normal() -> None:
    """A prior that is written against the interface: rsample, log_prob and continue_from say the same."""
    path = linear_gaussian_dsvae().dynamic_prior(torch.zeros(5, F, dtype=torch.float64), Steps(T))
    cov = torch.from_numpy(EXACT.prior_covariance(T)[F:, F:])
    z = path.rsample(torch.Size([20_000]))
    assert z.shape == (20_000, 5, T, D)
    expected = MultivariateNormal(torch.zeros(T * D, dtype=torch.float64), cov).log_prob(z[0].flatten(-2))
    torch.testing.assert_close(path.log_prob(z[0]), expected)
    rest = path.continue_from(z[0, :, :2], T - 2)
    both = path.log_prob(z[0])
    start = linear_gaussian_dsvae().dynamic_prior(torch.zeros(5, F), Steps(2)).log_prob(z[0, :, :2])
    torch.testing.assert_close(both, start + rest.log_prob(z[0, :, 2:]))
    draws = z.reshape(-1, T * D)
    # The standard error of a covariance is sqrt((s_ii s_jj + s_ij^2) / n).
    error = ((cov.diag()[:, None] * cov.diag() + cov**2) / len(draws)).sqrt()
    assert ((draws.T @ draws / len(draws) - cov).abs() < 5 * error).all()
