"""The reference clip: what a guide with views infers from in evaluation, and what it can no longer tell."""

import copy
import functools
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pyro import poutine
from pyro.distributions import Normal as NormalDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.estimation import CPU
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.forecasting.forecast import forecast
from pyro_dsvae.inference.forecasting.log_prob import forecast_log_prob
from pyro_dsvae.inference.forecasting.paired import paired_forecast
from pyro_dsvae.inference.forecasting.scores import forecast_errors
from pyro_dsvae.inference.latent_space.imputation import impute
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.reference import FRAMES, Reference
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.inference.sampling.annealed_importance_sampling import annealed_evidence
from pyro_dsvae.inference.sequences import Batch, Sequences
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.metrics.features import encode
from pyro_dsvae.metrics.unlabelled import measure_terms
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior

B, T, F, D = 3, 4, 3, 2
IMAGE = (3, 16, 16)
POSTERIORS = list(PARTS["posterior"])


# --- a world in which all is known --------------------------------------------------------------------------------------


class Leaky(Posterior):
    """Frames are (f, z_t), whole numbers. The guide reads them, and lets each latent tell a little of the other."""

    views = True

    def static(self, clip: GuideInput) -> TorchDistribution:
        f, z = clip.x[..., :F], clip.x[..., F:]
        return NormalDistribution(f[:, 0] + 0.1 * z.mean((1, 2)).unsqueeze(-1), 1.0).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        z = clip.x[..., F:] + 0.1 * clip.x[:, :1, :1] + 0.05 * f[..., None, :1]
        return NormalDistribution(z, 1.0).to_event(2)


def painted(f: Tensor, z: Tensor) -> Any:
    """The decoder shows whole numbers alone."""
    frames = torch.cat([f.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=-1)
    return SimpleNamespace(mean=frames.round())


def world(steps: int = T, reference_steps: int = T) -> tuple[Posterior, Tensor, Tensor, Tensor]:
    """A guide with a reference, the frames of that, and f (2, F) and z (2, T, D) of other clips."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape, generator=generator).float()

    likelihood: Any = painted
    reference = whole(reference_steps, F + D)
    reference[:, :F] = reference[:1, :F]
    guide = Leaky()
    guide.reference = Reference(likelihood, reference)
    guide.reference.ready = True
    f, z = whole(2, F), whole(2, steps, D)
    f[:, 0], z[:, 0] = torch.tensor([-1.0, 1.0]), torch.tensor([[-1.0], [1.0]])  # these two differ
    return guide, reference, f, z


def clip_of(f: Tensor, z: Tensor) -> GuideInput:
    return GuideInput.of(torch.cat([f.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=-1))


def test_f_is_inferred_from_the_clips_looks_in_the_references_motion() -> None:
    guide, reference, f, z = world()
    guide.eval()
    seen = guide.seen_for_static(clip_of(f, z))
    torch.testing.assert_close(seen.x[..., :F], f.unsqueeze(1).expand(-1, T, -1))
    torch.testing.assert_close(seen.x[..., F:], reference[:, F:].expand(2, -1, -1))


def test_z_is_inferred_from_the_clips_motion_in_the_references_looks() -> None:
    guide, reference, f, z = world()
    guide.eval()
    drawn = torch.randn(7, 2, F)
    seen, given = guide.seen_for_dynamic(clip_of(f, z), drawn)
    torch.testing.assert_close(seen.x[..., F:], z)
    torch.testing.assert_close(seen.x[..., :F], reference[:, :F].expand(2, -1, -1))
    assert given.shape == drawn.shape
    torch.testing.assert_close(given.round(), reference[0, :F].expand_as(drawn))


def test_what_the_decoder_does_not_show_is_told_in_training_and_not_in_evaluation() -> None:
    """Two clips of one motion have one q(z), two of one look one q(f), though the guide as it is tells them apart."""
    guide, _, f, z = world()
    moves_alike = clip_of(f, z[:1].expand(2, -1, -1)).x
    looks_alike = clip_of(f[:1].expand(2, -1), z).x
    for training in (True, False):
        guide.train(training)
        z_told = posterior_means(guide, moves_alike)[1]
        f_told = posterior_means(guide, looks_alike)[0]
        assert torch.equal(z_told[0], z_told[1]) != training
        assert torch.equal(f_told[0], f_told[1]) != training


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_longer_clip_sees_the_motion_of_the_reference_again(length: int) -> None:
    guide, reference, f, z = world(length, reference_steps=3)
    guide.eval()
    clip = clip_of(f, z)
    seen = guide.seen_for_static(clip)
    assert seen.x.shape == clip.x.shape
    torch.testing.assert_close(seen.x[0, :, F:], reference[[t % 3 for t in range(length)], F:])
    assert guide.seen_for_dynamic(clip, f)[0].x.shape == clip.x.shape


def test_a_frame_that_was_not_observed_is_not_seen() -> None:
    guide, _, f, z = world()
    guide.eval()
    x = clip_of(f, z).x
    mask = torch.ones(2, T, dtype=torch.bool)
    mask[0, 1:3] = False
    clip = GuideInput.of(x, mask.unsqueeze(-1).expand_as(x), lengths=torch.tensor([4, 3]))
    for seen in (guide.seen_for_static(clip), guide.seen_for_dynamic(clip, f)[0]):
        assert torch.equal(seen.observed, clip.observed)
        assert seen.steps is clip.steps
        assert not seen.x[~clip.observed].any()


def test_the_reference_is_the_first_of_the_clips_with_the_most_frames() -> None:
    likelihood = Normal(F, D, IMAGE, width=1)
    frames = torch.randint(1, 256, (4, FRAMES + 3, *IMAGE), dtype=torch.uint8)
    frames[0, 5:] = 0
    chosen = Reference.among(likelihood, frames)
    assert chosen.frames.shape == (FRAMES, *IMAGE)
    assert torch.equal(chosen.frames, frames[1, :FRAMES] / 255)
    unobserved = frames.float() / 255
    unobserved[1, 0] = torch.nan
    assert torch.equal(Reference.among(likelihood, unobserved).frames, unobserved[2, :FRAMES])


# --- real parts ---------------------------------------------------------------------------------------------------------


def objective(posterior: str = "LSTM", views: bool | None = None, static_size: int = F, examples: int = 1) -> Objective:
    recipe = functools.partial(PARTS["posterior"][posterior], hidden_size=8, feature_size=8, width=1, views=views)
    frames = torch.randint(0, 256, (examples, T, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    likelihood = functools.partial(Normal, width=1)
    made = build(frames, 0, static_size, D, StandardNormal, functools.partial(LSTM, hidden_size=8), recipe, likelihood)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    if made.guide.reference is not None:
        made.guide.reference.ready = True
    return made


def clips(length: int = T) -> Tensor:
    return torch.rand(B, length, *IMAGE, generator=torch.Generator().manual_seed(3))


def means(guide: Posterior, x: Tensor, *args: Any, f: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of q(f), and of q(z) where f is what is given."""
    given = {"f": torch.zeros(B, F) if f is None else f}
    torch.manual_seed(0)
    with torch.no_grad():
        trace = poutine.trace(poutine.condition(guide, data=given)).get_trace(x, *args)
    return trace.nodes["f"]["fn"].mean, trace.nodes["z"]["fn"].mean


def test_a_guide_has_a_reference_where_it_has_views_and_there_is_something_to_separate() -> None:
    assert objective().guide.reference is not None
    assert objective(views=False).guide.reference is None
    assert objective(static_size=0).guide.reference is None


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_infers_from_both_pictures_and_z_does_not_depend_on_f(posterior: str) -> None:
    made = objective(posterior).eval()
    guide, x = made.guide, clips(T + 2)
    f, z = means(guide, x)
    assert torch.equal(z, means(guide, x, f=torch.randn(B, F))[1])
    clip = GuideInput.of(x)
    seen, given = guide.seen_for_dynamic(clip, torch.zeros(B, F))
    assert not torch.allclose(seen.x, x)
    guide.reference = None
    torch.testing.assert_close(z, means(guide, seen.x, f=given)[1])
    assert not torch.allclose(f, means(guide, x)[0], atol=1e-6)
    assert torch.isfinite(made(Batch(x), KLWeights())["elbo"])


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_what_is_not_observed_has_no_influence(posterior: str) -> None:
    guide, x = objective(posterior).eval().guide, clips()
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    mask[1, 2:] = False
    noise = torch.where(mask, x, torch.rand_like(x))
    for ours, theirs in zip(means(guide, x, mask), means(guide, noise, mask), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.allclose(means(guide, x, mask)[1], means(guide, noise)[1], atol=1e-6)


def test_a_filter_stays_one() -> None:
    guide, x = objective("CausalLSTM").eval().guide, clips()
    other = x.clone()
    other[:, 2:] = torch.rand(B, T - 2, *IMAGE)
    z, changed = means(guide, x)[1], means(guide, other)[1]
    assert torch.equal(z[:, :2], changed[:, :2])
    assert not torch.allclose(z[:, 2], changed[:, 2], atol=1e-6)


def test_it_is_used_once_it_is_ready() -> None:
    made, x = objective(), clips()
    guide, reference = made.guide.eval(), made.guide.reference
    assert reference is not None
    guide.reference = None
    itself = means(guide, x)
    guide.reference, reference.ready = reference, False
    assert all(torch.equal(a, b) for a, b in zip(means(guide, x), itself, strict=True))
    reference.ready = True
    assert not any(torch.equal(a, b) for a, b in zip(means(guide, x), itself, strict=True))


def inferences() -> dict[str, Callable[[Objective, Sequences], object]]:
    """What asks for the posterior itself."""
    return {
        "evidence": lambda made, data: estimate_evidence(made.model, made.guide, data, draws=25),
        "annealed": lambda made, data: annealed_evidence(made.model, made.guide, data, 2, 2, 1, "guide"),
        "impute": lambda made, data: impute(made.model, made.guide, clips(), draws=2, method="amortised"),
        "forecast": lambda made, data: forecast(made.model, made.guide, clips(), 2, draws=2),
        "forecast log p": lambda made, data: forecast_log_prob(made.model, made.guide, data, 2, 25),
        "forecast errors": lambda made, data: forecast_errors(made.model, made.guide, data, 2, 2),
        "paired forecast": lambda made, data: paired_forecast(made.model, made.guide, data, 2, 25),
    }


@pytest.mark.parametrize("what", inferences())
def test_what_asks_for_the_posterior_infers_from_clips_themselves(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence must not depend on what else the guide is used for, and forecasts and repairs are to be as good as can be."""
    made, reference = objective(), Reference.looks
    data = Sequences(clips(), None, None, torch.arange(B))
    asked: list[str] = []
    monkeypatch.setattr(Reference, "looks", lambda *given: asked.append("f") or reference(*given))
    inferences()[what](made, data)
    assert not asked
    terms = measure_terms(made.model, made.guide, data, encode(made.model, made.guide, data, CPU), 0, CPU)
    assert asked
    assert terms.elbo_from_clips != terms.elbo
    with made.guide.without_reference():
        assert held_out_terms(made, data, CPU, 0)["elbo"] == terms.elbo_from_clips
    assert held_out_terms(made, data, CPU, 0)["elbo"] == terms.elbo


def test_in_training_there_is_none() -> None:
    made, x = objective(), clips()
    with_reference = means(made.guide, x)
    made.guide.reference = None
    assert all(torch.equal(a, b) for a, b in zip(with_reference, means(made.guide, x), strict=True))


def test_it_is_saved_with_the_weights_and_no_weight_is_saved_twice() -> None:
    made = objective(examples=2)
    state = made.state_dict()
    assert [name for name in state if "reference" in name] == ["guide.reference.frames", "guide.reference._extra_state"]
    opened = build(
        torch.zeros(1, T, *IMAGE, dtype=torch.uint8),
        9,
        F,
        D,
        StandardNormal,
        functools.partial(LSTM, hidden_size=8),
        functools.partial(PARTS["posterior"]["LSTM"], hidden_size=8, feature_size=8, width=1),
        functools.partial(Normal, width=1),
    )
    opened.load_state_dict(state)
    copies = [opened, copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    expected = means(made.eval().guide, clips())
    with torch.no_grad():  # a copy paints with its own decoder
        for p in made.model.likelihood.parameters():
            p.zero_()
    for other in copies:
        for a, b in zip(expected, means(other.eval().guide, clips()), strict=True):
            torch.testing.assert_close(a, b)
    assert not torch.allclose(expected[1], means(made.guide, clips())[1], atol=1e-6)


def test_a_prior_of_posteriors_is_the_same_model_with_a_reference_and_without() -> None:
    frames = torch.randint(0, 256, (2, T, *IMAGE), dtype=torch.uint8)
    posterior = functools.partial(PARTS["posterior"]["LSTM"], hidden_size=8, feature_size=8, width=1)
    prior = functools.partial(VampPrior, components=3)
    made = build(frames, 0, F, D, prior, LSTM, posterior, functools.partial(Normal, width=1)).eval()
    f = torch.randn(5, F)
    with torch.no_grad():
        before = made.model.static_prior().log_prob(f)
        assert made.guide.reference is not None
        made.guide.reference.ready = True
        assert torch.equal(made.model.static_prior().log_prob(f), before)
