"""Guides: their views in training and evaluation, and what they may not see."""

import itertools
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views.images import centred, ground_colours, recolour, turn_colours, warp
from pyro_dsvae.inference.posteriors.views.recolour import UnorderedStaticEncoder
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, choose_frames, mean_over
from pyro_dsvae.inference.posteriors.views.turn import MultiscaleStaticEncoder
from pyro_dsvae.models.encoders import Pyramid
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.errors import UsageError
from tests.encoded import small_encoder

B, T, F, D = 3, 5, 4, 2
IMAGE, VECTOR = (3, 16, 16), (6,)
POSTERIORS = [*PARTS["posterior"].values()]


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def posterior(kind: Any, frame_shape: tuple[int, ...] = IMAGE, views: Any = None) -> Posterior:
    guide = kind(frame_shape, F, D, small_encoder, hidden_size=5, feature_size=6, views=views)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return guide.double()


def clips(frame_shape: tuple[int, ...] = IMAGE, length: int = T) -> Tensor:
    return torch.rand(B, length, *frame_shape, dtype=torch.float64)


def locations(guide: Posterior, *args: Any, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Means of q(f) and of q(z | f) where f is zero, so that z's depend on f's not at all."""
    torch.manual_seed(seed)
    fixed = {"f": torch.zeros(B, F, dtype=torch.float64)}
    with torch.no_grad():
        trace = poutine.trace(poutine.condition(guide, data=fixed)).get_trace(*args)
    return trace.nodes["f"]["fn"].mean, trace.nodes["z"]["fn"].mean


# --- views ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", POSTERIORS)
def test_views_are_for_images_unless_said_otherwise(kind: Any) -> None:
    for frame_shape, views, encoder in [
        (IMAGE, None, MultiscaleStaticEncoder),
        (VECTOR, None, OrderedStaticEncoder),
        (IMAGE, False, OrderedStaticEncoder),  # as earlier versions said it
        (IMAGE, True, UnorderedStaticEncoder),
        (IMAGE, "none", OrderedStaticEncoder),
        (IMAGE, "recolour", UnorderedStaticEncoder),
        (IMAGE, "turn", MultiscaleStaticEncoder),
    ]:
        guide = posterior(kind, frame_shape, views)
        expected = encoder is not OrderedStaticEncoder
        assert isinstance(guide.static_encoder, encoder)
        assert guide.views.random == expected
        x = clips(frame_shape)
        same = torch.equal(locations(guide, x, seed=0)[1], locations(guide, x, seed=1)[1])
        assert same != expected


@pytest.mark.parametrize("kind", POSTERIORS)
def test_in_evaluation_f_does_not_depend_on_the_order_of_frames(kind: Any) -> None:
    x = clips()
    order = torch.randperm(T)
    with_views, without = posterior(kind, views="recolour").eval(), posterior(kind, views="turn").eval()
    torch.testing.assert_close(locations(with_views, x)[0], locations(with_views, x[:, order])[0])
    assert (locations(without, x)[0] - locations(without, x[:, order])[0]).abs().max() > 1e-6


@pytest.mark.parametrize("kind", POSTERIORS)
def test_in_training_f_depends_on_three_random_frames_without_their_order(kind: Any) -> None:
    """Every mean that q(f) takes is that of a set of three frames; likewise for a permuted clip."""
    guide = posterior(kind, views="recolour").eval()
    x = clips(length=4)
    subsets = itertools.combinations(range(4), 3)
    possible = torch.stack([locations(guide, x[:, list(subset)])[0][0] for subset in subsets])
    guide.train()
    for clip in (x, x[:, [2, 0, 3, 1]]):
        seen = set()
        for number in range(40):
            distances = (possible - locations(guide, clip, seed=number)[0][0]).abs().amax(1)
            assert distances.min() < 1e-9
            seen.add(int(distances.argmin()))
        assert len(seen) == 4


@pytest.mark.parametrize("kind", POSTERIORS)
def test_views_of_z_reach_z_in_training_only_and_f_never(kind: Any) -> None:
    guide = posterior(kind)
    x = clips(length=3)  # all three frames are chosen for f, whatever the seed
    (f, z), (other_f, other_z) = (locations(guide, x, seed=s) for s in (0, 1))
    torch.testing.assert_close(f, other_f)
    assert ((z - other_z).abs().amax((1, 2)) > 1e-6).all()
    guide.eval()
    (f, z), (other_f, other_z) = (locations(guide, x, seed=s) for s in (0, 1))
    assert torch.equal(f, other_f)
    assert torch.equal(z, other_z)


def test_a_figure_is_the_same_wherever_it_was() -> None:
    """Centre of mass in the middle, computed by hand; moved by whole pixels, the same image; nothing stays nothing."""
    torch.manual_seed(0)
    figure = torch.randn(3, 6, 7, dtype=torch.float64)
    x = torch.zeros(1, 3, 3, 20, 24, dtype=torch.float64)
    for t, (row, column) in enumerate([(2, 3), (9, 12)]):
        x[0, t, :, row : row + 6, column : column + 7] = figure
    seen = centred(x)
    torch.testing.assert_close(seen[0, 0], seen[0, 1])
    assert not seen[0, 2].any()
    # Between pixels an image is blurred a little, and so its squares move by less than a pixel.
    mass = seen[0, 0].square().sum(0)
    assert float((mass.sum(1) * torch.arange(20)).sum() / mass.sum()) == pytest.approx(9.5, abs=0.3)
    assert float((mass.sum(0) * torch.arange(24)).sum() / mass.sum()) == pytest.approx(11.5, abs=0.3)
    # By whole pixels nothing is blurred: a pair of pixels beside the middle goes to it.
    dot = torch.zeros(1, 1, 1, 8, 8, dtype=torch.float64)
    dot[..., 0:2, 5:7] = 2.0
    torch.testing.assert_close(centred(dot), torch.nn.functional.pad(dot[..., 0:2, 5:7], (3, 3, 3, 3)))


def test_recolour_maps_colours_alike_within_a_sequence_and_keeps_black() -> None:
    """The same colour in any frame and place becomes the same colour; another sequence has another map."""
    palette = torch.rand(5, 3, dtype=torch.float64)
    which = torch.randint(5, (T, 16, 16))
    x = palette[which].movedim(-1, 1).expand(B, T, 3, 16, 16)
    y = recolour(x)
    assert y.shape == x.shape
    maps = [torch.stack([y[b].movedim(1, -1)[which == k].mean(0) for k in range(5)]) for b in range(B)]
    for b in range(B):
        torch.testing.assert_close(y[b], maps[b][which].movedim(-1, 1))
        assert not torch.allclose(maps[b], maps[b - 1], atol=0.05)
    assert torch.equal(recolour(torch.zeros_like(x)), torch.zeros_like(x))


def test_recolour_does_not_tell_bright_from_dark() -> None:
    """No linear map of channels makes half of a colour brighter than the whole; this one does about as often as not."""
    x = torch.ones(4000, 1, 3, 1, 2, dtype=torch.float64)
    x[..., 1] /= 2
    bright, dark = recolour(x).norm(dim=2)[:, 0, 0].unbind(-1)
    assert 0.4 < (bright > dark).double().mean() < 0.7
    near = recolour(x * torch.tensor([1.0, 1.96], dtype=torch.float64)).diff(dim=-1).norm(dim=2).mean()
    assert near < 0.3 * bright.mean()  # and is smooth


@pytest.mark.parametrize("side", [16, 33])
def test_warp_moves_all_frames_of_a_sequence_alike(side: int) -> None:
    """One smooth displacement per sequence: the same for its frames and channels, another one for each sequence."""
    frame = torch.rand(1, 1, 1, side, side, dtype=torch.float64)
    x = frame.expand(B, T, 3, side, side)
    torch.testing.assert_close(warp(x, 0.0), x)
    y = warp(x, 1 / 16)
    assert y.shape == x.shape
    assert y.min() >= frame.min()  # bilinear: between the values of neighbours
    assert y.max() <= frame.max()
    torch.testing.assert_close(y, y[:, :1, :1].expand_as(y))
    for b in range(B):
        assert (y[b] - x[b]).abs().max() > 0.05
        assert not torch.allclose(y[b], y[b - 1])
    ramp = torch.arange(side, dtype=torch.float64) / side
    columns = warp(ramp.expand(200, 1, 1, side, side), 1 / 16)[:, 0, 0, side // 4 : -side // 4, side // 4 : -side // 4]
    displacement = columns - ramp[side // 4 : -side // 4]
    # Interpolated between control points of standard deviation 1/16 of the side, so somewhat less; and without a drift.
    assert 0.5 / 16 < displacement.std() < 1.1 / 16
    assert displacement.mean().abs() < 4.5 / 16 / 200**0.5


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_choose_frames(count: int) -> None:
    observed = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    for _ in range(30):
        frames, seen = choose_frames(observed, count)
        k = min(count, 5)
        assert frames.shape == seen.shape == (4, k)
        for b in range(4):
            assert len(set(frames[b].tolist())) == k  # never one frame twice
            available = int(observed[b].sum())
            assert int(seen[b].sum()) == min(k, available)  # observed ones as long as there are any
            assert seen[b].tolist() == sorted(seen[b].tolist(), reverse=True)
            assert torch.equal(seen[b], observed[b, frames[b]])


def test_choose_frames_is_uniform_over_observed_frames() -> None:
    observed = torch.tensor([[0, 1, 1, 1, 1]], dtype=torch.bool).expand(20_000, 5)
    frames, _ = choose_frames(observed, 2)
    for place in (0, 1):
        share = torch.bincount(frames[:, place], minlength=5) / 20_000
        assert share[0] == 0
        assert ((share[1:] - 0.25).abs() < 4.5 * (0.25 * 0.75 / 20_000) ** 0.5).all()


# --- the interface ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("kind", POSTERIORS)
def test_a_guide_returns_what_it_samples(kind: Any, frame_shape: tuple[int, ...], training: bool) -> None:
    guide = posterior(kind, frame_shape).train(training)
    trace = poutine.trace(guide).get_trace(clips(frame_shape))
    f, z = trace.nodes["_RETURN"]["value"]
    assert f is trace.nodes["f"]["value"]
    assert z is trace.nodes["z"]["value"]
    assert f.shape == (B, F)
    assert z.shape == (B, T, D)
    assert trace.nodes["f"]["fn"].batch_shape == trace.nodes["z"]["fn"].batch_shape == (B,)


def test_only_the_full_posterior_lets_z_depend_on_f_and_on_other_frames() -> None:
    x = clips(VECTOR)
    changed = x.clone()
    changed[:, 2] += 1
    for kind, depends in [(LSTM, True), (Factorised, False)]:
        guide = posterior(kind, VECTOR)
        z, other = locations(guide, x)[1], locations(guide, changed)[1]
        assert not torch.equal(z[:, 2], other[:, 2])
        elsewhere = [0, 1, 3, 4]
        assert torch.equal(z[:, elsewhere], other[:, elsewhere]) != depends
        means = []
        for value in (0.0, 1.0):
            given_f = poutine.condition(guide, data={"f": torch.full((B, F), value, dtype=torch.float64)})
            means.append(poutine.trace(given_f).get_trace(x).nodes["z"]["fn"].mean)
        assert torch.equal(means[0], means[1]) != depends


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("views", [False, True])
def test_a_sequence_does_not_see_the_others_of_its_batch(kind: Any, views: bool) -> None:
    guide = posterior(kind, views=views).eval()
    x, lengths = clips(), torch.tensor([5, 2, 4])
    f, z = locations(guide, x, None, lengths)
    changed = torch.cat([x[:1], torch.rand_like(x[1:])])
    other_f, other_z = locations(guide, changed, None, lengths)
    torch.testing.assert_close(f[0], other_f[0])
    torch.testing.assert_close(z[0], other_z[0])
    assert not torch.allclose(f[1], other_f[1])


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("views", [False, True])
def test_padding_does_not_matter(kind: Any, views: bool) -> None:
    """A clip of two frames padded to five has the posterior of the clip of two frames."""
    guide = posterior(kind, views=views).eval()
    x = clips()
    f, z = locations(guide, x, None, torch.tensor([2, 2, 2]))
    short_f, short_z = locations(guide, x[:, :2])
    torch.testing.assert_close(f, short_f)
    torch.testing.assert_close(z[:, :2], short_z)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_left_batches_of_f_equal_the_loop(kind: Any) -> None:
    """Particles of f (P, B, F) give z (P, B, T, D), each as if it were alone."""
    guide = posterior(kind, VECTOR)
    x, lengths = clips(VECTOR), torch.tensor([5, 2, 4])
    f = torch.randn(4, B, F, dtype=torch.float64)

    def q_z(value: Tensor) -> Tensor:
        return (
            poutine.trace(poutine.condition(guide, data={"f": value})).get_trace(x, None, lengths).nodes["z"]["fn"].mean
        )

    expected = torch.stack([q_z(value) for value in f])
    exists = torch.arange(T) < lengths[:, None]
    torch.testing.assert_close(q_z(f).expand(4, B, T, D)[:, exists], expected[:, exists])


# --- colours turned about the ground -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame_shape", "views", "said"), [(IMAGE, "fog", "one of none"), (VECTOR, "turn", "Turn are of images, and")]
)
def test_views_that_do_not_exist_or_do_not_fit_are_refused(frame_shape: Any, views: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        posterior(POSTERIORS[0], frame_shape, views)


def test_the_colour_of_the_ground_is_that_of_most_pixels() -> None:
    ground, figure = torch.rand(2, B, 3, dtype=torch.float64)
    x = ground.view(B, 1, 3, 1, 1).repeat(1, T, 1, 16, 16)
    x[..., 2:12, 3:13] = figure.view(B, 1, 3, 1, 1)
    x[:, -1] = 0.5  # each frame has a ground of its own
    expected = ground.unsqueeze(1).repeat(1, T, 1)
    expected[:, -1] = 0.5
    assert torch.equal(ground_colours(x), expected)


def test_a_figure_is_the_same_to_z_on_any_ground() -> None:
    x = torch.full((B, T, 3, 16, 16), 0.25, dtype=torch.float64)
    x[1] = torch.tensor([0.5, 0.375, 0.75]).view(3, 1, 1)
    x[..., 4:8, 4:8] += 0.125
    guide = posterior(PARTS["posterior"]["LSTM"], views="turn").eval()
    features = guide.dynamic_encoder(x, torch.ones(B, T, dtype=torch.bool))
    torch.testing.assert_close(features[0], features[1])
    f, _ = locations(guide, x)
    assert (f[0] - f[1]).abs().max() > 1e-3


def test_turned_colours_keep_zero_and_map_a_clip_alike() -> None:
    """One map of colours per clip: the same colour in any frame and place becomes the same colour; nothing stays nothing."""
    x = torch.zeros(B, T, 3, 16, 16, dtype=torch.float64)
    x[..., 4:8, 4:8] = torch.rand(B, 1, 3, 1, 1, dtype=torch.float64)
    y = turn_colours(x)
    assert not y[..., 0, 0].any()
    shown = y[..., 4:8, 4:8]
    torch.testing.assert_close(shown, shown[:, :1, :, :1, :1].expand_as(shown))
    assert ((shown - x[..., 4:8, 4:8]).abs().amax((1, 2, 3, 4)) > 1e-3).all()


def test_turned_colours_are_uniform_rotations_then_a_skew_and_a_size() -> None:
    """Over many draws: no direction of contrast is preferred, and one channel turns over half the time."""
    torch.manual_seed(0)
    for channels in (1, 3):
        x = torch.zeros(4000, 2, channels, 4, 4, dtype=torch.float64)
        x[..., 0, 0] = torch.tensor([0.2, 0.1, -0.05], dtype=torch.float64)[:channels]
        turned = turn_colours(x)[:, 0, :, 0, 0]
        # Skews are symmetric around none, so each channel is as often above the ground as below it.
        assert ((turned > 0).double().mean(0) - 0.5).abs().max() < 0.03
        sizes = turned.norm(dim=1) / x[0, 0, :, 0, 0].norm()
        assert 0.8 < sizes.median() < 1.25
        if channels == 3:
            directions = turned / turned.norm(dim=1, keepdim=True)
            assert (directions.T @ directions / 4000 - torch.eye(3) / 3).abs().max() < 0.03


# --- three readings of a clip ------------------------------------------------------------------------------------------


def test_parts_have_the_same_features_wherever_they_are() -> None:
    """A figure moved by a whole stride of the last map, away from the border, is the same to the encoder of parts."""
    encoder = Pyramid((3, 64, 64), 8, 2).double()
    with torch.no_grad():  # so that what is beyond the border is as black as the ground
        for convolution in encoder.convolutions:
            convolution.bias.zero_()
    x = torch.zeros(2, 3, 64, 64, dtype=torch.float64)
    figure = torch.rand(3, 5, 4, dtype=torch.float64)
    x[0, :, 24:29, 24:28] = figure
    x[1, :, 40:45, 24:28] = figure
    features = encoder(x)
    torch.testing.assert_close(features[0], features[1])
    x[1, :, 40:45, 24:28] = figure.flip(1)
    assert (features[0] - encoder(x)[1]).abs().max() > 1e-6


def test_f_of_three_readings_ignores_hidden_frames_and_knows_the_order() -> None:
    encoder = MultiscaleStaticEncoder((3, 16, 16), 4, 4, partial(frame_encoder, width=2), 4, 3).double().eval()
    x = torch.rand(2, 5, 3, 16, 16, dtype=torch.float64)
    observed = torch.ones(2, 5, dtype=torch.bool)
    observed[1, 2:] = False
    features = encoder(x, observed, None)
    changed = x.clone()
    changed[1, 2:] = 0.3
    torch.testing.assert_close(encoder(changed, observed, None), features)
    assert (encoder(x.flip(1), observed.flip(1), None)[0] - features[0]).abs().max() > 1e-8
    seen = mean_over(observed, encoder.patches(x))
    torch.testing.assert_close(seen[1], encoder.patches(x[1, :2]).mean(0))
