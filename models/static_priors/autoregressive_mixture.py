"""A prior over the static latent with many narrow modes: autoregressive mixtures of normals along learned axes."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import Categorical, MixtureSameFamily, Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_dsvae.models.distributions.density import from_base, to_base
from pyro_dsvae.models.distributions.normalizing_flow import load_zuko
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.ops.precision import own_precision
from pyro_dsvae.models.static_priors.static_prior import FlexiblePrior

# Standard deviations are between exp(-7) and exp(7).
LARGEST_LOG_SCALE = 7.0
# Between which a dimension's standard deviation is taken to be at a start.
SCALES = 1e-2, 1e2
# Standard deviation of the means of the components before training, of 1 altogether: their normals then overlap.
SPREAD = 0.9


class AutoregressiveMixture(FlexiblePrior):
    """p(f) = prod_i sum_k w_ik N(y_i; mu_ik, sigma_ik^2), y = R f, with w_i, mu_i, sigma_i functions of y_1 .. y_i-1.

    The appearance of a sequence is often a combination of a few discrete choices (one of six trousers, one of six hairs).
    The posteriors of f then form narrow clusters, one per combination, on a grid whose axes may point anywhere. R, a learned
    rotation, finds these axes. Along each axis, a mixture of K normals covers the options of one choice, given the choices
    before it. So F axes with K modes each can represent up to K^F clusters. A mixture over whole vectors has one cluster per
    component, and a flow, which deforms a single mode, leaves probability between the clusters. w, mu and log sigma are
    computed by one masked network.

    While it is frozen, this prior is N(0, I). What it starts to learn from is close to N(0, I), but not equal to it: with 8
    modes the expectation of log N(f; 0, I) - log p(f) under N(0, I) is 0.0072 nats per dimension, 0.46 nats where F = 64. Modes
    that all began as N(0, 1) would have equal gradients and never part.

    Sources: Uria, Murray & Larochelle, "RNADE: The real-valued neural autoregressive density-estimator", NeurIPS 2013;
    Germain et al., "MADE: Masked autoencoder for distribution estimation", ICML 2015.

    Args:
        static_size: F, supplied by the model.
        modes: K, the number of modes of one dimension given the dimensions before it.
        units: Units of both hidden layers of the network.

    Example:
        >>> from pyro_dsvae.models.static_priors import AutoregressiveMixture
        >>> p = AutoregressiveMixture(3, modes=4, units=8)()
        >>> f = p.sample((5,))
        >>> f.shape, p.log_prob(f).shape  # nats per sequence
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, static_size: int, modes: int = 8, units: int = 256) -> None:
        if min(modes, units) < 1:
            raise UsageError(f"AutoregressiveMixture needs modes and units of at least 1, not {modes} and {units}")
        super().__init__(static_size)
        self.modes = modes
        if static_size == 0:
            return
        self.first = nn.Parameter(_around_standard_normal(static_size, modes))
        # Small, so that a step turns the axes far enough.
        self.householder = nn.Parameter(0.03 * torch.randn(static_size, static_size))
        if static_size > 1:
            # A single dimension has none before it.
            before = torch.ones(static_size, static_size).tril(-1).bool().repeat_interleave(3 * modes, 0)
            self.network = load_zuko().nn.MaskedMLP(before, (units, units), nn.SiLU)
            self._say_nothing()

    @torch.no_grad()
    def initialise_from(self, f: Tensor) -> None:
        """Start again from the draws ``f`` (N, F).

        The axes become the principal components of the draws, the widest first, because the choices lie along the widest few.
        Each dimension becomes independent, with the mean and standard deviation of the draws. The network starts anew: one that
        has followed a posterior while it changed fits the final posterior worse than a new one.
        """
        centred = f - f.mean(0)
        _, vectors = torch.linalg.eigh(centred.mT @ centred)
        # R's columns after a QR decomposition are these but for their signs.
        self.householder.copy_(torch.geqrf(vectors.flip(-1))[0])
        y = f @ orthogonal(self.householder)
        logits, loc, log_scale = _around_standard_normal(self.static_size, self.modes).to(f).unbind(1)
        mean, deviation = y.mean(0).unsqueeze(-1), y.std(0).clamp(*SCALES).unsqueeze(-1)
        raw = LARGEST_LOG_SCALE * torch.atanh((log_scale + deviation.log()) / LARGEST_LOG_SCALE)
        self.first.copy_(torch.stack([logits, mean + deviation * loc, raw], 1))
        if self.static_size > 1:
            for layer in self.network:
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            self._say_nothing()

    def _say_nothing(self) -> None:
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)

    def learned(self) -> TorchDistribution:
        return AutoregressiveMixtureDistribution(self._conditionals, orthogonal(self.householder).mT)

    def _conditionals(self, y: Tensor, dimensions: slice) -> MixtureSameFamily:
        """p(y_i given y_<i) of some dimensions i, batch ``(*B, I)`` and event (1,), for y ``(*B, F)``."""
        numbers = self.first.expand(*y.shape, 3, self.modes)
        if self.static_size > 1:
            numbers = numbers + self.network(y).view_as(numbers)
        logits, loc, raw = numbers[..., dimensions, :, :].unbind(-2)
        scale = (LARGEST_LOG_SCALE * torch.tanh(raw / LARGEST_LOG_SCALE)).exp()
        normals = Normal(loc.unsqueeze(-1), scale.unsqueeze(-1)).to_event(1)
        return MixtureSameFamily(Categorical(logits=logits), normals)


class AutoregressiveMixtureDistribution(TorchDistribution):
    """Mixtures of scalar normals, one per dimension and given those before it, along rotated axes: batch ``*B``, event (F,).

    Args:
        conditionals: From y ``(*, F)`` and a slice of dimensions i to p(y_i given y_<i), batch ``(*, I)`` and event (1,).
        rotation: R (F, F), orthogonal: y = R f.
        batch_shape: ``*B``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self, conditionals: Callable[[Tensor, slice], Any], rotation: Tensor, batch_shape: torch.Size = torch.Size()
    ) -> None:
        self.conditionals, self.rotation = conditionals, rotation
        super().__init__(batch_shape, rotation.shape[-1:], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "AutoregressiveMixtureDistribution":
        return AutoregressiveMixtureDistribution(self.conditionals, self.rotation, torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        with own_precision():
            y, p = self.conditionals_at(value)
            log_prob: Tensor = p.log_prob(y.unsqueeze(-1)).sum(-1)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        return self.generate(shape, lambda p, i: p.sample())

    def conditionals_at(self, value: Tensor) -> tuple[Tensor, Any]:
        """The rotated value and its conditionals.

        Args:
            value: f, ``(*, F)``.

        Returns:
            y = R f ``(*, F)``, and p(y_i given y_<i) of all dimensions, batch ``(*, F)`` and event (1,).
        """
        y = value @ self.rotation.mT
        return y, self.conditionals(y, slice(None))

    def generate(self, shape: torch.Size, step: Callable[[Any, int], Tensor]) -> Tensor:
        """f ``(*shape, F)``, generated dimension by dimension.

        Args:
            shape: Batch shape of the result.
            step: From p(y_i given y_<i) and i to y_i ``(*shape, 1, 1)``.
        """
        with own_precision():
            y = self.rotation.new_zeros(*shape, *self.event_shape)
            for i in range(y.shape[-1]):
                at = slice(i, i + 1)
                y = torch.cat([y[..., :i], step(self.conditionals(y, at), i).squeeze(-1), y[..., i + 1 :]], dim=-1)
            return y @ self.rotation


@to_base.register
def _(p: AutoregressiveMixtureDistribution, value: Tensor) -> Tensor:
    with own_precision():
        y, conditionals = p.conditionals_at(value)
        return to_base(conditionals, y.unsqueeze(-1)).squeeze(-1)


@from_base.register
def _(p: AutoregressiveMixtureDistribution, base: Tensor) -> Tensor:
    along = base.unsqueeze(-1)
    return p.generate(base.shape[:-1], lambda conditional, i: from_base(conditional, along[..., i : i + 1, :]))


def orthogonal(vectors: Tensor) -> Tensor:
    """The product (F, F) of F Householder reflections, an orthogonal matrix whatever ``vectors`` holds.

    Each reflection is at a column of the lower triangle of ``vectors`` (F, F) with a 1 on its diagonal. The product is
    computed without a solve, because checking a solve for errors would make a GPU wait.
    """
    below = vectors.tril(-1)
    return torch.linalg.householder_product(below, 2 / (1 + below.square().sum(0)))


def _around_standard_normal(size: int, components: int) -> Tensor:
    """(F, 3, K) logits, means and log standard deviations: means at quantiles of a normal, variance 1 in all."""
    places = (torch.arange(components) + 0.5) / components
    loc = SPREAD * torch.special.ndtri(places)
    log_scale = (1 - loc.square().mean()).log() / 2
    return torch.stack([torch.zeros(components), loc, log_scale.expand(components)]).repeat(size, 1, 1)
