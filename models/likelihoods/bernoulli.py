"""Binary frames, or intensities read as probabilities."""

from pyro.distributions import Bernoulli as BernoulliDistribution
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.models.likelihoods.likelihood import Likelihood, check_unit_interval


class Bernoulli(Likelihood):
    """log p(x | f, z) = sum over values of x log p + (1 - x) log(1 - p), with p = sigmoid(decoder(f, z)).

    For values in {0, 1} this is a log probability. For intensities in [0, 1] it is the expected log probability of their
    random binarisation: it can be used to fit, but it is not comparable with a density.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Bernoulli
        >>> p = Bernoulli(frame_shape=(1, 16, 16))(torch.zeros(8, 5, 1, 16, 16))
        >>> p.sample().unique()
        tensor([0., 1.])
    """

    def forward(self, decoded: Tensor) -> TorchDistribution:
        # Intensities between 0 and 1 are outside the support that Pyro would check, on purpose: see the class docstring.
        return BernoulliDistribution(logits=decoded, validate_args=False)

    def check(self, frames: Tensor) -> None:
        check_unit_interval("Bernoulli", frames)
