"""Predictive checks: p-values by enumeration and over simulated worlds, planted misfits, and discrepancies that fail."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from planted_misfits import MISFITS, SHAPE, Misfit, T, World, checked, untouched
from scipy.stats import kstest
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.predictive_checks.checks import PredictiveChecks, checks_of, predictive_checks
from pyro_dsvae.inference.predictive_checks.discrepancies import BUILT_IN, applicable, motion_energy, value_mean
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames
from pyro_dsvae.inference.predictive_checks.exchange_tests import ExchangeTest, exchange_test, holm, tails, uniformity
from pyro_dsvae.inference.predictive_checks.palette import palette_distance
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, Level
from pyro_dsvae.inference.predictive_checks.values import REALISED_AT, Values, discrepancy_values
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.json_values import json_values


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    assert len(pyro.get_param_store()) == 0


def clips(count: int, seed: int = 0) -> Sequences:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        world = World.of()
        return Sequences(world.frames(*world.latents(count)), None, None, torch.arange(count))


# --- the exchange test ------------------------------------------------------------------------------------------------


def enumerated(observed: Tensor, replicated: Tensor, statistic: Callable[[Any], Any]) -> float:
    """The two-sided p-value of one quantity over all (K + 1)^N sets."""
    pool = torch.cat([observed, replicated]).numpy()
    found = statistic(pool[0])
    null = np.array([statistic(np.array(values)) for values in itertools.product(*pool.T)])
    tie = 1e-9
    return min(1.0, 2 * min((null >= found - tie).mean(), (null <= found + tie).mean()))


def test_p_values_are_those_of_all_exchanges() -> None:
    """Within 4.5 standard errors of the rounds, for both statistics, three quantities, one of them with ties."""
    rounds = 20_000
    observed, replicated = torch.randn(1, 5, 3).double() + 0.7, torch.randn(3, 5, 3).double()
    observed[..., 2], replicated[..., 2] = observed[..., 2].round(), replicated[..., 2].round()
    test = exchange_test(observed, replicated, rounds, seed=1)
    for column, (row, statistic) in itertools.product(range(3), enumerate([np.mean, lambda v: np.std(v, ddof=1)])):
        exact = enumerated(observed[..., column], replicated[..., column], statistic)
        assert float(test.p[row, column]) == pytest.approx(exact, abs=4.5 * math.sqrt(2 * exact / rounds) + 2 / rounds)
        one, sets = observed[0, :, column].numpy(), replicated[..., column].numpy()
        assert float(test.observed[row, column]) == pytest.approx(statistic(one))
        assert float(test.replicated[row, column]) == pytest.approx(np.mean([statistic(s) for s in sets]))


def test_units_do_not_matter_and_the_seed_decides() -> None:
    observed, replicated = torch.randn(1, 30, 2).double(), torch.randn(8, 30, 2).double()
    first = exchange_test(observed, replicated, 500, seed=1)
    shifted = exchange_test(1e6 + 1e-3 * observed, 1e6 + 1e-3 * replicated, 500, seed=1)
    assert torch.equal(first.p, exchange_test(observed, replicated, 500, seed=1).p)
    assert not torch.equal(first.p, exchange_test(observed, replicated, 500, seed=2).p)
    torch.testing.assert_close(first.p, shifted.p)


def test_sequences_without_a_value_are_left_out() -> None:
    """The same p-values, up to the rounds, as without them."""
    observed, replicated = torch.randn(1, 9, 1).double() + 0.5, torch.randn(4, 9, 1).double()
    kept = torch.tensor([0, 2, 3, 5, 6, 8])
    missing = torch.tensor([1, 4, 7])
    alone = exchange_test(observed[:, kept], replicated[:, kept], 20_000, seed=0)
    observed[:, missing], replicated[:, missing] = torch.nan, torch.nan
    among = exchange_test(observed, replicated, 20_000, seed=0)
    torch.testing.assert_close(among.p, alone.p, rtol=0, atol=0.03)
    torch.testing.assert_close(among.observed, alone.observed)
    torch.testing.assert_close(among.replicated, alone.replicated)


def test_what_never_varies_is_no_finding_and_one_sequence_has_no_spread() -> None:
    alike = exchange_test(torch.full((1, 6, 1), 0.3).double(), torch.full((4, 6, 1), 0.3).double(), 100, seed=0)
    assert alike.p.tolist() == [[1.0], [1.0]]
    assert alike.error.tolist() == [[0.0], [0.0]]
    single = exchange_test(torch.zeros(1, 1, 1).double(), torch.randn(9, 1, 1).double(), 100, seed=0)
    assert single.p.isnan().tolist() == [[False], [True]]


@pytest.mark.parametrize("realised", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_the_error_of_p_is_how_far_it_moves_with_other_draws(realised: bool, shift: float) -> None:
    """150 sets of replications of one data set; to within a third, since it is itself an estimate."""
    count, draws, columns = 40, 10, 150
    data = torch.randn(1, count, 1).double()
    data = (data - data.mean()) / data.std() + shift
    observed = data.expand(1, count, columns)
    if realised:
        observed = observed + 0.3 * torch.randn(draws, count, columns).double()
    test = exchange_test(observed, torch.randn(draws, count, columns).double(), 2_000, seed=0)
    for row in (0, 1):
        # p is folded at 1, where it cannot move as far as its error says.
        if test.p[row].mean() > 0.6:
            continue
        ratio = float(test.error[row].square().mean().sqrt() / test.p[row].std())
        assert 0.66 < ratio < 1.5, (row, ratio)


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_tails_count_replications_below_and_half_of_the_ties() -> None:
    observed, replicated = torch.randint(4, (1, 20, 2)).double(), torch.randint(4, (7, 20, 2)).double()
    replicated[:, 3], observed[:, 3] = torch.nan, torch.nan
    found = tails(observed, replicated)
    for row, column in itertools.product(range(20), range(2)):
        mine, others = float(observed[0, row, column]), replicated[:, row, column].tolist()
        expected = (sum(v < mine for v in others) + sum(v == mine for v in others) / 2 + 0.5) / 8
        assert found[row, column].isnan() if row == 3 else float(found[row, column]) == expected
    beside = torch.randint(4, (7, 20, 2)).double()
    assert (
        float(tails(beside, replicated)[0, 0])
        == (
            sum(float(a < b) + float(a == b) / 2 for a, b in zip(replicated[:, 0, 0], beside[:, 0, 0], strict=True))
            + 0.5
        )
        / 8
    )


@pytest.mark.parametrize("conservative", [False, True])
@pytest.mark.parametrize("ranks", [(0, 0, 0), (0, 1, 2), (3, 3, 0), (1, 2, 1), (2, 1, 3)])
def test_uniformity_is_that_of_all_ranks(ranks: tuple[int, ...], conservative: bool) -> None:
    """Three sequences with three replications each have 64 sets of ranks; by their definition."""

    def distance(ranks: tuple[int, ...]) -> float:
        if conservative:
            folded = [min(r, 3 - r) for r in ranks]
            return max([0, *(sum(r <= m for r in folded) / 3 - 2 * (m + 1) / 4 for m in range(2))])
        return max(abs(sum(r <= m for r in ranks) / 3 - (m + 1) / 4) for m in range(4))

    found = distance(ranks)
    exact = np.mean([distance(other) >= found - 1e-9 for other in itertools.product(range(4), repeat=3)])
    observed = torch.tensor(ranks).double().view(1, 3, 1)
    replicated = torch.arange(3).double().add(0.5).view(3, 1, 1).expand(3, 3, 1)
    p = float(uniformity(observed, replicated, conservative, 20_000, seed=0))
    assert p == pytest.approx(float(exact), abs=4.5 * 0.5 / 20_000**0.5)


def test_ranks_with_ties_and_undefined_sequences_are_uniform_still() -> None:
    """Many ties: with ranks broken at random the test keeps its size; 300 worlds of 40 sequences."""
    observed, replicated = torch.randint(3, (1, 40, 300)).double(), torch.randint(3, (9, 40, 300)).double()
    observed[:, :4], replicated[:, :4] = torch.nan, torch.nan
    p = uniformity(observed, replicated, False, 1_000, seed=0)
    assert 0.01 < float((p <= 0.05).double().mean()) < 0.10
    assert uniformity(observed[:, :4, :1], replicated[:, :4, :1], False, 100, seed=0).isnan().all()


def test_holm_is_its_definition() -> None:
    p = torch.rand(30).double() ** 4
    order = sorted(range(30), key=lambda i: float(p[i]))
    expected, largest = torch.zeros(30).double(), 0.0
    for i, place in enumerate(order):
        largest = max(largest, min(1.0, (30 - i) * float(p[place])))
        expected[place] = largest
    torch.testing.assert_close(holm(p), expected)
    assert holm(torch.tensor([0.04]).double()).tolist() == pytest.approx([0.04])


# --- a right model ----------------------------------------------------------------------------------------------------

WORLDS, COUNT, DRAWS, ROUNDS = 200, 16, 6, 499


def discrepancies() -> list[Discrepancy]:
    training = clips(50, seed=1)
    return [*applicable(SHAPE), palette_distance(World.of().model, training)]


@cache
def simulated() -> dict[Level, dict[str, Values]]:
    """All discrepancies of 200 data sets at once, each of 16 clips from the model itself, with the exact posterior."""
    world = World.of()
    values, failures = discrepancy_values(
        Sampler(world.model, world.guide), clips(WORLDS * COUNT), discrepancies(), draws=DRAWS, seed=3
    )
    assert failures == ()
    return values


@cache
def all_worlds(level: Level, realised: bool) -> tuple[list[str], ExchangeTest]:
    """The exchange test of every data set, with the quantities of all of them side by side."""
    chosen = {name: v for name, v in simulated()[level].items() if v.realised == realised}

    def apart(values: list[Tensor]) -> Tensor:
        """(S, worlds, clips, quantities) -> (S, clips, worlds x quantities)."""
        return torch.stack(values, -1).unflatten(1, (WORLDS, COUNT)).transpose(1, 2).flatten(2)

    observed = apart([v.observed for v in chosen.values()])
    replicated = apart([v.replicated for v in chosen.values()])
    return list(chosen), exchange_test(observed, replicated, ROUNDS, seed=0)


def p_values(name: str, level: Level) -> Tensor:
    """(2, 200): of the mean and the spread in every world."""
    realised = next((d.realised for d in BUILT_IN if d.name == name), False)
    names, test = all_worlds(level, realised)
    return test.p.unflatten(1, (WORLDS, len(names)))[:, :, names.index(name)]


NAMES = [*(d.name for d in BUILT_IN), "distance from the palette"]


def spread_out(p: Tensor) -> Any:
    """p-values on multiples of 2 / (R + 1), made continuous: each stands for the interval below it."""
    return (p - torch.rand(p.shape, dtype=p.dtype) * 2 / (ROUNDS + 1)).numpy()


@pytest.mark.parametrize("statistic", [0, 1], ids=["mean", "spread"])
@pytest.mark.parametrize("name", NAMES)
def test_p_values_of_generated_clips_are_uniform_over_200_simulations(name: str, statistic: int) -> None:
    """KS, at a level at which one of these 32 tests would fail in 30 runs."""
    assert kstest(spread_out(p_values(name, "population")[statistic]), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("level", "most"), [("frames", 0.14), ("dynamic", 0.22), ("static", 0.18)])
def test_p_values_of_replications_made_from_the_clip_are_conservative(level: Level, most: float) -> None:
    """No more small ones than uniform p-values have, for every discrepancy and both statistics.

    On the whole clearly fewer where z stays, which knows most of the clip; new paths with the same f are nearly new clips.
    """
    shares = {}
    for name, statistic in itertools.product(simulated()[level], (0, 1)):
        p = p_values(name, level)[statistic]
        shares[name, statistic] = float((p <= 0.2).double().mean())
        # 200 uniform ones have .2 with a standard error of .028.
        assert shares[name, statistic] < 0.2 + 3.5 * 0.0283, (name, statistic, shares[name, statistic])
    assert np.mean(list(shares.values())) < most


@pytest.mark.parametrize("name", NAMES)
def test_tails_of_single_clips_are_uniform_where_clips_are_new_and_gather_in_the_middle_elsewhere(name: str) -> None:
    """3,200 clips: their ranks among generated clips are uniform; among clips made from themselves never more extreme."""
    values = simulated()

    def p_value(level: Level, conservative: bool) -> float:
        v = values[level][name]
        observed = v.observed[:1] if level == "population" else v.observed
        return float(uniformity(observed.unsqueeze(-1), v.replicated.unsqueeze(-1), conservative, 2_000, seed=0))

    assert p_value("population", False) > 1e-3
    for level in LEVELS[:3]:
        if name in values[level]:
            assert p_value(level, True) > 1e-3, level


def test_tails_of_new_frames_of_the_same_clip_vary_less_than_uniform_ones() -> None:
    """Mean brightness is what f and z know best, so nearly every clip lies amid its own replications."""
    v = simulated()["frames"]["mean value"]
    tail = tails(v.observed.unsqueeze(-1), v.replicated.unsqueeze(-1))
    # Of uniform ranks on 7 places: (1 - 1 / 49) / 12.
    assert float(tail.var()) < 0.92 * (1 - 1 / 49) / 12
    generated = simulated()["population"]["mean value"]
    tail = tails(generated.observed.unsqueeze(-1), generated.replicated.unsqueeze(-1))
    assert float(tail.var()) == pytest.approx((1 - 1 / 49) / 12, rel=0.08)


def test_clips_of_all_lengths_with_holes_have_uniform_p_values() -> None:
    """Every discrepancy of the frames; lengths and masks differ between clips. 100 worlds."""
    worlds, count = 100, 12
    x = clips(worlds * count).frames
    lengths = torch.randint(3, T + 1, (len(x),))
    mask = torch.rand(len(x), T, 1, 4, 4).expand(len(x), T, *SHAPE) < 0.7
    mask[:, :2] = True
    exists = torch.arange(T) < lengths[:, None]
    x = torch.where(mask & exists[..., None, None, None], x, torch.nan)
    plain = [d for d in discrepancies() if not d.realised]
    world = World.of()
    values, failures = discrepancy_values(
        Sampler(world.model, world.guide), Sequences(x, mask, lengths, torch.arange(len(x))), plain, ("population",), 4
    )
    assert failures == ()
    observed, replicated = (
        torch.stack([getattr(v, side) for v in values["population"].values()], -1)
        .unflatten(1, (worlds, count))
        .transpose(1, 2)
        .flatten(2)
        for side in ("observed", "replicated")
    )
    p = exchange_test(observed, replicated, ROUNDS, seed=0).p.unflatten(1, (worlds, len(plain)))
    for (column, d), statistic in itertools.product(enumerate(plain), (0, 1)):
        assert kstest(spread_out(p[statistic, :, column]), "uniform").pvalue > 1e-3, (d.name, statistic)


# --- planted misfits --------------------------------------------------------------------------------------------------


@cache
def found(name: str) -> PredictiveChecks:
    misfit = next(m for m in MISFITS if m.name == name)
    return checked(misfit, 80, draws=6, seed=2, rounds=5_000)


@pytest.mark.parametrize("misfit", MISFITS, ids=lambda m: m.name)
def test_a_planted_misfit_is_caught_by_its_check_and_what_it_leaves_alone_is_quiet(misfit: Misfit) -> None:
    result = found(misfit.name)
    assert result.failures == ()
    quiet = untouched(misfit, result)
    assert len(quiet) >= 1
    assert not any(check.finding for check in quiet)
    if misfit.named_for is not None:
        check = result.check(*misfit.named_for)
        assert check.finding
        assert check.sentence in result.findings
        assert check.p < 0.001


@pytest.mark.parametrize(
    ("misfit", "name", "level", "more"),
    [
        ("halved motion", "motion energy", "population", True),
        ("shuffled frames", "lag-1 autocorrelation", "dynamic", True),
        ("brightness clipped", "largest value", "frames", True),
        ("model with iid dynamics", "lag-1 autocorrelation", "population", False),
        ("static part changes midway", "drift between halves", "population", False),
    ],
)
def test_sentences_say_what_generated_clips_have_too_much_or_too_little_of(
    misfit: str, name: str, level: Level, more: bool
) -> None:
    check = found(misfit).check(name, level)
    assert check.effect > 0 if more else check.effect < 0
    assert check.sentence.startswith(name)
    assert f"too {'high' if more else 'low'}" in check.sentence
    assert "(p < .001)" in check.sentence


def test_numbers_of_a_check_are_those_of_its_values() -> None:
    check = found("halved motion").check("motion energy", "population")
    observed, sets = check.values.observed[0], check.values.replicated
    assert check.observed == pytest.approx(float(observed.mean()))
    assert check.replicated == pytest.approx(float(sets.mean()))
    assert check.percent == pytest.approx(100 * float(sets.mean() / observed.mean() - 1))
    assert check.effect == pytest.approx(float((sets.mean() - observed.mean()) / observed.std()))
    assert f"{check.percent:.0f} % too high" in check.sentence
    spreads = torch.stack([observed.std(), sets.std(1).mean()])
    assert check.severity == pytest.approx(
        abs(float(sets.mean() - observed.mean())) / float(spreads.square().mean().sqrt())
    )
    spread = found("halved motion").check("motion energy", "population", "spread")
    assert spread.observed == pytest.approx(float(observed.std()))
    assert spread.replicated == pytest.approx(float(sets.std(1).mean()))


def test_realised_values_of_a_clip_are_compared_at_the_draw_they_share() -> None:
    """Draw k of the data with replication k for new frames; for generated clips, which share nothing, one draw with all."""
    result = found("data 1.3 times noisier than the model")
    for level, paired in (("frames", True), ("population", False)):
        check = result.check("residual autocorrelation", level)
        observed, replicated = check.values.observed, check.values.replicated
        draws, count = replicated.shape
        for i in range(count):
            below = sum(float(replicated[k, i] < observed[k if paired else 0, i]) for k in range(draws))
            assert float(check.tail[i]) == pytest.approx((below + 0.5) / (draws + 1))


def test_results_are_ordered_adjusted_and_marked() -> None:
    result = found("shuffled frames")
    checks = result.checks
    findings = [c for c in checks if c.finding]
    assert list(checks[: len(findings)]) == findings
    assert [c.severity for c in findings] == sorted((c.severity for c in findings), reverse=True)
    assert [c.p for c in checks[len(findings) :]] == sorted(c.p for c in checks[len(findings) :])
    adjusted = holm(torch.tensor([c.p for c in checks]).double())
    assert [c.adjusted_p for c in checks] == pytest.approx(adjusted.tolist())
    assert all(c.finding == (c.adjusted_p <= result.alpha) for c in checks)
    assert all(c.uses_data_twice == (c.level != "population") for c in checks)
    keys = {(c.name, c.level, c.statistic) for c in checks}
    expected = {
        (d.name, level, statistic)
        for d in BUILT_IN
        for level in (REALISED_AT if d.realised else LEVELS)
        for statistic in ("mean", "spread")
    }
    assert keys == expected
    assert len(checks) == len(expected)


def test_a_quiet_world_stays_quiet_in_ninety_five_of_a_hundred() -> None:
    """Holm: at most 5 % of right models have any finding; 60 worlds from the values of the 200."""
    alarms = 0
    for i in range(60):
        rows = slice(i * COUNT, (i + 1) * COUNT)
        values = {
            "population": {
                name: Values(v.observed[:, rows], v.replicated[:, rows], v.realised)
                for name, v in simulated()["population"].items()
            }
        }
        alarms += any(check.finding for check in checks_of(values, rounds=2_000, seed=i))
    # P(Binomial(60, .05) > 9) = .001.
    assert alarms <= 9


# --- options ----------------------------------------------------------------------------------------------------------

TWO = [Discrepancy("motion energy", motion_energy), Discrepancy("mean value", value_mean)]


def check(sequences: Sequences, **options: Any) -> PredictiveChecks:
    world = World.of()
    sampler = Sampler(world.model, world.guide, max_frames=options.pop("max_frames", None))
    return predictive_checks(sampler, sequences, **{"draws": 4, "rounds": 200, **options})


def test_training_data_are_marked() -> None:
    result = check(clips(6), discrepancies=TWO, held_out=False)
    assert not result.held_out
    assert all(c.uses_data_twice for c in result.checks)
    assert all(c.sentence.endswith(", on the data it was fitted to") for c in result.checks)


def test_without_noise_means_stand_in_for_draws() -> None:
    """Motion energy of the decoder's means, by replicating by hand; realised discrepancies have no place."""
    from pyro_dsvae.inference.predictive_checks.replications import replicate

    world, sequences = World.of(), clips(5)
    result = check(sequences, discrepancies=[*TWO, BUILT_IN[-1]], levels=("dynamic",), noise=False)
    assert {c.name for c in result.checks} == {"motion energy", "mean value"}
    (made,) = replicate(Sampler(world.model, world.guide), sequences, levels=("dynamic",), draws=4)
    expected = made.mean.double().diff(dim=2).abs().mean((2, 3, 4, 5))
    torch.testing.assert_close(result.check("motion energy", "dynamic").values.replicated, expected, rtol=1e-5, atol=0)


def test_realised_discrepancies_of_generated_clips_need_no_other_level_to_be_asked_for() -> None:
    chosen = [d for d in BUILT_IN if d.realised]
    alone = check(clips(6), discrepancies=chosen, levels=("population",))
    both = check(clips(6), discrepancies=chosen)
    assert {c.level for c in alone.checks} == {"population"}
    for c in alone.checks:
        assert torch.equal(c.values.replicated, both.check(c.name, "population").values.replicated)
        assert torch.equal(c.values.observed, both.check(c.name, "population").values.observed)


def test_chunks_do_not_change_what_is_observed_and_memory_is_bounded() -> None:
    """Observed values are the same however the work is cut; the largest tensor a discrepancy sees is a chunk."""
    sizes = []

    def noted(frames: Frames) -> Tensor:
        sizes.append(frames.x.shape[:-4].numel() * T)
        return value_mean(frames)

    sequences = clips(30)
    whole = check(sequences, discrepancies=[Discrepancy("noted", noted)])
    sizes.clear()
    cut = check(sequences, discrepancies=[Discrepancy("noted", noted)], max_frames=40)
    assert max(sizes) <= 40
    a, b = (r.check("noted", "population").values for r in (whole, cut))
    torch.testing.assert_close(a.observed, b.observed)
    assert a.replicated.isfinite().all()
    assert b.replicated.isfinite().all()
    assert not torch.equal(a.replicated, b.replicated)


def test_results_are_plain_data() -> None:
    result = check(clips(6), discrepancies=[*TWO, Discrepancy("broken", lambda frames: 1 / 0)])  # type: ignore[arg-type, return-value]
    plain = json.loads(json.dumps(json_values(result, ("values",)), allow_nan=False))
    assert [row["sentence"] for row in plain["checks"]] == [c.sentence for c in result.checks]
    assert plain["checks"][0]["tail"] == result.checks[0].tail.tolist()
    assert plain["failures"] == [{"name": "broken", "reason": "it raised ZeroDivisionError: division by zero"}]
    assert (plain["sequences"], plain["draws"], plain["rounds"]) == (6, 4, 200)


def test_one_clip_is_enough_for_a_check_of_the_mean() -> None:
    result = check(clips(1), discrepancies=TWO, draws=9)
    assert {c.statistic for c in result.checks} == {"mean"}
    json.dumps(json_values(result), allow_nan=False)


def test_the_seed_says_all() -> None:
    """Discrepancies that draw, too, neither hear nor move the global generators."""
    own = [Discrepancy("jitter", lambda frames: value_mean(frames) + torch.rand(frames.x.shape[:-4]))]
    torch.manual_seed(1)
    first = check(clips(5), discrepancies=own, seed=4)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = check(clips(5), discrepancies=own, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert [c.p for c in first.checks] == [c.p for c in again.checks]
    assert torch.equal(first.checks[0].values.replicated, again.checks[0].values.replicated)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def broken(kind: str) -> Callable[[Frames], Any]:
    def function(frames: Frames) -> Any:
        values = value_mean(frames)
        if kind == "raises":
            raise RuntimeError("no such\nthing")
        if kind == "real data alone fail":
            return torch.where(torch.tensor(len(values) == 1), values * torch.nan, values)
        return {
            "shape": values.unsqueeze(-1),
            "transposed": values.mT if values.ndim > 1 else values,
            "scalar": values.mean(),
            "float": 0.5,
            "none": None,
            "complex": values * 1j,
            "infinite": values / 0,
            "nan": values * torch.nan,
            "looks": kind == "looks" and frames.distribution.mean,
        }[kind]

    return function


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("raises", "it raised RuntimeError: no such thing"),
        ("shape", "it returned the shape"),
        ("transposed", "it returned the shape"),
        ("scalar", r"it returned the shape \(\), not \(4, 6\): one number for every clip"),
        ("float", "it returned a float"),
        ("none", "it returned a NoneType"),
        ("complex", "complex"),
        ("infinite", "infinite for 6 clips"),
        ("nan", "not a number for any clip"),
        ("real data alone fail", "for 6 clips it is a number of some"),
        ("looks", "declare it as Discrepancy"),
    ],
)
def test_a_discrepancy_that_fails_is_named_and_the_rest_goes_on(kind: str, reason: str) -> None:
    sequences = clips(6)
    result = check(sequences, discrepancies=[TWO[0], Discrepancy("mine", broken(kind)), TWO[1]])
    (failure,) = result.failures
    assert failure.name == "mine"
    assert pytest.importorskip("re").search(reason, failure.reason)
    assert "\n" not in failure.reason
    expected = check(sequences, discrepancies=TWO)
    assert [(c.name, c.level, c.p, c.adjusted_p) for c in result.checks] == [
        (c.name, c.level, c.p, c.adjusted_p) for c in expected.checks
    ]


def test_nothing_is_left_where_all_discrepancies_fail() -> None:
    result = check(clips(3), discrepancies=[Discrepancy("mine", broken("raises"))])
    assert result.checks == ()
    assert result.findings == []
    assert len(result.failures) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "at least 1 round"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"draws": 0}, "at least 1 replication"),
        ({"levels": ("all",)}, "levels frames, dynamic"),
        ({"levels": ()}, "not none"),
        ({"discrepancies": []}, "nothing to check"),
        ({"discrepancies": [TWO[0], replace(TWO[1], name="motion energy")]}, "two discrepancies are called 'motion"),
        ({"discrepancies": [BUILT_IN[-1]], "noise": False}, "nothing to check"),
    ],
)
def test_options_that_make_no_check(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(clips(3), **options)


def test_a_check_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no check of the mean of 'warmth'"):
        check(clips(3), discrepancies=TWO).check("warmth", "population")
