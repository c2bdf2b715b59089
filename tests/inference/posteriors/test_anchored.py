"""Anchored inference: what each latent is inferred from, and what it can no longer tell."""

import copy
import functools
import pickle
from typing import Any

import pytest
import torch
from pyro import poutine
from pyro.distributions import Normal as NormalDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import CPU, Sampler
from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.inference.posteriors.anchored import FRAMES, Anchored, anchor_clip
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views import Recolour
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.metrics.features import encode
from pyro_dsvae.metrics.unlabelled import measure_terms
from pyro_dsvae.models.decoders import Regions
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

B, T, F, D = 3, 4, 3, 2
IMAGE = (3, 16, 16)
POSTERIORS = list(PARTS["posterior"])


# --- a world in which all is known --------------------------------------------------------------------------------------


class Leaky(Posterior):
    """Frames are (f, z_t), whole numbers. The guide reads them, and lets each latent tell a little of the other."""

    views = Recolour()

    def static(self, clip: GuideInput) -> TorchDistribution:
        f, z = clip.x[..., :F], clip.x[..., F:]
        return NormalDistribution(f[:, 0] + 0.1 * z.mean((1, 2)).unsqueeze(-1), 1.0).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        z = clip.x[..., F:] + 0.1 * clip.x[:, :1, :1] + 0.05 * f[..., None, :1]
        return NormalDistribution(z, 1.0).to_event(2)


class Whole(FrameDecoder):
    """The decoder shows whole numbers alone."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return torch.cat([f.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=-1).round()


def world(steps: int = T, anchor_steps: int = T) -> tuple[Anchored, Tensor, Tensor, Tensor]:
    """An anchored guide, the frames of its anchor, and f (2, F) and z (2, T, D) of other clips."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape, generator=generator).float()

    anchor = whole(anchor_steps, F + D)
    anchor[:, :F] = anchor[:1, :F]
    f, z = whole(2, F), whole(2, steps, D)
    f[:, 0], z[:, 0] = torch.tensor([-1.0, 1.0]), torch.tensor([[-1.0], [1.0]])  # these two differ
    return Anchored(Leaky(), Whole((F + D,)), Normal((F + D,)), anchor).eval(), anchor, f, z


def clip_of(f: Tensor, z: Tensor) -> GuideInput:
    return GuideInput.of(torch.cat([f.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=-1))


def test_f_is_inferred_from_the_clips_appearance_in_the_anchors_motion() -> None:
    guide, anchor, f, z = world()
    seen = guide.with_anchor_motion(clip_of(f, z))
    torch.testing.assert_close(seen.x[..., :F], f.unsqueeze(1).expand(-1, T, -1))
    torch.testing.assert_close(seen.x[..., F:], anchor[:, F:].expand(2, -1, -1))
    q, expected = guide.static(clip_of(f, z)), guide.guide.static(seen)
    torch.testing.assert_close(q.mean, expected.mean)


def test_z_is_inferred_from_the_clips_motion_in_the_anchors_appearance() -> None:
    guide, anchor, f, z = world()
    seen = guide.with_anchor_appearance(clip_of(f, z))
    torch.testing.assert_close(seen.x[..., F:], z)
    torch.testing.assert_close(seen.x[..., :F], anchor[:, :F].expand(2, -1, -1))
    drawn, asked = torch.randn(7, 2, F), []
    dynamic = guide.guide.dynamic
    guide.guide.dynamic = lambda clip, f: asked.append(f) or dynamic(clip, f)  # type: ignore[assignment]
    q = guide.dynamic(clip_of(f, z), drawn)
    assert q.batch_shape == drawn.shape[:-1]
    torch.testing.assert_close(asked[-1].round(), anchor[0, :F].expand_as(drawn))
    torch.testing.assert_close(q.mean, dynamic(seen, asked[-1]).mean)


def test_what_the_decoder_does_not_show_is_told_by_the_guide_and_not_by_the_anchored_one() -> None:
    """Two clips of one motion have one q(z), two of one appearance one q(f), though the guide as it is tells them apart."""
    anchored, _, f, z = world()
    moves_alike = clip_of(f, z[:1].expand(2, -1, -1)).x
    looks_alike = clip_of(f[:1].expand(2, -1), z).x
    for guide, tells in ((anchored.guide, True), (anchored, False)):
        z_told = posterior_means(guide, moves_alike)[1]
        f_told = posterior_means(guide, looks_alike)[0]
        assert torch.equal(z_told[0], z_told[1]) != tells
        assert torch.equal(f_told[0], f_told[1]) != tells


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_longer_clip_goes_through_the_motion_of_the_anchor_again(length: int) -> None:
    guide, anchor, f, z = world(length, anchor_steps=3)
    clip = clip_of(f, z)
    seen = guide.with_anchor_motion(clip)
    assert seen.x.shape == clip.x.shape
    torch.testing.assert_close(seen.x[0, :, F:], anchor[[t % 3 for t in range(length)], F:])
    assert guide.with_anchor_appearance(clip).x.shape == clip.x.shape


def test_a_frame_that_was_not_observed_is_not_seen() -> None:
    guide, _, f, z = world()
    x = clip_of(f, z).x
    mask = torch.ones(2, T, dtype=torch.bool)
    mask[0, 1:3] = False
    clip = GuideInput.of(x, mask.unsqueeze(-1).expand_as(x), lengths=torch.tensor([4, 3]))
    for seen in (guide.with_anchor_motion(clip), guide.with_anchor_appearance(clip)):
        assert torch.equal(seen.observed, clip.observed)
        assert seen.steps is clip.steps
        assert not seen.x[~clip.observed].any()


def test_the_anchor_is_the_first_of_the_clips_with_the_most_frames() -> None:
    likelihood = Normal(IMAGE)
    frames = torch.randint(1, 256, (4, FRAMES + 3, *IMAGE), dtype=torch.uint8)
    frames[0, 5:] = 0
    chosen = anchor_clip(likelihood, frames)
    assert chosen.shape == (FRAMES, *IMAGE)
    assert torch.equal(chosen, frames[1, :FRAMES] / 255)
    unobserved = frames.float() / 255
    unobserved[1, 0] = torch.nan
    assert torch.equal(anchor_clip(likelihood, unobserved), unobserved[2, :FRAMES])


# --- real parts ---------------------------------------------------------------------------------------------------------


SMALL = functools.partial(Regions, width=1)


def objective(posterior: str = "LSTM", views: bool | None = None, static_size: int = F, examples: int = 1) -> Objective:
    recipe = functools.partial(PARTS["posterior"][posterior], hidden_size=8, feature_size=8, views=views)
    frames = torch.randint(0, 256, (examples, T, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    made = build(
        frames, 0, static_size, D, StandardNormal, functools.partial(LSTM, hidden_size=8), recipe, Normal, SMALL
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return made.eval()


def anchored(made: Objective) -> Anchored:
    assert made.anchor is not None
    return Anchored(made.guide, made.model.decoder, made.model.likelihood, made.anchor).eval()


def clips(length: int = T) -> Tensor:
    return torch.rand(B, length, *IMAGE, generator=torch.Generator().manual_seed(3))


def means(guide: Posterior, x: Tensor, *args: Any, f: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of q(f), and of q(z) where f is what is given."""
    given = {"f": torch.zeros(B, F) if f is None else f}
    torch.manual_seed(0)
    with torch.no_grad(), LocalParameters():
        trace = poutine.trace(poutine.condition(guide, data=given)).get_trace(x, *args)
    return trace.nodes["f"]["fn"].mean, trace.nodes["z"]["fn"].mean


def test_an_anchor_is_kept_where_the_guide_has_views_and_there_is_something_to_separate() -> None:
    assert objective().anchor is not None
    assert objective(views=False).anchor is None
    assert objective(static_size=0).anchor is None


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_infers_from_decoded_clips_and_z_does_not_depend_on_f(posterior: str) -> None:
    made = objective(posterior)
    guide, x = anchored(made), clips(T + 2)
    f, z = means(guide, x)
    assert torch.equal(z, means(guide, x, f=torch.randn(B, F))[1])
    clip = GuideInput.of(x)
    with torch.no_grad():
        anchor_f = made.guide.static(GuideInput.of(guide.clip.unsqueeze(0))).mean.expand(B, -1)
    seen = guide.with_anchor_appearance(clip)
    assert not torch.allclose(seen.x, x)
    torch.testing.assert_close(z, means(made.guide, seen.x, f=anchor_f)[1])
    torch.testing.assert_close(f, means(made.guide, guide.with_anchor_motion(clip).x)[0])
    assert not torch.allclose(f, means(made.guide, x)[0], atol=1e-6)
    assert torch.isfinite(Objective(made.model, guide).eval()(Batch(x), KLWeights())["elbo"])
    assert guide.comparable == made.guide.comparable


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_what_is_not_observed_has_no_influence(posterior: str) -> None:
    guide, x = anchored(objective(posterior)), clips()
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    mask[1, 2:] = False
    noise = torch.where(mask, x, torch.rand_like(x))
    for ours, theirs in zip(means(guide, x, mask), means(guide, noise, mask), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.allclose(means(guide, x, mask)[1], means(guide, noise)[1], atol=1e-6)


def test_a_filter_stays_one() -> None:
    guide, x = anchored(objective("CausalLSTM")), clips()
    other = x.clone()
    other[:, 2:] = torch.rand(B, T - 2, *IMAGE)
    z, changed = means(guide, x)[1], means(guide, other)[1]
    assert torch.equal(z[:, :2], changed[:, :2])
    assert not torch.allclose(z[:, 2], changed[:, 2], atol=1e-6)


def test_the_guide_that_is_wrapped_stays_as_it_is() -> None:
    made, x = objective(), clips()
    names, before = list(made.state_dict()), means(made.guide, x)
    guide = anchored(made)
    assert not any(torch.equal(a, b) for a, b in zip(means(guide, x), before, strict=True))
    anchored(made)  # and may be wrapped again
    assert all(torch.equal(a, b) for a, b in zip(means(made.guide, x), before, strict=True))
    assert list(made.state_dict()) == names


def test_its_elbo_is_told_beside_that_of_the_guide_itself() -> None:
    made = objective()
    data, guide = Sequences(clips(), None, None, torch.arange(B)), anchored(made)
    terms = measure_terms(made.model, guide, data, encode(Sampler(made.model, guide), data), 0, CPU)
    assert terms.elbo == held_out_terms(Objective(made.model, guide), data, CPU, 0)["elbo"]
    assert terms.unanchored_elbo == held_out_terms(made, data, CPU, 0)["elbo"]
    assert terms.elbo != terms.unanchored_elbo
    itself = measure_terms(made.model, made.guide, data, encode(Sampler(made.model, made.guide), data), 0, CPU)
    assert (itself.elbo, itself.unanchored_elbo) == (terms.unanchored_elbo, None)


def test_the_anchor_is_saved_with_the_weights_and_copies_decode_with_their_own_decoder() -> None:
    made = objective(examples=2)
    state = made.state_dict()
    assert [name for name in state if "anchor" in name] == ["anchor"]
    opened = build(
        torch.zeros(1, T, *IMAGE, dtype=torch.uint8),
        9,
        F,
        D,
        StandardNormal,
        functools.partial(LSTM, hidden_size=8),
        functools.partial(PARTS["posterior"]["LSTM"], hidden_size=8, feature_size=8),
        Normal,
        SMALL,
    )
    opened.load_state_dict(state)
    guide = anchored(made)
    copies = [anchored(opened.eval()), copy.deepcopy(guide), pickle.loads(pickle.dumps(guide))]
    expected = means(guide, clips())
    with torch.no_grad():
        for p in made.model.decoder.parameters():
            p.zero_()
    for other in copies:
        for a, b in zip(expected, means(other, clips()), strict=True):
            torch.testing.assert_close(a, b)
    assert not torch.allclose(expected[1], means(guide, clips())[1], atol=1e-6)
