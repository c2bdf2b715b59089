"""A reference clip: each latent is inferred from the model's own picture of it, with the reference's other latent."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.models.likelihoods.likelihood import Likelihood

if TYPE_CHECKING:
    from pyro_dsvae.inference.posteriors.posterior import Posterior

# Of the reference at most; longer clips see them again.
FRAMES = 32


class Reference(nn.Module):
    """What a guide with views infers from in evaluation, where it could tell everything of a clip from the clip itself.

    With q_0 the guide as it is and (f*, z*) its means for the reference clip,

        q(f | x) = q_0(f | E[x | f_0, z*]),         f_0 = E q_0(f | x),
        q(z | x) = q_0(z | E[x | f*, z_0], f*),     z_0 = E q_0(z | x, f*).

    Views make what f says of the motion, and z of the looks, of no use to the decoder. They do not make the guide forget it:
    small shifts of a mean, a fraction of the posterior's width, stay readable. The decoder shows nothing of them, so in the
    two pictures they are gone: all clips have the reference's motion in one and its looks in the other. Both are densities
    that can be computed, functions of x alone; so the ELBO stays an ELBO, and all that asks for a density has one. A causal
    guide stays causal, as f* is no function of x. A frame that was not observed stays so; of others the picture is whole.

    frames  (T, \\*frame), as `Likelihood.prepare` gives them: a training clip, kept with the weights
    ready   whether it is used: a fit decides that at its end, by what the pictures cost (`pyro_dsvae.inference.svi`)

    Source: none known to us. Learning from one's own recombinations, which prepares a guide for such pictures, is by Mathieu
    et al. (`pyro_dsvae.inference.training.recombination`); what it is worth is measured in `benchmarks/results/separation.md`.
    """

    frames: Tensor

    def __init__(self, likelihood: Likelihood, frames: Tensor) -> None:
        super().__init__()
        self.register_buffer("frames", frames.clone())
        self.ready = False
        # In a tuple, where the decoder is not taken for a part of the guide.
        self._likelihood = (likelihood,)

    @classmethod
    def among(cls, likelihood: Likelihood, examples: Tensor) -> "Reference":
        """The first of examples (N, T, \\*frame), as stored, that has the most frames which are not empty."""
        # What was not observed may hold anything, even a NaN.
        x = likelihood.prepare(examples[:, :FRAMES]).nan_to_num(0, 0, 0)
        return cls(likelihood, x[x.flatten(2).any(dim=2).sum(dim=1).argmax()])

    def get_extra_state(self) -> Tensor:
        """Whether it is ready, for the state: a plain value otherwise, since to read a tensor would stall a GPU."""
        return torch.tensor(self.ready)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave."""
        self.ready = bool(state)

    def looks(self, guide: "Posterior", clip: GuideInput) -> GuideInput:
        """Every clip's looks, moving like the reference."""
        with torch.no_grad(), LocalParameters():
            z = guide.dynamic(self._clip, self._f(guide)).mean
            z = z[:, torch.arange(clip.steps.length, device=z.device) % z.shape[1]]
            f = guide.static(clip).mean
            return clip.showing(self._paint(f, z.expand(len(f), -1, -1)))

    def motion(self, guide: "Posterior", clip: GuideInput) -> tuple[GuideInput, Tensor]:
        """Every clip's motion, looking like the reference; and f* (1, F)."""
        with torch.no_grad(), LocalParameters():
            f = self._f(guide)
            every = f.expand(len(clip.x), -1)
            return clip.showing(self._paint(every, guide.dynamic(clip, every).mean)), f

    @property
    def _clip(self) -> GuideInput:
        return GuideInput.of(self.frames.unsqueeze(0))

    def _f(self, guide: "Posterior") -> Tensor:
        """f* (1, F)."""
        f: Tensor = guide.static(self._clip).mean
        return f

    def _paint(self, f: Tensor, z: Tensor) -> Tensor:
        mean: Tensor = self._likelihood[0](f, z).mean
        return mean
