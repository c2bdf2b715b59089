"""Quantities are measured in their units: the network learns them, and errors in swaps are right where they are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_dsvae.data.dataset import Quantity, SequenceData
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.judges import cache, quantity_errors, regression
from pyro_dsvae.judges.cache import load_or_train_regression_judge
from pyro_dsvae.judges.judge import ClipReader
from pyro_dsvae.judges.regression import RegressionJudge, train_regression_judge
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.models.errors import UsageError

T, SIDE = 6, 16
FAR = 1e6  # stands beyond the ends of sequences


def to_model_units(frames: Tensor) -> Tensor:
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def dots(n: int = 400) -> SequenceData:
    """A soft dot of its own brightness that goes straight on; position and velocity in pixels."""
    draw = torch.Generator().manual_seed(1)
    start, stop = (3 + 10 * torch.rand(n, 2, generator=draw) for _ in range(2))
    position = start[:, None] + (stop - start)[:, None] * torch.linspace(0, 1, T)[:, None]
    velocity = ((stop - start) / (T - 1))[:, None].expand(n, T, 2)
    pixels = torch.arange(SIDE) + 0.5
    across = (pixels - position[..., :1]).square()
    down = (pixels - position[..., 1:]).square()
    brightness = 120 + 135 * torch.rand(n, generator=draw)
    frames = brightness[:, None, None, None] * (-(down[..., None] + across[..., None, :]) / 4).exp()
    split = (torch.arange(n) % 4).clamp(min=1).sub(1).to(torch.uint8)
    quantities = {
        "position": Quantity(position, ("x", "y"), "pixels"),
        "velocity": Quantity(velocity.contiguous(), ("x", "y"), "pixels per frame"),
    }
    return SequenceData(frames[:, :, None].to(torch.uint8), split, quantities=quantities)


def vectors(n: int = 30) -> SequenceData:
    """Frames (who, x, y), ragged, far away beyond the ends."""
    draw = torch.Generator().manual_seed(2)
    who = torch.randn(n, 1, 1, generator=draw).expand(n, T, 1)
    place = 5 * torch.randn(n, T, 2, generator=draw).cumsum(1)
    lengths = 3 + torch.arange(n) % 4
    place[torch.arange(T) >= lengths[:, None]] = FAR
    return SequenceData(
        torch.cat([who, place], -1),
        torch.zeros(n, dtype=torch.uint8),
        lengths=lengths,
        quantities={"place": Quantity(place, ("x", "y"), "m")},
    )


class Exact(ClipReader):
    """Says what stands in the frame."""

    standardises = False

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        return {"place": x[..., 1:]}


def errors_of(
    monkeypatch: pytest.MonkeyPatch, data: SequenceData, latents: Latents, in_f: bool = False
) -> quantity_errors.QuantityErrors:
    """With a decoder that draws (f, z), or, where place is in f, the second and third number of f in every frame."""

    def decode(_: nn.Module, f: Tensor, z: Tensor) -> Tensor:
        still = f[:, None].expand(-1, T, -1)
        return still if in_f else torch.cat([still[..., :1], z], -1)

    monkeypatch.setattr(quantity_errors, "decode", decode)
    judge = Exact((3,))
    found = quantity_errors.quantity_errors(
        judge,  # type: ignore[arg-type]
        nn.Identity(),  # type: ignore[arg-type]
        latents,
        data,
        to_model_units,
        batch_size=7,
    )
    return found["place"]


def between(data: SequenceData, other: Tensor) -> float:
    """Mean distance between true places of each sequence and its partner's, frame by frame."""
    place = data.quantities["place"].values
    assert data.lengths is not None
    apart = [
        float((place[i, t] - place[int(j), t]).norm())
        for i, j in enumerate(other)
        for t in range(min(int(data.lengths[i]), int(data.lengths[int(j)])))
    ]
    return float(np.mean(apart))


def test_errors_of_a_model_that_is_off_by_a_known_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    data = vectors()
    latents = Latents(data.frames[:, 0, :1], data.quantities["place"].values + torch.tensor([3.0, -4.0]))
    found = errors_of(monkeypatch, data, latents)
    assert found.unit == "m"
    assert found.true == pytest.approx(0, abs=1e-6)
    for value in (found.reconstructed, found.f_replaced, found.z_replaced):
        assert value == pytest.approx(5, rel=1e-5)
    assert found.chance == pytest.approx(between(data, partners(len(data), 0)), rel=1e-5)


def test_place_in_f_is_as_far_as_the_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    data = vectors()
    still = data.quantities["place"].values[:, :1].expand(-1, T, -1)
    quantities = {"place": Quantity(still.contiguous(), ("x", "y"), "m")}
    frames = torch.cat([data.frames[..., :1], still], -1)
    data = SequenceData(frames, data.split, quantities=quantities, lengths=torch.full((len(data),), T))
    found = errors_of(monkeypatch, data, Latents(frames[:, 0], torch.zeros(len(data), T, 1)), in_f=True)
    assert found.reconstructed == pytest.approx(0, abs=1e-6)
    assert found.chance > 3
    assert found.f_replaced == pytest.approx(found.chance, rel=1e-5)
    assert found.z_replaced == pytest.approx(found.chance, rel=1e-5)


def distances(judge: RegressionJudge, data: SequenceData) -> dict[str, float]:
    found = judge(to_model_units(data.frames), data.lengths)
    return {n: float((found[n] - q.values).norm(dim=-1).mean()) for n, q in data.quantities.items()}


def test_it_learns_to_measure_in_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "STEPS", 250)
    data = dots()
    before = torch.get_rng_state()
    judge = train_regression_judge(data, to_model_units)
    assert torch.equal(torch.get_rng_state(), before)
    assert not judge.training
    found = distances(judge, data.part("test"))
    assert found["position"] < 0.5  # of 10 pixels
    assert found["velocity"] < 0.3


def test_frames_beyond_the_end_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that stands there, in frames or quantities, changes what is learned."""
    monkeypatch.setattr(regression, "STEPS", 5)
    data, learned = vectors(), []
    assert data.lengths is not None
    for beyond in (FAR, -7.0):
        ended = torch.arange(T) >= data.lengths[:, None]
        frames, place = data.frames.clone(), data.quantities["place"].values.clone()
        frames[ended], place[ended] = beyond, beyond
        other = SequenceData(frames, data.split, data.lengths, quantities={"place": Quantity(place, ("x", "y"), "m")})
        judge = train_regression_judge(other, to_model_units)
        learned.append(torch.cat([p.flatten() for p in judge.parameters()] + [judge.mean, judge.deviation]))
    assert torch.equal(*learned)
    assert learned[0].abs().max() < 1000


def test_the_second_time_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "STEPS", 3)
    data = dots(40)
    first = load_or_train_regression_judge(data, to_model_units, tmp_path)
    monkeypatch.setattr(cache, "train_regression_judge", None)  # cannot be called
    again = load_or_train_regression_judge(data, to_model_units, tmp_path)
    assert distances(again, data) == distances(first, data)


def test_data_without_quantities_are_refused() -> None:
    data = SequenceData(torch.rand(4, 3, 2), torch.zeros(4, dtype=torch.uint8))
    with pytest.raises(UsageError, match="the data have no quantities"):
        train_regression_judge(data, to_model_units)
