"""The loop: schedules, order of the data, noise, evaluation, resuming, and what it says of a loss that is not finite."""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_dsvae.inference.elbo import CLOSED_FORM, STICKING_THE_LANDING
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.views.choice import Views
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import LOG_EVERY, SVI, NonFiniteError
from pyro_dsvae.inference.training.distributed import Processes
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import TERMS, KLWeights, Objective
from pyro_dsvae.inference.training.optimizers import SMALLEST
from pyro_dsvae.inference.training.order import Order
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.inference.training.seeding import derive_seed
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.diagonal_normal import DiagonalNormal
from pyro_dsvae.models.static_priors.flow import Flow
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from tests.decoded import decoded_by
from tests.encoded import small_encoder


def copied(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """As a file would keep it."""
    return torch.utils._pytree.tree_map(lambda v: v.clone() if torch.is_tensor(v) else v, dict(state))  # type: ignore[no-any-return]


class Diary:
    """A journal that keeps everything, and asks to stop after ``last`` steps."""

    def __init__(self, last: int | None = None) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.states: list[Mapping[str, Any]] = []
        self.best: list[Mapping[str, Any]] = []
        self.last, self.steps = last, 0

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def save(self, state: Mapping[str, Any]) -> None:
        self.states.append(copied(state))

    def save_best(self, state: Mapping[str, Any]) -> None:
        self.best.append(copied(state))

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        assert progress >= 0
        assert math.isfinite(elbo)

    def stop(self) -> bool:
        self.steps += 1
        return self.steps == self.last


def svi(
    steps: int = 60,
    seed: int = 0,
    frames: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    static_prior: type[StaticPrior] = StandardNormal,
    views: Views = None,
    hidden_size: int = 8,
    **options: Any,
) -> SVI:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DSVAE(static_prior(3), LSTM(2, hidden_size=8), *decoded_by(Normal, 3, 2, (4,)))
        objective = Objective(model, LSTMPosterior((4,), 3, 2, small_encoder, hidden_size, 8, views))
    if frames is None:
        frames = torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(1))
    train = Sequences(frames, None, lengths, torch.arange(14))
    held_out = Sequences(frames, None, lengths, torch.arange(14, 20))
    return SVI(objective, train, held_out, Optimisation(batch_size=4, **options), Budget(steps), seed, Hardware("cpu"))


def test_an_optimiser_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="optimizer is 'muon'; it is one of Muon, Adam"):
        Optimisation(optimizer="muon")  # type: ignore[arg-type]


def test_gradients_of_all_optimisers_are_scaled_down_together() -> None:
    """`SMALLEST` rows and columns: weights of the guide learn by Muon, and the rest by Adam."""
    free, bound = (svi(hidden_size=SMALLEST, max_grad_norm=norm) for norm in (1e9, 0.5))
    for loop in (free, bound):
        assert len(loop.optimizers) == 2
        loop._step(0.0)
    gradients = [[p.grad for p in loop.objective.parameters() if p.grad is not None] for loop in (free, bound)]
    norms = [torch.stack([g.norm() for g in found]).norm() for found in gradients]
    assert norms[0] > 1
    torch.testing.assert_close(norms[1], torch.tensor(0.5))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one * 0.5 / norms[0])


def test_kl_weights_move_geometrically_from_their_start_to_one() -> None:
    optimisation = Optimisation(kl_static=100.0, kl_dynamic=0.01, kl_warmup=0.5)
    assert optimisation.weights(0.0) == pytest.approx((100.0, 0.01, 0.0))
    assert optimisation.weights(0.25) == pytest.approx((10.0, 0.1, 0.0))
    assert optimisation.weights(0.5) == optimisation.weights(0.9) == KLWeights(1.0, 1.0)
    assert Optimisation(kl_warmup=0.0, kl_static=5.0).weights(0.0) == KLWeights()


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    optimisation = Optimisation(learning_rate=1e-2)
    assert optimisation.rates(0, 0.0).networks == pytest.approx(1e-2 / 40)
    assert optimisation.rates(500, 0.5).networks == pytest.approx(5e-3)
    assert optimisation.rates(1000, 1.0).networks == pytest.approx(0.0, abs=1e-12)


def test_priors_have_a_last_part_of_the_fit_at_a_rate_of_their_own() -> None:
    optimisation = Optimisation(learning_rate=1e-2, prior_start=0.6, static_prior_rate=2.0, dynamic_prior_rate=0.25)
    before, start, middle, end = (optimisation.rates(500, p) for p in (0.59, 0.6, 0.8, 1.0))
    assert (before.static_prior, before.dynamic_prior) == (0.0, before.networks / 4)
    assert start.static_prior == 2 * start.dynamic_prior == pytest.approx(2e-2)
    assert middle.static_prior == 2 * middle.dynamic_prior == pytest.approx(1e-2)
    assert middle.networks == pytest.approx(1e-2 * 0.5 * (1 + math.cos(0.8 * math.pi)))
    assert end == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    alike = Optimisation(prior_start=0.0, static_prior_rate=1.0, dynamic_prior_rate=1.0)
    for progress in (0.2, 0.7):
        assert alike.rates(500, progress) == pytest.approx((alike.rates(500, progress).networks,) * 3)


def test_a_static_prior_stays_as_it_is_until_its_part_of_the_fit() -> None:
    loop = svi(steps=20, prior_start=0.5, static_prior=DiagonalNormal)
    before = {name: value.clone() for name, value in loop.objective.named_parameters()}

    def moved(part: str) -> list[bool]:
        return [not torch.equal(v, before[n]) for n, v in loop.objective.named_parameters() if n.startswith(part)]

    for steps, learns in ((9, False), (3, True)):
        for _ in range(steps):
            loop._step(loop.budget.progress(loop.step, 0.0))
        assert moved("model.static_prior") == [learns] * 2
        assert all(moved("model.dynamic_prior") + moved("model.likelihood"))


def test_a_flow_is_the_standard_normal_with_its_exact_kl_until_it_learns() -> None:
    loop = svi(steps=10, prior_start=0.5, static_prior=Flow)
    told = []
    for _ in range(10):
        loop._step(loop.budget.progress(loop.step, 0.0))
        told.append(loop.objective.estimators["f"])
    assert told == [CLOSED_FORM] * 5 + [STICKING_THE_LANDING] * 5


@pytest.mark.parametrize("last", [12, 34], ids=["before the prior starts", "after it"])
def test_a_state_has_the_elbo_that_was_reported_for_it(last: int) -> None:
    """To the last bit, though a flow that is frozen is N(0, I) with its exact KL, and the same flow at its start is not."""
    options: dict[str, Any] = {"steps": 40, "prior_start": 0.5, "evaluations": 10, "static_prior": Flow}
    diary, opened = Diary(last), svi(seed=1, **options)
    assert not svi(**options).run(diary)
    reported = [row["elbo"] for row in diary.rows if row["split"] == "validation"]
    assert diary.best[-1]["best"] == max(reported)
    opened.seed = 0
    opened.restore(diary.best[-1])
    assert opened.evaluate(opened.validation)["elbo"] == max(reported)
    frozen = opened.objective.model.static_prior.frozen
    assert frozen == (last < 20)
    opened.objective.model.static_prior.frozen = not frozen
    assert opened.evaluate(opened.validation)["elbo"] != max(reported)


def test_f_is_inferred_from_the_clip_then_from_recombined_ones() -> None:
    loop, told = svi(steps=10, static_start=0.4, recombination_start=0.6), []
    loop.objective.register_forward_pre_hook(lambda _, given: told.append(given[2]))
    for _ in range(10):
        loop._step(loop.budget.progress(loop.step, 0.0))
    assert [view.recombined for view in told] == [False] * 6 + [True] * 4
    assert all(view.learns for view in told[4:])


def test_the_networks_of_f_learn_in_ever_more_steps() -> None:
    """In proportion to the square of the share of the start that has passed: the integral of it, over each tenth."""
    options = Optimisation(static_start=0.5, free_dynamic=8.0)
    learns = torch.tensor([options.static_view(step, step / 2000, 7.0).learns for step in range(1000)]).view(10, 100)
    assert learns.sum(1).tolist() == pytest.approx([100 * ((n + 1) ** 3 - n**3) / 300 for n in range(10)], abs=2)
    assert all(Optimisation(static_start=0.0).static_view(step, 0.0, 0.0).learns for step in range(50))


def test_f_learns_sooner_where_z_pays_for_what_it_carries() -> None:
    options = Optimisation(static_start=0.5, free_dynamic=8.0)
    shares = [sum(options.static_view(step, 0.1, nats).learns for step in range(1000)) for nats in (0, 8, 12, 16, 99)]
    assert shares == pytest.approx([40, 40, 250, 1000, 1000], abs=2)
    assert all(options.static_view(step, 0.0, 0.0, other_windows=True).learns for step in range(50))
    free = Optimisation(static_start=0.5)  # nothing is free, so nothing tells that z leads
    assert sum(free.static_view(step, 0.1, 99.0).learns for step in range(1000)) == pytest.approx(40, abs=2)


@pytest.mark.parametrize("ragged", [False, True])
def test_what_z_carries_is_that_of_whole_windows_wherever_a_fit_stops(ragged: bool) -> None:
    lengths = torch.tensor([2, 3] * 10) if ragged else None
    whole = svi(steps=2 * LOG_EVERY, lengths=lengths)
    told: list[float] = []
    whole.objective.register_forward_hook(
        lambda objective, _, terms: told.append(terms["kl_dynamic"].item()) if objective.training else None
    )
    whole.run(Diary())
    nats = sum(told[LOG_EVERY : 2 * LOG_EVERY]) / LOG_EVERY / (2.5 if ragged else 5)
    assert whole.carried.nats == pytest.approx(nats)
    parts = svi(steps=2 * LOG_EVERY, lengths=lengths)
    parts.run(Diary(LOG_EVERY + 7))
    opened = svi(steps=2 * LOG_EVERY, lengths=lengths)
    opened.restore(parts.state())
    opened.run(Diary())
    assert opened.carried.state() == whole.carried.state()


def test_a_step_that_f_does_not_learn_from_leaves_its_networks_and_moves_all_others() -> None:
    loop = svi(steps=10, views="rescale", static_start=0.9)
    views = [loop.optimisation.static_view(step, step / 10, 0.0) for step in range(10)]
    moved = []
    for view in views[:6]:
        weights = loop.objective.guide.named_parameters()
        before = {name: weight.clone() for name, weight in weights if not name.endswith(".missing")}  # no frame is
        loop._step(loop.budget.progress(loop.step, 0.0))
        after = dict(loop.objective.guide.named_parameters())
        changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
        of_f = {name for name in before if name.startswith("static_")}
        assert changed - of_f == before.keys() - of_f
        assert (changed & of_f == of_f) if view.learns else not changed & of_f
        moved.append(view.learns)
    assert set(moved) == {True, False}


@pytest.mark.parametrize(("steps", "minutes", "expected"), [(10, None, 0.5), (None, 2.0, 0.25), (10, 0.25, 2.0)])
def test_the_budget_is_used_by_whichever_ends_first(steps: int | None, minutes: float | None, expected: float) -> None:
    assert Budget(steps, minutes).progress(5, 30.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("budget", "said"),
    [(Budget(1), "1 step"), (Budget(1_000, 1), "1,000 steps or 1 minute"), (Budget(None, 1.5), "1.5 minutes")],
    ids=str,
)
def test_a_budget_is_said_in_words(budget: Budget, said: str) -> None:
    assert str(budget) == said


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"kl_static": 0.0},
        {"kl_warmup": 1.5},
        {"prior_start": 1.0},
        {"static_start": 1.0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Optimisation(**options)


@pytest.mark.parametrize("budget", [{"steps": 0}, {"minutes": 0.0}, {"minutes": math.inf}])
def test_a_budget_out_of_range_is_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(budget))):
        Budget(**budget)


def test_every_epoch_has_every_sequence_once_in_an_order_of_its_own_also_of_several_processes() -> None:
    """14 sequences in batches of 4: seven steps are two epochs."""
    order = Order(14, 4, seed=0)
    batches = [order.batch(step) for step in range(7)]
    taken = torch.cat(batches).tolist()
    assert sorted(taken[:14]) == sorted(taken[14:]) == list(range(14))
    assert taken[:14] != taken[14:]
    assert taken[:14] != torch.cat([Order(14, 4, seed=1).batch(step) for step in range(4)]).tolist()[:14]
    again = Order(14, 4, seed=0)  # of a fit that was resumed after three steps
    assert all(torch.equal(again.batch(step), batches[step]) for step in range(3, 7))
    fabric: Any = SimpleNamespace(global_rank=0, world_size=1)
    ranks = [Processes(fabric) for _ in range(2)]
    for rank, processes in enumerate(ranks):
        processes.rank, processes.count = rank, 2
    shared = [processes.shard(batch) for batch in batches for processes in ranks]
    assert {len(part) for part in shared} == {2}
    assert sorted(torch.cat(shared).tolist()) == sorted(2 * list(range(14)))


def test_each_sequence_of_a_step_comes_with_a_far_window_of_its_recording() -> None:
    recordings = torch.tensor([7, 0, 0, 0, 0, 3, 3, 9, 9, 9])
    order = Order(10, 4, seed=0, recordings=recordings)
    found: dict[int, set[int]] = {}
    for step in range(50):
        for i, other in zip(order.batch(step).tolist(), order.windows(step).tolist(), strict=True):
            found.setdefault(i, set()).add(other)
    # A recording of one window has no other; of four windows the two farthest are taken, of three both others.
    assert found == {
        0: {0},
        1: {3, 4},
        2: {1, 4},
        3: {1, 2},
        4: {1, 2},
        5: {6},
        6: {5},
        7: {8, 9},
        8: {7, 9},
        9: {7, 8},
    }
    assert order.shared == 3
    again, plain = Order(10, 4, seed=0, recordings=recordings), Order(10, 4, seed=0)
    assert torch.equal(again.windows(7), order.windows(7))
    given = [next(made.batches(7, lambda batch: batch)) for made in (order, plain)]
    assert torch.equal(given[0], torch.cat([given[1], order.windows(7)]))


@pytest.mark.parametrize(("views", "known"), [("vocal_tract", True), ("vocal_tract", False), ("rescale", True)])
def test_a_step_has_other_windows_where_views_ask_for_them_and_the_data_know_them(views: Any, known: bool) -> None:
    frames = torch.randn(8, 5, 4)
    recordings = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]) if known else None
    train = Sequences(frames, None, None, torch.arange(8), recordings=recordings)
    model = DSVAE(StandardNormal(3), LSTM(2, hidden_size=8), *decoded_by(Normal, 3, 2, (4,)))
    guide = LSTMPosterior((4,), 3, 2, small_encoder, hidden_size=8, feature_size=8, views=views)
    loop = SVI(Objective(model, guide), train, train, Optimisation(batch_size=4), Budget(4), hardware=Hardware("cpu"))
    told: list[Any] = []
    loop.objective.register_forward_pre_hook(lambda _, given: told.append(given))
    loop._step(0.9)
    batch, _, view = told[0]
    asked = known and views == "vocal_tract"
    assert (view.other_windows, len(batch.x)) == (asked, 8 if asked else 4)
    if asked:
        own, windows = loop.order.batch(0), loop.order.windows(0)
        assert torch.equal(batch.x, frames[torch.cat([own, windows])])
        assert torch.equal(own // 2, windows // 2)
        assert not (own == windows).any()


def test_fitting_improves_the_held_out_elbo_and_keeps_the_best_state() -> None:
    loop, diary = svi(steps=200, evaluations=4, learning_rate=1e-2), Diary()
    before = loop.evaluate(loop.validation)["elbo"]
    assert loop.run(diary)
    held_out = [row["elbo"] for row in diary.rows if row["split"] == "validation"]
    assert len(held_out) == 4
    assert max(held_out) > before
    assert diary.best[-1]["best"] == max(held_out) == loop.best
    assert loop.step == 200
    assert [row["step"] for row in diary.rows if row["split"] == "train"] == list(range(LOG_EVERY, 201, LOG_EVERY))


def test_terms_add_up_and_the_reported_elbo_is_unweighted() -> None:
    loop = svi(kl_static=1000.0, kl_dynamic=0.1)
    batch = loop.train.batch(torch.arange(4), loop.objective.model.likelihood, torch.device("cpu"))
    torch.manual_seed(0)
    plain = loop.objective(batch, KLWeights())
    torch.manual_seed(0)
    weighted = loop.objective(batch, loop.optimisation.weights(0.0))
    for name in TERMS:
        torch.testing.assert_close(weighted[name], plain[name])
    parts = plain["reconstruction"] - plain["kl_static"] - plain["kl_dynamic"]
    torch.testing.assert_close(plain["elbo"], parts)
    expected = 1000 * plain["kl_static"] + 0.1 * plain["kl_dynamic"] - plain["reconstruction"]
    torch.testing.assert_close(weighted["loss"], expected)


def test_free_nats_cost_nothing_and_move_nothing_and_the_rest_costs_as_before() -> None:
    loop = svi()
    batch = loop.train.batch(torch.arange(4), loop.objective.model.likelihood, torch.device("cpu"))
    prior = next(loop.objective.model.dynamic_prior.parameters())  # of the loss only KL(z) depends on it

    def terms(free: float) -> tuple[dict[str, Tensor], Tensor]:
        torch.manual_seed(0)
        found = loop.objective(batch, KLWeights(free=free))
        (gradient,) = torch.autograd.grad(found["loss"], prior)
        return {name: value.detach() for name, value in found.items()}, gradient

    plain, slope = terms(0.0)
    assert slope.any()
    per_frame = plain["kl_dynamic"].item() / batch.x.shape[1]
    below, still = terms(2 * per_frame)
    assert not still.any()
    torch.testing.assert_close(below["loss"], plain["loss"] + plain["kl_dynamic"])
    torch.testing.assert_close(below["elbo"], plain["elbo"])
    above, same = terms(per_frame / 2)
    torch.testing.assert_close(above["loss"], plain["loss"])
    torch.testing.assert_close(same, slope)


@pytest.mark.parametrize("stop", [1, 30, 59])
def test_a_resumed_fit_ends_with_the_same_bits(stop: int) -> None:
    whole, interrupted, resumed = svi(), svi(), svi(seed=0)
    alone, diary, later = Diary(), Diary(last=stop), Diary()
    assert whole.run(alone)
    assert not interrupted.run(diary)
    state = diary.states[-1]
    assert state["step"] == stop
    torch.manual_seed(987)  # whatever the new process did before
    resumed.restore(state)
    assert resumed.run(later)
    # Step 30 ends with an evaluation, which a fit that is stopped there owes.
    evaluated = [
        [r["step"] for r in rows if r["split"] == "validation"] for rows in (alone.rows, diary.rows + later.rows)
    ]
    assert evaluated[0] == evaluated[1]
    for name, value in whole.objective.state_dict().items():
        assert torch.equal(resumed.objective.state_dict()[name], value), name


def test_evaluation_is_repeatable_and_leaves_generator_and_mode_alone() -> None:
    loop = svi()
    loop.objective.train()
    state = torch.get_rng_state()
    first, second = loop.evaluate(loop.validation), loop.evaluate(loop.validation)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert loop.objective.training
    other = held_out_terms(loop.objective, loop.validation, torch.device("cpu"), seed=5)
    assert other["elbo"] != first["elbo"]


def test_evaluation_in_chunks_is_the_mean_over_sequences() -> None:
    loop = svi()
    loop.objective.eval()
    device = torch.device("cpu")
    chunked = held_out_terms(loop.objective, loop.validation, device, seed=3, batch_size=4)
    elbos = []
    with torch.no_grad():
        for number, rows in enumerate([torch.arange(4), torch.arange(4, 6)]):
            torch.manual_seed(derive_seed(3, "evaluation", number))
            elbos.append(
                loop.objective(loop.validation.batch(rows, loop.objective.model.likelihood, device), KLWeights())[
                    "elbo"
                ]
            )
    assert chunked["elbo"] == pytest.approx(float(4 * elbos[0] + 2 * elbos[1]) / 6, rel=1e-6)


def test_a_loss_that_is_not_finite_names_step_and_term_and_saves_nothing_more() -> None:
    loop = svi(checkpoint_seconds=1e-9)

    class Spoiler(Diary):
        def stop(self) -> bool:
            if loop.step == 30:
                loop.objective.model.likelihood.raw_scale.data.fill_(math.nan)
            return super().stop()

    diary = Spoiler()
    with pytest.raises(NonFiniteError, match=r"reconstruction became nan at step 31;"):
        loop.run(diary)
    assert [state["step"] for state in diary.states] == [25]


def test_weights_that_a_bad_gradient_spoilt_are_not_saved() -> None:
    loop = svi(steps=10)
    loop.objective.guide.static_head.loc.weight.register_hook(lambda g: g * (math.nan if loop.step == 9 else 1.0))
    diary = Diary()
    with pytest.raises(NonFiniteError, match=r"became infinite or not a number by step 10;"):
        loop.run(diary)
    assert not diary.states


def test_parameters_that_fail_the_first_checks_are_one_line() -> None:
    frames = torch.randn(20, 5, 4)
    frames[:14] = math.nan
    with pytest.raises(UsageError, match="fail the checks of the first step") as caught:
        svi(frames=frames).run(Diary())
    assert "\n" not in str(caught.value)
