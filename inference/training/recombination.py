"""Recombined clips: the appearance of one clip in the motion of another, as the model itself decodes it."""

from dataclasses import dataclass

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.latent_density import LatentDensity
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.models.dsvae import DSVAE


@dataclass(frozen=True)
class RecombinedView:
    """A guide that infers f from recombined clips, and z from the clips themselves.

    guide       q_0
    recombined  of the batch, as `recombined` gives it
    """

    guide: LatentDensity
    recombined: GuideInput

    def static(self, clip: GuideInput) -> TorchDistribution:
        """q_0(f | recombined x)."""
        return self.guide.static(self.recombined)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        """q_0(z | f, x)."""
        return self.guide.dynamic(clip, f)


@torch.no_grad()
def recombined(model: DSVAE, guide: LatentDensity, clip: GuideInput) -> GuideInput:
    """The batch with its first half recombined: clip i as E[x | f_i, z_j], f_i and z_j drawn from the guide, j = i + B / 2.

    A guide view of f. Nothing in a clip need keep f from telling also the pose, where that changes which colours are seen, and
    a decoder that has learnt to rely on it paints a front's f wrongly on a side's z. From a recombined clip f can be read
    only as far as it does not depend on the motion, and has to serve the clip's own z. As every view it makes q(f | x) one
    that depends on noise, here a random other clip, so the ELBO stays a bound, with unit weights.

    A frame counts as observed where both clips have one; a clip that shares none with its partner stays as it is.

    Source of learning from one's own recombinations: Mathieu et al., "Disentangling factors of variation in deep
    representation using adversarial training", NeurIPS 2016 (with labels of what stays, which this does not need).
    """
    half = len(clip.x) // 2
    if half == 0:
        return clip
    looks, motion = clip.rows(slice(half)), clip.rows(slice(half, 2 * half))
    with LocalParameters():
        f = guide.static(looks).sample()
        z = guide.dynamic(motion, guide.static(motion).sample()).sample()
    observed = looks.observed & motion.observed
    shared = observed.any(dim=1)[:, None]
    frames = GuideInput(looks.x, observed, looks.steps).showing(decode(model, f, z)).x
    # What follows is the second half, and the last clip of an odd number.
    x = torch.where(shared.view(-1, *(1,) * (clip.x.ndim - 1)), frames, looks.x)
    observed = torch.where(shared, observed, looks.observed)
    return GuideInput(torch.cat([x, clip.x[half:]]), torch.cat([observed, clip.observed[half:]]), clip.steps)
