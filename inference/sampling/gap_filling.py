"""Incomplete clips for guides that were fitted to complete ones: gaps are filled from the clip itself."""

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
    """Fill every missing value from the nearest frame that has it, or else with the clip's mean value.

    Of two frames at equal distance it is the earlier.

    Args:
        x: Frames, ``(B, T, *frame)``.
        observed: Bool, the same shape.
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
    """A guide that is given some clips with their gaps filled, and without a mask.

    A guide may be any density that is computed from the observed values, so its draws can be weighted like any other's.

    Args:
        guide: The guide.
        x: The filled clips, ``(B, T, *frame)``.
        some: (B,) bool, which clips are given in this form.
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
    """The guide, given filled clips (`nearest_frame`) where its ELBO, by a few draws, is then higher by at least `MARGIN`.

    Networks that were trained without gaps take zeros for black pixels, and can be far off. To be called within
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
