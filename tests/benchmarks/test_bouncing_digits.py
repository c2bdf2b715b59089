"""The places that the benchmark of bouncing digits reads off frames."""

import torch

from benchmarks.bouncing_digits import BEYOND, forecast_places, places
from pyro_dsvae.data.moving_digits import MovingDigits


def test_places_are_the_true_ones_and_clips_go_on_as_they_began() -> None:
    short = MovingDigits(clips=200).load()
    long = MovingDigits(clips=200, length=short.length + BEYOND).load()
    assert torch.equal(long.frames[:, : short.length], short.frames)
    errors = (places(long.frames.float()) - long.quantities["position"].values).norm(dim=-1)
    assert errors.max() < 0.05  # values are rounded to 1 in 255
    assert places(torch.zeros(2, 1, 8, 8)).isfinite().all()


class Drifting:
    """In place of a run: K = 2 draws, whose digits stand ``off`` pixels left and right of the last frame."""

    def __init__(self, off: int) -> None:
        self.off = off

    def forecast(self, x: torch.Tensor, horizon: int, draws: int) -> "Drifting":
        last = x[:, -1:].expand(-1, horizon, *x.shape[2:])
        self.means = torch.stack([(2 + side) * last.float().roll(side * self.off, dims=-1) for side in (-1, 1)])
        return self


def test_a_forecast_is_at_the_mean_place_of_its_draws() -> None:
    """Each draw counts once, however bright it is: draws that disagree give the middle between them."""
    past = MovingDigits(clips=100).load().part("test").frames
    found = forecast_places(Drifting(2), past)  # type: ignore[arg-type]
    here = places(past[:, -1:].float())
    assert found.shape == (len(past), BEYOND, 2)
    assert (found - here).norm(dim=-1).max() < 0.05
