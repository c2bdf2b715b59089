"""Every metric on predictions made by hand, on models that are right or wrong by construction, and against SciPy."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.distributions import Normal, OneHotCategorical, TorchDistribution
from scipy import special, stats
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.judges import literature as literature_judge
from pyro_dsvae.judges import own as own_judge
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.judge import Judge, log_probabilities
from pyro_dsvae.judges.literature import LiteratureJudge, train_literature_judge
from pyro_dsvae.judges.swap_scores import accuracies, swap_scores
from pyro_dsvae.metrics import probes
from pyro_dsvae.metrics.factors import marginals, parts_of, with_parts
from pyro_dsvae.metrics.features import SEGMENTS, draw, encode, one_split, path_codes, path_features
from pyro_dsvae.metrics.generation import (
    balanced,
    entropies,
    generate,
    judge_clips,
    score,
    score_head,
    total_variation,
    uniform_variation,
)
from pyro_dsvae.metrics.labelled import confusions
from pyro_dsvae.metrics.probes import held_out, logistic_regression, probe, whitened
from pyro_dsvae.metrics.swaps import judge_swaps, score_swaps
from pyro_dsvae.metrics.unlabelled import measure_evidence, measure_terms
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.steps import Steps
from tests.judges.test_judge import (
    SIDE,
    Copier,
    Leaky,
    Oracle,
    Painter,
    T,
    model,
    noise,
    to_model_units,
    toy,
    trained,
    vectors,
)

__all__ = ["trained"]  # a fixture, made once for this module, too

CPU = torch.device("cpu")
CERTAIN = 60.0  # nats between the answer and any other class


def answers(classes: list[int], count: int) -> Tensor:
    """Log probabilities (N, K) of a judge who is certain."""
    return (CERTAIN * torch.eye(count, dtype=torch.float64)[classes]).log_softmax(-1)


def label(values: list[int] | Tensor, count: int, role: Any = "static") -> Label:
    return Label(torch.as_tensor(values), tuple(f"k{i}" for i in range(count)), role)


# --- inception score --------------------------------------------------------------------------------------------------


def test_entropies_of_a_perfect_a_clueless_and_a_collapsed_model() -> None:
    """IS runs from 1 to the number of classes; H(y|x) from 0, H(y) to ln classes."""
    perfect = entropies(answers([0, 1, 2, 3] * 5, 4))
    assert (perfect.score, perfect.classes, perfect.count) == (pytest.approx(4), 4, 20)
    assert perfect.conditional == pytest.approx(0, abs=1e-20)
    assert perfect.marginal == pytest.approx(math.log(4))
    clueless = entropies(torch.zeros(20, 4).log_softmax(-1))
    assert clueless.score == pytest.approx(1)
    assert clueless.conditional == pytest.approx(math.log(4)) == clueless.marginal
    collapsed = entropies(answers([2] * 20, 4))
    assert collapsed.score == pytest.approx(1)
    assert collapsed.conditional == pytest.approx(0, abs=1e-20) == collapsed.marginal


def test_entropies_are_scipys_and_survive_probabilities_that_underflow() -> None:
    log_p = (40 * torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).log_softmax(-1)
    log_p[0] = torch.tensor([0.0, -2000, -2000, -2000, -2000])
    p = log_p.exp().numpy()
    found = entropies(log_p)
    assert found.conditional == pytest.approx(stats.entropy(p, axis=1).mean())
    assert found.marginal == pytest.approx(stats.entropy(p.mean(0)))
    assert found.score == pytest.approx(math.exp(special.rel_entr(p, p.mean(0)).sum(1).mean()))


def test_the_score_has_to_be_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published tables break IS = exp(H(y) - H(y|x)); here that is an error."""
    monkeypatch.setattr(torch.special, "entr", lambda p: torch.ones_like(p) * p.ndim)
    with pytest.raises(AssertionError, match=r"exp\(H"):
        entropies(answers([0, 1], 2))


def test_balanced_takes_the_first_of_every_class() -> None:
    assert balanced(torch.tensor([0, 0, 2, 0, 2, 2, 0])).tolist() == [0, 1, 2, 3, 4, 5]
    assert balanced(torch.tensor([4, 1, 1, 1])).tolist() == [0, 1]


def test_an_unbalanced_split_does_not_lower_the_score_of_a_perfect_model() -> None:
    true = torch.tensor([0] * 30 + [1] * 10)
    found = score_head(
        answers(true.tolist(), 2)[None], answers(true.tolist(), 2), true, torch.tensor([0.75, 0.25]), True
    )
    assert found.entropies.score == pytest.approx(2)
    assert found.entropies.count == 20


# --- heads ------------------------------------------------------------------------------------------------------------


def test_a_label_that_is_kept() -> None:
    true = torch.tensor([0, 1, 2] * 4)
    found = score_head(
        answers([0, 1, 2] * 4, 3).expand(2, -1, -1), answers([0, 1, 2] * 4, 3), true, torch.ones(3) / 3, True
    )
    assert (found.accuracy, found.accuracy_spread, found.changed) == (1.0, 0.0, 0.0)
    assert found.chance == pytest.approx(1 / 3)
    assert found.changed_by_chance == pytest.approx(2 / 3)
    assert found.divergence == pytest.approx(0)
    assert found.distribution == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found.from_uniform == pytest.approx(0, abs=1e-12)


def test_a_label_that_collapses() -> None:
    """All clips show class 0: right for a third, changed for two thirds, as far from uniform as can be."""
    true = torch.tensor([0, 1, 2] * 4)
    found = score_head(
        answers([0] * 12, 3)[None], answers(true.tolist(), 3), true, torch.tensor([0.5, 0.3, 0.2]), False
    )
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.accuracy_spread is None
    assert found.changed == pytest.approx(2 / 3)
    assert found.distribution == (1.0, 0.0, 0.0)
    assert found.from_uniform == pytest.approx(2 / 3)
    assert found.from_data == pytest.approx(0.5)
    assert found.divergence == pytest.approx(CERTAIN * 2 / 3)


def test_a_label_that_is_drawn_anew_agrees_by_chance() -> None:
    """What is expected of independent draws is what independent draws do."""
    draws = np.random.default_rng(0)
    shares = torch.tensor([0.6, 0.3, 0.1])
    true, new = (torch.from_numpy(draws.choice(3, 20_000, p=[0.6, 0.3, 0.1])) for _ in range(2))
    found = score_head(answers(new.tolist(), 3)[None], answers(true.tolist(), 3), true, shares, False)
    assert found.accuracy == pytest.approx(found.chance, abs=0.015)
    assert found.changed == pytest.approx(found.changed_by_chance, abs=0.015)
    assert found.chance == pytest.approx(0.36 + 0.09 + 0.01, abs=0.01)
    assert found.from_data < 0.01
    assert found.from_uniform == pytest.approx(0.6 - 1 / 3, abs=0.01)


def test_changed_is_against_the_judges_own_answer_and_right_against_the_truth() -> None:
    true, wrong = torch.zeros(4, dtype=torch.int64), answers([1, 1, 1, 1], 2)
    found = score_head(wrong[None], wrong, true, torch.tensor([0.5, 0.5]), True)
    assert (found.accuracy, found.changed) == (0.0, 0.0)


def test_divergence_is_scipys() -> None:
    generator = torch.Generator().manual_seed(1)
    log_p, log_q = (torch.randn(6, 4, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    found = score_head(log_p[None], log_q, torch.arange(6) % 4, torch.ones(4) / 4, True)
    assert found.divergence == pytest.approx(special.rel_entr(log_p.exp().numpy(), log_q.exp().numpy()).sum(1).mean())


def test_spread_is_over_draws() -> None:
    draws = torch.stack([answers([0, 0, 0, 0], 2), answers([0, 0, 1, 1], 2), answers([1, 1, 1, 1], 2)])
    found = score_head(draws, draws[0], torch.zeros(4, dtype=torch.int64), torch.tensor([0.5, 0.5]), True)
    assert found.accuracy == pytest.approx(0.5)
    assert found.accuracy_spread == pytest.approx(np.std([1, 0.5, 0], ddof=1))


@pytest.mark.parametrize(("count", "classes"), [(1, 6), (5, 9), (12, 6), (100, 3), (2664, 9)])
def test_variation_of_uniform_draws_is_a_sum_over_binomials(count: int, classes: int) -> None:
    k = np.arange(count + 1)
    deviation = np.abs(k / count - 1 / classes) @ stats.binom(count, 1 / classes).pmf(k)
    assert uniform_variation(count, classes) == pytest.approx(classes * deviation / 2)
    assert uniform_variation(count, 1) == 0


def test_total_variation_of_known_distributions() -> None:
    assert total_variation(torch.tensor([1.0, 0, 0]), torch.tensor([0, 0.5, 0.5])) == 1
    assert total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])) == pytest.approx(0.25)


def test_confusions_count_true_by_answer() -> None:
    assert confusions(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


# --- generation -------------------------------------------------------------------------------------------------------


class Colours(StaticPrior):
    """One of the three colours of the toy."""

    def forward(self) -> TorchDistribution:
        return OneHotCategorical(torch.ones(3))


class Ways(IID):
    """A walk to the right or to the left, each half of the time; remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(SIDE)
        self.asked: list[Steps] = []

    def forward(self, f: Tensor, steps: Steps) -> Any:
        self.asked.append(steps)
        right = torch.eye(T).repeat_interleave(4, dim=1)

        class Walk:
            def sample(self) -> Tensor:
                left = torch.rand(len(f), 1, 1) < 0.5
                return torch.where(left, right.flip(0), right)

        return Walk()


def perfect(**options: Any) -> DSVAE:
    return DSVAE(Colours(3), Ways(), Painter(**options), noise())


def latents_of(data: SequenceData, guide: Posterior | None = None, of: DSVAE | None = None) -> Latents:
    return encode(Sampler(of or model(), guide or Oracle()), one_split(data))


def scores(fixed: Any, of: DSVAE, trained: Judge, **options: Any) -> Mapping[str, Any]:
    data = toy(1200).part("test")
    said = generate(fixed, of, latents_of(data), data, trained, **options)
    return score(fixed, said, judge_clips(trained, data, of), data, toy(1200).part("train"))


def test_a_perfect_model_keeps_the_motion_and_draws_the_look(trained: Judge) -> None:
    found = scores("motion", perfect(), trained, draws=2)
    way, colour = found["way.of"], found["keys"]
    assert way.kept
    assert not colour.kept
    assert (way.accuracy, way.changed) == (1.0, 0.0)
    assert way.entropies.score > 1.9
    assert colour.from_uniform < 0.05
    assert colour.changed == pytest.approx(2 / 3, abs=0.05)
    assert colour.accuracy == pytest.approx(1 / 3, abs=0.05)


def test_a_perfect_model_keeps_the_look_and_draws_the_motion(trained: Judge) -> None:
    found = scores("content", perfect(), trained, draws=2)
    way, colour = found["way.of"], found["keys"]
    assert colour.kept
    assert not way.kept
    assert (colour.accuracy, colour.changed) == (1.0, 0.0)
    assert colour.entropies.score > 2.8
    assert way.from_uniform < 0.05
    assert way.changed == pytest.approx(0.5, abs=0.05)


def test_models_that_ignore_a_latent_are_found_out(trained: Judge) -> None:
    """A look that is always the same is not drawn anew; a motion that is always the same is not kept."""
    colour = scores("motion", perfect(use_f=False), trained)["keys"]
    assert colour.distribution == (1.0, 0.0, 0.0)
    assert colour.from_uniform == pytest.approx(2 / 3)
    way = scores("motion", perfect(use_z=False), trained)["way.of"]
    assert way.accuracy == pytest.approx(0.5, abs=0.08)
    assert way.entropies.score == pytest.approx(1, abs=0.01)


def test_generation_is_a_function_of_the_seed(trained: Judge) -> None:
    data, of = toy().part("test"), model()
    latents = latents_of(data)
    before = torch.get_rng_state()
    one, same, other = (generate("motion", of, latents, data, trained, 1, s)["keys"] for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (1, len(data), 3)


def test_draws_are_made_at_the_clips_own_lengths_and_times(trained: Judge) -> None:
    data = toy().part("test")
    lengths, times = 3 + torch.arange(len(data)) % 2, torch.arange(T).double().expand(len(data), T) * 2 + 7
    of, told = perfect(), []
    generate(
        "content", of, latents_of(data), replace(data, lengths=lengths, times=times), trained, progress=told.append
    )
    assert isinstance(of.dynamic_prior, Ways)
    (steps,) = of.dynamic_prior.asked
    assert steps.lengths is not None
    assert steps.times is not None
    assert torch.equal(steps.lengths, lengths)
    assert steps.times[0].tolist() == [0, 2, 4, 6]
    assert told[-1] == 1
    with pytest.raises(UsageError, match="at least 1"):
        generate("motion", of, latents_of(data), data, trained, draws=0)


# --- swaps ------------------------------------------------------------------------------------------------------------


def test_swaps_one_way_are_those_that_a_fit_reports(trained: Judge) -> None:
    data = toy().part("test")
    for of, guide in ((model(use_f=False), Oracle()), (model(use_z=False), Oracle()), (model(), Oracle())):
        expected = swap_scores(trained, of, guide, data, to_model_units, seed=3)
        found = score_swaps(judge_swaps(of, latents_of(data, guide, of), data, trained, seed=3), data)
        assert {n: found.f_replaced[n] for n in expected.kept} == expected.kept
        assert {n: found.f_replaced[n] for n in expected.taken_over} == expected.taken_over
        assert found.chance == expected.chance
        assert found.reconstructed == expected.reconstructed


def test_swaps_the_other_way(trained: Judge) -> None:
    """z replaced: the look of the clip stays, the motion of its partner comes; a model blind to one latent shows it."""
    data = toy().part("test")
    colour, way = (v.values for v in data.labels.values())
    assert score_swaps(judge_swaps(model(), latents_of(data), data, trained), data).z_replaced == {
        "keys": 1.0,
        "way.of": 1.0,
    }
    blind = score_swaps(judge_swaps(model(use_f=False), latents_of(data), data, trained), data)
    assert blind.z_replaced == {"keys": pytest.approx(float((colour == 0).double().mean())), "way.of": 1.0}
    still = score_swaps(judge_swaps(model(use_z=False), latents_of(data), data, trained), data)
    assert still.z_replaced == {"keys": 1.0, "way.of": pytest.approx(float((way == 0).double().mean()))}


def test_all_in_z_is_chance_for_the_look_both_ways(trained: Judge) -> None:
    data = toy().part("test")
    copier = DSVAE(StandardNormal(3), IID(3 * SIDE * SIDE), Copier((3, SIDE, SIDE)), noise())
    found = score_swaps(judge_swaps(copier, latents_of(data, Leaky(), copier), data, trained), data)
    for shares in (found.f_replaced, found.z_replaced):
        assert shares == {"keys": pytest.approx(found.chance["keys"]), "way.of": 1.0}
    with pytest.raises(UsageError, match="at least two"):
        judge_swaps(copier, latents_of(data).rows(torch.tensor([0])), data.take(torch.tensor([0])), trained)


# --- codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_means_and_draws_of_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy().part("test")
    colour = data.labels["keys"].values
    monkeypatch.setattr("pyro_dsvae.inference.estimation.NUMBERS", 7 * T * 3 * SIDE * SIDE)
    told: list[float] = []
    means = encode(Sampler(model(), Oracle(), progress=told.append), one_split(data))
    assert torch.equal(means.f.argmax(1), colour)
    assert means.z.shape == (len(data), T, SIDE)
    assert len(told) == -(-len(data) // 7)
    one, same, other = (draw(Sampler(model(), Oracle()), one_split(data), seed) for seed in (1, 1, 2))
    assert torch.equal(one.f, same.f)
    assert not torch.equal(one.f, other.f)
    noise = torch.cat([(one.z - means.z).flatten(), (one.f - means.f).flatten()]) / 9
    assert stats.kstest(noise.numpy()[::7], "norm").pvalue > 1e-3


def by_loops(z: Tensor, lengths: Tensor | None, count: int) -> Tensor:
    rows = []
    for i in range(len(z)):
        n = z.shape[1] if lengths is None else int(lengths[i])
        rows.append(
            torch.cat([z[i, s * n // count : math.ceil((s + 1) * n / count)].double().mean(0) for s in range(count)])
        )
    return torch.stack(rows)


def test_a_short_path_is_its_own_features() -> None:
    z = torch.randn(5, SEGMENTS, 3)
    torch.testing.assert_close(path_features(z), z.flatten(1).double())


@pytest.mark.parametrize("length", [3, 8, 13, 40])
def test_features_are_means_over_segments_of_what_exists(length: int) -> None:
    z = torch.randn(7, length, 2, generator=torch.Generator().manual_seed(0))
    lengths = torch.randint(2, length + 1, (7,), generator=torch.Generator().manual_seed(1))
    count = min(SEGMENTS, length)
    for own in (None, lengths):
        expected = by_loops(z, own, count)
        if length > SEGMENTS:
            expected = torch.cat([expected, by_loops(z.diff(dim=1).abs(), None if own is None else own - 1, count)], 1)
        torch.testing.assert_close(path_features(z, own), expected)
        changes = by_loops(z.diff(dim=1).abs(), None if own is None else own - 1, 1)
        torch.testing.assert_close(path_codes(z, own), torch.cat([by_loops(z, own, 1), changes], dim=1))
    spoilt = torch.where((torch.arange(length) < lengths[:, None])[..., None], z, torch.full((), torch.nan))
    torch.testing.assert_close(path_features(spoilt, lengths), path_features(z, lengths))
    torch.testing.assert_close(path_codes(spoilt, lengths), path_codes(z, lengths))


# --- parts of labels --------------------------------------------------------------------------------------------------


def test_an_action_with_a_direction_has_two_parts() -> None:
    classes = ("walk front", "walk left", "slash front", "slash left")
    data = replace(
        toy(), labels={"action": Label(torch.arange(240) % 4, classes, "dynamic"), "hair": label([0] * 240, 2)}
    )
    what, where = parts = parts_of(data.labels)
    assert (what.name, what.classes) == ("action: walk/slash", ("walk", "slash"))
    assert (where.name, where.classes) == ("action: front/left", ("front", "left"))
    found = with_parts(data, parts).labels
    assert found["action: front/left"].values[:4].tolist() == [0, 1, 0, 1]
    assert found["action: walk/slash"].values[:4].tolist() == [0, 0, 1, 1]
    assert found["action: walk/slash"].role == "dynamic"
    p = torch.rand(3, 4, dtype=torch.float64)
    summed = marginals({"action": p.log()}, parts)["action: front/left"].exp()
    torch.testing.assert_close(summed, torch.stack([p[:, 0] + p[:, 2], p[:, 1] + p[:, 3]], dim=1))


@pytest.mark.parametrize(
    "classes", [("a", "b"), ("a b", "c"), ("a b", "a c", "d b"), ("a b", "a c"), ("a b c", "a b d"), ("a b", "a b ")]
)
def test_other_labels_have_none(classes: tuple[str, ...]) -> None:
    assert parts_of({"x": Label(torch.zeros(3, dtype=torch.int64), classes, "static")}) == []


# --- probes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEPS", 200)


def halves(
    features: Tensor, labels: Mapping[str, Label]
) -> tuple[Tensor, Mapping[str, Label], Tensor, Mapping[str, Label]]:
    n = len(features) // 2
    first, second = ({k: replace(v, values=v.values[p]) for k, v in labels.items()} for p in (slice(n), slice(n, None)))
    return features[:n], first, features[n:], second


@pytest.mark.usefixtures("short")
def test_probes_read_what_is_there_and_nothing_else() -> None:
    """told: a tiny linear direction. xor: there, but for no line. absent: not there."""
    generator = torch.Generator().manual_seed(0)
    n = 3000
    told, xor, absent = (torch.randint(k, (n,), generator=generator) for k in (3, 2, 4))
    signs = torch.randn(n, 2, generator=generator)
    signs[:, 1] = signs[:, 1].abs() * signs[:, 0].sign() * (1 - 2 * xor)
    common = torch.randn(n, 1, generator=generator)
    small = 0.01 * torch.eye(3)[told] + common  # hidden under a hundred times larger, common noise
    labels = {"told": label(told, 3), "xor": label(xor, 2), "absent": label(absent, 4)}
    found = probe(*halves(torch.cat([small, signs], dim=1), labels))
    assert found["told"].linear > 0.99
    assert found["told"].nonlinear > 0.99
    assert found["xor"].linear == pytest.approx(0.5, abs=0.06)
    assert found["xor"].nonlinear > 0.93
    assert found["absent"].linear == pytest.approx(0.25, abs=0.05)
    assert found["absent"].nonlinear == pytest.approx(0.25, abs=0.05)
    assert found == probe(*halves(torch.cat([small, signs], dim=1), labels))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("features", [0, 2])
def test_a_latent_that_is_empty_or_constant_says_the_most_frequent_class(features: int) -> None:
    values = torch.tensor([0, 1, 1, 2, 1, 1] * 50)
    found = probe(*halves(torch.full((300, features), 0.3), {"who": label(values, 3)}))["who"]
    assert found.linear == found.nonlinear == found.chance == pytest.approx(4 / 6)


@pytest.mark.usefixtures("short")
def test_chance_is_the_class_most_frequent_in_training() -> None:
    train, test = {"who": label([0] * 60 + [1] * 40, 2)}, {"who": label([0] * 1 + [1] * 9, 2)}
    assert probe(torch.zeros(100, 1), train, torch.zeros(10, 1), test)["who"].chance == pytest.approx(0.1)


def test_logistic_regression_is_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(300, 4, generator=generator, dtype=torch.float64)
    values = {
        "a": (x @ torch.randn(4, 3, generator=generator, dtype=torch.float64)).argmax(1),
        "b": (x[:, 0] > 0.7).long(),
    }
    penalty = 0.02
    weights = logistic_regression(x, values, {"a": 3, "b": 2}, penalty, iterations=500)
    for name, part in zip(values, weights.split([3, 2], dim=1), strict=True):
        oracle = linear_model.LogisticRegression(C=1 / (penalty * len(x)), tol=1e-10, max_iter=10_000)
        oracle.fit(x.numpy(), values[name].numpy())
        expected = oracle.predict_proba(x.numpy())
        if name == "b":  # there one set of weights serves two classes, which are twice as far apart at half the penalty
            oracle = linear_model.LogisticRegression(C=2 / (penalty * len(x)), tol=1e-10, max_iter=10_000)
            expected = oracle.fit(x.numpy(), values[name].numpy()).predict_proba(x.numpy())
        np.testing.assert_allclose((x @ part[:-1] + part[-1]).softmax(1), expected, atol=1e-4)


def test_whitening_takes_means_variances_and_correlations_from_the_first() -> None:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    features = torch.randn(500, 4, generator=generator, dtype=torch.float64) @ mix + 1000
    doubled = torch.cat([features, features[:, :1], torch.ones(500, 1)], dim=1)
    x, y = whitened(doubled, doubled[:9] + 1)
    assert x.shape == (500, 4)  # neither a copy nor a constant adds a direction
    torch.testing.assert_close(x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(x.T @ x / 500, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert y.shape == (9, 4)
    assert not torch.allclose(y, x[:9])


def test_held_out_clips_are_whole_characters_where_there_are_enough() -> None:
    skin, hair, action = torch.arange(12).repeat(30) % 4, torch.arange(12).repeat(30) // 4, torch.arange(360) % 5
    labels = {"skin": label(skin, 4), "hair": label(hair, 3), "action": label(action, 5, "dynamic")}
    out = held_out(labels, 0)
    who = skin * 3 + hair
    assert set(who[out].tolist()).isdisjoint(who[~out].tolist())
    assert 0 < int(out.sum()) <= 60
    only = {"skin": label(torch.arange(40) % 2, 2)}  # no character may go, or a class goes with it
    out = held_out(only, 0)
    assert int(out.sum()) == 4
    assert set(only["skin"].values[~out].tolist()) == {0, 1}
    assert int(held_out({"act": label(torch.arange(40) % 2, 2, "dynamic")}, 0).sum()) == 4


# --- the literature's judge -------------------------------------------------------------------------------------------


def test_the_literatures_judge_has_the_published_size() -> None:
    judge = LiteratureJudge((3, 64, 64), {"action": 9, "skin": 6, "pants": 6, "top": 6, "hair": 6})
    assert sum(p.numel() for p in judge.parameters()) == 5_263_073
    for side in (16, 32, 48):
        small = LiteratureJudge((1, side, side), {"a": 2}).eval()
        assert small(torch.rand(2, 3, 1, side, side))["a"].shape == (2, 2)
    with pytest.raises(UsageError, match="images, not at vectors"):
        LiteratureJudge((5,), {"a": 2})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIDTH": 8, "BATCH": 16, "HIDDEN": 16, "FEATURES": 16, "LEARNING_RATE": 5e-3}.items():
        monkeypatch.setattr(literature_judge, name, value)


@pytest.mark.usefixtures("narrow")
def test_the_literatures_judge_learns_and_is_repeatable() -> None:
    before = torch.get_rng_state()
    judge = train_literature_judge(toy(), to_model_units, epochs=12)
    one, same = (train_literature_judge(toy(), to_model_units, epochs=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert not judge.training
    assert accuracies(judge, toy().part("test"), to_model_units) == {"keys": 1.0, "way.of": 1.0}
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert float(judge.shift.abs().sum()) == 0
    assert judge.bounds.tolist() == [0, 1]
    for data, epochs, says in (
        (replace(toy(), labels={}), 1, "no labels"),
        (toy(), 0, "at least 1"),
        (vectors(), 1, "vectors"),
    ):
        with pytest.raises(UsageError, match=says):
            train_literature_judge(data, to_model_units, epochs=epochs)


@pytest.mark.usefixtures("narrow")
def test_judges_of_both_kinds_are_cached_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_judge, "STEPS", 2)
    own = load_or_train_judge(toy(), to_model_units, tmp_path)
    made = load_or_train_judge(toy(), to_model_units, tmp_path, kind="literature", epochs=1)
    read = load_or_train_judge(toy(), to_model_units, tmp_path, kind="literature", epochs=1)
    load_or_train_judge(toy(), to_model_units, tmp_path, kind="literature", epochs=2)
    assert len(list(tmp_path.iterdir())) == 3
    assert not isinstance(own, LiteratureJudge)
    assert isinstance(read, LiteratureJudge)
    assert all(torch.equal(v, made.state_dict()[name]) for name, v in read.state_dict().items())


def test_log_probabilities_are_the_judges_answers(trained: Judge) -> None:
    data = toy().part("test")
    said = log_probabilities(trained, data, torch.arange(len(data)), to_model_units)
    for name, log_p in said.items():
        torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(data), dtype=torch.float64))
        assert float((log_p.argmax(1) == data.labels[name].values).double().mean()) == 1.0
    flipped = to_model_units(data.frames).flip(1)  # back in time
    ways = log_probabilities(trained, data, torch.arange(len(data)), to_model_units, flipped)["way.of"].argmax(1)
    assert torch.equal(ways, 1 - data.labels["way.of"].values)
    torch.testing.assert_close(judge_clips(trained, data, model())["keys"], said["keys"])


# --- without labels ---------------------------------------------------------------------------------------------------


class Level(Posterior):
    """f is the mean of what is observed of a clip of vectors, z is zero."""

    def static(self, clip: GuideInput) -> TorchDistribution:
        seen = clip.observed.unsqueeze(-1)
        mean = (clip.x * seen).sum((1, 2)) / (seen.sum((1, 2)) * clip.x.shape[-1])
        return Normal(mean.unsqueeze(-1), 0.1).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        return clip.steps.join(Normal(torch.zeros(*f.shape[:-1], clip.x.shape[1], 1), 0.1).to_event(1))


class Constant(FrameDecoder):
    """Frames (2,) equal to f."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return (f[..., None, :] + 0 * z).expand(*z.shape[:-1], 2)


def levels() -> DSVAE:
    return DSVAE(StandardNormal(1), IID(1), Constant((2,)), NormalLikelihood((2,), scale=1.0, scale_kind="fixed"))


def ragged() -> Sequences:
    """Twelve sequences of up to 5 frames of 2 values, with gaps and ends; what does not exist or is masked is huge."""
    x = torch.randn(12, 5, 2, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([3, 4, 5] * 4)
    mask = torch.rand(12, 5, generator=torch.Generator().manual_seed(1)) < 0.8
    mask[:, 0] = True
    gone = ~mask | (torch.arange(5) >= lengths[:, None])
    x[gone] = 1e9
    return Sequences(x, mask, lengths, torch.arange(12))


def test_terms_and_squared_error_count_what_was_observed() -> None:
    sequences, of, guide = ragged(), levels(), Level()
    latents = encode(Sampler(of, guide), sequences)
    found = measure_terms(of, guide, sequences, latents, 0, CPU)
    assert sequences.mask is not None
    assert sequences.lengths is not None
    errors, counts = 0.0, 0
    for i in range(12):
        for t in range(int(sequences.lengths[i])):
            if sequences.mask[i, t]:
                errors += float((sequences.frames[i, t] - latents.f[i]).square().sum())
                counts += 2
    assert found.squared_error == pytest.approx(errors / counts, rel=1e-5)
    assert found.elbo == pytest.approx(found.reconstruction - found.kl_static - found.kl_dynamic, rel=1e-4)
    assert found.unanchored_elbo is None
    assert found.comparable
    assert found.bits_per_dimension is None
    assert set(found.estimators) == {"f", "z"}
    assert found == measure_terms(of, guide, sequences, latents, 0, CPU)


def test_evidence_of_some_is_that_of_these() -> None:
    sequences, of, guide = ragged(), levels(), Level()
    every = measure_evidence(Sampler(of, guide), sequences, 99, 200, 0)
    expected = estimate_evidence(Sampler(of, guide), sequences, 200, seed=0)
    assert every.sequences == 12
    assert every.mean == pytest.approx(float(expected.log_evidence.mean()))
    assert every.standard_error == pytest.approx(np.std(expected.log_evidence.numpy(), ddof=1) / math.sqrt(12))
    assert every.elbo == pytest.approx(float(expected.elbo.mean()))
    some = measure_evidence(Sampler(of, guide), sequences, 4, 200, 0)
    assert some.sequences == 4
    assert some == measure_evidence(Sampler(of, guide), sequences, 4, 200, 0)
    assert some.mean != every.mean
    with pytest.raises(UsageError, match="at least 2"):
        measure_evidence(Sampler(of, guide), sequences, 1, 200, 0)


def test_the_elbo_is_that_of_the_objective() -> None:
    """With exact KL terms and the mean over many sequences, another seed gives nearly the same."""
    sequences, of, guide = ragged(), levels(), Level()
    latents = encode(Sampler(of, guide), sequences)
    found = measure_terms(of, guide, sequences, latents, 1, CPU)
    scale = torch.tensor(0.1)
    kl_f = (0.5 * (scale**2 + latents.f.square() - 1) - scale.log()).mean()
    assert found.kl_static == pytest.approx(float(kl_f), rel=1e-5)
    assert sequences.lengths is not None
    kl_z = 0.5 * (scale**2 - 1) - scale.log()
    assert found.kl_dynamic == pytest.approx(float(kl_z) * float(sequences.lengths.double().mean()), rel=1e-5)
    assert isinstance(Objective(of, guide).guide, Level)
