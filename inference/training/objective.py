"""The module that is optimised: a model and a guide under one ELBO."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.latent_density import LatentDensity, sample_posterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.kl_weights import weigh_kl
from pyro_dsvae.inference.training.recombination import CLIP, SeenForStatic, StaticView, recombined
from pyro_dsvae.models.dsvae import DSVAE

TERMS = ("elbo", "reconstruction", "kl_static", "kl_dynamic")


class KLWeights(NamedTuple):
    """Weights of the two KL terms; (1, 1, 0) is the ELBO.

    Attributes:
        static: Of KL(f).
        dynamic: Of KL(z).
        free: Nats per frame. As far as the mean KL(z) of a batch is below, it costs nothing: free bits (Kingma et al.,
            "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016).
    """

    static: float = 1.0
    dynamic: float = 1.0
    free: float = 0.0


class Objective(nn.Module):
    """A batch in, the terms of the ELBO out.

    It is one module, so that engines that wrap a module (mixed precision, gradient averaging over devices) see every
    parameter and the whole forward pass.

    Args:
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x).
        contrastive: Terms beside the ELBO in training, by default none; in evaluation mode there are none.
        anchor: A training clip ``(T, *frame)`` that is stored with the weights for `Anchored`, or None; it is not used here.
    """

    anchor: Tensor | None

    def __init__(
        self, model: DSVAE, guide: Posterior, contrastive: Contrastive | None = None, anchor: Tensor | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.contrastive = contrastive
        self.register_buffer("anchor", anchor)
        self.elbo = SequenceELBO()
        self.estimators: dict[str, str] = {}

    def forward(self, batch: Batch, weights: KLWeights, static_view: StaticView = CLIP) -> dict[str, Tensor]:
        """Means over the batch, scalars in nats per sequence: "loss" (weighted) and the unweighted `TERMS`.

        Contrastive terms are part of the loss alone. ``estimators`` tells afterwards how the KL of each site was computed.

        Args:
            batch: The sequences; where ``static_view`` says so, other windows of their recordings after them.
            weights: Of the KL terms.
            static_view: What a guide with random views infers f from, while training. Recombined clips are held fixed: the
                gradient of "loss" leaves out how parameters change them.
        """
        guide, windows = _unregistered(self.guide), batch
        if static_view.other_windows:
            batch, windows = batch.halves()
        varying = self.guide.views.random or static_view.other_windows
        if static_view != CLIP and self.training and varying:
            seen = self.guide.see(*batch)
            others = self.guide.see(*windows) if static_view.other_windows else seen
            if static_view.recombined:
                others = recombined(self.model, self.guide, seen, others)
            guide = _seeing(seen, SeenForStatic(self.guide, others, static_view.learns))
        weighed = weigh_kl(_unregistered(self.model), guide, {"f": weights.static, "z": weights.dynamic})
        terms = self.elbo.terms(*weighed, *batch)
        self.estimators = dict(terms.estimators)
        loss = terms.loss
        if weights.free > 0:
            frames = batch.x.shape[1] if batch.lengths is None else batch.lengths.to(loss).mean()
            loss = loss + weights.dynamic * (weights.free * frames - terms.kl["z"].mean()).clamp(min=0)
        if self.contrastive is not None and self.training:
            loss = loss - self.contrastive.gain(self.contrastive.terms(self.guide, self.guide.see(*batch)))
        return {
            "loss": loss,
            "elbo": terms.elbo.mean(),
            "reconstruction": terms.reconstruction.mean(),
            "kl_static": terms.kl["f"].mean(),
            "kl_dynamic": terms.kl["z"].mean(),
        }


def _seeing(clip: GuideInput, q: LatentDensity) -> Callable[..., Any]:
    """``q`` as a Pyro program that sees this clip, whatever it is given."""
    return lambda *_: sample_posterior(q, clip)


def _unregistered(module: PyroModule) -> Callable[..., Any]:
    """The module as a Pyro program that does not tell Pyro of its parameters, about 60 messages a step.

    They are for optimisers that take parameters from the global store; this objective is optimised by `torch.optim`.
    """
    return functools.partial(nn.Module.__call__, module)
