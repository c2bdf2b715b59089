"""Latents against their priors: tests against brute force, and faults that are planted."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal
from scipy import stats
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_checks.checks import LatentChecks, collapse_findings, latent_checks
from pyro_dsvae.inference.latent_checks.mmd import pair_matrix, swap_test
from pyro_dsvae.inference.latent_checks.ridge import PENALTIES, ridge_test
from pyro_dsvae.inference.latent_checks.usage import latent_usage
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps
from tests.inference.calibration.test_simulation_based_calibration import ExactGuide, simulated
from tests.inference.latent_checks.test_usage import Planted, Zero, noise, planted_frames, planted_model, without_static
from tests.inference.test_linear_gaussian import P, linear_gaussian_dsvae
from tests.oracles import Array

T, N = 8, 300


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the discrepancy of two samples -----------------------------------------------------------------------------------


def test_the_discrepancy_is_the_unbiased_one_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 2)), 0.5 + rng.standard_normal((12, 2))
    both = np.concatenate([x, y])
    width = np.median([((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j])

    def k(a: Array, b: Array) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / width))

    total = 0.0
    for i in range(12):
        for j in range(12):
            if i != j:
                total += k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(y[i], x[j])
    found, _ = swap_test(pair_matrix(torch.from_numpy(x), torch.from_numpy(y)), 19, generator())
    assert found == pytest.approx(total / (12 * 11), rel=0.01)  # the median of an even number may be either of two


def test_a_swapped_pair_is_a_swapped_pair() -> None:
    """The signs that stand for swaps give the discrepancy of samples that are swapped."""
    rng = np.random.default_rng(1)
    x, y = (torch.from_numpy(rng.standard_normal((20, 3))) for _ in range(2))
    swap = torch.from_numpy(rng.random(20) < 0.5)
    u, v = torch.where(swap[:, None], y, x), torch.where(swap[:, None], x, y)
    signs = 1 - 2.0 * swap
    h = pair_matrix(x, y)
    assert float(pair_matrix(u, v).sum()) == pytest.approx(float(signs @ h @ signs), abs=1e-9)


@pytest.mark.parametrize("kind", ["normal", "every pair its own"])
def test_p_values_are_uniform_where_there_is_no_difference(kind: str) -> None:
    """200 simulations; also where pairs have scales of their own, as clips of different lengths have."""
    rng = np.random.default_rng(2)
    p_values = []
    for seed in range(200):
        scale = 1.0 if kind == "normal" else np.exp(rng.standard_normal((40, 1)))
        x, y = (torch.from_numpy(scale * rng.standard_normal((40, 3))) for _ in range(2))
        p_values.append(swap_test(pair_matrix(x, y), 199, generator(seed))[1])
    # p-values are multiples of 1 / 200; spread over their steps they are uniform on [0, 1].
    spread = np.array(p_values) - rng.random(200) / 200
    assert stats.kstest(spread, "uniform").pvalue > 0.01


# --- ridge regression -------------------------------------------------------------------------------------------------


def test_leaving_one_out_is_leaving_one_out() -> None:
    """R^2 against a loop that fits without each row, for every penalty."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    y[:, 0] += x[:, 1]
    standard = [(v - v.mean(0)) / v.std(0, ddof=1) for v in (x, y)]
    best = -math.inf
    for penalty in PENALTIES:
        error = total = 0.0
        for i in range(30):
            a, b = (np.delete(v, i, axis=0) for v in standard)
            # The intercept is not penalised.
            design = np.hstack([np.ones((29, 1)), a])
            ridge = np.diag([0.0] + [penalty * 30] * 4)
            weights = np.linalg.solve(design.T @ design + ridge, design.T @ b)
            error += ((standard[1][i] - np.r_[1.0, standard[0][i]] @ weights) ** 2).sum()
            total += ((standard[1][i] - b.mean(0)) ** 2).sum()
        best = max(best, 1 - error / total)
    found, p = ridge_test(torch.from_numpy(x), torch.from_numpy(y), 199, generator())
    assert found == pytest.approx(best, abs=1e-9)
    assert p < 0.02


def test_independent_numbers_predict_nothing() -> None:
    rng = np.random.default_rng(4)
    results = [
        ridge_test(*(torch.from_numpy(rng.standard_normal((60, d))) for d in (10, 3)), 99, generator(seed))
        for seed in range(150)
    ]
    assert np.mean([r for r, _ in results]) < 0.01
    spread = np.array([p for _, p in results]) - rng.random(150) / 100
    assert stats.kstest(spread, "uniform").pvalue > 0.01


# --- guides with planted faults ---------------------------------------------------------------------------------------


def drawn_by(paths: Callable[[int, int, Tensor], Tensor], f_scale: float = 1.0) -> Callable[..., None]:
    """A guide whose f is N(0, f_scale^2) and whose z (B, T, 1) is ``paths(B, T, f)``, whatever it sees."""

    def guide(x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, *_: object) -> None:
        with pyro.plate("sequences", len(x), dim=-1):
            f = pyro.sample("f", Normal(torch.zeros(len(x), 2), f_scale).to_event(1))
            z = paths(len(x), x.shape[1], f.reshape(len(x), 2)).unsqueeze(0)
            pyro.sample("z", pyro.distributions.Delta(z, event_dim=2))

    return guide


def iid(count: int, length: int, f: Tensor) -> Tensor:
    return torch.randn(count, length, 1)


def smooth(count: int, length: int, f: Tensor) -> Tensor:
    """The same marginals, N(0, 1), with a correlation of .7 between neighbours."""
    z = [torch.randn(count, 1)]
    for _ in range(length - 1):
        z.append(0.7 * z[-1] + math.sqrt(1 - 0.49) * torch.randn(count, 1))
    return torch.stack(z, dim=1)


def leaking(count: int, length: int, f: Tensor) -> Tensor:
    """N(0, 1) at every step, four fifths of the variance of the clip's mean from f."""
    own = torch.randn(count, length, 1)
    own = own - own.mean(1, keepdim=True)
    mean = math.sqrt(0.8) * f[:, None, :1] + math.sqrt(0.2) * torch.randn(count, 1, 1)
    return mean / math.sqrt(length) + own


def checked(guide: Callable[..., None], count: int = N, **options: int) -> LatentChecks:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.standard_normal((count, T, P)))
    options = {"permutations": 199, **options}
    return latent_checks(Sampler(planted_model(), guide), Sequences(x, None, None, torch.arange(count)), **options)


def test_nothing_is_said_of_draws_from_the_prior() -> None:
    """20 runs: p-values of every kind are spread, and statements rare."""
    runs = [checked(drawn_by(iid), 100, seed=seed) for seed in range(20)]
    p_values = np.array(
        [
            [c.static.p_value, c.steps.p_value, c.paths.p_value, c.dependence.p_value]
            for c in runs
            if c.static and c.paths and c.dependence
        ]
    )
    assert p_values.shape == (20, 4)
    assert (stats.kstest(p_values, "uniform", axis=0).pvalue > 0.005).all()
    assert sum(f.severity != "good" for c in runs for f in c.findings) <= 10  # of 100; three tests are at 5 %


def test_wrong_dynamics_with_right_marginals_show_in_paths_alone() -> None:
    found = checked(drawn_by(smooth))
    assert found.paths is not None
    assert found.paths.p_value == 1 / 200
    assert found.steps.p_value > 0.05
    # Differences of neighbours have variance 2 (1 - .7), those of independent steps 2.
    assert float(found.paths.spread[0]) == pytest.approx(math.sqrt(0.3), abs=0.05)
    assert float(found.steps.spread[0]) == pytest.approx(1, abs=0.12)
    sentence = next(f for f in found.findings if f.subject.startswith("paths"))
    assert sentence.severity == "warning"
    assert "steps from frame to frame is 0.5" in sentence.sentence


def test_a_posterior_narrower_than_the_prior_is_said() -> None:
    found = checked(drawn_by(iid, f_scale=0.6))
    assert found.static is not None
    assert found.static.p_value == 1 / 200
    torch.testing.assert_close(found.static.spread, torch.full((2,), 0.6), rtol=0, atol=0.08)
    assert found.findings[0].severity == "warning"
    assert found.static.posterior.shape == found.static.prior.shape == (N, 2)
    assert float(found.static.posterior.std()) < 0.75 * float(found.static.prior.std())
    assert found.static.explained == pytest.approx(1)


def test_what_f_tells_of_z_is_said_with_its_size() -> None:
    found = checked(drawn_by(leaking))
    assert found.dependence is not None
    assert found.dependence.r_squared == pytest.approx(0.8, abs=0.06)
    assert found.dependence.under_prior < 0.02
    sentence = next(f for f in found.findings if f.subject == "f and z")
    assert sentence.severity == "serious"
    assert "not independent" in sentence.sentence


def test_what_stays_in_z_is_said() -> None:
    def constant(count: int, length: int, f: Tensor) -> Tensor:
        return math.sqrt(0.7) * torch.randn(count, 1, 1) + math.sqrt(0.3) * torch.randn(count, length, 1)

    found = checked(drawn_by(constant))
    assert found.static_share == pytest.approx(0.7 + 0.3 / T, abs=0.05)
    assert found.static_share_under_prior == pytest.approx(1 / T, abs=0.03)
    assert found.findings[-1].severity == "note"


def test_the_exact_posterior_of_the_true_model_passes() -> None:
    """Joint draws given data of the model itself are draws from the prior; z is a path with dynamics here."""
    found = latent_checks(Sampler(linear_gaussian_dsvae(), ExactGuide()), simulated(300), permutations=199)
    assert [f.severity for f in found.findings] == ["good"] * 5
    # Its posterior means are not: they are narrower than the prior.
    point = latent_checks(Sampler(linear_gaussian_dsvae(), ExactGuide(stretch=0.01)), simulated(300), permutations=199)
    assert point.findings[0].severity == "warning"


def test_ragged_clips_are_compared_where_they_exist() -> None:
    lengths = torch.tensor([8, 1, 3, 5]).repeat(50)
    x = torch.randn(200, T, P)
    results = []
    for junk in (0.0, 100.0):

        def guide(x: Tensor, mask: Tensor | None, lengths: Tensor, times: Tensor | None, junk: float = junk) -> None:
            exists = torch.arange(T) < lengths[:, None]
            z = torch.where(exists.unsqueeze(-1), torch.randn(len(x), T, 1), torch.tensor(junk))
            with pyro.plate("sequences", len(x), dim=-1):
                pyro.sample("f", Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
                pyro.sample("z", Steps(T, lengths).join(pyro.distributions.Delta(z, event_dim=1)))

        sequences = Sequences(x, None, lengths, torch.arange(200))
        results.append(latent_checks(Sampler(planted_model(), guide), sequences, permutations=199))
    a, b = results
    assert a.paths is not None
    assert b.paths is not None
    assert a.paths.p_value == b.paths.p_value
    assert a.steps.mmd_squared == b.steps.mmd_squared
    assert a.dependence == b.dependence
    # Steps that do not exist would all be the same point.
    assert len(a.steps.posterior[:, 0].unique()) == len(a.steps.prior[:, 0].unique()) == 200
    assert a.static_share == b.static_share
    assert [f.severity for f in a.findings] == ["good"] * 5


def test_without_f_or_without_a_second_step_there_is_nothing_to_compare() -> None:
    model = DSVAE(StandardNormal(0), IID(1), Zero((P,)), noise()).double()
    found = latent_checks(Sampler(model, without_static), planted_frames((1.0, 1.0), 1.0), permutations=19)
    assert found.static is None
    assert found.dependence is None
    one = Sequences(torch.randn(20, 1, P), None, None, torch.arange(20))
    assert latent_checks(Sampler(planted_model(), drawn_by(iid)), one, permutations=19).paths is None


def test_seeds_repeat_and_no_more_than_asked_are_used() -> None:
    one, two = checked(drawn_by(iid), seed=4), checked(drawn_by(iid), seed=4)
    assert one.steps.mmd_squared == two.steps.mmd_squared
    assert checked(drawn_by(iid), at_most=50).sequences == 50
    with pytest.raises(UsageError, match="at least 8 sequences, not 5"):
        checked(drawn_by(iid), 5)
    with pytest.raises(UsageError, match="at least 19 permutations"):
        checked(drawn_by(iid), permutations=5)


# --- collapse ---------------------------------------------------------------------------------------------------------


def test_a_collapsed_latent_is_said_to_be_one() -> None:
    """f is the prior whatever the clip is; z is not."""
    use = latent_usage(Sampler(planted_model(), Planted((1.0, 1.0))), planted_frames((0.0, 0.0), 0.9))
    f, z = collapse_findings(use)
    assert f.severity == "serious"
    assert "f has collapsed: none of its 2 dimensions" in f.sentence
    assert z.severity == "good"
    use = latent_usage(Sampler(planted_model(), Planted((0.3, 0.3), z_scale=1.0)), planted_frames((0.9, 0.9), 0.0))
    f, z = collapse_findings(use)
    assert f.severity == "good"
    assert "z has collapsed" in z.sentence


def test_unused_dimensions_are_counted() -> None:
    use = latent_usage(Sampler(planted_model(), Planted((0.3, 1.0))), planted_frames((0.9, 0.0), 0.9))
    assert "f is used: 1 of 2" in collapse_findings(use)[0].sentence
    model = DSVAE(StandardNormal(5), IID(1), Zero((P,)), noise()).double()

    def guide(x: Tensor, *_: object) -> None:
        with pyro.plate("sequences", len(x), dim=-1):
            loc = torch.cat([x[:, 0, :1], torch.zeros(len(x), 4)], dim=1)
            scale = torch.tensor([0.3, 1.0, 1.0, 1.0, 1.0])
            pyro.sample("f", Normal(loc, scale).to_event(1))
            pyro.sample("z", Normal(x[..., 2:], 0.3).to_event(2))

    found = collapse_findings(latent_usage(Sampler(model, guide), planted_frames((0.9, 0.0), 0.9)))
    assert found[0].severity == "note"
    assert "most of f is unused: 1 of 5" in found[0].sentence


def test_a_latent_that_says_much_with_little_movement_has_not_collapsed() -> None:
    """Means vary by a tenth of the prior's scale, under 1 % of its variance, but are known to a thousandth."""
    use = latent_usage(Sampler(planted_model(), Planted((0.001, 0.001))), planted_frames((0.09, 0.09), 0.9))
    assert not use.active_static.any()
    assert collapse_findings(use)[0].severity == "good"
