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
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_dsvae.models.dynamic_priors.path_distribution import PathDistribution

CLOSED_FORM = "closed form"
CLOSED_FORM_PER_STEP = "closed form per step"
MONTE_CARLO = "Monte Carlo"


@dataclass(frozen=True)
class ELBOTerms:
    """One estimate of the ELBO and its parts, each (B,), in nats per sequence.

    reconstruction  E_q[log p(x | f, z)]
    kl              site -> KL(q || p) of that latent given those before it, unweighted
    weighted_kl     the same times the site's weight: what is optimised
    estimators      site -> how its KL was computed
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


class _TeacherForcing(Messenger):
    """Replaces a path distribution by its one-step conditionals along the path that was replayed.

    Has to stand outside the replay, so that it sees the value, and inside the trace, so that the trace sees its result.
    """

    def _pyro_sample(self, msg: Message) -> None:
        if isinstance(msg["fn"], PathDistribution) and msg["value"] is not None:
            msg["fn"] = msg["fn"].given(msg["value"])
            msg["infer"]["teacher_forced"] = True


class LocalParameters(Messenger):
    """Lets every module use its own parameters, without the global parameter store.

    Through the store, two models with the same names in one process share weights, and every model that ever ran stays
    in memory. Modules are trained by `torch.optim` here, so the store has nothing to do.
    """

    def _pyro_param(self, msg: Message) -> None:
        if len(msg["args"]) == 2 and isinstance(msg["args"][1], torch.nn.Parameter):
            msg["value"] = msg["args"][1]
            msg["done"] = msg["stop"] = True


class SequenceELBO(TraceMeanField_ELBO):
    """``TraceMeanField_ELBO`` that hands the sampled path to the dynamic prior.

        ELBO = E_q[log p(x | f, z)] - KL(q(f) || p(f)) - E_q[sum_t KL(q(z_t) || p(z_t | z_<t))]

    `kl_divergence` never sees a sampled value, so with one vectorised site "z" stock Pyro can only estimate the last term
    by Monte Carlo. Here the model's path distribution is replaced by ``given(z)``, its one-step conditionals along the
    sampled path, after which the KL of every step is closed. The conditionals are computed once per path.

    Everything that takes a Pyro ELBO (``SVI``, ``elbo(model, guide)``) takes this one; the training loop uses `terms`.
    """

    def _get_trace(
        self, model: Callable[..., Any], guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(_TeacherForcing()(replayed)).get_trace(*args, **kwargs)
        if is_validation_enabled():
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

        Raises `ValueError` where a latent site carries different scales in model and guide (see `weigh_kl`).
        """
        with LocalParameters():
            particles = [_terms(*traces) for traces in self._get_traces(model, guide, args, kwargs)]

        def mean(values: list[Tensor]) -> Tensor:
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
    q, p = guide_site["fn"], site["fn"]
    try:
        value = kl_divergence(q, p)
        estimator = CLOSED_FORM_PER_STEP if site["infer"].get("teacher_forced") else CLOSED_FORM
    except NotImplementedError:
        value = q.log_prob(guide_site["value"]) - p.log_prob(guide_site["value"])
        estimator = MONTE_CARLO
    return scale_and_mask(value, mask=guide_site["mask"]), estimator


def _same(a: float | Tensor, b: float | Tensor) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b or bool(torch.as_tensor(a).equal(torch.as_tensor(b)))
    return a == b
