"""Anchored inference: each latent inferred from the model's own decoding of it, beside the other latent of one anchor clip."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.distributions.point import point
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import FrameDecoder

# Of an anchor clip at most; longer clips go through them again.
FRAMES = 32


class Anchored(Posterior):
    """A guide around q_0 that infers f from a decoded clip that shows only f, and z from a decoded clip that shows only z.

    With (f*, z*) the means of q_0 for the anchor clip,

        q(f | x) = q_0(f | E[x | f_0, z*]),         f_0 = E q_0(f | x),
        q(z | x) = q_0(z | E[x | f*, z_0], f*),     z_0 = E q_0(z | x, f*).

    With guide views, the decoder does not use motion that f encodes, or appearance that z encodes. But the guide may still
    encode it, in shifts of a mean that are a fraction of the posterior's width, and a probe can read it. The decoder does
    not show such shifts. So they are absent from the two decoded clips: the first always has the anchor's motion, the second
    its appearance.

    Both densities are functions of x alone, so the ELBO under them bounds the evidence. As a rule it is less tight than
    under q_0: the difference is the information that each latent holds about the other. A causal guide stays causal,
    because f* is no function of x. A frame that was not observed stays so; other frames are decoded whole. No gradient
    flows through decoded clips.

    Nothing uses this guide unless it is asked for: ``run.encode(x, anchored=True)``, ``evaluate --anchored true``.

    Source: none known to us. Measured in `benchmarks/results/separation.md`.

    Args:
        guide: q_0, fitted with guide views and to recombined clips (`pyro_dsvae.inference.training.recombination`).
        decoder: Of the model that the guide was fitted with.
        likelihood: Of that model.
        clip: The anchor clip ``(T, *frame)``, as `Likelihood.to_model_units` returns it (`anchor_clip`).
    """

    clip: Tensor

    def __init__(self, guide: Posterior, decoder: FrameDecoder, likelihood: Likelihood, clip: Tensor) -> None:
        super().__init__()
        self.guide = guide
        self.decoder = decoder
        self.likelihood = likelihood
        self.register_buffer("clip", clip)
        self.comparable = guide.comparable
        self.standardisation = guide.standardisation

    def static(self, clip: GuideInput) -> TorchDistribution:
        return self.guide.static(self.with_anchor_motion(clip))

    def dynamic(self, clip: GuideInput, f: Tensor) -> TorchDistribution:
        return self.guide.dynamic(self.with_anchor_appearance(clip), self._anchor_f().expand_as(f))

    @torch.no_grad()
    def with_anchor_motion(self, clip: GuideInput) -> GuideInput:
        """E[x | f_0, z*]: the appearance of every clip with the motion of the anchor."""
        z = self.guide.dynamic(self._anchor(), self._anchor_f()).mean
        z = z[:, torch.arange(clip.steps.length, device=z.device) % z.shape[1]]
        f = self.guide.static(clip).mean
        return clip.showing(self._decoded(f, z.expand(len(f), -1, -1)))

    @torch.no_grad()
    def with_anchor_appearance(self, clip: GuideInput) -> GuideInput:
        """E[x | f*, z_0]: the motion of every clip with the appearance of the anchor."""
        f = self._anchor_f().expand(len(clip.x), -1)
        return clip.showing(self._decoded(f, self.guide.dynamic(clip, f).mean))

    def _decoded(self, f: Tensor, z: Tensor) -> Tensor:
        """E[x | f, z]; of classes the most probable."""
        return point(self.likelihood(self.decoder(f, z)))

    def _anchor(self) -> GuideInput:
        return self.guide.see(self.clip.unsqueeze(0))

    @torch.no_grad()
    def _anchor_f(self) -> Tensor:
        """f* (1, F)."""
        f: Tensor = self.guide.static(self._anchor()).mean
        return f


def anchor_clip(likelihood: Likelihood, examples: Tensor) -> Tensor:
    """The anchor clip: of stored clips, the first with the most frames that are not empty.

    Args:
        likelihood: Of the model, for its units.
        examples: Stored clips, ``(N, T, *frame)``; their first 32 frames count.

    Returns:
        At most 32 frames ``(T, *frame)``, as `Likelihood.to_model_units` returns them.
    """
    # What was not observed may hold anything, even a NaN.
    x = likelihood.to_model_units(examples[:, :FRAMES]).nan_to_num(0, 0, 0)
    return x[x.flatten(2).any(dim=2).sum(dim=1).argmax()].clone()
