"""What a guide with views infers f from as a fit goes on: the clip, or one that the model has recombined.

In place of the clip it may be another window of the same recording, in both cases.

A recombined clip has the appearance of one clip and the motion of another, and is decoded by the model itself.
"""

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
class StaticView:
    """What a guide with random views infers f from in one step.

    Attributes:
        recombined: Whether f of half of the batch is inferred from `recombined` clips.
        other_windows: Whether f is inferred from the second half of the batch, other windows of the recordings that the
            first half is of.
        learns: Whether the networks from a clip to f learn from the step.
    """

    recombined: bool = False
    other_windows: bool = False
    learns: bool = True


CLIP = StaticView()


@dataclass(frozen=True)
class SeenForStatic:
    """A guide that infers f from other clips, and z from the clips themselves.

    Attributes:
        guide: q_0.
        others: The batch that f is inferred from.
        learns: Whether q_0(f | x) has gradients.
    """

    guide: LatentDensity
    others: GuideInput
    learns: bool

    def static(self, clip: GuideInput) -> TorchDistribution:
        """q_0(f | the other x)."""
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            return self.guide.static(self.others)

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        """q_0(z | f, x)."""
        return self.guide.dynamic(clip, f)


@torch.no_grad()
def recombined(model: DSVAE, guide: LatentDensity, clip: GuideInput, window: GuideInput | None = None) -> GuideInput:
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

    Args:
        model: Decodes.
        guide: Draws f and z.
        clip: The batch that z is inferred from.
        window: The batch that f is inferred from; by default the same.

    Source of training on recombinations: Mathieu et al., "Disentangling factors of variation in deep representation using
    adversarial training", NeurIPS 2016 (with labels of what stays, which are not needed here).
    """
    half = len(clip.x) // 2
    if half == 0:
        return clip
    window = clip if window is None else window
    looks, motion = window.rows(slice(half)), clip.rows(slice(half, 2 * half))
    with LocalParameters():
        f = guide.static(looks).sample()
        z = guide.dynamic(motion, guide.static(window.rows(slice(half, 2 * half))).sample()).sample()
    observed = looks.observed & motion.observed
    shared = observed.any(dim=1)[:, None]
    decoded = standardised(decode(model, f, z), model.standardisation)
    frames = GuideInput(looks.x, observed, looks.steps).showing(decoded).x
    # What follows is the second half, and the last clip of an odd number.
    x = torch.where(shared.view(-1, *(1,) * (clip.x.ndim - 1)), frames, looks.x)
    observed = torch.where(shared, observed, looks.observed)
    return GuideInput(torch.cat([x, window.x[half:]]), torch.cat([observed, window.observed[half:]]), window.steps)
