"""Incomplete clips for guides that were fitted to whole ones: the gaps filled in with what the clip itself shows."""

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.models.dsvae import DSVAE

# Draws that tell how well a guide does with a clip as it is, and with its gaps filled.
DRAWS = 8
# Nats by which the filled clip must do better: a guide that takes guesses for observations is too sure of itself, and what is
# off by less can be mended by weights and refinement.
MARGIN = 100.0


def nearest_frame(x: Tensor, observed: Tensor) -> Tensor:
    """Every missing value from the nearest frame that has it, the earlier of two; where none has, the clip's mean value.

    Args:
        x, observed: ``(B, T, *frame)``.
    """
    length = x.shape[1]
    steps = torch.arange(length, device=x.device)
    filled, far = x.clone(), torch.full_like(x, torch.inf)
    far[observed] = 0
    for distance in range(1, length):
        for shift in (-distance, distance):
            source = (steps + shift).clamp(0, length - 1)
            inside = ((steps + shift >= 0) & (steps + shift < length)).view(-1, *(1,) * (x.ndim - 2))
            better = observed[:, source] & inside & (far > distance)
            filled = torch.where(better, x[:, source], filled)
            far = torch.where(better, torch.full_like(far, distance), far)
    mean = (x * observed).flatten(1).sum(1) / observed.flatten(1).sum(1).clamp(min=1)
    return torch.where(far.isinf(), mean.view(-1, *(1,) * (x.ndim - 1)), filled)


class GapFilled:
    """A guide that is shown some clips with their gaps filled in, and no mask.

    A guide may be any density computed from what was observed, so draws from it are weighed as any other's.

    Args:
        x: ``(B, T, *frame)`` the clips filled in.
        some: (B,) bool, which clips it is shown so.
    """

    def __init__(self, guide: Guide, x: Tensor, some: Tensor) -> None:
        self.guide, self.x = guide, x
        self.some = some.view(-1, *(1,) * (x.ndim - 1))

    def __call__(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> object:
        if mask is not None:
            mask = mask.view(*mask.shape, *(1,) * (x.ndim - mask.ndim)) | self.some
        return self.guide(
            torch.where(self.some, self.x, x), None if mask is None else mask.expand(x.shape), lengths, times
        )


def fill_where_better(model: DSVAE, guide: Guide, batch: Batch) -> Guide:
    """The guide, shown those clips filled in (`nearest_frame`) for which its ELBO is then higher by `MARGIN`, by a few draws.

    Networks that never saw a gap take zeros for black pixels, and can be far off. To be called within
    `pyro_dsvae.inference.estimation.evaluation`.
    """
    if batch.mask is None:
        return guide
    x = nearest_frame(batch.visible, batch.observed)
    every = torch.ones(len(x), dtype=torch.bool, device=x.device)
    whole = GapFilled(guide, x, every)
    joint = Joint(model, batch)
    bounds = []
    with torch.no_grad():
        for seen in (guide, whole):
            latents, log_q = Proposal(seen, batch).draw(DRAWS)
            bounds.append((joint.at(latents).log_joint - log_q).mean(0))
    return GapFilled(guide, x, bounds[1] > bounds[0] + MARGIN)
