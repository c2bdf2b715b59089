"""A mixture of normals over the static latent: clusters of sequences."""

import math

import torch
from pyro.distributions import Categorical, MixtureSameFamily, Normal, TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

# The share of the mixture that is spread evenly, whatever the weights learn.
EVEN = 0.05
# Distance between two means before training, in standard deviations of a component, where the sizes allow it.
APART = 3.0


class GaussianMixture(StaticPrior):
    """p(f) = sum_k w_k N(f; mu_k, diag sigma_k^2), all learned.

    Three measures keep components from dying. w = 0.95 softmax(logits) + 0.05 / K, so every component keeps a share of the
    gradient. sigma_k = min_scale + softplus(raw), so none shrinks onto a single sequence. The means start at random, about
    three standard deviations apart, with scales that give the whole mixture unit variance: closer together all components
    would learn the same; further apart (distances grow with the root of F) each f would see only one.

    Source: Jiang et al., "Variational Deep Embedding", IJCAI 2017.

    Args:
        static_size: F, supplied by the model.
        components: K, the number of normals.
        min_scale: Lower bound of every sigma, in units of f.

    Example:
        >>> from pyro_dsvae.models.static_priors import GaussianMixture
        >>> p = GaussianMixture(2, components=4)()
        >>> p.mixture_distribution.probs.detach()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
        >>> p.log_prob(p.sample((3,))).shape
        torch.Size([3])
    """

    def __init__(self, static_size: int, components: int = 16, min_scale: float = 0.05) -> None:
        if components < 1:
            raise UsageError(f"GaussianMixture needs at least 1 component, not {components}")
        if not 0 < min_scale < 0.5:
            raise UsageError(f"GaussianMixture needs 0 < min_scale < 0.5, not {min_scale}")
        super().__init__(static_size)
        self.min_scale = min_scale
        spread = min(0.8, APART / math.sqrt(2 * max(static_size, 1) + APART**2))
        scale = math.sqrt(1 - spread**2)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, static_size))
        self.raw_scale = nn.Parameter(torch.full((components, static_size), math.log(math.expm1(scale - min_scale))))

    def forward(self) -> TorchDistribution:
        normals = Normal(self.loc, softplus(self.raw_scale) + self.min_scale).to_event(1)
        return MixtureSameFamily(Categorical(bounded_weights(self.logits)), normals)


def bounded_weights(logits: Tensor) -> Tensor:
    """Mixture weights (K,) that sum to one, each at least 0.05 / K."""
    return (1 - EVEN) * logits.softmax(-1) + EVEN / logits.shape[-1]
