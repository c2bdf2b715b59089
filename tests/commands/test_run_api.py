"""What can be done with a loaded run: tensors in, tensors out."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.anchored import Anchored
from pyro_dsvae.inference.posteriors.flow import Flow
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian
from pyro_dsvae.inference.prediction import posterior_means
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.loading import Run
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import small_decoder

N, T, F, D = 16, 6, 5, 2
IMAGE, VECTOR = (3, 16, 16), (4,)


def tiny(folder: Path, shape: tuple[int, ...], **parts: object) -> Run:
    """A run after a few steps on random clips."""
    frames = np.random.RandomState(0).rand(N, T, *shape)
    np.savez(folder / "clips.npz", frames=(frames * 255).astype(np.uint8) if len(shape) == 3 else frames)
    small = {"hidden_size": 6, "feature_size": 6}
    chosen = {
        "static_size": F,
        "dynamic_prior": partial(LSTM, hidden_size=4),
        "posterior": partial(Posterior, **small),
    } | parts
    result = fit(
        data=Arrays(str(folder / "clips.npz"), validation=0.25, test=0.25),
        out=str(folder / "run"),  # a string, as people write paths
        steps=4,
        latent_size=D,
        decoder=small_decoder,
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
        **chosen,  # type: ignore[arg-type]
    )
    return pyro_dsvae.load(result.run)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny(tmp_path_factory.mktemp("images"), IMAGE)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Run:
    small = {"hidden_size": 6, "feature_size": 6}
    return tiny(
        tmp_path_factory.mktemp("vectors"),
        VECTOR,
        static_prior=StandardNormal,
        dynamic_prior=RandomWalk,
        posterior=partial(StructuredGaussian, **small),
    )


def clips(count: int, shape: tuple[int, ...] = IMAGE, length: int = T, seed: int = 0) -> Tensor:
    values = torch.rand(count, length, *shape, generator=torch.Generator().manual_seed(seed))
    return (values * 255).byte() if len(shape) == 3 else values


def gaps(x: Tensor, seed: int = 1) -> Tensor:
    """About half of the values, and one whole frame, missing."""
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[:, 1] = False
    return mask


# --- codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_the_moments_of_the_guide(images: Run) -> None:
    x = clips(3)
    codes = images.encode(x)
    f, z = posterior_means(images.guide, x.float() / 255)
    torch.testing.assert_close((codes.f, codes.z), (f, z))
    clip = GuideInput.of(x.float() / 255)
    with torch.no_grad():
        torch.testing.assert_close(codes.f_scale, images.guide.static(clip).base_dist.scale)
        torch.testing.assert_close(codes.z_scale, images.guide.dynamic(clip, f).stddev)
    assert codes.f_draws.shape == (0, 3, F)
    assert codes.z_draws.shape == (0, 3, T, D)
    assert len(codes) == 3


def test_anchored_codes_are_those_of_the_anchored_guide_and_only_where_asked_for(images: Run, vectors: Run) -> None:
    x = clips(3)
    assert images.anchor is not None
    guide = Anchored(images.guide, images.model.decoder, images.model.likelihood, images.anchor).eval()
    codes, itself = images.encode(x, draws=2, anchored=True), images.encode(x, draws=2)
    torch.testing.assert_close((codes.f, codes.z), posterior_means(guide, x.float() / 255))
    torch.testing.assert_close((itself.f, itself.z), posterior_means(images.guide, x.float() / 255))
    assert not torch.allclose(codes.z_draws, itself.z_draws)
    data = images.sequences()
    assert any(torch.equal(images.anchor, clip / 255) for clip in data.frames[data.rows("train")])
    with pytest.raises(UsageError, match="keeps no anchor clip"):
        vectors.encode(clips(3, VECTOR), anchored=True)


def test_scales_are_those_of_draws(vectors: Run) -> None:
    """A chain, whose scale its moments give: 4000 draws of z at the mean of f tell the same."""
    x = clips(2, VECTOR)
    codes = vectors.encode(x, draws=3000)
    torch.testing.assert_close(codes.f_draws.std(0), codes.f_scale, rtol=0.08, atol=0)
    torch.testing.assert_close(codes.f_draws.mean(0), codes.f, rtol=0, atol=0.1 * float(codes.f_scale.max()))
    torch.manual_seed(0)
    with torch.no_grad():
        path = vectors.guide.dynamic(vectors.guide.see(x), codes.f).sample(torch.Size([4000]))
    torch.testing.assert_close(path.std(0), codes.z_scale, rtol=0.06, atol=0)


def test_a_guide_without_moments_is_asked_for_draws(tmp_path: Path) -> None:
    small = {"hidden_size": 6, "feature_size": 6}
    run = tiny(tmp_path, VECTOR, posterior=partial(Flow, **small))
    x = clips(2, VECTOR)
    codes = run.encode(x)
    torch.manual_seed(1)
    with torch.no_grad():
        path = run.guide.dynamic(run.guide.see(x), codes.f).sample(torch.Size([4000]))
    torch.testing.assert_close(path.std(0), codes.z_scale, rtol=0.22, atol=0)
    assert torch.equal(run.encode(x).z_scale, codes.z_scale)


def test_draws_have_their_own_noise(images: Run) -> None:
    state = torch.get_rng_state()
    first, again, other = (images.encode(clips(2), draws=2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.z_draws, again.z_draws)
    assert not torch.equal(first.z_draws, other.z_draws)
    assert first.f_draws.shape == (2, 2, F)


def test_batches_of_any_size_give_the_same_codes(images: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    x, lengths = clips(5), torch.tensor([6, 3, 2, 6, 4])
    whole = images.encode(x, lengths=lengths)
    monkeypatch.setattr("pyro_dsvae.inference.estimation.NUMBERS", 1)  # one clip at a time
    single = images.encode(x, lengths=lengths)
    torch.testing.assert_close((single.f, single.z, single.z_scale), (whole.f, whole.z, whole.z_scale))
    assert torch.equal(single.lengths, lengths)  # type: ignore[arg-type]
    assert whole.z[2, 2:].abs().sum() == 0  # steps that do not exist


# --- what moves and what stays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [False, True])
def test_a_series_alone_has_the_codes_that_it_has_among_others(vectors: Run, ragged: bool) -> None:
    """With gaps, at times of its own, whatever length the others have: no information crosses series."""
    x, rng = clips(5, VECTOR), torch.Generator().manual_seed(3)
    seen, times = torch.rand(x.shape, generator=rng) < 0.7, torch.rand(5, T, generator=rng).cumsum(1)
    lengths = torch.tensor([4, 6, 2, 6, 5]) if ragged else None
    together = vectors.encode(x, seen, lengths, times)
    alone = vectors.encode(x[:1], seen[:1], None if lengths is None else lengths[:1], times[:1])
    others = vectors.encode(torch.cat([x[:1], -9 * x[1:]]), seen, lengths, times)
    for name in ("f", "z", "f_scale", "z_scale"):
        whole = getattr(together, name)[:1]
        torch.testing.assert_close(getattr(alone, name), whole, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(getattr(others, name)[:1], whole, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(getattr(others, name)[1:], getattr(together, name)[1:], atol=1e-3)


def test_a_swap_with_oneself_is_the_reconstruction(images: Run) -> None:
    x = clips(3)
    codes = images.encode(x)
    torch.testing.assert_close(images.swap(x, x), images.reconstruct(x))
    torch.testing.assert_close(images.reconstruct(x), images.decode(codes.f, codes.z))
    assert images.swap(x, x).shape == (3, T, *IMAGE)
    assert images.swap(x, x).is_floating_point()


def test_a_swap_takes_looks_of_the_first_and_motions_of_the_second(images: Run) -> None:
    a, b = clips(2), clips(2, length=4, seed=1)
    expected = images.decode(images.encode(a).f, images.encode(b).z)
    torch.testing.assert_close(images.swap(a, b), expected)
    assert expected.shape == (2, 4, *IMAGE)  # as long as the motion
    torch.testing.assert_close(images.swap(a[:1], b)[1], images.swap(a[:1], b[1:])[0])  # one look for all motions
    with pytest.raises(UsageError, match="pairs of clips"):
        images.swap(clips(2), clips(3))


def test_decoding_widens_and_splits(images: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of looks and motions, whatever the number that is decoded at once."""
    f, z = torch.randn(3, F), torch.randn(2, T, D)
    grid = images.decode(f[:, None], z[None])
    assert grid.shape == (3, 2, T, *IMAGE)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(grid[i, j], images.decode(f[i : i + 1], z[j : j + 1])[0])
    monkeypatch.setattr("pyro_dsvae.inference.estimation.NUMBERS", 1)
    torch.testing.assert_close(images.decode(f[:, None], z[None]), grid)


@pytest.mark.parametrize("length", [None, 3, T, 9])
def test_what_is_kept_is_kept(images: Run, length: int | None) -> None:
    codes = images.encode(clips(2))
    still = images.sample_latents(5, length, keep="static", codes=codes)
    assert torch.equal(still.f, codes.f[[0, 1, 0, 1, 0]])
    assert still.z.shape == (5, length or T, D)
    assert len({tuple(path.flatten().tolist()) for path in still.z}) == 5
    moving = images.sample_latents(5, length, keep="dynamic", codes=codes)
    known = min(length or T, T)
    assert torch.equal(moving.z[:, :known], codes.z[[0, 1, 0, 1, 0], :known])
    assert moving.z.shape == (5, length or T, D)
    assert len({tuple(row.tolist()) for row in moving.f}) == 5
    assert moving.z[:, known:].isfinite().all()


def test_a_kept_motion_goes_on_as_the_prior_says(vectors: Run) -> None:
    """A random walk: what follows is centred on the last known step, and its variance grows by that of one step."""
    codes = vectors.encode(clips(1, VECTOR))
    z = vectors.sample_latents(4000, T + 3, keep="dynamic", codes=codes).z
    with torch.no_grad():
        scale = vectors.model.dynamic_prior(codes.f, _steps(T + 3)).transitions.scale[-1]
    walked = z[:, T:] - codes.z[:, -1:]
    for step in range(3):
        spread = scale * (step + 1) ** 0.5
        assert (walked[:, step].mean(0).abs() < 4.5 * spread / 4000**0.5).all()
        assert ((walked[:, step].std(0) / spread - 1).abs() < 4.5 / (2 * 4000) ** 0.5).all()


def _steps(length: int) -> object:
    from pyro_dsvae.models.steps import Steps

    return Steps(length)


def test_motions_of_different_lengths_go_on_from_their_own_ends(vectors: Run) -> None:
    lengths = torch.tensor([3, 6])
    codes = vectors.encode(clips(2, VECTOR), lengths=lengths)
    z = vectors.sample_latents(2, 8, keep="dynamic", codes=codes).z
    for row, end in enumerate(lengths.tolist()):
        assert torch.equal(z[row, :end], codes.z[row, :end])
        assert (z[row, end:] != 0).all()


def test_samples_come_from_the_prior(vectors: Run) -> None:
    """Means and variances of f and of the first step against N(0, 1) and the prior's own."""
    f, z = vectors.sample_latents(4000, 2)
    assert (f.mean(0).abs() < 4.5 / 4000**0.5).all()
    assert ((f.std(0) - 1).abs() < 4.5 / 8000**0.5).all()
    with torch.no_grad():
        transitions = vectors.model.dynamic_prior(f[:1], _steps(2)).transitions
    first = transitions.scale[0]
    assert ((z[:, 0].std(0) / first - 1).abs() < 4.5 / 8000**0.5).all()


def test_sampled_frames_are_those_of_the_latents(images: Run) -> None:
    assert images.sample(3).shape == (3, T, *IMAGE)
    assert images.sample(3, length=11).shape == (3, 11, *IMAGE)
    torch.testing.assert_close(images.sample(3, seed=2), images.decode(*images.sample_latents(3, seed=2)))
    assert not torch.equal(images.sample(3, seed=2), images.sample(3, seed=3))
    x = clips(1)
    kept = images.sample(2, keep="static", x=x)
    torch.testing.assert_close(kept, images.decode(*images.sample_latents(2, keep="static", codes=images.encode(x))))
    for wrong in ({"keep": "static"}, {"n": 0}, {"length": 0}):
        with pytest.raises(UsageError):
            images.sample(**{"n": 2, **wrong})  # type: ignore[arg-type]


# --- gaps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [False, True])
def test_what_is_not_observed_never_counts(images: Run, ragged: bool) -> None:
    """Bit for bit, with 1e6 and NaN in the gaps."""
    x = clips(2).float() / 255
    mask, lengths = gaps(x), torch.tensor([4, 6]) if ragged else None
    results = []
    for fill in (0.0, 1e6, float("nan")):
        filled = torch.where(mask, x, torch.full_like(x, fill))
        codes = images.encode(filled, mask, lengths, draws=2)
        imputed = images.impute(filled, mask, lengths, draws=3, method="amortised")
        ahead = images.forecast(filled, 2, mask, lengths, draws=3)
        swapped = images.reconstruct(filled, mask, lengths)
        results.append(
            (codes.f, codes.z, codes.z_draws, imputed.mean, imputed.sd, imputed.draws, ahead.samples, swapped)
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_imputation_keeps_what_is_observed(images: Run) -> None:
    x = clips(2)
    mask = gaps(x)
    found = images.impute(x, mask, draws=3, method="amortised")
    assert found.draws.shape == (3, 2, T, *IMAGE)
    torch.testing.assert_close(found.mean[mask], x[mask].float() / 255)
    assert (found.sd[mask] == 0).all()
    assert (found.sd[~mask] > 0).all()
    nothing = images.impute(x, torch.zeros(2, T, dtype=torch.bool), draws=3, method="amortised")
    assert nothing.from_prior.all()


def test_forecasts_have_the_shapes_they_say(images: Run, vectors: Run) -> None:
    ahead = images.forecast(clips(2), 4, draws=5)
    assert ahead.mean.shape == (2, 4, *IMAGE)
    assert ahead.samples.shape == (5, 2, 4, *IMAGE)
    low, high = ahead.interval(0.9)
    assert (low <= high).all()
    x, times = clips(2, VECTOR), torch.arange(T).double().expand(2, -1)
    later = torch.tensor([[6.0, 7.0], [6.0, 60.0]]).double()
    walk = vectors.forecast(x, 2, times=1e9 + times, future_times=1e9 + later, draws=2000)
    assert walk.z[:, 1, 1].std() > 3 * walk.z[:, 1, 0].std()  # a longer wait


# --- bad input --------------------------------------------------------------------------------------------------------


def test_other_shapes_are_refused(images: Run, vectors: Run) -> None:
    x = clips(2)
    for call, says in (
        (lambda: images.encode(x[0]), r"\(B, T, 3, 16, 16\)"),
        (lambda: images.encode(clips(2, (3, 32, 32))), r"clips have shape \(2, 6, 3, 32, 32\)"),
        (lambda: images.encode(x[:0]), "clips have shape"),
        (lambda: vectors.encode(x), r"\(B, T, 4\)"),
        (lambda: images.encode(x, torch.ones(2, T)), "mask is"),
        (lambda: images.encode(x, torch.ones(2, T + 1, dtype=torch.bool)), "mask is"),
        (lambda: images.encode(x, lengths=torch.tensor([1, 7])), "lie in 1..6"),
        (lambda: images.encode(x, lengths=torch.tensor([3])), "lengths are"),
        (lambda: images.encode(x, times=torch.zeros(2, T)), "increase"),
        (lambda: images.encode(x.float() / 0), "not finite"),
        (lambda: images.encode(x, draws=-1), "draws is -1"),
        (lambda: images.forecast(x, 0), "horizon"),
    ):
        with pytest.raises(UsageError, match=says):
            call()


@pytest.mark.slow
def test_the_judge_still_sees_what_is_kept(tmp_path: Path) -> None:
    """On drawn sprites: looks stay under new motions, motions under new looks, and what is not kept is drawn anew."""
    result = fit(data=Sprites(), out=tmp_path / "run", steps=1_000, device="cpu")
    run = pyro_dsvae.load(result.run)
    data = run.sequences()
    judge = load_or_train_judge(data, run.model.likelihood.to_model_units)
    rows = data.rows("test")
    x = data.frames[rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:200]]]

    def seen(clips: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: logits.argmax(-1) for name, logits in judge(clips.clamp(0, 1).float()).items()}

    before = seen(run.reconstruct(x))
    for keep, kept, drawn in (("static", ("top", "hair"), ("action",)), ("dynamic", ("action",), ("top", "hair"))):
        after = seen(run.sample(200, keep=keep, x=x))  # type: ignore[arg-type]
        for name in kept:
            assert float((before[name] == after[name]).float().mean()) > 0.7, (keep, name)
        for name in drawn:
            assert float((before[name] == after[name]).float().mean()) < 0.4, (keep, name)


def test_a_run_without_a_static_part_does_what_needs_none(tmp_path: Path) -> None:
    """Half of the recipes have none: all but a swap works along z alone."""
    run = tiny(tmp_path, VECTOR, static_size=0)
    x = run.sequences().part("test").frames
    codes = run.encode(x)
    assert codes.f.shape == (len(x), 0)
    assert run.decode(codes.f, codes.z).shape == x.shape
    torch.testing.assert_close(run.decode(codes.f, codes.z), run.reconstruct(x))
    assert run.sample(3, keep="static", x=x[:1]).shape == (3, T, *VECTOR)
    assert run.interpolate(x[:1], x[1:2], count=4).shape == (4, T, *VECTOR)
    assert run.traverse(codes, codes, latent="dynamic", count=3).frames.shape == (D, 3, T, *VECTOR)
    with pytest.raises(UsageError, match="no static part"):
        run.swap(x, x.flip(0))
    with pytest.raises(UsageError, match="no static part"):
        run.traverse(codes, codes)


def test_a_device_that_is_not_there_is_no_damage(vectors: Run) -> None:
    with pytest.raises(UsageError, match="it is one of auto, cpu, cuda"):
        pyro_dsvae.load(vectors.path, device="gpu")


# --- print(run) -------------------------------------------------------------------------------------------------------


def test_a_run_prints_in_a_few_lines_what_it_is(images: Run) -> None:
    lines = str(images).splitlines()
    assert repr(images) == str(images)
    assert 10 <= len(lines) <= 20
    assert max(map(len, lines)) < 200
    said = {line[2:16].strip(): line[16:] for line in lines[1:] if line[2:16].strip()}
    assert lines[0] == f"Run {images.path}"
    assert said["data"].startswith("Arrays(path=")
    assert said["data"].endswith("clips of up to 6 frames of 16 x 16, 3 channels")
    assert said["dynamic prior"] == f"LSTM(hidden_size=4), z of {D} numbers a step"
    assert f"f of {F} numbers" in said["static prior"]
    elbo = json.loads((images.path / "summary.json").read_text())["validation"]["elbo"]
    assert f"{elbo:,.1f} nats per sequence" in said["ELBO"]
    assert str(images.path) in said["commands"]


def test_a_run_that_has_not_ended_prints_too(images: Run, tmp_path: Path) -> None:
    shutil.copytree(images.path, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{")
    lines = str(pyro_dsvae.load(tmp_path / "run")).splitlines()
    assert not any("ELBO" in line for line in lines)
    assert any("as of step" in line for line in lines)
    given = pyro_dsvae.load(images.path, data=np.zeros((N, T, *IMAGE), np.uint8))
    assert "  data          InMemory: clips of up to 6 frames" in str(given)
