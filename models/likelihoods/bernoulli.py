"""Binary frames, or intensities read as probabilities."""

import torch
from pyro.distributions import Bernoulli as BernoulliDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.factory import frame_decoder


class Bernoulli(Likelihood):
    """log p(x | f, z) = sum over values of x log p + (1 - x) log(1 - p), with p = sigmoid(decoder(f, z)).

    A probability for values in {0, 1}. For intensities in [0, 1] it is the expected log probability of their random
    binarisation: usable for fitting, not comparable with a density.

    width  channels of the decoder's finest layer (images) or units / 16 (vectors)
    """

    def __init__(self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int = 16) -> None:
        super().__init__(frame_decoder(static_size, latent_size, frame_shape, width))

    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        # Intensities between 0 and 1 are outside the support that Pyro would check, on purpose: see the class docstring.
        return BernoulliDistribution(logits=self.decoder(f, z), validate_args=False)

    def check(self, frames: Tensor) -> None:
        if frames.dtype == torch.uint8:
            return
        low, high = frames.aminmax()
        if low < 0 or high > 1:
            raise UsageError(
                f"the Bernoulli likelihood needs values in [0, 1], but the frames run from {low:.4g} to {high:.4g}; "
                "rescale them or use --likelihood Normal"
            )
