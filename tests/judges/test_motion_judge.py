"""The judge of motion on clips whose motion is a rotation: priors that rotate, rotate the wrong way, or have no memory."""

import math

import pyro
import pytest
import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.judges import motion as motion_judge
from pyro_dsvae.judges.judge import Judge
from pyro_dsvae.judges.motion import JudgedMotion, _disordered, judge_motion
from pyro_dsvae.models.distributions.path import PathDistribution
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.likelihoods.normal import Normal as FixedNormal
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.steps import Steps

N, T, D = 100, 6, 2
ANGLE, NOISE = 0.9, 0.1


class Rotation(DynamicPrior):
    """z_1 ~ N(0, I), z_t = R(angle) z_{t-1} + noise."""

    def __init__(self, latent_size: int, angle: float = ANGLE) -> None:
        super().__init__(latent_size)
        self.angle = angle

    def forward(self, f: Tensor, steps: Steps) -> "Rotating":
        return Rotating(f.shape[:-1], steps, self.angle)


class Rotating(PathDistribution):
    def __init__(self, batch_shape: torch.Size, steps: Steps, angle: float) -> None:
        super().__init__(batch_shape, steps, D)
        cos, sin = math.cos(angle), math.sin(angle)
        self.matrix = torch.tensor([[cos, -sin], [sin, cos]])

    def conditionals(self, z: Tensor) -> TorchDistribution:
        loc = torch.cat([torch.zeros_like(z[..., :1, :]), z[..., :-1, :] @ self.matrix.T], dim=-2)
        scale = torch.full_like(loc, NOISE)
        scale[..., 0, :] = 1.0
        return Normal(loc, scale).to_event(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        z = torch.zeros(self.shape(sample_shape))
        for t in range(self.steps.length):
            z = torch.cat([z[..., :t, :], self.conditionals(z).rsample()[..., t:, :]], dim=-2)
        return z

    def continue_from(self, z_past: Tensor, horizon: int) -> PathDistribution:
        raise NotImplementedError


class LatentsAsFrames(FrameDecoder):
    """A frame is f, then z_t."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return torch.cat([f.unsqueeze(-2).expand(*z.shape[:-1], -1), z], dim=-1)


def model(prior: DynamicPrior) -> DSVAE:
    return DSVAE(
        StandardNormal(D), prior, LatentsAsFrames((2 * D,)), FixedNormal((2 * D,), scale=0.05, scale_kind="fixed")
    )


def guide(x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None) -> None:
    """Reads both latents off the frames."""
    steps = Steps(x.shape[1], lengths)
    with pyro.plate("sequences", len(x), dim=-1):
        pyro.sample("f", Normal(x[:, 0, :D], 0.05).to_event(1))
        pyro.sample("z", steps.join(Normal(x[..., D:], 0.05).to_event(1)))


def clips(prior: DynamicPrior, lengths: Tensor | None = None, labels: bool = False) -> SequenceData:
    """Data simulated from the model with this prior."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        f = torch.randn(N, D)
        z = prior(f, Steps(T)).sample()
        x = LatentsAsFrames((2 * D,))(f, z)
    split = torch.tensor([0, 0, 1, 2], dtype=torch.uint8).repeat(N // 4)
    kinds = {"side": Label((z[:, 0, 0] > 0).long(), ("left", "right"), "dynamic")} if labels else {}
    return SequenceData(x, split, lengths=lengths, labels=kinds)


def judged(prior: DynamicPrior, data: SequenceData, seed: int = 0) -> JudgedMotion:
    return judge_motion(model(prior), guide, data, "test", seed=seed)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are learned in fewer steps than pictures."""
    monkeypatch.setattr(motion_judge, "TRAINING_STEPS", 100)


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return clips(Rotation(D))


def test_the_true_prior_moves_as_the_data_do(data: SequenceData) -> None:
    found = judged(Rotation(D), data)
    assert found.verdict == "right", found
    assert found.reconstructed > 0.9
    assert found.wrong < 0.2
    assert found.clips == N // 4


@pytest.mark.parametrize("prior", [IID(D), Rotation(D, -ANGLE)], ids=["without memory", "the wrong way round"])
def test_a_prior_that_moves_wrongly_is_told(data: SequenceData, prior: DynamicPrior) -> None:
    """Each single frame of both is as likely as a true one: only the order tells."""
    found = judged(prior, data)
    assert found.verdict == "wrong", found
    assert found.generated < 0.15
    assert found.reconstructed > 0.9


def test_where_order_does_not_matter_the_judge_cannot_tell() -> None:
    found = judged(IID(D), clips(IID(D)))
    assert found.verdict == "cannot tell", found


def test_same_seed_same_judgement_and_generators_are_left_alone(data: SequenceData) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    progress: list[float] = []
    first = judge_motion(model(Rotation(D)), guide, data, "test", seed=1, progress=progress.append)
    assert torch.equal(torch.rand(3), expected)
    assert first == judged(Rotation(D), data, seed=1)
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(1)


def test_what_is_beyond_the_length_of_a_clip_has_no_influence() -> None:
    lengths = torch.tensor([T, 4, 6, 5]).repeat(N // 4)
    data = clips(Rotation(D), lengths)
    spoilt = data.frames.clone()
    spoilt[torch.arange(T) >= lengths[:, None]] = 7.0
    other = SequenceData(spoilt, data.split, lengths=lengths)
    found = judged(Rotation(D), data)
    assert found == judged(Rotation(D), other)
    assert found.reconstructed > 0.8, found


@pytest.mark.parametrize("ragged", [False, True])
def test_wrong_motion_keeps_the_frames(ragged: bool) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([5, 3, 4] * 10) if ragged else None
    clip, step = torch.meshgrid(torch.arange(30), torch.arange(5), indexing="ij")
    z = torch.stack([clip, step], dim=-1).float()
    ends = [5] * 30 if lengths is None else lengths.tolist()
    shuffled, mixed = _disordered(z, lengths, "order"), _disordered(z, lengths, "clips")
    moved = 0
    for i, end in enumerate(ends):
        assert sorted(map(tuple, shuffled[i, :end].tolist())) == [(i, t) for t in range(end)]
        moved += shuffled[i, :end, 1].tolist() != list(range(end))
        assert mixed[i, :, 1].tolist() == [0, 1, 2, 3, 4]
        # Every step comes from a clip that has it.
        assert all(t < ends[int(mixed[i, t, 0])] for t in range(end))
    assert moved > 20
    assert (mixed[..., 0] != clip).float().mean() > 0.8


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.95, 1.0, 0.0), "right"),
        ((0.5, 1.0, 0.0), "partly right"),
        ((0.1, 0.9, 0.1), "wrong"),
        ((0.0, 0.9, 0.1), "wrong"),
        ((1.0, 0.9, 0.1), "right"),
    ],
)
def test_the_verdict_is_relative_to_both_controls(shares: tuple[float, float, float], verdict: str) -> None:
    found = JudgedMotion(*shares, 10)
    assert found.verdict == verdict


def test_the_judge_of_labels_is_asked_where_there_is_one() -> None:
    """One that is sure of clips that begin on the right, and of no other."""
    data = clips(Rotation(D), labels=True)

    class Sure(Judge):
        def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
            right = 9.0 * (x[:, 0, D] > 0).float()
            return {"side": torch.stack([torch.zeros_like(right), right], dim=-1)}

    found = judge_motion(model(Rotation(D)), guide, data, "test", Sure(data.frame_shape, {"side": 2}))
    generated, true = found.confident["side"]
    assert true == pytest.approx(float((data.part("test").frames[:, 0, D] > 0).double().mean()))
    # The prior begins there in half of 25 clips.
    assert generated == pytest.approx(0.5, abs=0.35)
