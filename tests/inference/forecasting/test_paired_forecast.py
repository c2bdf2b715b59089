"""Forecasts along shared draws against a Kalman filter, and the density of a path step by step against the whole."""

from collections.abc import Iterator

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import Normal
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.estimation import Sampler, evaluation
from pyro_dsvae.inference.forecasting.log_prob import forecast_log_prob
from pyro_dsvae.inference.forecasting.paired import NoStepsError, paired_forecast
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.distributions.density import log_prob_by_step
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from tests.inference.test_contracts import Case, frames_for, objective
from tests.inference.test_linear_gaussian import EXACT, linear_gaussian_dsvae
from tests.oracles import LinearGaussian

T, P, F, D = 5, 3, 2, 2


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Guide:
    """The exact posterior but for correlations within f and within z; ``lost`` is added where the clip is shorter than T."""

    def __init__(self, stretch: float = 1.0, lost: float = 0.0, exact: LinearGaussian = EXACT) -> None:
        self.stretch, self.lost, self.exact = stretch, lost, exact

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> None:
        batch, length = x.shape[:2]
        steps = Steps(length, lengths)
        seen = steps.observed(mask, 1)
        observed = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.expand(x.shape)
        loc, scale = torch.zeros(batch, F + length * D), torch.ones(batch, F + length * D)
        slope = torch.zeros(batch, length * D, F)
        for b in range(batch):
            n = length if lengths is None else int(lengths[b])
            m, S = self.exact.posterior(x[b, :n].nan_to_num().numpy(), observed[b, :n].numpy())
            given_f = S[F:, :F] @ np.linalg.inv(S[:F, :F])
            variance = np.concatenate([np.diag(S)[:F], np.diag(S[F:, F:] - given_f @ S[:F, F:])])
            loc[b, : len(m)] = torch.from_numpy(m) + (self.lost if length < T else 0)
            scale[b, : len(m)] = self.stretch * torch.from_numpy(variance).sqrt()
            slope[b, : len(m) - F] = torch.from_numpy(given_f)
        with pyro.plate("sequences", batch, dim=-1):
            f = pyro.sample("f", Normal(loc[:, :F], scale[:, :F]).to_event(1))
            mean = loc[:, F:] + (slope @ (f - loc[:, :F]).unsqueeze(-1)).squeeze(-1)
            shape = (*mean.shape[:-1], length, D)
            z_scale = scale[:, F:].expand_as(mean).reshape(shape)
            pyro.sample("z", steps.join(Normal(mean.reshape(shape), z_scale).to_event(1)))


def clips(kind: str) -> tuple[Sequences, list[tuple[np.ndarray, np.ndarray]]]:
    """Sequences with NaN where nothing was observed, and of each its frames and what was observed."""
    rng = np.random.default_rng(1)
    x = torch.from_numpy(np.stack([EXACT.simulate(T, rng) for _ in range(4)]))
    mask = torch.from_numpy(rng.random((4, T)) < 0.7) if kind == "mask" else None
    lengths = torch.tensor([5, 4, 3, 5]) if kind == "ragged" else None
    seen = Steps(T, lengths).observed(mask, 1)
    observed = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.expand(x.shape)
    ends = [T] * 4 if lengths is None else lengths.tolist()
    known = [(x[b, :n].numpy().copy(), observed[b, :n].numpy()) for b, n in enumerate(ends)]
    return Sequences(x.masked_fill(~observed, torch.nan), mask, lengths, torch.arange(4)), known


@pytest.mark.parametrize("kind", ["complete", "mask", "ragged"])
@pytest.mark.parametrize("given", [1, 3])
def test_within_its_error_of_the_exact_forecast(kind: str, given: int) -> None:
    sequences, known = clips(kind)
    found = paired_forecast(Sampler(linear_gaussian_dsvae(), Guide(1.3)), sequences, given, draws=20_000, seed=2)
    for i, (x, observed) in enumerate(known):
        exact = EXACT.kalman_evidence(x, observed) - EXACT.kalman_evidence(x[:given], observed[:given])
        assert float(found.log_prob[i]) == pytest.approx(exact, abs=0.05 + 4 * float(found.standard_error[i])), i
        assert float(found.standard_error[i]) < 0.5
        assert bool(found.scored[i]) == bool(observed[given:].any())
        if not found.scored[i]:
            assert float(found.log_prob[i]) == float(found.standard_error[i]) == 0
    assert float(found.standard_error.median()) < 0.13


def test_the_standard_error_is_that_of_repetitions() -> None:
    sequences, _ = clips("complete")
    runs = [
        paired_forecast(Sampler(linear_gaussian_dsvae(), Guide(1.3)), sequences, 3, draws=1_000, seed=seed)
        for seed in range(40)
    ]
    spread = torch.stack([run.log_prob for run in runs]).std(0)
    stated = torch.stack([run.standard_error for run in runs]).mean(0)
    # The spread of 40 is itself known to 11 %.
    assert torch.allclose(stated, spread, rtol=0.4), (stated, spread)


def test_the_bias_of_few_draws_has_no_known_sign() -> None:
    """With a wide guide it is downwards, so a forecast is no upper bound; the manual says that the sign is unknown."""
    sequences, known = clips("complete")
    exact = torch.tensor([EXACT.kalman_evidence(x, o) - EXACT.kalman_evidence(x[:3], o[:3]) for x, o in known])
    sampler = Sampler(linear_gaussian_dsvae(), Guide(1.6))
    off = torch.stack(
        [(paired_forecast(sampler, sequences, 3, draws=25, seed=s).log_prob - exact).mean() for s in range(20)]
    )
    assert float(off.mean()) < -3 * float(off.std()) / 20**0.5
    assert "sign of the bias that remains" in (paired_forecast.__doc__ or "")


def test_a_guide_that_is_lost_on_beginnings_does_no_harm() -> None:
    """Estimating both evidences apart takes its failure for foresight."""
    sequences, known = clips("complete")
    exact = torch.tensor([EXACT.kalman_evidence(x, o) - EXACT.kalman_evidence(x[:3], o[:3]) for x, o in known])
    lost = Guide(1.3, lost=4.0)
    paired = paired_forecast(Sampler(linear_gaussian_dsvae(), lost), sequences, 3, draws=2_000)
    apart = forecast_log_prob(Sampler(linear_gaussian_dsvae(), lost), sequences, 3, draws=2_000)
    assert float((paired.log_prob - exact).abs().max()) < 1
    assert float((apart.log_prob - exact).min()) > 5


def test_chunks_change_nothing_but_noise_and_progress_rises() -> None:
    sequences, _ = clips("complete")
    told: list[float] = []
    whole = paired_forecast(
        Sampler(linear_gaussian_dsvae(), Guide(1.3), progress=told.append), sequences, 3, draws=4_000
    )
    parts = paired_forecast(
        Sampler(linear_gaussian_dsvae(), Guide(1.3), max_frames=3_000, progress=told.append), sequences, 3, draws=4_000
    )
    error = (whole.standard_error.square() + parts.standard_error.square()).sqrt()
    assert bool(((whole.log_prob - parts.log_prob).abs() < 4 * error).all())
    assert told[-1] == pytest.approx(1)


@pytest.mark.parametrize("posterior", sorted(PARTS["posterior"]))
def test_steps_add_up_to_the_path(posterior: str) -> None:
    """For every posterior that is offered, ragged sequences included; those that cannot say so."""
    fitted = objective(Case(posterior=posterior)).double()
    x = frames_for("Normal").double()
    lengths = torch.tensor([5, 3, 4])
    with evaluation(fitted.model, fitted.guide, 0, torch.device("cpu")):
        node = poutine.trace(fitted.guide).get_trace(x, None, lengths).nodes["z"]
        if posterior in ("Flow", "Delta"):
            with pytest.raises(NotImplementedError, match="step by step"):
                log_prob_by_step(node["fn"], node["value"])
            return
        steps = log_prob_by_step(node["fn"], node["value"])
        valid = torch.arange(5) < lengths[:, None]
        assert steps.shape == (3, 5)
        total = torch.where(valid, steps, torch.zeros_like(steps)).sum(-1)
        assert torch.allclose(total, node["fn"].log_prob(node["value"]), atol=1e-6)


def test_a_guide_without_steps_is_refused_with_the_remedy() -> None:
    fitted = objective(Case(posterior="Flow")).double()
    sequences = Sequences(frames_for("Normal").double(), None, None, torch.arange(3))
    with pytest.raises(NoStepsError, match=r"Pushforward .* step by step.* use forecast_log_prob"):
        paired_forecast(Sampler(fitted.model, fitted.guide), sequences, 3, draws=25)


@pytest.mark.parametrize(
    ("given", "draws", "says"), [(0, 100, "give from 1 to"), (T, 100, "give from 1 to"), (3, 5, "25 draws")]
)
def test_what_cannot_be_foretold_is_said(given: int, draws: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        paired_forecast(Sampler(linear_gaussian_dsvae(), Guide()), clips("complete")[0], given, draws)
