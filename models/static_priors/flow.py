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
    """p(f) = N(g(f); 0, I) |det dg/df| with g a chain of masked autoregressive maps; N(0, I) before training.

    Each map goes through every f_i monotonically: ``affine`` a f_i + b, ``spline`` a rational-quadratic spline with 8 bins on
    [-5, 5], the identity beyond. Its parameters depend on the dimensions of earlier groups, of which there are 8, or F where
    that is less; the order turns round from map to map.

    kind         spline or affine
    transforms   maps in the chain
    hidden_size  units of both hidden layers of every map's network

    Sources: Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", NeurIPS 2017; Durkan et al., "Neural
    Spline Flows", NeurIPS 2019.
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
