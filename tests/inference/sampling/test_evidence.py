"""Evidence by importance sampling and by annealing, against exact evidence, quadrature by brute force, and SciPy."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Laplace, MultivariateNormal, Normal, TorchDistribution
from scipy.stats import genpareto
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import Evidence, estimate_evidence
from pyro_dsvae.inference.inference_data import pareto_k_hat
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.inference.sampling import annealed_importance_sampling
from pyro_dsvae.inference.sampling.annealed_importance_sampling import AnnealedEvidence, annealed_evidence
from pyro_dsvae.inference.sampling.importance_weights import LogMean, bounds
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.models.distributions.density import overdispersed
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.distributions.gaussian_path import moments
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from tests.decoded import small_decoder
from tests.inference.test_contracts import frames_for, recipe
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae
from tests.oracles import Array

T, P, F, D = 4, 3, 2, 2
ALL_AT_ONCE = 10**6


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# --- data and guides whose evidence and posterior are known -----------------------------------------------------------


class Data:
    """Simulated sequences; NaN wherever nothing was observed."""

    def __init__(self, kind: str = "complete", count: int = 4) -> None:
        rng = np.random.default_rng(1)
        x = torch.from_numpy(np.stack([EXACT.simulate(T, rng) for _ in range(count)]))
        observed = torch.ones(x.shape, dtype=torch.bool)
        mask = lengths = None
        if "frames" in kind:
            mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [0] * 4, [1] * 4], dtype=torch.bool)
            observed &= mask.unsqueeze(-1)
        if "values" in kind:
            mask = torch.from_numpy(rng.random(x.shape) < 0.6)
            observed &= mask
        if "ragged" in kind:
            lengths = torch.tensor([4, 3, 2, 1])
            observed &= (torch.arange(T) < lengths[:, None]).unsqueeze(-1)
        x[~observed] = math.nan
        self.sequences = Sequences(x, mask, lengths, torch.arange(count))
        whole = [T] * count if lengths is None else lengths.tolist()
        self.known = [(x[b, :n].numpy(), observed[b, :n].numpy()) for b, n in enumerate(whole)]
        self.evidence = torch.tensor([EXACT.kalman_evidence(*known) for known in self.known])
        self.observed = observed

    def repeated(self, row: int, times: int) -> Sequences:
        """One sequence again and again, so that one call makes independent estimates of one number."""
        all_ = self.sequences
        return Sequences(all_.frames, all_.mask, all_.lengths, torch.full((times,), row))


KINDS = ["complete", "missing frames", "missing values, ragged"]


@lru_cache
def posterior(frames: bytes, observed: bytes, length: int) -> tuple[Array, Array]:
    """Mean and covariance of (f, z) given one clip; remembered, because guides are called again and again."""
    x = np.frombuffer(frames).reshape(T, P)[:length]
    return EXACT.posterior(x, np.frombuffer(observed, dtype=bool).reshape(T, P)[:length])


class Guide:
    """The exact posterior of whatever clips it is given, every standard deviation ``stretch`` times as large.

    shift     of every mean, in its standard deviations
    diagonal  independent normals with the posterior's means and one over the diagonal of its precision as variances,
              which are the best of their kind where nothing is stretched or shifted
    narrow    in place of ``stretch`` for sequences whose first value is negative
    """

    def __init__(
        self, stretch: float = 1.0, shift: float = 0.0, diagonal: bool = False, narrow: float | None = None
    ) -> None:
        self.stretch, self.shift, self.diagonal, self.narrow = stretch, shift, diagonal, narrow
        self.seen: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def normals(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Location (B, F + TD) and Cholesky factor of every sequence; those of the last batch are kept."""
        if self.seen is not None and self.seen[0] is x:
            return self.seen[1]
        observed = torch.ones(x.shape, dtype=torch.bool)
        if mask is not None:
            observed &= mask if mask.ndim == 3 else mask.unsqueeze(-1)
        loc, tril = torch.zeros(len(x), F + T * D), torch.eye(F + T * D).repeat(len(x), 1, 1)
        for b in range(len(x)):
            length = T if lengths is None else int(lengths[b])
            m, S = self.moments(x[b], observed[b], length)
            loc[b, : len(m)], tril[b, : len(m), : len(m)] = m, torch.linalg.cholesky(S)
        self.seen = x, (loc, tril)
        return loc, tril

    def moments(self, x: Tensor, observed: Tensor, length: int) -> tuple[Tensor, Tensor]:
        m, S = posterior(x.numpy().tobytes(), observed.numpy().tobytes(), length)
        stretch = self.narrow if self.narrow is not None and x[0, 0] < 0 else self.stretch
        m = m + self.shift * np.sqrt(np.diag(S))
        if self.diagonal:
            S = np.diag(1 / np.diag(np.linalg.inv(S)))
        return torch.from_numpy(m), torch.from_numpy(stretch**2 * S)

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> None:
        steps = Steps(T, lengths)
        loc, tril = self.normals(x, mask, lengths)
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", MultivariateNormal(loc[:, :F], scale_tril=tril[:, :F, :F]))
            if self.diagonal:
                scale = tril.diagonal(dim1=-2, dim2=-1)
                z = Normal(loc[:, F:].unflatten(-1, (T, D)), scale[:, F:].unflatten(-1, (T, D)))
                pyro.sample("z", steps.join(z.to_event(1)))
                return
            # A Cholesky factor's lower left block times the noise of f is what f says of the mean of z.
            noise = torch.linalg.solve_triangular(tril[:, :F, :F], (f - loc[:, :F]).unsqueeze(-1), upper=False)
            mean = loc[:, F:] + (tril[:, F:, :F] @ noise).squeeze(-1)
            lower = tril[:, F:, F:]

            def push(e: Tensor) -> tuple[Tensor, Tensor]:
                z = mean + (lower @ e.flatten(-2).unsqueeze(-1)).squeeze(-1)
                return z.unflatten(-1, (T, D)), lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)

            def pull(z: Tensor) -> Tensor:
                centred = (z.flatten(-2) - mean).unsqueeze(-1)
                return torch.linalg.solve_triangular(lower, centred, upper=False).reshape(z.shape)

            zero = torch.zeros(*f.shape[:-1], T, D)
            pyro.sample("z", Pushforward(steps.join(Normal(zero, zero + 1).to_event(1)), push, pull))


def best_diagonal_gap(data: Data, stretch: float = 1.0, shift: float = 0.0) -> Tensor:
    """KL(q || posterior) of the diagonal `Guide`, from two normals."""
    gaps = []
    for known in data.known:
        m, S = EXACT.posterior(*known)
        precision = np.linalg.inv(S)
        variance, offset = stretch**2 / np.diag(precision), shift * np.sqrt(np.diag(S))
        quadratic = np.diag(precision) @ variance + offset @ precision @ offset
        gaps.append(0.5 * (quadratic - len(m) - np.log(variance).sum() - np.linalg.slogdet(precision)[1]))
    return torch.tensor(gaps)


def estimate(data: Data | Sequences, guide: Any, **options: Any) -> Evidence:
    sequences = data.sequences if isinstance(data, Data) else data
    sampler = Sampler(
        linear_gaussian_dsvae(),
        guide,
        max_frames=options.pop("max_frames", ALL_AT_ONCE),
        progress=options.pop("progress", None),
    )
    return estimate_evidence(sampler, sequences, **options)


def anneal(data: Data | Sequences, guide: Any, **options: Any) -> AnnealedEvidence:
    sequences = data.sequences if isinstance(data, Data) else data
    sampler = Sampler(
        linear_gaussian_dsvae(),
        guide,
        max_frames=options.pop("max_frames", ALL_AT_ONCE),
        progress=options.pop("progress", None),
    )
    return annealed_evidence(sampler, sequences, **options)


def assert_unbiased(log_weights: Tensor, evidence: Tensor) -> None:
    """Independent estimates (R,) of one evidence: their mean is it, within four standard errors that are small."""
    ratio = (log_weights - evidence).exp()
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.05
    assert abs(float(ratio.mean()) - 1) < 4 * error + 1e-9


# --- importance sampling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stretch", [0.8, 0.9, 1.1, 1.2])
@pytest.mark.parametrize("kind", KINDS)
def test_guides_up_to_a_fifth_wrong_in_scale_give_the_evidence(kind: str, stretch: float) -> None:
    """Within 0.05 nats of the exact value, and within four of the errors that are stated, at K = 5,000; k-hat quiet."""
    data = Data(kind)
    found = estimate(data, Guide(stretch), draws=5_000)
    deviation = (found.log_evidence - data.evidence).abs()
    assert (deviation < 0.05).all()
    assert (deviation < 4 * found.standard_error).all()
    assert found.unreliable_share == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_exact_posterior_is_the_evidence(kind: str) -> None:
    data = Data(kind)
    found = estimate(data, Guide(), draws=300)
    torch.testing.assert_close(found.log_evidence, data.evidence, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.elbo, data.evidence, rtol=0, atol=1e-9)
    assert (found.standard_error < 1e-9).all()
    torch.testing.assert_close(found.effective_sample_size, torch.full((4,), 300.0))
    assert (found.k_hat == 0).all()
    assert torch.equal(found.observed_values, data.observed.flatten(1).sum(1))
    assert found.bits_per_dimension is None  # of a density


@pytest.mark.parametrize("options", [{}, {"defensive": 0.3}], ids=["plain", "defensive"])
def test_the_standard_error_is_the_spread_of_repeated_estimates(options: dict[str, float]) -> None:
    """600 estimates of one sequence, 250 draws each."""
    data = Data()
    found = estimate(data.repeated(1, 600), Guide(1.3), draws=250, **options)
    spread = float(found.log_evidence.std())
    # A standard deviation from 600 values is known to 3 %.
    assert float(found.standard_error.square().mean().sqrt()) == pytest.approx(spread, rel=0.12)
    assert_unbiased(found.log_evidence, data.evidence[1])


def test_the_bounds_rise_to_the_evidence_and_start_at_the_elbo() -> None:
    data = Data("missing values, ragged")
    many = {row: estimate(data.repeated(row, 40), Guide(0.9, diagonal=True), draws=1_000) for row in (0, 3)}
    for row, found in many.items():
        assert list(found.bounds) == [1, 10, 100, 1_000]
        values = torch.stack(list(found.bounds.values()))
        assert (values.diff(dim=0) > 0).all()  # in every one of the 40 samples
        assert torch.equal(values[-1], found.log_evidence)
        error = 5 * float(found.elbo.std()) / math.sqrt(40)
        exact = float(data.evidence[row] - best_diagonal_gap(data, 0.9)[row])
        assert float(found.elbo.mean()) == pytest.approx(exact, abs=error)
        # Jensen: in expectation below the evidence at every k, and nearer to it with every factor of ten.
        below = float(data.evidence[row]) - values.mean(1)
        assert (below[:-1] > 0.02).all()
        assert (below.diff() < 0).all()


def test_separate_estimates_rise_with_the_number_of_draws() -> None:
    data = Data()
    means = [
        estimate(data.repeated(0, 100), Guide(diagonal=True), draws=k).log_evidence.mean() for k in (30, 300, 3_000)
    ]
    assert means[0] < means[1] - 0.1
    assert means[1] < means[2] - 0.1
    assert means[2] < data.evidence[0]


@pytest.mark.parametrize(
    "options",
    [{"scale": 2.2}, {"defensive": 0.3}, {"scale": 1.5, "defensive": 0.1}],
    ids=["wider", "defensive", "both"],
)
def test_wider_and_defensive_proposals_rescue_a_guide_that_is_too_narrow(options: dict[str, float]) -> None:
    """Half the right scale: k-hat is raised and the value low; with either option the mean weight is right."""
    data = Data(
        "missing values, ragged"
    )  # the last sequence has one step, so draws from the prior can meet its posterior
    guide = Guide(0.4)
    sequences = data.repeated(3, 300)
    plain = estimate(sequences, guide, draws=400)
    helped = estimate(sequences, guide, draws=400, **options)
    assert_unbiased(helped.log_evidence, data.evidence[3])
    errors = [float((e.log_evidence - data.evidence[3]).square().mean().sqrt()) for e in (plain, helped)]
    assert errors[1] < errors[0] / 3
    assert plain.unreliable_share > 0.6
    if "defensive" not in options:
        # Draws from the prior make a long, if bounded, tail of their own, on which k-hat stays strict.
        assert helped.unreliable_share < 0.05


def test_a_wider_proposal_of_the_exact_shape_undoes_a_wrong_scale() -> None:
    data = Data("missing frames")
    found = estimate(data, Guide(0.5), scale=2.0, draws=50)
    torch.testing.assert_close(found.log_evidence, data.evidence, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in PARTS["posterior"] if name != "Delta"])
def test_over_dispersion_scales_deviations_and_leaves_centres(name: str) -> None:
    """Of f, and of z given f, along the same noise: where one draw is m + s, the over-dispersed one is m + 2.5 s.

    A path that is normal given its past is compared at its first step, a flow by the noise that it comes from.
    """
    made = small({"posterior": name}).eval()
    clip = GuideInput.of(frames_for("Normal")[:, :2].double())
    f = torch.randn(50, 3, 1)
    with torch.no_grad():
        for q, steps in ((made.guide.static(clip), None), (made.guide.dynamic(clip, f), 1)):
            draws = []
            for scale in (0.0, 1.0, 2.5):
                torch.manual_seed(3)
                wide = overdispersed(q, max(scale, 1e-12))
                value = wide.rsample()
                if isinstance(wide, Pushforward):
                    value = q.pull(value)
                draws.append(value if steps is None or name != "Autoregressive" else value[..., :steps, :])
            centre, plain, wide = draws
            torch.testing.assert_close(wide - centre, 2.5 * (plain - centre), rtol=1e-6, atol=1e-8)
            assert (plain - centre).abs().max() > 0.01


def test_an_over_dispersed_chain_has_the_same_mean_and_scaled_covariances() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, s = torch.randn(3, 5, 4, 2, generator=generator)
    chain = DiagonalChain(torch.Size([5]), Transitions(a, b, s.exp()), Steps(4))
    one, other = moments(chain), moments(overdispersed(chain, 1.7))
    torch.testing.assert_close(other.loc, one.loc)
    torch.testing.assert_close(other.variance, 1.7**2 * one.variance)
    torch.testing.assert_close(other.lagged, 1.7**2 * one.lagged)


def test_no_weight_exceeds_what_a_defensive_mixture_allows() -> None:
    """w <= p(x | f, z) / a <= max p(x | .) / a, even for a guide that is nearly a point elsewhere."""
    data = Data()
    found = estimate(data, Guide(0.01, shift=3.0), draws=200, defensive=0.5)
    highest = -T * P * 0.5 * math.log(2 * math.pi * EXACT.r)
    assert (found.log_evidence <= highest - math.log(0.5)).all()
    alone = estimate(data, Guide(0.01, shift=3.0), draws=200)
    assert (alone.log_evidence < found.log_evidence - 50).all()


def test_the_flag_is_raised_per_sequence() -> None:
    """A guide that is right for some sequences and a third as wide as it should be for others."""
    data = Data(count=16)
    bad = data.sequences.frames[:, 0, 0] < 0
    assert 3 < bad.sum() < 13
    found = estimate(data, Guide(narrow=0.3), draws=1_000)
    assert torch.equal(found.unreliable, bad)
    assert found.unreliable_share == pytest.approx(float(bad.double().mean()))
    torch.testing.assert_close(found.log_evidence[~bad], data.evidence[~bad], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [-0.3, 0.3, 0.6, 1.0])
def test_k_hat_is_the_shape_of_a_pareto_tail(shape: float) -> None:
    """Weights whose tail is known; and SciPy's maximum-likelihood fit of the same tail draws."""
    draws, log_weights = 20_000, []
    for seed in range(8):
        weights = genpareto.rvs(shape, size=draws, random_state=seed)
        log_weights.append(np.log(weights + 1e-9) - 1_000)
    k_hat = pareto_k_hat(np.array(log_weights))
    assert k_hat.mean() == pytest.approx(shape, abs=0.1)
    tail = np.sort(np.exp(log_weights[0] + 1_000))[-int(3 * math.sqrt(draws)) - 1 :]
    fitted, _, _ = genpareto.fit(tail[1:] - tail[0], floc=0)
    assert k_hat[0] == pytest.approx(fitted, abs=0.06)


def test_k_hat_of_extreme_weights() -> None:
    """Equal up to rounding: nothing to flag. One weight that is everything: flagged, and no warning on the way."""
    rng = np.random.default_rng(0)
    equal = 1e5 + 1e-3 * rng.integers(0, 3, 500)
    alone = -1e4 * np.arange(500.0)
    assert pareto_k_hat(np.stack([equal, alone])).tolist() == [0.0, math.inf]


def test_weights_that_are_all_zero_have_no_logarithm_and_no_warning() -> None:
    log_weights = torch.tensor([[0.0, -math.inf], [math.log(3), -math.inf]])
    found = LogMean.of(log_weights)
    assert found.value.tolist() == [pytest.approx(math.log(2)), -math.inf]
    assert found.effective_sample_size[0] == pytest.approx(16 / 10)
    # Weights 1 and 3: their mean is 2 with a standard error of 1, relative to it 1/2.
    assert found.standard_error[0] == pytest.approx(0.5)
    assert found.standard_error[1] == math.inf
    assert found.effective_sample_size[1] == 0
    assert bounds(log_weights)[1][0] == pytest.approx(math.log(3) / 2)


# --- refinement -------------------------------------------------------------------------------------------------------


def test_refinement_closes_a_planted_amortisation_gap() -> None:
    """Means off by .7 standard deviations, scales by 40 %: afterwards within .15 nats of the best diagonal bound."""
    data = Data("missing values, ragged")
    planted, best = best_diagonal_gap(data, 0.6, 0.7), best_diagonal_gap(data)
    assert (planted - best > 1).all()
    options = Refinement(steps=300, draws=16, check=1_000)
    found = estimate(data, Guide(0.6, 0.7, diagonal=True), draws=5_000, refinement=options)
    left = data.evidence - found.elbo - best
    assert (left < 0.15).all()
    assert (left > -0.1).all()  # nothing diagonal is better; up to Monte Carlo error
    assert found.gap_closed is not None
    assert found.gap_error is not None
    assert ((found.gap_closed - (planted - best - left)).abs() < 5 * found.gap_error + 0.05).all()
    assert (found.log_evidence <= data.evidence + 4 * found.standard_error).all()


def test_refinement_leaves_the_exact_posterior_as_it_is() -> None:
    """Nothing is better, so the ELBO afterwards is the one before, up to what a few steps move at random."""
    data = Data()
    found = estimate(data, Guide(), draws=500, refinement=Refinement(steps=60, draws=16))
    assert found.gap_closed is not None
    assert (found.gap_closed >= 0).all()
    assert (found.gap_closed < 0.1).all()
    assert (data.evidence - found.elbo).abs().max() < 0.1
    assert ((found.log_evidence - data.evidence).abs() < 0.05).all()


def test_a_refined_proposal_stays_unbiased_with_all_other_options() -> None:
    """So its density is that of its draws, for draws of its own and for those of the prior."""
    data = Data("missing values, ragged")
    refinement = Refinement(steps=40, draws=4, check=50)
    sequences = data.repeated(3, 200)
    found = estimate(sequences, Guide(0.5, 0.5), draws=400, refinement=refinement, scale=1.3, defensive=0.2)
    assert found.gap_closed is not None
    assert (found.gap_closed > 0).all()
    assert_unbiased(found.log_evidence, data.evidence[3])


# --- annealed importance sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_the_mean_annealed_weight_is_the_evidence_however_fast_the_annealing(start: Any) -> None:
    """12 temperatures are far too few for a good estimate; unbiased it is, or a transition does not keep its density."""
    data = Data("missing values, ragged")
    guide = Guide(1.2, 0.3, diagonal=True)
    found = anneal(data.repeated(2, 500), guide, chains=16, temperatures=12, leapfrogs=3, start=start)
    assert (found.standard_error > 0.05).double().mean() > 0.9
    assert_unbiased(found.log_evidence, data.evidence[2])


def test_annealing_agrees_with_the_exact_evidence_and_with_importance_sampling() -> None:
    data = Data("missing values, ragged")
    guide = Guide(0.9)
    annealed = anneal(data, guide, chains=20, temperatures=60, leapfrogs=4)
    weighted = estimate(data, guide, draws=2_000)
    assert (annealed.standard_error < 0.3).all()
    assert ((annealed.log_evidence - data.evidence).abs() < 3.5 * annealed.standard_error).all()
    both = (annealed.standard_error.square() + weighted.standard_error.square()).sqrt()
    assert ((annealed.log_evidence - weighted.log_evidence).abs() < 3.5 * both).all()
    assert ((annealed.acceptance > 0.6) & (annealed.acceptance < 0.95)).all()


def test_annealing_from_the_prior_does_not_rest_on_the_guide() -> None:
    """A guide a fifth as wide as it should be: importance sampling is far off, annealing is not."""
    data = Data("ragged")
    guide = Guide(0.2, diagonal=True)
    annealed = anneal(data, guide, chains=20, temperatures=60, leapfrogs=4)
    assert ((annealed.log_evidence - data.evidence).abs() < 4 * annealed.standard_error + 0.05).all()
    assert (estimate(data, guide, draws=1_000).log_evidence < data.evidence - 1).any()


def test_step_sizes_are_settled_before_the_chains_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step size that depended on a chain's own past would bias its weight, by too little for a test to see."""
    calls: list[Any] = []
    run = annealed_importance_sampling._Annealing.run

    def recorded(self: Any, chains: int, step_sizes: Tensor | None) -> Any:
        calls.append((chains, step_sizes, run(self, chains, step_sizes)))
        return calls[-1][-1]

    monkeypatch.setattr(annealed_importance_sampling._Annealing, "run", recorded)
    found = anneal(Data(), Guide(), chains=7, temperatures=9, leapfrogs=2)
    (_, given, pilot), (chains, used, last) = calls
    assert given is None
    assert chains == 7
    assert torch.equal(used, pilot.step_sizes)
    assert torch.equal(last.step_sizes, used)
    assert used.shape == (8, 4)
    torch.testing.assert_close(found.log_evidence, last.log_weights.exp().mean(0).log())


# --- what an estimate must not depend on ------------------------------------------------------------------------------


class FromStore(TorchDistribution):
    """A distribution whose draws are taken, one after the other, from a list: the same however they are cut into chunks."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, base: TorchDistribution, store: list[Tensor], chunks: list[int]) -> None:
        self.base, self.store, self.chunks = base, store, chunks
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "FromStore":
        return FromStore(self.base.expand(batch_shape), self.store, self.chunks)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        self.chunks.append(self.batch_shape[0])
        return torch.stack([self.store.pop() for _ in range(self.batch_shape[0])])

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)


@pytest.mark.parametrize("row", [0, 2])
def test_chunks_do_not_change_the_result(row: int) -> None:
    """The same noise in one chunk of 300 draws, in five, and draw by draw."""
    data = Data("missing values, ragged")
    noise_f, noise_z = list(torch.randn(300, 1, F)), list(torch.randn(300, 1, T, D))
    found = []
    for at_once, chunks in ((300, [300]), (70, [70] * 4 + [20]), (1, [1] * 300)):
        f, z, used = noise_f.copy(), noise_z.copy(), []

        def guide(x: Tensor, *_: Any, f: Any = f, z: Any = z, used: Any = used) -> None:
            zero = torch.zeros(len(x), T, D)
            with pyro.plate("sequences", len(x), dim=-1):
                pyro.sample("f", FromStore(Normal(zero[:, 0], 1.0).to_event(1), f, used))
                pyro.sample("z", FromStore(Normal(zero, 1.0).to_event(2), z, []))

        found.append(estimate(data.repeated(row, 1), guide, draws=300, max_frames=at_once * T))
        assert used == chunks
    for other in found[1:]:
        torch.testing.assert_close(other.log_evidence, found[0].log_evidence)
        torch.testing.assert_close(other.standard_error, found[0].standard_error)
        torch.testing.assert_close(other.elbo, found[0].elbo)
        torch.testing.assert_close(other.k_hat, found[0].k_hat)


@pytest.mark.parametrize("draws", [100, 1_500])
def test_many_sequences_and_many_draws_keep_to_the_same_memory(draws: int) -> None:
    """No call of the guide proposes more paths than fit a chunk."""
    sizes = []

    def guide(x: Tensor, *args: Any) -> None:
        Guide()(x, *args)
        sizes.append(len(x) * plate_size("draws"))

    data = Data("ragged")
    all_ = data.sequences
    many = Sequences(all_.frames, all_.mask, all_.lengths, torch.arange(4).repeat(10))
    found = estimate(many, guide, draws=draws, max_frames=1_000 * T)
    assert max(sizes) <= 1_000
    assert sum(sizes) == 40 * draws
    torch.testing.assert_close(found.log_evidence, data.evidence.repeat(10), rtol=0, atol=1e-9)


def plate_size(name: str) -> int:
    """The size of a plate that is open, as a sample statement inside it sees it."""
    with pyro.poutine.trace() as tracer:
        pyro.sample("probe", Normal(0.0, 1.0))
    return int(next(frame.size for frame in tracer.trace.nodes["probe"]["cond_indep_stack"] if frame.name == name))


def small(case: Mapping[str, str], *, spread: float = 0.3) -> Objective:
    """Two frames and one dimension of each latent, with weights that are not those of the start."""
    generator = torch.Generator().manual_seed(2)
    parts = (recipe(option, name) for option, name in {**DEFAULTS, **case}.items())
    made = build(frames_for({**DEFAULTS, **case}["likelihood"])[:, :2], 0, 1, 1, *parts, small_decoder).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(spread * torch.randn(p.shape, generator=generator))
    return made


DEFAULTS = {
    "static_prior": "StandardNormal",
    "dynamic_prior": "LSTM",
    "posterior": "LSTM",
    "likelihood": "Normal",
}
CASES = [
    {option: name} for option in DEFAULTS for name in PARTS[option] if name != "Delta" and DEFAULTS[option] != name
] + [{}]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.values()) or "default")
def test_every_part_gives_the_evidence_that_brute_force_gives(case: Mapping[str, str]) -> None:
    """log p(x) as the mean of p(x | f, z) over 60,000 draws from the prior, against every kind of proposal."""
    made = small(case).eval()
    # Typical frames, and few of their values observed, so that draws from the prior meet the posterior.
    with torch.no_grad():
        frames = made.model(shape=(3, 2))
    mask = torch.tensor([[[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 0]], [[0, 1, 0, 1], [1, 1, 1, 1]]])
    mask, lengths = mask.bool(), torch.tensor([2, 2, 1])
    exact, error = brute_force(made, frames, mask, lengths)
    assert (error < 0.15).all()
    sequences = Sequences(frames, mask, lengths, torch.arange(3))
    kinds: list[dict[str, Any]] = [
        {"defensive": 0.5, "scale": 3.0, "refinement": Refinement(steps=10, draws=4, check=20)}
    ]
    if "posterior" in case:
        kinds += [{"scale": 8.0}, {"defensive": 0.5}]
    for options in kinds:
        found = estimate_evidence(Sampler(made.model, made.guide, max_frames=40_000), sequences, draws=4_000, **options)
        tolerance = 4.5 * (error.square() + found.standard_error.square()).sqrt()
        assert (found.log_evidence < exact + tolerance).all()
        # Half of the draws are from the prior, as all of those of the oracle; without them, where the error has a meaning.
        sure = found.k_hat < (math.inf if "defensive" in options else 0.5)
        assert ((found.log_evidence - exact).abs() < tolerance)[sure].all()
    bits = found.bits_per_dimension
    assert (bits is None) == (not made.model.likelihood.discrete)
    if bits is not None:
        torch.testing.assert_close(bits, -found.log_evidence / math.log(2) / torch.tensor([2, 1, 2]))


def test_observation_times_are_honoured() -> None:
    """The same clip at two spacings, under a prior in continuous time: two evidences, both those of brute force."""
    made = small({"dynamic_prior": "LinearGaussian"}).eval()
    with torch.no_grad():
        # Two equal frames: likely at once, a coincidence long after.
        frames = made.model(shape=(1, 1)).expand(2, 2, -1)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]).bool().expand(2, -1, -1)
    times = torch.tensor([[0.0, 0.05], [0.0, 30.0]])
    exact, error = brute_force(made, frames, mask, torch.tensor([2, 2]), times)
    sequences = Sequences(frames, mask, None, torch.arange(2), times)
    found = estimate_evidence(
        Sampler(made.model, made.guide, max_frames=40_000), sequences, draws=20_000, defensive=0.5
    )
    tolerance = 4.5 * (error.square() + found.standard_error.square()).sqrt()
    assert ((found.log_evidence - exact).abs() < tolerance).all()
    assert abs(float(exact[0] - exact[1])) > 2 * float(tolerance.max())


@torch.no_grad()
def brute_force(
    made: Objective, frames: Tensor, mask: Tensor, lengths: Tensor, times: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """log of the mean of p(observed values | f, z) over draws from the prior, part by part, one sequence at a time."""
    x = made.model.likelihood.to_model_units(frames)
    draws, values = 60_000, []
    f = made.model.static_prior().expand([draws]).sample()
    for b in range(len(x)):
        # Without times, paths of the prior are the same for all sequences, and so serve all.
        if b == 0 or times is not None:
            clock = None if times is None else times[b].expand(draws, -1)
            decoded = made.model.frames(f, made.model.dynamic_prior(f, Steps(2, None, clock)).sample())
        seen = mask[b].clone()
        seen[int(lengths[b]) :] = False
        values.append(decoded.log_prob(x[b])[:, seen].sum(1))
    weights = torch.stack(values, dim=1)
    mean = weights.logsumexp(0) - math.log(draws)
    return mean, (weights - mean).exp().std(0) / math.sqrt(draws)


def test_what_is_not_observed_does_not_matter() -> None:
    """The same bits whatever stands in missing frames and after the end, a NaN or a large number."""
    made = small({})
    frames = frames_for("Normal")[:, :2].clone()
    mask, lengths = torch.tensor([[1, 1], [1, 0], [1, 1]], dtype=torch.bool), torch.tensor([2, 2, 1])
    found = []
    for junk in (0.0, 1e6, math.nan):
        frames[1, 1] = frames[2, 1] = junk
        sequences = Sequences(frames, mask, lengths, torch.arange(3))
        for options in ({}, {"refinement": Refinement(steps=3, draws=2, check=5), "defensive": 0.1}):
            values = estimate_evidence(Sampler(made.model, made.guide), sequences, draws=40, **options)
            found.append((values.log_evidence, values.observed_values))
    for values, counts in found:
        assert torch.isfinite(values).all()
        assert counts.tolist() == [8, 4, 4]
    for other in (2, 4):
        assert torch.equal(found[other][0], found[0][0])
        assert torch.equal(found[other + 1][0], found[1][0])


def test_estimates_repeat_and_leave_everything_as_it_was() -> None:
    """The same seed, the same bits; another seed, others. Generators, modes, gradients and parameters are untouched."""
    made = small({})
    made.train()
    made.guide.eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    modes = [module.training for module in made.modules()]
    state = torch.get_rng_state()
    pyro.clear_param_store()
    sequences = Sequences(frames_for("Normal")[:, :2], None, None, torch.arange(3))

    def results(seed: int) -> list[Tensor]:
        options = Refinement(steps=3, draws=2, check=5)
        weighted = estimate_evidence(
            Sampler(made.model, made.guide), sequences, draws=40, refinement=options, seed=seed
        )
        annealed = annealed_evidence(
            Sampler(made.model, made.guide), sequences, chains=2, temperatures=3, leapfrogs=1, start="guide", seed=seed
        )
        return [weighted.log_evidence, annealed.log_evidence]

    first = results(5)
    torch.rand(7)
    for a, b in zip(first, results(5), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(first, results(6), strict=True):
        assert not torch.equal(a, b)
    torch.set_rng_state(state)
    results(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in made.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in made.parameters())
    assert not list(pyro.get_param_store().keys())
    assert torch.is_grad_enabled()


def test_random_views_of_a_guide_in_training_play_no_part() -> None:
    """A model left in training mode gives what it gives in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 4, 3, 16, 16, generator=generator)
    parts = (recipe(option, name) for option, name in DEFAULTS.items())
    made = build(frames, 0, 2, 1, *parts).double()
    assert made.guide.views.random
    sequences = Sequences(frames, None, None, torch.arange(2))
    found = []
    for training in (True, False):
        made.train(training)
        found.append(estimate_evidence(Sampler(made.model, made.guide), sequences, draws=30).log_evidence)
    assert torch.equal(*found)


def test_single_precision_agrees_with_double() -> None:
    """With the same noise, as far as single precision goes; the error of a sum is not that of its largest term."""
    made = small({})
    x = frames_for("Normal")[:, :2]
    with torch.no_grad():
        latents, log_q = Proposal(made.guide, Batch(x, None, None, None)).draw(50)
        double = Joint(made.model, Batch(x, None, None, None)).at(latents).log_joint
        made.float()
        torch.set_default_dtype(torch.float32)
        halved = Latents(latents.f.float(), latents.z.float())
        single = Joint(made.model, Batch(x.float(), None, None, None)).at(halved).log_joint
    assert log_q.dtype == single.dtype == torch.float64
    torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_evidence_that_the_cpu_gives() -> None:
    made = small({}).eval()
    with torch.no_grad():
        frames = made.model(shape=(3, 2))
    mask = torch.tensor([[1, 1], [1, 0], [1, 1]]).bool()
    sequences = Sequences(frames, mask, torch.tensor([2, 2, 1]), torch.arange(3))
    options: dict[str, Any] = {"draws": 3_000, "defensive": 0.5, "refinement": Refinement(steps=30)}
    here = estimate_evidence(Sampler(made.model, made.guide), sequences, **options)
    made.to("cuda")
    there = estimate_evidence(Sampler(made.model, made.guide, torch.device("cuda")), sequences, **options)
    annealed = annealed_evidence(
        Sampler(made.model, made.guide, torch.device("cuda")), sequences, temperatures=60, start="guide"
    )
    for other in (there, annealed):
        error = (here.standard_error.square() + other.standard_error.square()).sqrt()
        assert ((other.log_evidence - here.log_evidence).abs() < 4.5 * error + 0.1).all()


# --- how it is used ---------------------------------------------------------------------------------------------------


def test_progress_rises_to_one() -> None:
    data = Data()
    told: list[float] = []
    estimate(data, Guide(), draws=60, max_frames=25 * T, progress=told.append)
    assert len(told) == 4 * 3
    refined: list[float] = []
    options = Refinement(steps=2, draws=2, check=4)
    estimate(data, Guide(), draws=60, refinement=options, progress=refined.append)
    annealed: list[float] = []
    anneal(data, Guide(), chains=2, temperatures=4, leapfrogs=1, progress=annealed.append)
    assert len(annealed) == 2 * 4
    for shares in (told, refined, annealed):
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] == pytest.approx(1)


def test_a_point_is_no_proposal() -> None:
    made = small({"posterior": "Delta"})
    sequences = Sequences(frames_for("Normal")[:, :2], None, None, torch.arange(3))
    with pytest.raises(UsageError, match=r"Delta is a point .* fit any other posterior"):
        estimate_evidence(Sampler(made.model, made.guide), sequences)
    with pytest.raises(UsageError, match="Delta is a point"):
        annealed_evidence(Sampler(made.model, made.guide), sequences)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 24}, "at least 25 draws"),
        ({"scale": 0.0}, "scale of a proposal must be positive"),
        ({"scale": math.nan}, "scale of a proposal must be positive"),
        ({"defensive": 1.0}, "at least 0 and below 1"),
        ({"defensive": 0.01, "draws": 100}, "fewer than 2"),
        ({"max_frames": 0}, "max_frames is 0; it must be at least 1"),
    ],
    ids=str,
)
def test_options_that_make_no_estimate_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        estimate(Data(), Guide(), **options)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Refinement(steps=0), "steps of at least 1"),
        (lambda: Refinement(check=1), "check of at least 2"),
        (lambda: Refinement(rate=-1.0), "rate of a refinement must be positive"),
        (lambda: anneal(Data(), Guide(), chains=1), "chains of at least 2"),
        (lambda: anneal(Data(), Guide(), temperatures=1), "temperatures of at least 2"),
        (lambda: anneal(Data(), Guide(), start="posterior"), "from the prior or the guide, not 'posterior'"),
    ],
)
def test_so_are_those_of_refinement_and_annealing(call: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()


def test_a_guide_that_cannot_be_over_dispersed_is_told_what_to_do() -> None:
    def guide(x: Tensor, *_: Any) -> None:
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", Laplace(torch.zeros(len(x), F), 1.0).to_event(1))
            pyro.sample("z", Laplace(torch.zeros(len(x), T, D), 1.0).to_event(2))

    with pytest.raises(UsageError, match=r"Laplace .* scale 1 only; .* defensive share"):
        estimate(Data(), guide, scale=2.0)
    assert torch.isfinite(estimate(Data(), guide, draws=30, defensive=0.2).log_evidence).all()


def test_a_density_that_is_not_a_number_is_said() -> None:
    made = small({})
    frames = frames_for("Normal")[:, :2].clone()
    frames[1, 0, 0] = math.nan
    sequences = Sequences(frames, None, None, torch.arange(3))
    with pytest.raises(UsageError, match="density of sequence 1 is not a number"):
        estimate_evidence(Sampler(made.model, made.guide), sequences, draws=30)
    with pytest.raises(UsageError, match="density of sequence 1 is not a number"):
        annealed_evidence(Sampler(made.model, made.guide), sequences, chains=2, temperatures=3)
