"""Gaps filled in for guides that never saw any."""

from typing import Any

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler, evaluation
from pyro_dsvae.inference.latent_space.imputation import impute
from pyro_dsvae.inference.sampling.gap_filling import GapFilled, fill_where_better, nearest_frame
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.likelihoods.normal import Normal as NormalFrames
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

B, T, P, D = 3, 5, 2, 2


class Naive:
    """q(z_t) = N(x_t, .1^2), q(f) narrow: takes a zero in a gap for an observation. Keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Tensor, Tensor | None]] = []

    def __call__(self, x: Tensor, mask: Tensor | None = None, lengths: Any = None, times: Any = None) -> None:
        self.shown.append((x, mask))
        with pyro.plate("sequences", len(x), dim=-1):
            pyro.sample("f", Normal(torch.zeros(len(x), 1), 0.1).to_event(1))
            pyro.sample("z", Normal(x, 0.1).to_event(2))


class Copy(FrameDecoder):
    """A decoder that shows z."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return z + 0 * f.unsqueeze(-2)[..., :1]


def copying_model() -> DSVAE:
    """x_t = z_t + small noise."""
    return DSVAE(StandardNormal(1), IID(D), Copy((P,)), NormalFrames((P,), scale=0.05, scale_kind="fixed"))


def brute_force(x: Tensor, observed: Tensor) -> Tensor:
    filled = x.clone()
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for p in range(x.shape[2]):
                if observed[b, t, p]:
                    continue
                seen = [s for s in range(x.shape[1]) if observed[b, s, p]]
                if seen:
                    filled[b, t, p] = x[b, min(seen, key=lambda s: (abs(s - t), s)), p]
                else:
                    filled[b, t, p] = x[b][observed[b]].mean() if observed[b].any() else 0.0
    return filled


def test_gaps_get_the_value_of_the_nearest_frame_that_has_it() -> None:
    generator = torch.Generator().manual_seed(0)
    for share in (0.2, 0.6, 0.95):
        x = torch.randn(20, T, P, generator=generator)
        observed = torch.rand(x.shape, generator=generator) >= share
        x = torch.where(observed, x, torch.zeros_like(x))
        torch.testing.assert_close(nearest_frame(x, observed), brute_force(x, observed))


def test_only_clips_for_which_it_helps_are_filled() -> None:
    """Clip 0 has gaps where the truth is far from zero, clip 1 has none, and clip 2 gaps where zero is the truth."""
    x = torch.full((B, T, P), 2.0)
    x[2, 1:] = 0.0
    mask = torch.ones(B, T, P, dtype=torch.bool)
    mask[0, 2] = mask[2, 2] = False
    model, guide = copying_model(), Naive()
    clips = Batch(torch.where(mask, x, torch.zeros_like(x)), mask, None, None)
    with evaluation(model, guide, 0, torch.device("cpu")):
        seen = fill_where_better(model, guide, clips)
    assert isinstance(seen, GapFilled)
    # What is not observed has no likelihood: the prior alone speaks, and prefers z near zero. So nothing is filled here ...
    assert seen.some.flatten().tolist() == [False, False, False]


def test_a_guide_that_is_thrown_by_gaps_is_shown_a_filled_clip() -> None:
    class Thrown(Naive):
        """One gap spoils what it says of every frame, as zeros spoil what a network sees."""

        def __call__(self, x: Tensor, mask: Tensor | None = None, lengths: Any = None, times: Any = None) -> None:
            spoilt = (x == 0).flatten(1).any(1).view(-1, 1, 1)
            super().__call__(torch.where(spoilt, x + 5, x), mask, lengths, times)

    x = 1 + torch.rand(B, T, P, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(B, T, P, dtype=torch.bool)
    mask[0, 2, 0] = mask[1, 4] = False
    model, guide = copying_model(), Thrown()
    with evaluation(model, guide, 0, torch.device("cpu")):
        seen = fill_where_better(model, guide, Batch(torch.where(mask, x, torch.zeros_like(x)), mask, None, None))
    assert isinstance(seen, GapFilled)
    assert seen.some.flatten().tolist() == [True, True, False]
    found = impute(Sampler(model, guide), Batch(x, mask), draws=20, method="amortised", resample=False)
    hidden = ~mask
    nearest = nearest_frame(torch.where(mask, x, torch.zeros_like(x)), mask)
    assert float((found.mean - nearest)[hidden].abs().max()) < 0.2
    assert guide.shown[-1][1] is not None
    assert bool(guide.shown[-1][1][0].all()), "a filled clip is shown without a mask"


def test_whole_clips_are_shown_as_they_are() -> None:
    model, guide = copying_model(), Naive()
    assert fill_where_better(model, guide, Batch(torch.ones(B, T, P), None, None, None)) is guide
