"""Recombined clips: what they show, who sees them, and when."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.inference.training.recombination import CLIP, StaticView, recombined
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import decoded_by
from tests.encoded import small_encoder

B, T, F, D = 5, 4, 3, 2
IMAGE = (3, 16, 16)
RECOMBINED = StaticView(recombined=True)


class Exact:
    """A guide and a model that know the truth: a frame is (f, z_t)."""

    standardisation = None

    def static(self, clip: GuideInput) -> Any:
        seen = clip.observed.unsqueeze(-1)
        return SimpleNamespace(sample=lambda: (clip.x[..., :F] * seen).sum(1) / seen.sum(1).clamp(min=1))

    def dynamic(self, clip: GuideInput, f: Tensor) -> Any:
        assert f.shape == (len(clip.x), F)
        return SimpleNamespace(sample=lambda: clip.x[..., F:])

    def frames(self, f: Tensor, z: Tensor) -> Any:
        return SimpleNamespace(mean=torch.cat([f.unsqueeze(1).expand(-1, T, -1), z], dim=-1))


def clips(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """f (B, F), z (B, T, D) and the frames that show them."""
    generator = torch.Generator().manual_seed(seed)
    f, z = torch.randn(B, F, generator=generator), torch.randn(B, T, D, generator=generator)
    return f, z, torch.cat([f.unsqueeze(1).expand(-1, T, -1), z], dim=-1)


def of(x: Tensor, **options: Any) -> GuideInput:
    exact: Any = Exact()
    return recombined(exact, exact, GuideInput.of(x, **options))


def test_the_first_half_looks_like_itself_and_moves_like_the_second() -> None:
    f, z, x = clips()
    clip = of(x)
    torch.testing.assert_close(clip.x[:2, :, :F], f[:2].unsqueeze(1).expand(-1, T, -1))
    assert torch.equal(clip.x[:2, :, F:], z[2:4])
    assert torch.equal(clip.x[2:], x[2:])
    assert clip.observed.all()


def test_a_frame_is_seen_where_both_clips_have_one() -> None:
    f, z, x = clips()
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, 0] = mask[2, 1] = False
    mask[1, :2] = mask[3, 2:] = False  # nothing in common
    clip = of(x, mask=mask.unsqueeze(-1).expand(x.shape))
    assert clip.observed.tolist() == [[False, False, True, True], *mask[1:].tolist()]
    torch.testing.assert_close(clip.x[0, 2:], torch.cat([f[:1].expand(2, -1), z[2, 2:]], dim=-1))
    assert not clip.x[0, :2].any()
    assert torch.equal(clip.x[1], x[1] * mask[1].unsqueeze(-1))


def test_a_shorter_partner_ends_earlier() -> None:
    _, z, x = clips()
    lengths = torch.tensor([4, 3, 2, 4, 4])
    clip = of(x, lengths=lengths)
    assert clip.observed.sum(1).tolist() == [2, 3, 2, 4, 4]
    assert torch.equal(clip.x[0, :2, F:], z[2, :2])
    assert clip.steps.lengths is lengths


def test_a_single_clip_has_no_partner() -> None:
    x = clips()[2][:1]
    assert torch.equal(of(x).x, x)


def objective(views: bool = True) -> Objective:
    torch.manual_seed(0)
    model = DSVAE(StandardNormal(F), LSTM(D, hidden_size=8), *decoded_by(Normal, F, D, IMAGE))
    guide = LSTMPosterior(IMAGE, F, D, small_encoder, hidden_size=8, feature_size=8, views=views)
    return Objective(model, guide)


def latents(of: Objective, frames: Tensor, view: StaticView = RECOMBINED) -> dict[str, Tensor]:
    """Where the guide puts f and z of every clip in one step of the objective."""
    seen: dict[str, Tensor] = {}
    for name in ("static", "dynamic"):
        method = getattr(type(of.guide), name)

        def spy(*args: Any, _name: str = name, _method: Any = method) -> Any:
            seen[_name] = (q := _method(of.guide, *args)).mean.detach()
            return q

        object.__setattr__(of.guide, name, spy)
    torch.manual_seed(1)
    of(Batch(frames), KLWeights(), view)
    return seen


@pytest.mark.parametrize("view", [RECOMBINED, CLIP])
def test_f_of_the_first_half_depends_on_its_partner_and_nothing_else_does(view: StaticView) -> None:
    step = objective()
    frames = torch.rand(6, T, *IMAGE)
    other = frames.clone()
    other[3] = torch.rand(T, *IMAGE)  # the partner of clip 0
    before, after = latents(step, frames, view), latents(step, other, view)
    moved = [not torch.equal(a, b) for a, b in zip(before["static"], after["static"], strict=True)]
    assert moved == [view.recombined, False, False, True, False, False]


@pytest.mark.parametrize(("views", "training"), [(False, True), (True, False)])
def test_only_a_guide_with_views_sees_them_and_only_in_training(views: bool, training: bool) -> None:
    step = objective(views).train(training)
    frames = torch.rand(6, T, *IMAGE)
    losses = []
    for view in (CLIP, RECOMBINED, StaticView(learns=False)):
        torch.manual_seed(1)
        losses.append(step(Batch(frames), KLWeights(), view)["loss"].item())
    assert len(set(losses)) == 1


@pytest.mark.parametrize("view", [CLIP, RECOMBINED], ids=["own", "recombined"])
def test_f_is_that_of_other_windows_and_z_and_the_likelihood_are_of_the_batch(view: StaticView) -> None:
    step = objective()
    own, windows = torch.rand(6, T, *IMAGE), torch.rand(6, T, *IMAGE)
    view = replace(view, other_windows=True)

    def seen(own: Tensor, windows: Tensor) -> dict[str, Tensor]:
        return latents(step, torch.cat([own, windows]), view)

    before = seen(own, windows)
    other = own.clone()
    other[5] = torch.rand(T, *IMAGE)
    after = seen(other, windows)
    moved = [not torch.equal(a, b) for a, b in zip(before["dynamic"], after["dynamic"], strict=True)]
    assert moved[3:] == [False, False, True]
    # Of recombined clips f is told from the motion of its partner, too.
    assert torch.equal(before["static"], after["static"]) == (not view.recombined)
    assert torch.equal(before["static"][3:], after["static"][3:])
    other = windows.clone()
    other[4] = torch.rand(T, *IMAGE)
    after = seen(own, other)
    moved = [not torch.equal(a, b) for a, b in zip(before["static"], after["static"], strict=True)]
    assert moved[4]
    assert not moved[5]
    with torch.no_grad():
        step.eval()
        torch.manual_seed(0)
        told = step(Batch(torch.cat([own, windows])), KLWeights(), view)
        torch.manual_seed(0)
        assert told["elbo"] == step(Batch(own), KLWeights())["elbo"]


def test_views_that_draw_nothing_show_other_windows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    step = objective()
    monkeypatch.setattr(type(step.guide.views), "random", False)
    own, windows = torch.rand(6, T, *IMAGE), torch.rand(2, 6, T, *IMAGE)
    found = [latents(step, torch.cat([own, each]), StaticView(other_windows=True))["static"] for each in windows]
    assert not torch.equal(*found)


def test_a_recombined_clip_has_the_looks_of_its_window() -> None:
    _, z, x = clips()
    others = clips(1)
    exact: Any = Exact()
    clip = recombined(exact, exact, GuideInput.of(x), GuideInput.of(others[2]))
    torch.testing.assert_close(clip.x[:2, :, :F], others[0][:2].unsqueeze(1).expand(-1, T, -1))
    assert torch.equal(clip.x[:2, :, F:], z[2:4])
    assert torch.equal(clip.x[2:], others[2][2:])


def test_no_gradient_goes_through_a_recombined_clip() -> None:
    step = objective()
    clip = recombined(step.model, step.guide, GuideInput.of(torch.rand(6, T, *IMAGE, requires_grad=True)))
    assert not clip.x[:3].requires_grad


def test_a_step_follows_the_bound_with_recombined_clips_held_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Along one direction of the decoder's weights, by central differences in float64 with the same noise throughout.

    Where the clips move with the weights the slope is another one, which the manual says.
    """
    step = objective().double()
    frames = torch.rand(6, T, *IMAGE, dtype=torch.float64)
    weights = [p for p in step.model.decoder.parameters() if p.ndim > 1]

    def loss() -> Tensor:
        torch.manual_seed(1)
        value: Tensor = step(Batch(frames), KLWeights(), RECOMBINED)["loss"]
        return value

    direction = [torch.randn_like(p) for p in weights]
    gradient = torch.autograd.grad(loss(), weights)
    slope = sum(float((d * g).sum()) for d, g in zip(direction, gradient, strict=True))

    def difference(size: float = 1e-5) -> float:
        ends = []
        for sign in (1, -2):
            with torch.no_grad():
                for p, d in zip(weights, direction, strict=True):
                    p.add_(sign * size * d)
                ends.append(float(loss()))
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.add_(size * d)
        return (ends[0] - ends[1]) / (2 * size)

    moving = difference()
    made: list[GuideInput] = []

    def held(*of: Any) -> GuideInput:
        made.append(recombined(*of))  # it draws, so it is made every time
        return made[0]

    monkeypatch.setattr("pyro_dsvae.inference.training.objective.recombined", held)
    loss()
    assert difference() == pytest.approx(slope, rel=1e-5)
    assert moving != pytest.approx(slope, rel=1e-3)
    assert "held fixed" in (recombined.__doc__ or "")


def test_without_a_static_part_nothing_depends_on_recombined_clips() -> None:
    step = build(torch.zeros(1, T, *IMAGE), 0, 0, D, StandardNormal, LSTM, LSTMPosterior, Normal)
    frames = torch.rand(6, T, *IMAGE)
    other = frames.clone()
    other[3] = torch.rand(T, *IMAGE)
    before, after = latents(step, frames)["dynamic"], latents(step, other)["dynamic"]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False, True, True]
