"""Recombined clips: the appearance of one clip with the motion of another, decoded by the model itself."""

from dataclasses import dataclass

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.latent_density import LatentDensity
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.standardisation import standardised


@dataclass(frozen=True)
class RecombinedView:
    """A guide that infers f from recombined clips, and z from the clips themselves.

    Attributes:
        guide: q_0.
        recombined: The batch after `recombined`.
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

    This is a guide view of f. From a clip, f can also encode the pose, where the pose changes which colours are visible. A
    decoder that relies on it gives wrong colours when f of a figure seen from the front meets z of one seen from the side.
    From a recombined clip, f can be inferred only as far as it does not depend on the motion, and it has to serve the clip's
    own z. As with every view, q(f | x) then depends on noise, here on a random other clip. So the ELBO remains a bound, with
    unit weights.

    A recombined clip is made by model and guide, and no gradient goes through it. A step follows the gradient of the bound with
    the recombined clips held fixed. It leaves out how a change of the parameters would change these clips, so it is not the
    gradient of one fixed bound: like an update with a target network, every step has a bound of its own. What is reported is
    the ELBO without views.

    A frame counts as observed where both clips have one. A clip that shares none with its partner stays as it is.

    Source of training on recombinations: Mathieu et al., "Disentangling factors of variation in deep representation using
    adversarial training", NeurIPS 2016 (with labels of what stays, which are not needed here).
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
    decoded = standardised(decode(model, f, z), model.standardisation)
    frames = GuideInput(looks.x, observed, looks.steps).showing(decoded).x
    # What follows is the second half, and the last clip of an odd number.
    x = torch.where(shared.view(-1, *(1,) * (clip.x.ndim - 1)), frames, looks.x)
    observed = torch.where(shared, observed, looks.observed)
    return GuideInput(torch.cat([x, clip.x[half:]]), torch.cat([observed, clip.observed[half:]]), clip.steps)
