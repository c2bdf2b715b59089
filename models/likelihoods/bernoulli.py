"""Binary frames, or intensities read as probabilities."""

from pyro.distributions import Bernoulli as BernoulliDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.models.likelihoods.likelihood import Likelihood, check_unit_interval
from pyro_dsvae.models.networks.factory import frame_decoder


class Bernoulli(Likelihood):
    """log p(x | f, z) = sum over values of x log p + (1 - x) log(1 - p), with p = sigmoid(decoder(f, z)).

    For values in {0, 1} this is a log probability. For intensities in [0, 1] it is the expected log probability of their
    random binarisation: it can be used to fit, but it is not comparable with a density.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, S, S) or (P,), supplied by the model.
        width: Channels of the decoder's finest layer (images) or units / 16 (vectors).

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Bernoulli
        >>> p = Bernoulli(4, 2, frame_shape=(1, 16, 16))(torch.zeros(8, 4), torch.zeros(8, 5, 2))
        >>> p.sample().unique()
        tensor([0., 1.])
    """

    def __init__(self, static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int = 16) -> None:
        super().__init__(frame_decoder(static_size, latent_size, frame_shape, width))

    def forward(self, f: Tensor, z: Tensor) -> TorchDistribution:
        # Intensities between 0 and 1 are outside the support that Pyro would check, on purpose: see the class docstring.
        return BernoulliDistribution(logits=self.decoder(f, z), validate_args=False)

    def check(self, frames: Tensor) -> None:
        check_unit_interval("Bernoulli", frames)
