"""The joint density of a model, and the proposal density of its latents, for K draws of every sequence at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Guide
from pyro_dsvae.inference.handlers import traced
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.sampling.affine_map import AffineMap
from pyro_dsvae.models.distributions.density import overdispersed
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError


class Scored(NamedTuple):
    """Latents with their log densities, float64, in nats.

    Attributes:
        latents: (K, B, ...).
        log_prior: log p(f, z), (K, B).
        log_likelihood: log p(x | f, z), (K, B).
    """

    latents: Latents
    log_prior: Tensor
    log_likelihood: Tensor

    @property
    def log_joint(self) -> Tensor:
        return self.log_prior + self.log_likelihood


class Joint:
    """p(x, f, z) of a batch of sequences as a function of f and z; values that were not observed are integrated out.

    Args:
        model: p(f) p(z) p(x | f, z).
        batch: The sequences.
    """

    def __init__(self, model: DSVAE, batch: Batch) -> None:
        self.model = model
        self.batch = batch

    def at(self, latents: Latents) -> Scored:
        """Log densities of f (K, B, F) and z (K, B, T, D)."""
        return self._scored(poutine.condition(self.model, data=latents._asdict()), len(latents.f))

    def draw(self, count: int) -> Scored:
        """K draws from the prior for every sequence."""
        return self._scored(self.model, count)

    def _scored(self, model: Callable[..., Any], count: int) -> Scored:
        trace = traced(model, self.batch, count)
        return Scored(_latents(trace), _log_prob(trace, "f", "z"), _log_prob(trace, "x"))


class Proposal:
    """q(f, z | x): a guide with its standard deviations times ``scale``, its draws then mapped by one affine map per
    sequence.

    The scale acts on the guide's noise and the affine map on its draws, so the density is exact for any guide: with v =
    A(u), log q(v) = log guide(u) - log |det A|.

    Args:
        guide: q(f, z | x).
        batch: The sequences.
        scale: Of the standard deviations.
        affine_map: One per sequence, or None.
    """

    def __init__(self, guide: Guide, batch: Batch, scale: float = 1.0, affine_map: AffineMap | None = None) -> None:
        self.guide = guide if scale == 1 else _Overdispersion(scale)(guide)
        self.batch = batch
        self.affine_map = affine_map

    def draw(self, count: int) -> tuple[Latents, Tensor]:
        """K draws for every sequence and log q of each (K, B)."""
        trace = traced(self.guide, self.batch, count)
        latents, log_q = _latents(trace), _log_prob(trace, "f", "z")
        if self.affine_map is None:
            return latents, log_q
        return self.affine_map(latents), log_q - self.affine_map.log_det

    def log_prob(self, latents: Latents) -> Tensor:
        """log q (K, B) of any latents."""
        u = latents if self.affine_map is None else self.affine_map.inverse(latents)
        trace = traced(poutine.condition(self.guide, data=u._asdict()), self.batch, len(u.f))
        log_q = _log_prob(trace, "f", "z")
        return log_q if self.affine_map is None else log_q - self.affine_map.log_det


class _Overdispersion(Messenger):
    """Every latent is drawn from, and scored by, the over-dispersed distribution."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def _pyro_sample(self, msg: Message) -> None:
        if site_is_subsample(msg):
            return
        try:
            msg["fn"] = overdispersed(msg["fn"], self.scale)
        except NotImplementedError as error:
            raise UsageError(
                f"{error}, so this guide proposes with scale 1 only; against tails that are too thin use a defensive share"
            ) from error


def _latents(trace: Trace) -> Latents:
    return Latents(trace.nodes["f"]["value"], trace.nodes["z"]["value"])


def _log_prob(trace: Trace, *sites: str) -> Tensor:
    """The sum of the sites' log densities (K, B), whatever scale a handler has put on them."""
    nodes = [trace.nodes[site] for site in sites]
    # Single precision is enough for each term; their sum may be large, and differences of sums are what counts.
    return sum(scale_and_mask(n["fn"].log_prob(n["value"]).double(), mask=n["mask"]) for n in nodes)
