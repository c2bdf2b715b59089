"""Guides that read which values are missing and how long ago the last frame was."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM, CausalLSTM, Delta, Factorised, Flow, Posterior, StructuredGaussian
from pyro_dsvae.inference.posteriors.views import Rescale
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors import RandomWalk
from pyro_dsvae.models.encoders import TCN, Convolutional, Dense, MaskedDense
from pyro_dsvae.models.encoders.gaps import windows, with_gaps
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.static_priors import VampPrior

B, T, P, F, D = 3, 6, 4, 3, 2
KINDS = [LSTM, CausalLSTM, Delta, Factorised, Flow, StructuredGaussian]
ENCODERS = [MaskedDense, TCN]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def guide_of(kind: Any, encoder: Any = MaskedDense, **options: Any) -> Posterior:
    made: Posterior = kind((P,), F, D, encoder=encoder, hidden_size=5, feature_size=6, **options)
    return made.double().eval()


def means(guide: Posterior, *seen: Any) -> tuple[Tensor, Tensor]:
    """Location of f, and of z at it."""
    clip = guide.see(*seen)
    with pyro.poutine.block():
        f = guide.static(clip)
        at = f.mean if not isinstance(guide, Flow) else torch.zeros(B, F).double()
        pyro.set_rng_seed(0)
        return f.rsample(), guide.dynamic(clip, at).rsample()


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = torch.randn(B, T, P).double()
    mask = torch.rand(B, T, P) < 0.6
    mask[0, 2] = False  # a frame without any value
    return x, mask, torch.tensor([6, 4, 6]), torch.rand(B, T).double().cumsum(1)


def test_what_stands_beside_the_values_by_hand() -> None:
    x = torch.arange(8.0).view(1, 4, 2)
    seen = torch.tensor([[[True, False], [False, False], [True, True], [False, True]]])
    times = torch.tensor([[10.0, 11.0, 14.0, 14.5]])
    found = with_gaps(x, seen, times)[0].numpy()
    np.testing.assert_array_equal(found[:, :2], x[0].numpy())
    np.testing.assert_array_equal(found[:, 2:4], 1 - seen[0].numpy())
    np.testing.assert_allclose(found[:, 4], np.log1p([0, 1, 4, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(with_gaps(x, None, None)[0, :, 4].numpy(), np.log1p([0, 1, 1, 1]), rtol=1e-6)


every_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=lambda kind: kind.__name__)


@every_kind
def test_a_missing_value_is_no_mean_and_a_long_gap_no_short_one(kind: Any) -> None:
    """`Dense` cannot tell them."""
    x, mask, lengths, times = batch()
    zeros = torch.where(mask, x, 0.0)
    for encoder, tells in ((MaskedDense, True), (TCN, True), (Dense, False)):
        guide = guide_of(kind, encoder)
        whole = torch.ones_like(mask)
        whole[0, 2] = False
        cases = ((zeros, whole, lengths, times), (zeros, mask, lengths, 3 * times))
        for other in cases:
            pairs = zip(means(guide, zeros, mask, lengths, times), means(guide, *other), strict=True)
            assert all(torch.equal(a, b) != tells for a, b in pairs), encoder


@every_kind
@every_encoder
@pytest.mark.parametrize("junk", [1e6, math.nan])
def test_what_is_not_observed_has_no_influence(kind: Any, encoder: Any, junk: float) -> None:
    """Nor do frames and times after the end."""
    x, mask, lengths, times = batch()
    guide = guide_of(kind, encoder)
    exists = torch.arange(T) < lengths[:, None]
    other = torch.where(mask & exists.unsqueeze(-1), x, torch.tensor(junk).double())
    later = torch.where(exists, times, times + 50)
    there = exists.unsqueeze(-1)
    for (f, z), (f_other, z_other) in [
        (means(guide, x, mask, lengths, times), means(guide, other, mask, lengths, later))
    ]:
        assert torch.equal(f, f_other)
        assert torch.equal(z * there, z_other * there)


@every_encoder
def test_a_filter_does_not_look_ahead(encoder: Any) -> None:
    x, mask, _, times = batch()
    guide, t = guide_of(CausalLSTM, encoder), 3
    f = torch.zeros(B, F).double()
    with torch.no_grad():
        whole = guide.dynamic(guide.see(x, mask, None, times), f).mean
        start = guide.dynamic(guide.see(x[:, :t], mask[:, :t], None, times[:, :t]), f).mean
    torch.testing.assert_close(whole[:, :t], start)


def test_views_change_values_alone_and_decoded_frames_miss_what_was_not_observed() -> None:
    x, mask, lengths, times = batch()
    guide = guide_of(LSTM, views=Rescale(2.0, 0.5))
    clip = guide.see(x, mask, lengths, times)
    assert clip.x.shape == (B, T, 2 * P + 1)
    shown: list[Tensor] = []
    guide.dynamic_encoder.frames.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))  # type: ignore[union-attr]
    guide.train().dynamic(clip, torch.zeros(B, F).double())
    assert torch.equal(shown[0][..., P:], clip.x[..., P:])
    assert not torch.allclose(shown[0][..., :P], clip.x[..., :P])
    missing = shown[0][..., P : 2 * P] == 1
    assert missing.any()
    assert not shown[0][..., :P][missing].any()  # zeros that were changed would tell by how much
    again = clip.showing(torch.ones(B, T, P))
    assert torch.equal(again.x[..., :P], torch.ones(B, T, P).double() * clip.observed.unsqueeze(-1))
    assert torch.equal(again.x[..., P : 2 * P], (~clip.observed).double().unsqueeze(-1).expand(B, T, P))
    assert torch.equal(again.x[..., 2 * P :], clip.x[..., 2 * P :])


@every_encoder
def test_a_fit_with_views_and_pseudo_inputs(encoder: Any, tmp_path: Path) -> None:
    """All that shows the guide other frames: recombination, an anchor, pseudo-inputs, filled gaps."""
    rng = np.random.default_rng(0)
    frames, seen = rng.normal(size=(20, T, P)).astype(np.float32), rng.random((20, T, P)) < 0.7
    seen[:, 0], times = True, rng.random((20, T)).cumsum(1)
    np.savez(tmp_path / "series.npz", frames=frames, mask=seen, times=times, split=np.arange(20) % 5 // 2 % 3)
    result = fit(
        data=Arrays(str(tmp_path / "series.npz")),
        out=tmp_path / "run",
        steps=6,
        static_size=F,
        latent_size=D,
        device="cpu",
        static_prior=partial(VampPrior, components=3),
        dynamic_prior=RandomWalk,
        posterior=partial(LSTM, hidden_size=4, feature_size=4, views="rescale"),
        encoder=partial(encoder, units=8),
        optimisation=Optimisation(batch_size=4, evaluations=1),
    )
    run = pyro_dsvae.load(result.run)
    part = run.sequences().part("test")
    for anchored in (False, True):
        assert torch.isfinite(run.encode(part.frames, part.mask, None, part.times, anchored=anchored).z).all()
    assert part.mask is not None
    imputed = run.impute(part.frames[:1], part.mask[:1], times=part.times[:1], draws=3, method="amortised")  # type: ignore[index]
    assert torch.isfinite(imputed.mean).all()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_windows_in_chunks_are_dilated_causal_convolutions_over_the_whole(
    layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of PyTorch, over a series before whose start nothing was seen."""
    encoder = TCN((P,), 5, units=7, layers=layers).double()
    x, mask, _, times = batch()
    beside = with_gaps(torch.where(mask, x, 0.0), mask, times)
    nothing = torch.tensor([0.0] * P + [1.0] * P + [0.0]).double().expand(B, 3**layers - 1, -1)
    maps = torch.cat([nothing, beside], 1).transpose(1, 2)
    for level, convolution in enumerate(encoder.convolutions):
        maps = torch.nn.functional.silu(
            torch.nn.functional.conv1d(maps, convolution.weight, convolution.bias, dilation=3**level)  # type: ignore[arg-type]
        )
    whole = torch.nn.functional.silu(encoder.features(maps.transpose(1, 2)))
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 4 * chunks.MIN_VALUES)
    torch.testing.assert_close(encoder(windows(beside, encoder.window)), whole)


@every_encoder
def test_images_are_refused(encoder: Any) -> None:
    with pytest.raises(UsageError, match=f"{encoder.__name__} takes vectors"):
        encoder((1, 16, 16), 3)
    assert not Convolutional.reads_gaps
