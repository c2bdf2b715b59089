"""Comparisons of evidence: intervals against SciPy and loops, coverage by simulation, trees against xarray, plots."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from matplotlib import pyplot
from PIL import Image
from scipy import stats
from torch import Tensor
from torch.distributions import MultivariateNormal

from pyro_dsvae.figures.arviz import plot_comparison, plot_k_hats
from pyro_dsvae.inference.inference_data import comparison_tree, open_tree, pointwise, save_tree
from pyro_dsvae.inference.model_comparison.comparison import Comparison, compare_evidence
from pyro_dsvae.inference.model_comparison.difference import Difference
from pyro_dsvae.inference.model_comparison.stacking import stacking_weights
from pyro_dsvae.models.errors import UsageError
from tests.oracles import LinearGaussian

Evidence = dict[str, Tensor]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def exact(**evidence: Tensor) -> Comparison:
    """The comparison of values (S, N) without Monte Carlo error."""
    return compare_evidence(evidence, {name: torch.zeros_like(v) for name, v in evidence.items()})


def fits(seeds: int, sequences: int, offset: float = 0.0, between: float = 1.0, within: float = 1.0) -> Tensor:
    """(S, N) values around ``offset``: what a seed does to all sequences, and to each."""
    return offset + between * torch.randn(seeds, 1).double() + within * torch.randn(seeds, sequences).double()


# --- one pair, against SciPy ------------------------------------------------------------------------------------------


def test_with_one_seed_the_interval_is_that_of_a_paired_t_test() -> None:
    common = 35_000 + 400 * torch.randn(30).double()
    a, b = (common + torch.randn(1, 30) for _ in range(2))
    difference = exact(a=a, b=b).between("a", "b")
    test = stats.ttest_rel(a[0], b[0])
    expected = test.confidence_interval(0.95)
    assert difference.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert difference.interval == difference.fits_interval
    assert difference.degrees == test.df
    assert difference.data_error == pytest.approx(stats.sem((a - b)[0]), rel=1e-9)
    assert difference.seed_error is None
    assert difference.of_fits


def test_where_only_seeds_differ_the_interval_is_that_of_welch() -> None:
    """Every sequence says the same of a fit, so that fits are all the data there are: 5 of one, 7 of the other."""
    a, b = (fits(5, 1, 2.0).expand(5, 40), fits(7, 1, 0.0, between=4.0).expand(7, 40))
    difference = exact(a=a, b=b).between("a", "b")
    test = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    expected = test.confidence_interval(0.95)
    assert difference.interval == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert difference.degrees == pytest.approx(test.df, rel=1e-6)
    assert difference.data_error == pytest.approx(0.0, abs=1e-12)
    assert not difference.of_fits


def test_both_errors_add_up_as_in_an_analysis_of_variance() -> None:
    """Against a candidate that is the same everywhere: mean squares of sequences, seeds and residuals, by loops."""
    S, N = 6, 25
    x = fits(S, N, 10.0, between=2.0) + 3 * torch.randn(N).double()
    still = torch.zeros(S, N).double()
    difference = exact(a=x, still=still).between("a", "still")
    grand = sum(float(x[s, i]) for s in range(S) for i in range(N)) / (S * N)
    row = [sum(float(x[s, i]) for i in range(N)) / N for s in range(S)]
    column = [sum(float(x[s, i]) for s in range(S)) / S for i in range(N)]
    of_sequences = S * sum((c - grand) ** 2 for c in column) / (N - 1)
    of_seeds = N * sum((r - grand) ** 2 for r in row) / (S - 1)
    residual = sum((float(x[s, i]) - row[s] - column[i] + grand) ** 2 for s in range(S) for i in range(N))
    residual /= (S - 1) * (N - 1)
    variance = (of_sequences + of_seeds - residual) / (S * N)
    freedom = variance**2 / ((of_sequences / (S * N)) ** 2 / (N - 1) + (of_seeds / (S * N)) ** 2 / (S - 1))
    assert difference.mean == pytest.approx(grand)
    assert difference.standard_error == pytest.approx(math.sqrt(variance))
    assert difference.degrees == pytest.approx(freedom)
    expected = stats.t(freedom, grand, math.sqrt(variance)).interval(0.95)
    assert difference.interval == pytest.approx(expected)
    expected = stats.t(N - 1, grand, math.sqrt(of_sequences / (S * N))).interval(0.95)
    assert difference.fits_interval == pytest.approx(expected)


def test_with_few_seeds_every_error_has_a_quantile_of_its_own() -> None:
    """Only seeds differ: half the width is (t_1^2 s_a^2 / 2 + t_4^2 s_b^2 / 5)^(1/2), wider than Welch's."""
    a, b = (fits(2, 1, 2.0).expand(2, 40), fits(5, 1, 0.0, between=4.0).expand(5, 40))
    difference = exact(a=a, b=b).between("a", "b")
    terms = ((v[:, 0].numpy().var(ddof=1) / len(v), stats.t.ppf(0.975, len(v) - 1)) for v in (a, b))
    half = math.sqrt(sum(variance * t**2 for variance, t in terms))
    assert difference.interval == pytest.approx((difference.mean - half, difference.mean + half))
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval(0.95)
    assert half > (welch.high - welch.low) / 2


@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (0.1, 0.6, 3.0)])
@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_seldom_give_a_false_verdict(seeds: int, spreads: tuple[float, ...]) -> None:
    """Three candidates that are alike but for how much their fits scatter; by Satterthwaite's one in ten was told apart."""
    false = 0
    for _ in range(300):
        shared = 5 * torch.randn(64).double()
        values = {str(k): shared + fits(seeds, 64, 0.0, spread, 0.3) for k, spread in enumerate(spreads)}
        false += any(d.verdict != "cannot tell" for d in exact(**values).differences)
    assert false / 300 < 0.05


def test_what_is_reported_of_each_candidate() -> None:
    common = 100 * torch.randn(50).double()
    values = {"a": common + fits(3, 50, 1.0), "b": common + fits(2, 50, 5.0), "c": common + fits(1, 50, -4.0)}
    errors = {name: torch.rand(v.shape).double() for name, v in values.items()}
    comparison = compare_evidence(values, errors, unreliable={"a": 0.0, "b": 0.25, "c": 0.5})
    means = {name: float(np.mean(v.numpy())) for name, v in values.items()}
    assert [c.name for c in comparison.candidates] == sorted(means, key=lambda name: -means[name])
    best = comparison.candidates[0]
    for c in comparison.candidates:
        v, e = values[c.name].numpy(), errors[c.name].numpy()
        assert c.mean == pytest.approx(v.mean())
        assert c.data_error == pytest.approx(stats.sem(v.mean(0)))
        assert c.seeds == len(v)
        assert c.seed_spread == (None if len(v) == 1 else pytest.approx(v.mean(1).std(ddof=1)))
        assert c.monte_carlo_error == pytest.approx(math.sqrt(sum(x**2 for x in e.flat)) / e.size)
        assert c.monte_carlo_bias == pytest.approx(np.mean(e**2) / 2)
        paired = v.mean(0) - values[best.name].numpy().mean(0)
        assert c.difference == pytest.approx(paired.mean())
        assert c.difference_error == pytest.approx(stats.sem(paired))
        assert c.unreliable == {"a": 0.0, "b": 0.25, "c": 0.5}[c.name]
    assert best.difference == best.difference_error == 0
    assert comparison.sequences == 50
    assert sum(c.weight for c in comparison.candidates) == pytest.approx(1)


def test_a_pair_seen_from_the_other_side() -> None:
    comparison = exact(a=fits(3, 60, 9.0), b=fits(2, 60), c=fits(2, 60, 8.9))
    for first, second in itertools.permutations("abc", 2):
        one, other = comparison.between(first, second), comparison.between(second, first)
        assert (one.first, one.second) == (first, second)
        assert one.mean == -other.mean
        assert one.interval == (-other.interval[1], -other.interval[0])
        assert one.reversed() == other
        assert one.sentence == other.sentence
        verdicts = {one.verdict, other.verdict}
        assert verdicts in ({"better", "worse"}, {"cannot tell"})


# --- many pairs -------------------------------------------------------------------------------------------------------


def test_intervals_of_several_pairs_hold_jointly() -> None:
    values = {name: fits(1, 40) for name in "abcd"}
    comparison = exact(**values)
    assert len(comparison.differences) == 6
    for d in comparison.differences:
        pair = stats.ttest_rel(values[d.first][0], values[d.second][0])
        expected = pair.confidence_interval(1 - 0.05 / 6)
        assert d.interval == pytest.approx((expected.low, expected.high))
        assert "joint 95 % interval" in d.sentence


def test_candidates_that_are_alike_are_seldom_ranked() -> None:
    """Of comparisons of 4 equal candidates at most 5 % rank any pair; one by one, their tests would in more than 12 %."""
    ranked, single, critical = 0, 0, stats.t(59).ppf(0.975)
    for _ in range(DATA_SETS):
        values = {name: fits(1, 60, between=0.0) for name in "abcd"}
        comparison = exact(**values)
        ranked += len(comparison.leaders) < 4
        single += any(
            abs(float((values[a] - values[b]).mean())) > critical * stats.sem((values[a] - values[b])[0])
            for a, b in itertools.combinations("abcd", 2)
        )
    assert ranked <= 0.05 * DATA_SETS + 2 * math.sqrt(DATA_SETS * 0.05 * 0.95)
    assert single > 0.12 * DATA_SETS


def test_leaders_are_those_that_nobody_beats() -> None:
    common = torch.randn(200).double()
    noise = [0.1 * torch.randn(1, 200) for _ in range(4)]
    offsets = {"a": 0.0, "b": 0.001, "c": -1.0, "d": -1.001}
    comparison = exact(**{k: common + v + n for (k, v), n in zip(offsets.items(), noise, strict=True)})
    assert set(comparison.leaders) == {"a", "b"}
    assert comparison.between("c", "d").verdict == "cannot tell"
    assert comparison.between("c", "a").verdict == "worse"


def test_the_order_in_which_candidates_are_given_has_no_influence() -> None:
    values = {name: fits(2, 30, offset) for name, offset in (("a", 0.0), ("b", 3.0), ("c", 1.0))}
    one, other = exact(**values), exact(**dict(reversed(values.items())))
    assert one.differences == other.differences
    assert [replace(c, weight=0.0) for c in one.candidates] == [replace(c, weight=0.0) for c in other.candidates]
    assert [c.weight for c in one.candidates] == pytest.approx([c.weight for c in other.candidates], abs=1e-6)


def test_the_same_model_under_two_names() -> None:
    for seeds in (1, 3):
        values = 35_000 + fits(seeds, 20)
        comparison = exact(a=values, b=values.clone(), c=values - 50)
        difference = comparison.between("a", "b")
        assert difference.verdict == "cannot tell"
        assert difference.mean == difference.standard_error - difference.standard_error == 0
        assert difference.fits_interval == (0, 0)
        assert set(comparison.leaders) >= {"a", "b"}
        weights = {c.name: c.weight for c in comparison.candidates}
        assert weights == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0}, abs=1e-9)
        assert "cannot tell a from b: difference 0" in difference.sentence
    constant = torch.ones(2, 5)
    assert exact(a=constant, b=constant).differences[0].verdict == "cannot tell"


# --- coverage ---------------------------------------------------------------------------------------------------------

DATA_SETS = 200


class TwoModels:
    """Two linear-Gaussian models of frames (N, TP) whose evidence is a normal density, under a world whose moments are known.

    share     of sequences with ``stretch`` times the standard deviation, so that values have heavy tails
    expected  the true difference of expected log evidence: it needs the world's second moments only
    """

    def __init__(self, share: float = 0.0, stretch: float = 1.0) -> None:
        world, steps = LinearGaussian.example(), 4
        models = [replace(world, A=0.8 * world.A), replace(world, A=0.5 * world.A, q=1.6 * world.q)]
        covariances = []
        for m in (world, *models):
            emission = m.emission(steps)
            noise = m.r * np.eye(len(emission))
            covariances.append(torch.from_numpy(emission @ m.prior_covariance(steps) @ emission.T + noise))
        self.world, *self.candidates = (MultivariateNormal(torch.zeros(len(c)).double(), c) for c in covariances)
        self.share, self.stretch = share, stretch
        moment = covariances[0] * (1 - share + share * stretch**2)
        scores = [-0.5 * (torch.linalg.solve(c, moment).trace() + c.logdet()) for c in covariances[1:]]
        self.expected = float(scores[0] - scores[1])

    def evidence(self, sequences: int) -> tuple[Tensor, Tensor]:
        """(N,) of both models for new data."""
        x = self.world.sample((sequences,))
        x = torch.where(torch.rand(sequences, 1) < self.share, self.stretch, 1.0) * x
        first, second = (candidate.log_prob(x) for candidate in self.candidates)
        return first, second


def coverage(differences: list[Difference], truth: float, name: str = "interval") -> float:
    bounds = [getattr(d, name) for d in differences]
    return sum(low <= truth <= high for low, high in bounds) / len(bounds)


@pytest.mark.parametrize(("share", "stretch"), [(0.0, 1.0), (0.1, 3.0)], ids=["clean", "contaminated"])
def test_the_paired_interval_covers_the_true_difference(share: float, stretch: float) -> None:
    models = TwoModels(share, stretch)
    found = []
    for _ in range(DATA_SETS):
        a, b = models.evidence(150)
        found.append(exact(a=a[None], b=b[None]).between("a", "b"))
    assert 0.90 <= coverage(found, models.expected) <= 0.99
    # The pairing is what makes it narrow: by their errors apart, the two could hardly be told.
    a, b = models.evidence(20_000)
    assert (a - b).std() < 0.25 * math.sqrt(a.var() + b.var())
    # What covers must also be able to miss.
    assert coverage(found, models.expected + 0.5) < 0.5


def test_the_interval_covers_when_seeds_differ_and_that_of_the_fits_does_not() -> None:
    """Each fit of a candidate is off by its own amount, for all sequences and for each; 5 seeds of one, 6 of the other."""
    models, found = TwoModels(), []
    for _ in range(DATA_SETS):
        a, b = models.evidence(150)
        found.append(exact(a=a + fits(5, 150, 0.0, 0.3, 0.5), b=b + fits(6, 150, 0.0, 0.1, 0.5)).between("a", "b"))
    assert 0.90 <= coverage(found, models.expected) <= 0.99
    assert coverage(found, models.expected, "fits_interval") < 0.8


def test_seeds_that_change_single_sequences_only_are_not_counted_twice() -> None:
    """A sequence's luck in one fit is seen over sequences and over seeds alike. Counted twice, coverage would be above 99 %."""
    found = []
    for _ in range(DATA_SETS):
        values = [fits(5, 60, 0.0, between=0.0) for _ in range(2)]
        found.append(exact(a=values[0], b=values[1]).between("a", "b"))
    assert 0.93 <= coverage(found, 0.0) < 0.99
    twice = [2 * d.data_error**2 * stats.t.ppf(0.975, d.degrees) ** 2 for d in found]
    assert np.mean([d.mean**2 < t for d, t in zip(found, twice, strict=True)]) > 0.985


def importance_weighted(log_evidence: Tensor, spread: float, draws: int) -> tuple[Tensor, Tensor]:
    """What K log-normal weights make of exact values (N,), and the error of that by the delta method."""
    log_weights = spread * torch.randn(draws, len(log_evidence)).double() - spread**2 / 2
    weights = log_weights.exp()
    error = weights.std(0) / weights.mean(0) / math.sqrt(draws)
    return log_evidence + weights.mean(0).log(), error


def test_the_interval_covers_with_importance_weighted_evidence() -> None:
    """Draws of one candidate are few and its weights uneven, so that its evidence is low by more than its standard error."""
    models, found = TwoModels(), []
    for _ in range(DATA_SETS):
        a, b = models.evidence(1_600)
        a, error = importance_weighted(a, 0.7, 10)
        values, errors = {"a": a[None], "b": b[None]}, {"a": error[None], "b": torch.zeros(1, 1_600)}
        found.append(compare_evidence(values, errors).between("a", "b"))
    assert coverage(found, models.expected) >= 0.90
    assert all(d.bias > 2 * d.monte_carlo_error for d in found)
    unbiased = [replace(d, interval=_without_bias(d)) for d in found]
    assert coverage(unbiased, models.expected) < 0.85


def _without_bias(d: Difference) -> tuple[float, float]:
    return d.interval[0] - min(d.bias, 0), d.interval[1] - max(d.bias, 0)


def test_the_error_is_never_below_that_of_the_draws() -> None:
    values = {"a": torch.zeros(1, 16), "b": torch.zeros(1, 16)}
    errors = {"a": torch.full((1, 16), 0.3), "b": torch.full((1, 16), 0.4)}
    difference = compare_evidence(values, errors).differences[0]
    assert difference.monte_carlo_error == pytest.approx(0.5 / 4)
    half = stats.t.ppf(0.975, 15) * 0.5 / 4
    bias = (0.4**2 - 0.3**2) / 2
    # "b" would gain more than "a" by endless draws.
    assert difference.first == "a"
    assert difference.interval == pytest.approx((-half - bias, half))
    assert difference.verdict == "cannot tell"


# --- words ------------------------------------------------------------------------------------------------------------


def example(mean: float, low: float, high: float) -> Difference:
    return Difference(
        first="LSTM",
        second="IID",
        mean=mean,
        data_error=2.0,
        seed_error=1.0,
        monte_carlo_error=0.1,
        bias=0.0,
        standard_error=2.1,
        degrees=90.0,
        interval=(low, high),
        fits_interval=(low, high),
        confidence=0.95,
        pairs=1,
        unreliable=(None, None),
    )


def test_verdicts_in_plain_language() -> None:
    better = example(12.3, 8.1, 16.5)
    sentence = "LSTM is better than IID by 12.3 nats per sequence (95 % interval 8.1 to 16.5)"
    assert better.verdict == "better"
    assert better.sentence == sentence
    assert better.reversed().verdict == "worse"
    assert better.reversed().sentence == sentence
    unsure = example(0.4, -1.1, 1.9)
    assert unsure.verdict == "cannot tell"
    assert unsure.sentence == "cannot tell LSTM from IID: difference 0.4 nats per sequence, 95 % interval -1.1 to 1.9"
    assert example(1234.6, 1200.2, 1269.0).sentence.endswith(
        "by 1,235 nats per sequence (95 % interval 1,200 to 1,269)"
    )
    # An end that is not zero is not shown as zero.
    assert example(12.0, 0.004, 24.0).sentence.endswith("(95 % interval 0.004 to 24.000)")


def test_one_seed_speaks_of_two_fits_only() -> None:
    one = exact(a=fits(1, 50, 9.0), b=fits(3, 50)).between("a", "b")
    assert one.of_fits
    assert one.sentence.startswith("for these two fits, a is better than b by ")
    two = exact(a=fits(2, 50, 90.0, 0.1), b=fits(2, 50, 0.0, 0.1)).between("a", "b")
    assert not two.of_fits
    assert two.sentence.startswith("a is better than b by ")


def test_more_seeds_are_asked_for_where_fits_differ_and_candidates_may_not() -> None:
    steady = 0.01 * torch.randn(2, 50).double()
    d = exact(a=steady + torch.tensor([[5.0], [0.5]]), b=steady.flip(0)).between("a", "b")
    assert d.verdict == "cannot tell"
    assert d.fits_interval[0] > 2.7
    assert "so more seeds may tell" in d.sentence


def test_flagged_sequences_make_the_evidence_a_bound() -> None:
    values = {"a": fits(1, 50, 9.0), "b": fits(1, 50)}
    errors = {name: torch.zeros(1, 50) for name in "ab"}

    def difference(**unreliable: float) -> Difference:
        return compare_evidence(values, errors, unreliable=unreliable).between("a", "b")

    few = difference(a=0.0, b=0.06)
    assert not few.loose
    assert not few.sentence.startswith("by this bound")
    many = difference(a=0.9, b=0.06)
    assert many.loose
    assert many.sentence.startswith("by this bound, for these two fits, a is better than b by ")
    assert many.reversed().unreliable == (0.06, 0.9)


# --- stacking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 35_000.0, -90_000.0])
def test_stacking_weights_are_the_best_on_a_grid(level: float) -> None:
    """Every mixture of three models with weights in steps of .01, in extended precision."""
    log_density = level + 3 * torch.randn(3, 80).double() + torch.tensor([[0.0], [0.5], [-2.0]])
    density = np.exp(np.longdouble(log_density.numpy()) - np.longdouble(level))
    grid = [(i, j, 100 - i - j) for i in range(101) for j in range(101 - i)]
    scores = [np.log(np.array(w) / 100 @ density).mean() for w in grid]
    best = np.array(grid[int(np.argmax(scores))]) / 100
    weights = stacking_weights(log_density).numpy()
    assert weights == pytest.approx(best, abs=0.01)
    assert np.log(weights @ density).mean() >= max(scores) - 1e-5


def test_stacking_with_differences_that_would_overflow() -> None:
    """Of two models that each explain half of the sequences, by thousands of nats, each gets half; the third nothing."""
    log_density = torch.full((3, 90), 30_000.0).double()
    log_density[0, :30] += 5_000
    log_density[1, 30:] += 5_000
    assert stacking_weights(log_density).tolist() == pytest.approx([1 / 3, 2 / 3, 0.0], abs=1e-6)


def test_a_candidate_is_stacked_as_the_mixture_of_its_fits() -> None:
    a, b = fits(2, 70, 0.0, 0.0, 4.0), fits(1, 70, 0.0, 0.0, 4.0)
    weights = {c.name: c.weight for c in exact(a=a, b=b).candidates}
    densities = np.stack([np.exp(a.numpy()).mean(0), np.exp(b.numpy())[0]])
    grid = np.linspace(0, 1, 1001)
    scores = [np.log(np.array([w, 1 - w]) @ densities).mean() for w in grid]
    assert weights["a"] == pytest.approx(grid[int(np.argmax(scores))], abs=2e-3)


# --- what a caller can get wrong --------------------------------------------------------------------------------------

GOOD = torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("evidence", "errors", "message"),
    [
        ({}, {}, "nothing to compare"),
        ({"a": GOOD, "b": GOOD}, {"a": GOOD}, "evidence is given for a, b"),
        ({"a": GOOD, "b": GOOD[:, :4]}, {"a": GOOD, "b": GOOD[:, :4]}, r"the same sequences, not on \[4, 5\]"),
        ({"a": GOOD[0]}, {"a": GOOD[0]}, r"\(seeds, sequences\)"),
        ({"a": GOOD[:, :1]}, {"a": GOOD[:, :1]}, "at least two sequences"),
        ({"a": GOOD}, {"a": GOOD[:1]}, "Monte Carlo errors of a must be"),
        ({"a": GOOD - math.inf}, {"a": GOOD}, "evidence of a must be finite"),
        ({"a": GOOD}, {"a": GOOD * math.nan}, "errors finite"),
        ({"a": GOOD}, {"a": GOOD - 1}, "not negative"),
    ],
)
def test_what_cannot_be_compared(evidence: Evidence, errors: Evidence, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare_evidence(evidence, errors)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="between 0 and 1, not 95"):
        compare_evidence({"a": GOOD}, {"a": GOOD}, confidence=95)
    with pytest.raises(UsageError, match="k-hat for b"):
        compare_evidence({"a": GOOD}, {"a": GOOD}, unreliable={"b": 0.1})
    with pytest.raises(UsageError, match="a and z are not a pair"):
        exact(a=GOOD, b=GOOD).between("a", "z")


def test_one_candidate_alone() -> None:
    comparison = exact(a=fits(2, 20))
    assert comparison.differences == ()
    assert comparison.leaders == ("a",)
    assert comparison.candidates[0].weight == 1


# --- trees ------------------------------------------------------------------------------------------------------------


class Study:
    """Values of three candidates, one of them with other seeds."""

    def __init__(self) -> None:
        self.seeds = {"LSTM": [0, 1], "IID": [0, 1], "RandomWalk": [7]}
        self.evidence = {name: fits(len(seeds), 30, 35_000) for name, seeds in self.seeds.items()}
        self.errors = {name: torch.rand(v.shape).double() for name, v in self.evidence.items()}
        self.k_hat = {name: torch.rand(v.shape).double() for name, v in self.evidence.items()}
        self.k_hat["IID"][0, 3] = math.inf
        self.rate = {name: torch.rand(v.shape) for name, v in self.evidence.items()}
        self.rows = torch.arange(100, 130)

    def tree(self, **more: Any) -> xarray.DataTree:
        return comparison_tree(
            self.evidence,
            self.errors,
            k_hat=self.k_hat,
            kl_z=self.rate,
            seeds=self.seeds,
            sequences=self.rows,
            attributes={"draws": 1000, "split": "test", "fingerprint": "0a1b"},
            **more,
        )

    def comparison(self, tree: xarray.DataTree) -> Comparison:
        shares = {name: float((k > 0.7).double().mean()) for name, k in pointwise(tree, "k_hat").items()}
        return compare_evidence(pointwise(tree), pointwise(tree, "monte_carlo_error"), unreliable=shares)


def test_the_table_can_be_computed_again_from_the_file(tmp_path: Path) -> None:
    study = Study()
    shares = {name: float((k > 0.7).double().mean()) for name, k in study.k_hat.items()}
    table = compare_evidence(study.evidence, study.errors, unreliable=shares)
    save_tree(study.tree(), tmp_path / "comparison.nc")
    tree = open_tree(tmp_path / "comparison.nc")
    assert study.comparison(tree) == table
    for name, values in pointwise(tree, "kl_z", "rate_distortion").items():
        assert torch.equal(values, study.rate[name].double())
    assert tree.attrs == {"units": "nats per sequence", "draws": 1000, "split": "test", "fingerprint": "0a1b"}
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.nc"]


def test_others_read_the_file_with_xarray_alone(tmp_path: Path) -> None:
    study = Study()
    save_tree(study.tree(forecast=study.rate), tmp_path / "comparison.nc")
    with xarray.open_dataset(tmp_path / "comparison.nc", group="evidence", engine="h5netcdf") as evidence:
        assert evidence.log_evidence.dims == ("candidate", "seed", "sequence")
        assert evidence.seed.values.tolist() == [0, 1, 7]
        assert evidence.sequence.values.tolist() == study.rows.tolist()
        one = evidence.log_evidence.sel(candidate="RandomWalk", seed=7).values
        assert one.tolist() == study.evidence["RandomWalk"][0].tolist()
        assert evidence.log_evidence.sel(candidate="RandomWalk", seed=0).isnull().all()
        assert math.isinf(evidence.k_hat.sel(candidate="IID", seed=0, sequence=103))
    with xarray.open_dataset(tmp_path / "comparison.nc", group="forecast", engine="h5netcdf") as forecast:
        assert forecast.log_probability.sel(candidate="LSTM", seed=1).values == pytest.approx(study.rate["LSTM"][1])


def test_a_tree_says_what_does_not_fit(tmp_path: Path) -> None:
    study = Study()
    with pytest.raises(UsageError, match="distortion must be given for LSTM"):
        study.tree(distortion={name: v[:, :3] for name, v in study.rate.items()})
    with pytest.raises(UsageError, match="log_probability must be given for IID"):
        study.tree(forecast={"LSTM": study.rate["LSTM"]})
    study.seeds["LSTM"] = [4, 4]
    with pytest.raises(UsageError, match=r"LSTM has 2 fits, which need as many different seeds, not \[4, 4\]"):
        study.tree()
    with pytest.raises(UsageError, match="no variable forecast/log_probability"):
        pointwise(Study().tree(), "log_probability", "forecast")
    with pytest.raises(UsageError, match=r"nothing.nc cannot be read as netCDF"):
        open_tree(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(UsageError, match=r"text.nc cannot be read as netCDF"):
        open_tree(tmp_path / "text.nc")


# --- plots ------------------------------------------------------------------------------------------------------------


def test_the_comparison_plot_shows_the_paired_intervals(tmp_path: Path) -> None:
    values: Mapping[str, Tensor] = {"a": fits(1, 40, 3.0), "b": fits(1, 40, 2.0), "c": fits(1, 40)}
    comparison = exact(**values)
    plot = plot_comparison(comparison, tmp_path / "comparison.png")
    axes = plot.viz["plot"].item()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    bars = [line.get_xdata() for line in axes.lines if len(set(line.get_ydata())) == 1]
    expected = [(0.0, 0.0), *(comparison.between(name, "a").interval for name in "bc")]
    assert np.array(bars) == pytest.approx(np.array(expected))
    (points,) = axes.collections
    means = [0.0, *(comparison.between(name, "a").mean for name in "bc")]
    assert points.get_offsets()[:, 0].tolist() == pytest.approx(means)
    assert not pyplot.get_fignums()
    with Image.open(tmp_path / "comparison.png") as image:
        assert image.width > 800


def test_the_k_hat_plot_shows_every_sequence_of_every_fit(tmp_path: Path) -> None:
    k_hat = {"a": torch.rand(2, 30), "b": torch.rand(1, 30) + 0.5}
    k_hat["b"][0, 0] = math.inf
    plot = plot_k_hats(k_hat, tmp_path / "k_hat.png")
    shown = [axes for axes in plot.viz["figure"].item().axes if axes.collections]
    for axes, (name, values) in zip(shown, k_hat.items(), strict=True):
        share = float((values > 0.7).float().mean())
        assert axes.get_title() == f"{name}: {share:.1%} above .7"
        heights = axes.collections[0].get_offsets()[:, 1]
        heights = heights.compressed() if isinstance(heights, np.ma.MaskedArray) else heights
        heights = heights[np.isfinite(heights)]
        assert len(heights) == values.numel()
        assert np.sort(heights)[:-1] == pytest.approx(np.sort(values.flatten())[:-1].astype(float))
        lines = {round(float(line.get_ydata()[0]), 6) for line in axes.lines}
        assert {0.5, 0.7} <= lines
    assert float(shown[1].collections[0].get_offsets()[:, 1].max()) == pytest.approx(1.1 * 1.5, rel=0.05)
    assert not pyplot.get_fignums()
    assert (tmp_path / "k_hat.png").stat().st_size > 5_000
