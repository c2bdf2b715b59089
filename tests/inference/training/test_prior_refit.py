"""The static prior fitted to a posterior that stays as it is."""

import math
from typing import Any

import pytest
import torch

from pyro_dsvae.inference import svi as svi_module
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training import prior_refit
from pyro_dsvae.inference.training.journal import REFIT, UNDONE
from pyro_dsvae.inference.training.prior_refit import DRAWS, can_refit, draw_static, refit
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.diagonal_normal import DiagonalNormal
from pyro_dsvae.models.static_priors.flow import Flow
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior
from tests.encoded import small_encoder
from tests.inference.training.test_svi import Diary, svi

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short_fits_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svi_module, "SHORTEST", 1)


def weights(loop: Any, part: str = "") -> dict[str, torch.Tensor]:
    return {n: v.clone() for n, v in loop.objective.state_dict().items() if n.startswith(part)}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_normal_ends_where_the_likelihood_of_the_draws_is_highest() -> None:
    """Mean and standard deviation of the draws, in closed form."""
    generator = torch.Generator().manual_seed(0)
    f = torch.tensor([1.5, -0.5]) + torch.tensor([0.3, 2.0]) * torch.randn(4_000, 2, generator=generator)
    prior = DiagonalNormal(2)
    torch.manual_seed(0)
    assert refit(prior, f, 800, 0.05, lambda _: True)
    p: Any = prior()
    torch.testing.assert_close(p.mean.detach(), f.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(p.stddev.detach(), f.std(0), rtol=0.03, atol=0)


@pytest.mark.parametrize(
    "prior", [DiagonalNormal(2), AutoregressiveMixture(2, units=8)], ids=["goes on", "begins anew"]
)
def test_where_it_is_told_to_stop_the_prior_is_what_it_was(prior: StaticPrior) -> None:
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    told = []

    def go_on(update: int) -> bool:
        told.append(update)
        return update < 3

    assert not refit(prior, torch.ones(10, 2), 20, 0.1, go_on)
    assert told == [1, 2, 3]
    assert equal(before, dict(prior.state_dict()))


def test_an_autoregressive_mixture_is_refitted_to_all_modes_of_a_lattice_evenly() -> None:
    """Two choices of six and noise in six dimensions, askew, unevenly wide; and a network that had learned something else."""
    torch.manual_seed(0)
    places, askew = torch.linspace(-1, 1, 6), torch.linalg.qr(torch.randn(8, 8))[0]

    def draw(count: int) -> torch.Tensor:
        choices = places[torch.randint(6, (count, 2))] * torch.tensor([2.0, 1.0])
        return torch.cat([choices + 0.05 * torch.randn(count, 2), 0.1 * torch.randn(count, 6)], 1) @ askew

    prior = AutoregressiveMixture(8, units=32)
    assert refit(prior, 5 - draw(2_000), 50, 0.03, lambda _: True)
    assert refit(prior, draw(5_000), 400, 0.009, lambda _: True)
    choices = (prior().sample((5_000,)) @ askew.mT)[:, :2] / torch.tensor([2.0, 1.0])
    distance, which = (choices.unsqueeze(-1) - places).abs().min(-1)
    assert (distance < 0.2).float().mean() > 0.99
    for column in which.T:
        shares = torch.bincount(column, minlength=6) / len(column)
        assert (shares - 1 / 6).abs().sum() / 2 < 0.05
    entropy = 2 * (math.log(6) + math.log(0.05)) + 6 * math.log(0.1) + 4 * math.log(2 * math.pi * math.e)
    with torch.no_grad():
        assert prior().log_prob(draw(2_000)).mean().item() == pytest.approx(-entropy, abs=0.3)


def test_draws_are_those_of_the_posterior_of_every_training_sequence() -> None:
    """Mean and variance of 4,000 draws from q(f | x) of each of 14 sequences, within 4.5 standard errors."""
    loop = svi(static_prior=DiagonalNormal)
    guide = loop.objective.guide
    with torch.no_grad():  # at the start q(f | x) hardly depends on x
        for p in loop.objective.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    found = [draw_static(loop.objective, loop.train, CPU).view(DRAWS, 14, 3) for _ in range(1_000)]
    f = torch.cat(found)
    clip = GuideInput.of(loop.train.frames[:14])
    q: Any = guide.eval().static(clip)
    mean, deviation = q.mean.detach(), q.stddev.detach()
    assert ((f.mean(0) - mean).abs() < 4.5 * deviation / len(f) ** 0.5).all()
    assert ((f.var(0) / deviation**2 - 1).abs() < 4.5 * math.sqrt(2 / len(f))).all()


def test_it_draws_without_views_and_leaves_the_mode_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = svi(static_prior=DiagonalNormal)
    guide, modes = loop.objective.train().guide, []
    static = guide.static
    monkeypatch.setattr(guide, "static", lambda clip: modes.append(guide.training) or static(clip))
    draw_static(loop.objective, loop.train, CPU)
    assert modes == [False]
    assert loop.objective.training


def test_of_many_sequences_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = svi(static_prior=DiagonalNormal)
    monkeypatch.setattr(prior_refit, "SEQUENCES", 5)
    seen, batch = [], Sequences.batch

    def told(self: Sequences, rows: torch.Tensor, likelihood: Likelihood, device: torch.device) -> Batch:
        seen.append(rows)
        return batch(self, rows, likelihood, device)

    monkeypatch.setattr(Sequences, "batch", told)
    assert draw_static(loop.objective, loop.train, CPU).shape == (5 * DRAWS, 3)
    assert len(seen[0].unique()) == 5
    assert seen[0].max() > 4


def test_a_fit_ends_with_it_and_nothing_but_the_prior_moves() -> None:
    """The held-out ELBO rises by just what the KL of f falls."""
    diary, loop = Diary(), svi(steps=40, static_prior=DiagonalNormal, prior_start=0.9, prior_refit_steps=30)
    assert loop.run(diary)
    stepped, refitted = diary.states[-2:]
    assert (
        (stepped["step"], stepped["prior_refitted"])
        == (refitted["step"], not refitted["prior_refitted"])
        == (40, False)
    )
    for name, _ in loop.objective.named_parameters():
        stays = torch.equal(refitted["objective"][name], stepped["objective"][name])
        assert stays != name.startswith("model.static_prior"), name
    before, after = [row for row in diary.rows if row["split"] in ("validation", REFIT)][-2:]
    assert after["split"] == REFIT
    assert after["reconstruction"] == before["reconstruction"]
    assert after["kl_dynamic"] == before["kl_dynamic"]
    assert after["kl_static"] < before["kl_static"] - 0.01
    assert diary.best[-1]["prior_refitted"]


def test_a_refit_that_held_out_sequences_do_not_like_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that moves the prior away is told with its figures, and leaves the weights as they were."""

    def spoil(prior: DiagonalNormal, *_: object) -> bool:
        with torch.no_grad():
            prior.loc += 100
        return True

    monkeypatch.setattr(svi_module, "refit", spoil)
    diary, loop = Diary(), svi(steps=40, static_prior=DiagonalNormal, prior_start=0.9, prior_refit_steps=30)
    assert loop.run(diary)
    stepped, refitted = diary.states[-2:]
    assert refitted["prior_refitted"]  # it isn't tried again when the fit is resumed
    assert equal(stepped["objective"], refitted["objective"])
    before, told = [row for row in diary.rows if row["split"] in ("validation", UNDONE)][-2:]
    assert told["split"] == UNDONE
    assert told["kl_static"] > before["kl_static"] + 1_000
    assert diary.best[-1]["step"] <= 40
    assert not diary.best[-1]["prior_refitted"]


def test_a_fit_that_is_too_short_for_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svi_module, "SHORTEST", 41)
    diary, loop = Diary(), svi(steps=40, static_prior=DiagonalNormal, prior_refit_steps=30)
    assert loop.run(diary)
    assert not diary.states[-1]["prior_refitted"]
    assert {row["split"] for row in diary.rows} == {"train", "validation"}


@pytest.mark.parametrize("last", [41, None], ids=["stopped", "killed"])
def test_a_fit_that_was_stopped_in_it_refits_anew_and_ends_with_the_same_bits(last: int | None) -> None:
    options: dict[str, Any] = {"steps": 40, "static_prior": DiagonalNormal, "prior_refit_steps": 100}
    whole = svi(**options)
    assert whole.run(Diary())
    diary, cut = Diary(last), svi(**options)
    if last is None:
        cut._refit_prior = lambda *_: False  # type: ignore[method-assign]
    assert not cut.run(diary)
    assert diary.states[-1]["step"] == 40
    again = svi(**options)
    again.restore(diary.states[-1])
    assert again.run(Diary())
    assert equal(weights(whole), weights(again))
    more = Diary()
    assert again.run(more)  # nothing is left to do
    assert not more.rows


def test_more_steps_are_followed_by_more_of_it() -> None:
    first, diary = svi(steps=20, static_prior=DiagonalNormal), Diary()
    assert first.run(diary)
    longer = svi(steps=30, static_prior=DiagonalNormal)
    longer.restore(diary.states[-1])
    assert longer.run(diary)
    assert [state["prior_refitted"] for state in diary.states if state["step"] in (20, 30)] == [
        False,
        True,
        False,
        True,
    ]


def test_only_what_is_learned_and_cheap_is_refitted_and_only_beside_a_density() -> None:
    assert can_refit(svi(static_prior=DiagonalNormal).objective)
    assert can_refit(svi(static_prior=Flow).objective)
    assert not can_refit(svi(static_prior=StandardNormal).objective)
    assert not can_refit(svi(static_prior=VampPrior).objective)
    point = svi(static_prior=Flow).objective
    point.guide = Delta((4,), 3, 2, small_encoder, hidden_size=8, feature_size=8)
    assert not can_refit(point)
    diary = Diary()
    assert svi(steps=10, static_prior=DiagonalNormal, prior_refit_steps=0).run(diary)
    assert not diary.states[-1]["prior_refitted"]
    with pytest.raises(UsageError, match="prior_refit_steps is -1"):
        svi(prior_refit_steps=-1)
