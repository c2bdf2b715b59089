"""A normalising flow over the static latent."""

from functools import partial
from typing import Any, Literal

from pyro.distributions import TorchDistribution
from torch import nn

from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution, load_zuko
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.static_prior import FlexiblePrior

# Dimensions are drawn in this many groups, one after the other. Scoring takes one pass whatever this is.
GROUPS = 8


class Flow(FlexiblePrior):
    """``p(f) = N(g(f); 0, I) |det dg/df|`` with g a chain of masked autoregressive maps; N(0, I) before training.

    Each map transforms every f_i monotonically: "affine" as a f_i + b, "spline" by a rational-quadratic spline with 8 bins
    on [-5, 5], the identity outside. The parameters of f_i depend on the dimensions of earlier groups. There are 8 groups,
    or F where that is less. The order is reversed from map to map.

    Sources: Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", NeurIPS 2017; Durkan et al., "Neural
    Spline Flows", NeurIPS 2019.

    Args:
        static_size: F, supplied by the model.
        kind: Of the maps: "spline" or "affine".
        transforms: Maps in the chain.
        hidden_size: Units of both hidden layers of each map's network.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.static_priors import Flow
        >>> p = Flow(2, transforms=1, hidden_size=4)()
        >>> p.log_prob(torch.zeros(2)).item()  # N(0, I) before training: -log(2 pi)
        -1.837...
        >>> p.rsample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        static_size: int,
        kind: Literal["spline", "affine"] = "spline",
        transforms: int = 3,
        hidden_size: int = 64,
    ) -> None:
        if kind not in ("spline", "affine"):
            raise UsageError(f"Flow knows the kinds spline and affine, not {kind}")
        if min(transforms, hidden_size) < 1:
            raise UsageError(f"Flow needs transforms and hidden_size of at least 1, not {transforms} and {hidden_size}")
        super().__init__(static_size)
        if static_size == 0:
            return
        flows: Any = load_zuko().flows
        family = flows.NSF if kind == "spline" else flows.MAF
        if static_size > 1:
            # A map of a single dimension has no network.
            family = partial(family, hidden_features=(hidden_size, hidden_size), passes=GROUPS)
        self.flow = family(static_size, transforms=transforms)
        for transform in self.flow.transform.transforms:
            last = transform.hyper[-1] if static_size > 1 else transform.phi
            for parameter in last.parameters():
                # Every map is then the identity.
                nn.init.zeros_(parameter)

    def learned(self) -> TorchDistribution:
        return FlowDistribution(self.flow())
