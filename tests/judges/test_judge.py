"""The judge learns what it is shown; swap scores are right where the answer is known; the cache never gets in the way."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.inference.estimation import Progress
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.judges import cache, own
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.judge import Judge
from pyro_dsvae.judges.own import train_judge
from pyro_dsvae.judges.swap_scores import accuracies, means_of, partners, swap_scores
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

T, SIDE = 4, 16
COLOURS, WAYS = ("red", "green", "blue"), ("right", "left")


def to_model_units(frames: Tensor) -> Tensor:
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def toy(n: int = 240) -> SequenceData:
    """A bar of one of three colours that walks through a picture to the right or to the left; labels of both kinds."""
    draw = torch.Generator().manual_seed(3)
    colour, way = (torch.randint(k, (n,), generator=draw) for k in (3, 2))
    frames = torch.randint(0, 40, (n, T, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw)
    for i in range(n):
        for t in range(T):
            at = 4 * (t if way[i] == 0 else T - 1 - t)
            frames[i, t, colour[i], :, at : at + 4] = 230
    split = (torch.arange(n) % 4).clamp(max=2).to(torch.uint8)
    return SequenceData(
        frames, split, labels={"keys": Label(colour, COLOURS, "static"), "way.of": Label(way, WAYS, "dynamic")}
    )


def vectors() -> SequenceData:
    """The same as vectors far from zero, ragged and with gaps: level (static) and slope (dynamic)."""
    images = toy()
    level, slope = (label.values for label in images.labels.values())
    steps = torch.arange(T)
    clean = 500 + 300 * level[:, None] + 80 * (1 - 2 * slope[:, None]) * (steps - 1.5)
    frames = clean.unsqueeze(-1) + torch.rand(len(images), T, 2, generator=torch.Generator().manual_seed(0))
    lengths = 3 + torch.arange(len(images)) % 2
    frames[steps >= lengths[:, None]] = 1e6
    mask = torch.ones(len(images), T, 2, dtype=torch.bool)
    mask[::3, 1, 0] = False
    frames[::3, 1, 0] = -1e6
    return replace(images, frames=frames, lengths=lengths, mask=mask)


@pytest.fixture(scope="module")
def trained() -> Judge:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "STEPS", 50)
        return train_judge(toy(), to_model_units)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "STEPS", 3)


def test_judge_learns_images(trained: Judge) -> None:
    assert not trained.training
    assert accuracies(trained, toy().part("test"), to_model_units, batch_size=7) == {"keys": 1.0, "way.of": 1.0}
    logits = trained(torch.rand(5, T, 3, SIDE, SIDE))
    assert {name: tuple(v.shape) for name, v in logits.items()} == {"keys": (5, 3), "way.of": (5, 2)}


def test_judge_learns_ragged_vectors_with_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "STEPS", 120)
    data = vectors()
    judge = train_judge(data, to_model_units)
    scores = accuracies(judge, data.part("test"), to_model_units)
    assert min(scores.values()) > 0.95, scores


def test_steps_that_do_not_exist_do_not_count(trained: Judge) -> None:
    x = torch.rand(2, T, 3, SIDE, SIDE)
    longer = torch.cat([x, torch.rand(2, 3, 3, SIDE, SIDE)], dim=1)
    for name, logits in trained(longer, torch.tensor([T, T])).items():
        torch.testing.assert_close(logits, trained(x)[name])


def test_pixels_beyond_those_of_true_clips_are_clipped(trained: Judge) -> None:
    x = torch.randn(2, T, 3, SIDE, SIDE)
    for name, logits in trained(x).items():
        torch.testing.assert_close(logits, trained(x.clamp(0, 1))[name])


@pytest.mark.usefixtures("quick")
def test_training_leaves_the_random_state_and_is_repeatable() -> None:
    before = torch.get_rng_state()
    one, same, other = (train_judge(toy(), to_model_units, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.usefixtures("quick")
def test_progress_rises_to_the_whole_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shares: list[float] = []
    train_judge(toy(), to_model_units, progress=shares.append)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])
    assert capsys.readouterr() == ("", "")


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="no labels"):
        train_judge(replace(toy(), labels={}), to_model_units)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, trained: Judge) -> list[int]:
    """Seeds of the judges that were trained; what training returns is made beforehand."""
    seeds: list[int] = []

    def train(data: SequenceData, to_model_units: Any, seed: int, device: Any, *, progress: Progress | None) -> Judge:
        seeds.append(seed)
        return trained

    monkeypatch.setattr(cache, "train_judge", train)
    return seeds


def test_cache_hit_returns_the_same_judge(tmp_path: Path, calls: list[int], trained: Judge) -> None:
    data = toy()
    load_or_train_judge(data, to_model_units, tmp_path / "new")
    before = torch.get_rng_state()
    found = load_or_train_judge(data, to_model_units, tmp_path / "new")
    assert torch.equal(torch.get_rng_state(), before)
    assert calls == [0]
    assert found is not trained
    assert not found.training
    state = found.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())
    (path,) = (tmp_path / "new").iterdir()
    assert torch.load(path, weights_only=True)["classes"] == {"keys": 3, "way.of": 2}


def test_other_data_seeds_scales_and_schemas_have_other_judges(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy()
    load_or_train_judge(data, to_model_units, tmp_path)
    load_or_train_judge(data, to_model_units, tmp_path, seed=1)
    load_or_train_judge(data, lambda frames: frames.float(), tmp_path)
    load_or_train_judge(data.take(torch.arange(200)), to_model_units, tmp_path)
    monkeypatch.setattr(cache, "SCHEMA", 0)
    load_or_train_judge(data, to_model_units, tmp_path)
    assert calls == [0, 1, 0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b"", lambda b: b"no archive", lambda b: b[:-3000], lambda b: b[:100000] + b"~" + b[100001:]],
    ids=["empty", "text", "cut", "byte"],
)
def test_damaged_cache_is_replaced(
    tmp_path: Path, calls: list[int], spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    data = toy()
    load_or_train_judge(data, to_model_units, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    load_or_train_judge(data, to_model_units, tmp_path)
    assert "cannot be used" in caplog.text
    load_or_train_judge(data, to_model_units, tmp_path)
    assert calls == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_writable_folder_it_goes_on(
    tmp_path: Path, calls: list[int], trained: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert load_or_train_judge(toy(), to_model_units, tmp_path / "file" / "judges") is trained
    assert "not cached" in caplog.text


def test_default_folder_is_the_users_cache(tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_or_train_judge(toy(), to_model_units)
    assert len(list((tmp_path / "pyro_dsvae" / "judges").iterdir())) == 1


class Oracle(Posterior):
    """Reads colour (F = 3) and place per step (D = SIDE) off a toy clip."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor | None, Tensor | None]] = []
        self.dropout = nn.Dropout()

    def static(self, clip: GuideInput) -> TorchDistribution:
        assert not self.training
        self.seen.append((clip.observed, clip.steps.lengths))
        return Normal((clip.x > 0.5).float().amax((1, 3, 4)), 9.0).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        return Normal((clip.x > 0.5).float().amax((2, 3)), 9.0).to_event(2)


class Painter(FrameDecoder):
    """Paints the bar of `Oracle`'s latents; with a fixed colour or place where it is to ignore f or z."""

    def __init__(self, use_f: bool = True, use_z: bool = True, gain: float = 1.0) -> None:
        super().__init__((3, SIDE, SIDE))
        self.use_f, self.use_z, self.gain = use_f, use_z, gain

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        f = f if self.use_f else torch.eye(3)[:1].expand_as(f)
        z = z if self.use_z else torch.eye(T).repeat_interleave(4, dim=1).expand_as(z)
        picture = f[:, None, :, None, None] * z[:, :, None, None, :]
        return self.gain * picture.expand(*picture.shape[:3], SIDE, SIDE)


def model(**options: Any) -> DSVAE:
    return DSVAE(StandardNormal(3), IID(SIDE), Painter(**options), noise())


def noise() -> NormalLikelihood:
    return NormalLikelihood((3, SIDE, SIDE), scale=1.0, scale_kind="fixed")


@pytest.mark.parametrize("gain", [1.0, 50.0])
def test_a_model_that_swaps_perfectly(trained: Judge, gain: float) -> None:
    guide = Oracle()
    guide.dropout.eval()
    painter = model(gain=gain)
    before = torch.get_rng_state()
    scores = swap_scores(trained, painter, guide, toy().part("test"), to_model_units, batch_size=50)
    assert torch.equal(torch.get_rng_state(), before)
    assert scores.kept == {"way.of": 1.0}
    assert scores.taken_over == {"keys": 1.0}
    assert scores.reconstructed == {"keys": 1.0, "way.of": 1.0}
    assert scores.mean_kept == scores.mean_taken_over == 1.0
    assert guide.training
    assert not guide.dropout.training


def test_a_model_that_ignores_a_latent_scores_the_share_of_its_one_answer(trained: Judge) -> None:
    data = toy().part("test")
    colour, way = (label.values for label in data.labels.values())
    blind = swap_scores(trained, model(use_f=False), Oracle(), data, to_model_units)
    assert blind.taken_over["keys"] == pytest.approx(float((colour == 0).double().mean()))
    assert blind.kept["way.of"] == 1.0
    still = swap_scores(trained, model(use_z=False), Oracle(), data, to_model_units)
    assert still.kept["way.of"] == pytest.approx(float((way == 0).double().mean()))
    assert still.taken_over["keys"] == 1.0


class Leaky(Posterior):
    """Puts colour and place into z, f is empty: nothing is taken over."""

    def static(self, clip: GuideInput) -> TorchDistribution:
        return Normal(torch.zeros(len(clip.x), 3), 1.0).to_event(1)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        return Normal(clip.x.flatten(2), 1.0).to_event(2)


class Copier(FrameDecoder):
    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return z.unflatten(-1, (3, SIDE, SIDE))


def test_all_in_z_scores_chance_on_f(trained: Judge) -> None:
    data = toy().part("test")
    copier = DSVAE(StandardNormal(3), IID(3 * SIDE * SIDE), Copier((3, SIDE, SIDE)), noise())
    scores = swap_scores(trained, copier, Leaky(), data, to_model_units)
    other = partners(len(data), 0)
    agree = {name: float((v.values == v.values[other]).double().mean()) for name, v in data.labels.items()}
    assert scores.chance == pytest.approx(agree)
    assert scores.taken_over["keys"] == pytest.approx(agree["keys"])
    assert 0.1 < agree["keys"] < 0.6
    assert scores.reconstructed["keys"] == scores.kept["way.of"] == 1.0


def test_mask_and_lengths_reach_the_guide(trained: Judge) -> None:
    data = toy().part("test")
    n = len(data)
    data = replace(data, lengths=torch.full((n,), T), mask=(torch.arange(T) != 1).expand(n, T))
    guide = Oracle()
    swap_scores(trained, model(), guide, data, to_model_units, batch_size=n - 1)
    shapes = [(tuple(m.shape), tuple(k.shape)) for m, k in guide.seen if m is not None and k is not None]
    assert shapes == [((n - 1, T), (n - 1,)), ((1, T), (1,))]
    assert all(m is not None and m.any(0).tolist() == [True, False, True, True] for m, _ in guide.seen)


def test_means_without_labels_of_a_kind_are_nan(trained: Judge) -> None:
    data = toy().part("test")
    only = replace(data, labels={"keys": data.labels["keys"]})
    scores = swap_scores(trained, model(), Oracle(), only, to_model_units)
    assert math.isnan(scores.mean_kept)
    assert scores.mean_taken_over == 1.0


@pytest.mark.parametrize("count", [2, 3, 50])
def test_partners_are_a_derangement_fixed_by_the_seed(count: int) -> None:
    partner = partners(count, 4)
    assert partner.sort().values.tolist() == list(range(count))
    assert (partner != torch.arange(count)).all()
    assert torch.equal(partner, partners(count, 4))


def test_one_sequence_has_no_partner() -> None:
    with pytest.raises(UsageError, match="at least two"):
        partners(1, 0)


class Clock(nn.Module):
    """A guide whose f is the last time, and whose z are all, as one that reads when frames were."""

    def forward(self, x: Tensor, mask: Tensor | None, lengths: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        f = pyro.sample("f", Normal(times[:, -1:], 1.0).to_event(1))
        return f, pyro.sample("z", Normal(times.unsqueeze(-1), 1.0).to_event(2))


def test_codes_that_are_judged_are_inferred_with_the_times_of_the_frames() -> None:
    times = torch.tensor([[100.0, 101, 105], [7.0, 9, 10]], dtype=torch.float64)
    data = SequenceData(torch.zeros(2, 3, 1), torch.zeros(2, dtype=torch.uint8), times=times)
    f, z = means_of(Clock(), data, to_model_units, torch.device("cpu"))
    assert f.tolist() == [[5], [3]]
    assert z[..., 0].tolist() == [[0, 1, 5], [0, 2, 3]]
