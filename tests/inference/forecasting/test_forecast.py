"""Forecasts and their scores against dense normals, closed forms and baselines by hand."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import MultivariateNormal, Normal
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.forecasting.baselines import BASELINES, baselines
from pyro_dsvae.inference.forecasting.forecast import forecast
from pyro_dsvae.inference.forecasting.log_prob import forecast_log_prob
from pyro_dsvae.inference.forecasting.scores import Comparison, forecast_errors, forecast_scores
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.inference.sampling.refinement import Refinement
from pyro_dsvae.inference.sampling.resampling import systematic
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from tests.inference.test_contracts import Case, frames_for, objective
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae
from tests.oracles import Array

T, P, F, D = 6, 3, 2, 2


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# --- clips, a guide and predictions that are known exactly ------------------------------------------------------------


class Clips:
    """Simulated clips; NaN wherever nothing was observed."""

    def __init__(self, kind: str = "complete", count: int = 4, length: int = T) -> None:
        rng = np.random.default_rng(1)
        self.truth = torch.from_numpy(np.stack([EXACT.simulate(length, rng) for _ in range(count)]))
        self.mask: Tensor | None = None
        self.lengths: Tensor | None = None
        if "frames" in kind:
            self.mask = torch.from_numpy(rng.random((count, length)) < 0.6)
            self.mask[:, 0] = True
        if "values" in kind:
            self.mask = torch.from_numpy(rng.random(self.truth.shape) < 0.6)
            self.mask[:, 0] = True
        if "ragged" in kind:
            self.lengths = torch.tensor([length, 3, length - 1, 2])[:count]
        seen = Steps(length, self.lengths).observed(self.mask, 1)
        self.observed = torch.ones_like(self.truth, dtype=torch.bool) if seen is None else seen.expand(self.truth.shape)
        self.x = torch.where(self.observed, self.truth, torch.full_like(self.truth, math.nan))
        self.sequences = Sequences(self.x, self.mask, self.lengths, torch.arange(count))

    def known(self, row: int, more: int = 0) -> tuple[Array, Any]:
        """Frames and what was observed of one clip, followed by steps of which nothing is."""
        length = len(self.x[row]) if self.lengths is None else int(self.lengths[row])
        x, observed = (np.zeros((length + more, P), dtype=kind) for kind in (float, bool))
        x[:length], observed[:length] = self.x[row, :length], self.observed[row, :length]
        return x, observed


class Guide:
    """The exact posterior of whatever clips it is given, or a wrong one.

    stretch   standard deviations over the right ones
    shift     of every mean, in standard deviations
    diagonal  independent normals, with the posterior's means and one over the diagonal of its precision
    """

    def __init__(self, stretch: float = 1.0, shift: float = 0.0, diagonal: bool = False) -> None:
        self.stretch, self.shift, self.diagonal = stretch, shift, diagonal
        self.seen: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def normals(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Location (B, F + TD) and Cholesky factor of every clip; those of the last batch are kept."""
        if self.seen is not None and self.seen[0] is x:
            return self.seen[1]
        batch, length = x.shape[:2]
        seen = Steps(length, lengths).observed(mask, 1)
        observed = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.expand(x.shape)
        loc, tril = torch.zeros(batch, F + length * D), torch.eye(F + length * D).repeat(batch, 1, 1)
        for b in range(batch):
            n = length if lengths is None else int(lengths[b])
            m, S = EXACT.posterior(x[b, :n].numpy(), observed[b, :n].numpy())
            m = m + self.shift * np.sqrt(np.diag(S))
            S = np.diag(1 / np.diag(np.linalg.inv(S))) if self.diagonal else S
            loc[b, : len(m)] = torch.from_numpy(m)
            tril[b, : len(m), : len(m)] = torch.from_numpy(np.linalg.cholesky(self.stretch**2 * S))
        self.seen = x, (loc, tril)
        return loc, tril

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> None:
        batch, length = x.shape[:2]
        steps = Steps(length, lengths)
        loc, tril = self.normals(x, mask, lengths)
        with pyro.plate("sequences", batch, dim=-1):
            f = pyro.sample("f", MultivariateNormal(loc[:, :F], scale_tril=tril[:, :F, :F]))
            # A Cholesky factor's lower left block times the noise of f is what f says of the mean of z.
            noise = torch.linalg.solve_triangular(tril[:, :F, :F], (f - loc[:, :F]).unsqueeze(-1), upper=False)
            mean = loc[:, F:] + (tril[:, F:, :F] @ noise).squeeze(-1)
            lower = tril[:, F:, F:]

            def push(e: Tensor) -> tuple[Tensor, Tensor]:
                z = mean + (lower @ e.flatten(-2).unsqueeze(-1)).squeeze(-1)
                return z.unflatten(-1, (length, D)), lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)

            def pull(z: Tensor) -> Tensor:
                centred = (z.flatten(-2) - mean).unsqueeze(-1)
                return torch.linalg.solve_triangular(lower, centred, upper=False).reshape(z.shape)

            zero = torch.zeros(*f.shape[:-1], length, D)
            pyro.sample("z", Pushforward(steps.join(Normal(zero, zero + 1).to_event(1)), push, pull))


def predicted(clips: Clips, row: int, horizon: int) -> tuple[Tensor, Tensor]:
    """Mean (H, P) and covariance (H P, H P) of the noiseless frames after one clip, by dense conditioning."""
    x, observed = clips.known(row, horizon)
    m, S = EXACT.posterior(x, observed)
    M = EXACT.emission(len(x))[-horizon * P :]
    return torch.from_numpy((M @ m).reshape(horizon, P)), torch.from_numpy(M @ S @ M.T)


KINDS = ["complete", "missing frames", "missing values, ragged"]
WRONG = Guide(1.3, 0.4)


# --- forecasts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", ["exact", "wrong", "wrong, refined"])
@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_have_the_mean_and_variance_of_the_predictor(kind: str, guide: str) -> None:
    """Of frames without and with noise, within five Monte Carlo standard errors; a wrong guide is put right."""
    clips, horizon = Clips(kind), 3
    K, proposals = {"exact": (4_000, 4_000), "wrong": (2_000, 20_000), "wrong, refined": (2_000, 4_000)}[guide]
    found = forecast(
        Sampler(linear_gaussian_dsvae(), Guide() if guide == "exact" else WRONG),
        Batch(clips.x, clips.mask, clips.lengths),
        horizon,
        draws=K,
        refinement=Refinement(steps=40, draws=4) if "refined" in guide else None,
        proposals=proposals,
    )
    assert found.samples.shape == found.means.shape == (K, 4, horizon, P)
    assert found.z.shape == (K, 4, horizon, D)
    assert (found.past.power == 1).all()
    for row in range(4):
        mean, covariance = predicted(clips, row, horizon)
        variance = covariance.diagonal().view(horizon, P)
        # Resampled draws are worth no more than the weighed ones.
        worth = min(K, float(found.past.effective_sample_size[row])) / 1.5
        for draws, exact in ((found.means[:, row], variance), (found.samples[:, row], variance + EXACT.r)):
            assert ((draws.mean(0) - mean).abs() < 5 * (exact / worth).sqrt()).all()
            assert ((draws.var(0) / exact - 1).abs() < 5 * math.sqrt(2 / worth)).all()
        # Steps belong together: the covariance between the first and the last frame to come.
        a, b = found.means[:, row, 0, 0], found.means[:, row, -1, 0]
        together = float(covariance[0, (horizon - 1) * P])
        spread = math.sqrt(float(variance[0, 0] * variance[-1, 0]) * 2 / worth)
        assert float(torch.stack([a, b]).cov()[0, 1]) == pytest.approx(together, abs=5 * spread)


def test_without_weights_a_wrong_guide_stays_wrong() -> None:
    clips = Clips()
    plain = forecast(Sampler(linear_gaussian_dsvae(), WRONG), Batch(clips.x), 2, draws=2_000, resample=False)
    mean = torch.stack([predicted(clips, row, 2)[0] for row in range(4)])
    assert (plain.mean - mean).abs().max() > 0.2
    assert plain.past.effective_sample_size.isnan().all()


def test_quantiles_and_intervals_are_those_of_the_normal() -> None:
    clips = Clips(count=1)
    found = forecast(Sampler(linear_gaussian_dsvae(), Guide()), Batch(clips.x), 2, draws=20_000, proposals=20_000)
    mean, covariance = predicted(clips, 0, 2)
    scale = (covariance.diagonal().view(2, P) + EXACT.r).sqrt()
    low, high = found.interval(0.9)
    for bound, z in ((low, -1.6449), (high, 1.6449), (found.quantiles([0.5])[0], 0.0)):
        torch.testing.assert_close((bound[0] - mean) / scale, torch.full((2, P), z), rtol=0, atol=0.06)
    with pytest.raises(UsageError, match="from 0 to 1"):
        found.quantiles([1.2])


def test_what_is_not_observed_has_no_influence() -> None:
    """The same bits whatever stands in missing values and after the end of a clip."""
    clips, found = Clips("missing values, ragged"), []
    for junk in (0.0, 1e6, math.nan):
        x = torch.where(clips.observed, clips.truth, torch.full_like(clips.truth, junk))
        found.append(
            forecast(Sampler(linear_gaussian_dsvae(), WRONG), Batch(x, clips.mask, clips.lengths), 2, draws=50).samples,
        )
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_ragged_clip_is_continued_from_its_own_end() -> None:
    """As if it were alone and cut there, up to Monte Carlo error; and the order of clips is kept."""
    clips = Clips("ragged")
    found = forecast(Sampler(linear_gaussian_dsvae(), Guide()), Batch(clips.x, lengths=clips.lengths), 2, draws=4_000)
    alone = forecast(Sampler(linear_gaussian_dsvae(), Guide()), Batch(clips.x[1:2, :3]), 2, draws=4_000)
    error = (found.means.var(0)[1] + alone.means.var(0)[0]).sqrt() / math.sqrt(4_000)
    assert ((found.mean[1] - alone.mean[0]).abs() < 4.5 * error).all()
    assert (found.past.z[:, 1, 3:] == 0).all()
    assert found.past.z.shape == (4_000, 4, T, D)


def test_without_any_observation_the_forecast_is_the_priors() -> None:
    clips = Clips()
    mask = torch.ones(4, T, dtype=torch.bool)
    mask[1] = False
    found = forecast(Sampler(linear_gaussian_dsvae(), Guide()), Batch(clips.x, mask), 2, draws=4_000)
    assert found.past.from_prior.tolist() == [False, True, False, False]
    M = EXACT.emission(T + 2)[-2 * P :]
    variance = torch.from_numpy(np.diag(M @ EXACT.prior_covariance(T + 2) @ M.T).copy()).view(2, P)
    assert (found.mean[1].abs() < 5 * (variance / 4_000).sqrt()).all()
    assert ((found.means[:, 1].var(0) / variance - 1).abs() < 5 * math.sqrt(2 / 4_000)).all()


@pytest.mark.parametrize(
    ("prior", "guide"),
    [*itertools.product(PARTS["dynamic_prior"], ["LSTM"]), *itertools.product(["LSTM"], PARTS["posterior"])],
)
def test_every_prior_and_every_posterior_forecasts(prior: str, guide: str) -> None:
    """Ragged clips, missing frames: right shapes, finite, different from draw to draw, the same for the same seed."""
    made = objective(Case(dynamic_prior=prior, posterior=guide)).double().eval()
    x, lengths = made.model.likelihood.to_model_units(frames_for("Normal")), torch.tensor([5, 2, 1])
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[0, 2] = False
    told: list[float] = []
    state = torch.get_rng_state()
    once, again = (
        forecast(Sampler(made.model, made.guide, progress=told.append), Batch(x, mask, lengths), 4, draws=6)
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert once.samples.shape == (6, 3, 4, x.shape[2])
    assert torch.isfinite(once.samples).all()
    assert torch.equal(once.samples, again.samples)
    assert (once.z.std(0) > 0).all()
    assert told[-1] == pytest.approx(1.0) or guide == "Delta"
    assert told == sorted(told[: len(told) // 2]) * 2
    assert once.past.effective_sample_size.isnan().all() == (guide == "Delta")


@pytest.mark.parametrize("prior", ["LSTM", "GRU", "Transformer"])
def test_a_prior_that_looks_at_f_goes_on_with_the_f_of_the_clip(prior: str) -> None:
    """The one-step prediction of a draw is that of the prior at the draw's own f and past, computed one draw at a time."""
    made = objective(Case(dynamic_prior=prior)).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    found = forecast(Sampler(made.model, made.guide), Batch(x), 2, draws=4, seed=3, resample=False)
    with torch.no_grad():
        for k, b in itertools.product(range(4), range(3)):
            f, path = found.f[k, b], torch.cat([found.past.z[k, b], found.z[k, b]])
            whole: Any = made.model.dynamic_prior(f[None], Steps(len(path))).given(path[None])
            step = whole.base_dist
            ours = made.model.dynamic_prior(found.f, Steps(x.shape[1])).continue_from(found.past.z, 2)
            expected = ours.given(found.z).base_dist.mean[k, b]
            torch.testing.assert_close(step.mean[0, -2:], expected, rtol=1e-6, atol=1e-8)
    # The draws of the futures follow these predictions: standardised innovations are unit normals.
    many = forecast(Sampler(made.model, made.guide), Batch(x), 1, draws=2_000, resample=False)
    with torch.no_grad():
        step = made.model.dynamic_prior(many.f, Steps(x.shape[1])).continue_from(many.past.z, 1).given(many.z).base_dist
        noise = (many.z - step.mean) / step.variance.sqrt()
    assert (noise.mean(0).abs() < 5 / math.sqrt(2_000)).all()
    assert ((noise.var(0) - 1).abs() < 5 * math.sqrt(2 / 2_000)).all()


def test_observation_times_are_honoured() -> None:
    """Under a random walk the variance of the next step grows with the time to it; by default the last interval repeats."""
    made = objective(Case(dynamic_prior="RandomWalk")).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    times = torch.tensor([[0.0, 1, 2, 3, 4], [0.0, 2, 4, 6, 8], [0.0, 1, 2, 3, 4]])
    future = torch.tensor([[4.5, 8.5], [9.0, 25.0], [5.0, 6.0]])
    scale = cast(Any, made.model.dynamic_prior).scale.detach()
    cases: list[tuple[Tensor | None, Tensor]] = [
        (future, torch.tensor([[0.5, 4.0], [1.0, 16.0], [1.0, 1.0]])),
        (None, torch.tensor([[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]])),
    ]
    for given, intervals in cases:
        found = forecast(
            Sampler(made.model, made.guide), Batch(x, times=times), 2, future_times=given, draws=3_000, resample=False
        )
        path = torch.cat([found.past.z[..., -1:, :], found.z], dim=-2)
        moves = path.diff(dim=-2).var(0) / (scale**2 * intervals.unsqueeze(-1))
        assert ((moves - 1).abs() < 5 * math.sqrt(2 / 3_000)).all()


@pytest.mark.parametrize("prior", ["GaussianProcess", "LinearGaussian", "IID", "RandomWalk"])
def test_priors_in_continuous_time_forecast_at_given_times(prior: str) -> None:
    made = objective(Case(dynamic_prior=prior)).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    times = torch.tensor([0.3, 1.0, 4.0]).unsqueeze(-1) * torch.arange(5.0)
    lengths = torch.tensor([5, 3, 1])
    future = times.gather(1, lengths.unsqueeze(-1) - 1) + torch.tensor([0.7, 2.0])
    found = forecast(Sampler(made.model, made.guide), Batch(x, lengths=lengths, times=times), 2, future, draws=5)
    assert torch.isfinite(found.samples).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon is 0; it must be a whole number of at least 1"),
        ({"draws": 0}, "draws is 0; it must be a whole number of at least 1"),
        ({"draws": 9, "proposals": 8}, "9 draws cannot be kept of 8"),
        ({"lengths": torch.tensor([0, 1, 1])}, "lengths lie from 1 to the 5"),
        ({"future_times": torch.ones(3, 2)}, "give the times of the given frames"),
        (
            {"times": torch.arange(5.0).expand(3, -1), "future_times": torch.ones(3, 1)},
            r"future_times must be \(3, 2\)",
        ),
        ({"times": torch.arange(5.0).expand(3, -1), "future_times": torch.tensor([[5.0, 5.0]] * 3)}, "must rise"),
        ({"refinement": Refinement(steps=1), "guide": "Delta"}, "Delta is a point"),
    ],
)
def test_errors_of_a_forecast(options: dict[str, Any], message: str) -> None:
    made = objective(Case(posterior=options.pop("guide", "LSTM"))).double().eval()
    x = made.model.likelihood.to_model_units(frames_for("Normal"))
    batch = Batch(x, lengths=options.pop("lengths", None), times=options.pop("times", None))
    with pytest.raises(UsageError, match=message):
        forecast(Sampler(made.model, made.guide), batch, **{"horizon": 2, **options})


def test_systematic_resampling_keeps_shares_to_less_than_one_draw() -> None:
    """Counts are K times the share, rounded up or down; on average exactly that; and their order is random."""
    shares = torch.tensor([[0.05, 0.2], [0.5, 0.2], [0.45, 0.0], [0.0, 0.6]])
    counts = torch.stack(
        [torch.stack([c.bincount(minlength=4) for c in systematic(shares, 10).T]) for _ in range(2_000)]
    )
    exact = 10 * shares.T
    assert ((counts >= exact.floor() - 1e-9) & (counts <= exact.ceil() + 1e-9)).all()
    error = counts.double().std(0) / math.sqrt(2_000)
    assert ((counts.double().mean(0) - exact).abs() <= 4.5 * error + 1e-9).all()
    firsts = torch.stack([systematic(shares, 10)[0, 1] for _ in range(400)])
    assert abs(float((firsts == 3).double().mean()) - 0.6) < 4.5 * math.sqrt(0.24 / 400)


def test_weights_that_leave_one_draw_alone_are_tempered_and_it_is_said() -> None:
    clips = Clips()
    found = forecast(Sampler(linear_gaussian_dsvae(), Guide(1.0, 4.0)), Batch(clips.x), 2, draws=40)
    assert (found.past.effective_sample_size < 10).all()
    assert (found.past.power < 1).all()
    # With the power, draws are worth a quarter of what is kept; so they are not all the same.
    assert (found.past.f.unique(dim=0).shape[0]) >= 10


# --- log probabilities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [1, 3, 5])
def test_the_log_probability_of_what_came_is_that_of_the_conditional_normal(kind: str, given: int) -> None:
    """Exactly with the exact posterior; within four of the stated errors with a guide that is too wide."""
    clips = Clips(kind)
    exact = torch.zeros(4)
    for row in range(4):
        x, observed = clips.known(row)
        exact[row] = conditional(x, observed, given)
    found = forecast_log_prob(Sampler(linear_gaussian_dsvae(), Guide()), clips.sequences, given, draws=30)
    torch.testing.assert_close(found.log_prob, exact, rtol=0, atol=1e-8)
    later = clips.observed[:, given:].flatten(1).sum(1)
    assert torch.equal(found.observed_values, later)
    assert torch.equal(found.scored, later > 0)
    assert (found.log_prob[~found.scored] == 0).all()
    rough = forecast_log_prob(Sampler(linear_gaussian_dsvae(), Guide(1.15)), clips.sequences, given, draws=2_000)
    assert ((rough.log_prob - exact).abs() <= 4.5 * rough.standard_error).all()
    assert (rough.standard_error < 0.1).all()
    assert rough.unreliable_share == 0


def conditional(x: Array, observed: Any, given: int) -> float:
    """log N(later; what earlier says of it) by dense conditioning of one normal over all observed values."""
    past = np.zeros_like(observed)
    past[:given] = observed[:given]
    later = observed & ~past
    if not later.any():
        return 0.0
    M = EXACT.emission(len(x))
    joint = M @ EXACT.prior_covariance(len(x)) @ M.T + EXACT.r * np.eye(x.size)
    a, b = past.reshape(-1), later.reshape(-1)
    gain = np.linalg.solve(joint[np.ix_(a, a)], joint[np.ix_(a, b)]).T
    mean = gain @ x.reshape(-1)[a]
    S = joint[np.ix_(b, b)] - gain @ joint[np.ix_(a, b)]
    e = x.reshape(-1)[b] - mean
    return float(-0.5 * (e @ np.linalg.solve(S, e) + np.linalg.slogdet(S)[1] + len(e) * np.log(2 * np.pi)))


def test_the_stated_error_of_the_log_probability_is_its_spread() -> None:
    clips = Clips()
    many = Sequences(clips.x, None, None, torch.full((200,), 1))
    found = forecast_log_prob(Sampler(linear_gaussian_dsvae(), Guide(1.2)), many, 3, draws=250)
    assert float(found.standard_error.square().mean().sqrt()) == pytest.approx(float(found.log_prob.std()), rel=0.2)


def test_sequences_too_short_and_given_too_much() -> None:
    clips = Clips("ragged")
    told: list[float] = []
    found = forecast_log_prob(
        Sampler(linear_gaussian_dsvae(), Guide(), progress=told.append), clips.sequences, 3, draws=25
    )
    assert found.scored.tolist() == [True, False, True, False]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    for given in (0, T):
        with pytest.raises(UsageError, match="give from 1 to 5"):
            forecast_log_prob(Sampler(linear_gaussian_dsvae(), Guide()), clips.sequences, given)


# --- scores -----------------------------------------------------------------------------------------------------------


def crps_of_normal(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Closed form (Gneiting & Raftery 2007)."""
    z = (x - mean) / scale
    unit = torch.distributions.Normal(0.0, 1.0)
    return scale * (z * (2 * unit.cdf(z) - 1) + 2 * unit.log_prob(z).exp() - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("kind", ["complete", "missing values, ragged"])
def test_scores_are_those_of_the_exact_predictor(kind: str) -> None:
    """MSE, CRPS by the closed form, and the log probability by both ways; steps on their own and together."""
    clips, given = Clips(kind), 3
    found = forecast_scores(Sampler(linear_gaussian_dsvae(), Guide()), clips.sequences, given, draws=4_000)
    begun = Clips(kind)
    begun.lengths = torch.full((4,), given)
    assert torch.equal(found.scored, clips.observed[:, given:].flatten(1).any(1))
    for row in found.scored.nonzero().squeeze(-1).tolist():
        mean, covariance = predicted(begun, row, T - given)
        scale = (covariance.diagonal().view(-1, P) + EXACT.r).sqrt()
        truth, seen = clips.truth[row, given:], clips.observed[row, given:]
        crps = crps_of_normal(truth, mean, scale)
        assert float(found.model.crps[row]) == pytest.approx(float(crps[seen].mean()), rel=0.03)
        assert float(found.model.mse[row]) == pytest.approx(float((truth - mean)[seen].square().mean()), rel=0.1)
        for h in range(T - given):
            if seen[h].any():
                assert float(found.model.crps_by_step[row, h]) == pytest.approx(
                    float(crps[h][seen[h]].mean()), rel=0.08
                )
            else:
                assert math.isnan(found.model.crps_by_step[row, h])
        exact = conditional(*clips.known(row), given)
        assert float(found.log_prob.log_prob[row]) == pytest.approx(exact, abs=1e-8)
    for errors in (found.model, *found.baselines.values()):
        assert torch.equal(errors.mse.isnan(), ~found.scored)


def test_errors_alone_are_those_of_the_scores() -> None:
    clips, progress = Clips("missing values, ragged"), list[float]()
    scores = forecast_scores(Sampler(linear_gaussian_dsvae(), Guide()), clips.sequences, 3, draws=50, seed=7)
    errors = forecast_errors(
        Sampler(linear_gaussian_dsvae(), Guide(), progress=progress.append), clips.sequences, 3, 50, 9
    )
    for name in ("mse", "crps", "mse_by_step", "crps_by_step"):
        assert torch.equal(getattr(errors, name).nan_to_num(-1), getattr(scores.model, name).nan_to_num(-1))
    assert progress[-1] == 1


def test_crps_at_finite_draws_is_off_by_what_is_said() -> None:
    """With K draws of a known normal it is too high by E|X - X'| / 2K = scale / (sqrt(pi) K), on average."""
    clips = Clips(count=1, length=2)
    many = Sequences(clips.x, None, None, torch.zeros(500, dtype=torch.int64))
    found = forecast_scores(Sampler(linear_gaussian_dsvae(), Guide()), many, 1, draws=25)
    begun = Clips(count=1, length=2)
    begun.lengths = torch.tensor([1])
    mean, covariance = predicted(begun, 0, 1)
    scale = (covariance.diagonal().view(1, P) + EXACT.r).sqrt()
    exact = crps_of_normal(clips.x[0, 1:], mean, scale).mean() + (scale / (math.sqrt(math.pi) * 25)).mean()
    error = float(found.model.crps.std()) / math.sqrt(500)
    assert float(found.model.crps.mean()) == pytest.approx(float(exact), abs=4.5 * error)
    assert error < 0.01


def test_baselines_by_hand() -> None:
    """Last values, means and loops of a clip of three steps and two values, with gaps filled from before, then from after."""
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], [[1.0, 9.0], [5.0, 9.0], [9.0, 9.0]]])
    seen = torch.tensor([[[1, 1], [1, 1], [1, 1]], [[0, 0], [1, 0], [0, 0]]], dtype=torch.bool)
    found = baselines(torch.where(seen, x, torch.full_like(x, math.nan)), seen, 4)
    assert tuple(found) == BASELINES
    last, mean, loop = found.values()
    assert last[0].tolist() == [[3.0, 30.0]] * 4
    assert mean[0].tolist() == [[2.0, 20.0]] * 4
    assert loop[0].tolist() == [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [1.0, 10.0]]
    # One value of six was seen; the other place was never seen, so it has the clip's mean, which is that value.
    assert (torch.stack([last[1], mean[1], loop[1]]) == 5).all()
    gap = torch.tensor([[[1], [0], [1], [0]]], dtype=torch.bool)
    values = torch.tensor([[[1.0], [7.0], [3.0], [7.0]]])
    last, mean, loop = baselines(values, gap, 5).values()
    assert last.flatten().tolist() == [3.0] * 5
    assert mean.flatten().tolist() == [2.0] * 5
    assert loop.flatten().tolist() == [1.0, 1.0, 3.0, 3.0, 1.0]
    late = torch.tensor([[[0], [1], [1], [1]]], dtype=torch.bool)
    assert baselines(values, late, 1)["loop the clip"].item() == 7.0


def test_comparisons_are_paired_and_honest() -> None:
    """Against SciPy-free arithmetic; and on data that stand still, nothing beats the copy, which is said."""
    clips = Clips(count=60)
    found = forecast_scores(Sampler(linear_gaussian_dsvae(), Guide()), clips.sequences, 4, draws=50)
    one = found.comparisons()[0]
    assert (one.metric, one.baseline) == ("mse", BASELINES[0])
    ours, theirs = found.model.mse.numpy(), ((clips.truth[:, 4:] - clips.truth[:, 3:4]) ** 2).mean((1, 2)).numpy()
    assert one.difference == pytest.approx(ours.mean() - theirs.mean())
    assert one.standard_error == pytest.approx((ours - theirs).std(ddof=1) / math.sqrt(60))
    assert one.verdict == "beats"
    assert 'beats "copy the last frame" in MSE' in str(one)
    still = clips.truth[:, :1].expand(-1, T, -1).clone()
    lost = forecast_scores(
        Sampler(linear_gaussian_dsvae(), Guide()), Sequences(still, None, None, torch.arange(60)), 4, draws=50
    )
    assert lost.comparisons()[0].verdict == "loses to"
    assert lost.comparisons()[0].theirs == 0
    assert any("not better than what needs no model" in said for said in lost.sentences())
    assert not any("MSE the forecast is not better" in said for said in found.sentences())
    assert not any("trusted" in said for said in found.sentences())
    narrow = forecast_scores(Sampler(linear_gaussian_dsvae(), Guide(0.3)), clips.sequences, 4, draws=50)
    assert narrow.log_prob.unreliable_share > 0.5
    assert any(f"{narrow.log_prob.unreliable_share:.0%} of the sequences: k-hat" in said for said in narrow.sentences())
    assert Comparison("mse", "x", 1.0, 1.1, -0.1, 0.1).verdict == "does not differ from"


def test_scores_of_one_or_no_sequence_say_so() -> None:
    clips = Clips("ragged")
    told: list[float] = []
    found = forecast_scores(
        Sampler(linear_gaussian_dsvae(), Guide(), progress=told.append), clips.sequences, 5, draws=25
    )
    assert found.scored.tolist() == [True, False, False, False]
    assert found.comparisons() == ()
    assert "1 of 4 sequences scored" in found.sentences()[0]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
