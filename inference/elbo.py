"""The evidence lower bound of a sequence model, term by term."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.util import is_validation_enabled, torch_item
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_dsvae.inference.handlers import LocalParameters
from pyro_dsvae.models.distributions.density import detached, teacher_forced
from pyro_dsvae.models.errors import UsageError

# How a KL was computed, from exact to noisy.
CLOSED_FORM = "closed form"
CLOSED_FORM_PER_STEP = "closed form per step"
STICKING_THE_LANDING = "Monte Carlo (STL)"
MONTE_CARLO = "Monte Carlo"


@dataclass(frozen=True)
class ELBOTerms:
    """One estimate of the ELBO and its parts, each (B,), in nats per sequence.

    Attributes:
        reconstruction: E_q[log p(x | f, z)].
        kl: Site -> KL(q || p) of that latent given those before it, unweighted.
        weighted_kl: The same times the site's weight: what is optimised.
        estimators: Site -> how its KL was computed.
    """

    reconstruction: Tensor
    kl: Mapping[str, Tensor]
    weighted_kl: Mapping[str, Tensor]
    estimators: Mapping[str, str]

    @property
    def elbo(self) -> Tensor:
        """(B,) the ELBO itself, whatever the weights: reconstruction - sum of the KL terms."""
        return self.reconstruction - sum(self.kl.values())

    @property
    def loss(self) -> Tensor:
        """The mean over sequences of the negative *weighted* ELBO, a scalar to minimise."""
        return (sum(self.weighted_kl.values()) - self.reconstruction).mean()


class SequenceELBO(TraceMeanField_ELBO):
    """``TraceMeanField_ELBO`` that passes the sampled path to the dynamic prior.

        ELBO = E_q[log p(x | f, z)] - KL(q(f) || p(f)) - E_q[KL(q(z_1:T) || p(z_1:T))]

    `kl_divergence` never sees a sampled value. So with one vectorised site "z", stock Pyro can only estimate the last term by
    Monte Carlo. Here each KL is computed by the best method that its two distributions allow:

    1. ``closed form``: `kl_divergence` of the two; for paths, where both are jointly normal.
    2. ``closed form per step``: sum_t KL(q(z_t | z_<t) || p(z_t | z_<t)). All conditionals, of prior and posterior, are
       evaluated along the sampled path (teacher forcing), so each step has a closed form.
    3. ``Monte Carlo (STL)``, sticking the landing: log q(z) - log p(z), with the parameters of q held fixed in log q, where
       they are known (`detached`). The score term that is left out has expectation zero, and a variance that does not vanish
       as q approaches the posterior (Roeder et al., "Sticking the Landing", NeurIPS 2017).
    4. ``Monte Carlo``: log q(z) - log p(z).

    It can be used wherever Pyro takes an ELBO (``SVI``, ``elbo(model, guide)``); the training loop uses `terms`.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.elbo import SequenceELBO
        >>> from pyro_dsvae.inference.posteriors import LSTM as Guide
        >>> from pyro_dsvae.models import encoders
        >>> from pyro_dsvae.models.decoders import Dense
        >>> from pyro_dsvae.models.dsvae import DSVAE
        >>> from pyro_dsvae.models.dynamic_priors import LSTM
        >>> from pyro_dsvae.models.likelihoods import Normal
        >>> from pyro_dsvae.models.static_priors import StandardNormal
        >>> model = DSVAE(StandardNormal(4), LSTM(2), Dense(4, 2, (3,)), Normal((3,)))
        >>> guide = Guide((3,), 4, 2, encoders.Dense)
        >>> terms = SequenceELBO().terms(model, guide, torch.rand(8, 5, 3))
        >>> terms.elbo.shape, terms.estimators
        (torch.Size([8]), {'f': 'closed form', 'z': 'closed form per step'})
    """

    def _get_trace(
        self, model: Callable[..., Any], guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        if is_validation_enabled():
            for site in model_trace.nodes.values():
                if site["type"] == "sample" and not site_is_subsample(site):
                    _refuse_open_loop(site["fn"], site["value"])
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
            for trace in (model_trace, guide_trace):
                trace.compute_log_prob()
                for site in trace.nodes.values():
                    if site["type"] == "sample" and not site_is_subsample(site):
                        check_site_shape(site, self.max_plate_nesting)
        return model_trace, guide_trace

    def _guess_max_plate_nesting(
        self, model: Callable[..., Any], guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        # Pyro guesses inside a block, where no outer handler is heard; so the handler stands inside, too.
        super()._guess_max_plate_nesting(LocalParameters()(model), LocalParameters()(guide), args, kwargs)

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[float, Tensor]:
        terms = _terms(model_trace, guide_trace)
        loss = sum(value.sum() for value in terms.weighted_kl.values()) - terms.reconstruction.sum()
        return torch_item(loss), loss

    def terms(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> ELBOTerms:
        """The parts of the ELBO per sequence, averaged over particles, with gradients and without a device sync.

        Raises:
            ValueError: Where a latent site carries different scales in model and guide (see `weigh_kl`).
        """
        with LocalParameters():
            particles = [_terms(*traces) for traces in self._get_traces(model, guide, args, kwargs)]

        def mean(values: list[Tensor]) -> Tensor:
            if len(values) == 1 and values[0].ndim == 1:  # as in every step of a fit
                return values[0]
            per_sequence = [value.reshape(-1, value.shape[-1]).sum(0) for value in values]
            return torch.stack(per_sequence).sum(0) / self.num_particles

        first = particles[0]
        return ELBOTerms(
            mean([p.reconstruction for p in particles]),
            {site: mean([p.kl[site] for p in particles]) for site in first.kl},
            {site: mean([p.weighted_kl[site] for p in particles]) for site in first.kl},
            first.estimators,
        )


def _terms(model_trace: Trace, guide_trace: Trace) -> ELBOTerms:
    """The terms of one pair of traces; with vectorised particles each is (P, B)."""
    reconstruction: Tensor | None = None
    kl, weighted_kl, estimators = {}, {}, {}
    for name, site in model_trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site):
            continue
        if site["is_observed"]:
            log_prob = scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"])
            reconstruction = log_prob if reconstruction is None else reconstruction + log_prob
            continue
        guide_site = guide_trace.nodes[name]
        if not _same(site["scale"], guide_site["scale"]):
            raise ValueError(
                f"the KL of site {name!r} is scaled by {site['scale']} in the model and {guide_site['scale']} in the guide; "
                "set weights with weigh_kl, which wraps both"
            )
        kl[name], estimators[name] = _kl(site, guide_site)
        weighted_kl[name] = kl[name] * guide_site["scale"]
    if reconstruction is None:
        reconstruction = torch.zeros_like(next(iter(kl.values())))
    return ELBOTerms(reconstruction, kl, weighted_kl, estimators)


def _kl(site: Any, guide_site: Any) -> tuple[Tensor, str]:
    """KL of one latent site without its scale, and the estimator used."""
    value, estimator = kl_of(guide_site["fn"], site["fn"], guide_site["value"])
    return scale_and_mask(value, mask=guide_site["mask"]), estimator


def kl_of(q: Any, p: Any, value: Tensor) -> tuple[Tensor, str]:
    """KL(q || p), or its estimate along a draw.

    Args:
        q: The posterior, batch ``*B``.
        p: The prior.
        value: A draw from q.

    Returns:
        Nats ``*B``, and how it was computed.
    """
    try:
        return kl_divergence(q, p), CLOSED_FORM
    except NotImplementedError:
        pass
    p = teacher_forced(p, value)
    try:
        return kl_divergence(teacher_forced(q, value), p), CLOSED_FORM_PER_STEP
    except NotImplementedError:
        pass
    try:
        # Of q itself, not of its conditionals along the path: those move with the path, and that part of the gradient stays.
        q, estimator = detached(q), STICKING_THE_LANDING
    except NotImplementedError:
        estimator = MONTE_CARLO
    return q.log_prob(value) - p.log_prob(value), estimator


def _refuse_open_loop(p: Any, z: Tensor) -> None:
    """Raises `UsageError` where a prior draws while it scores: it would be evaluated along its own path, not the given one."""
    before = _generators(z)
    teacher_forced(p, z)
    if not all(torch.equal(a, b) for a, b in zip(before, _generators(z), strict=True)):
        raise UsageError(
            f"{type(p).__name__}.conditionals(z) draws random numbers (open loop): a prior that follows its own samples learns "
            "nothing of the path that it must predict; compute p(z_t | z_<t) from the z that is given"
        )


def _generators(z: Tensor) -> list[Tensor]:
    """The states of the generators that may serve tensors like ``z``."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(z.device)] if z.is_cuda else [])]


def _same(a: float | Tensor, b: float | Tensor) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b or bool(torch.as_tensor(a).equal(torch.as_tensor(b)))
    return a == b
