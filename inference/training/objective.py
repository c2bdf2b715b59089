"""The module that is optimised: a model and a guide under one ELBO."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.sequences import Batch
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.kl_weights import weigh_kl
from pyro_dsvae.inference.training.recombination import recombined
from pyro_dsvae.models.dsvae import DSVAE

TERMS = ("elbo", "reconstruction", "kl_static", "kl_dynamic")


class KLWeights(NamedTuple):
    """Weights of the two KL terms; (1, 1) is the ELBO."""

    static: float = 1.0
    dynamic: float = 1.0


class Objective(nn.Module):
    """Stored frames in, the terms of the ELBO out.

    One module, so that engines which wrap a module (mixed precision, gradient averaging over devices) see every parameter
    and the whole forward pass.

    contrastive  terms beside the ELBO while training, by default none; in evaluation mode there are none
    recombining  whether a guide with views infers f from recombined clips, too, while training (`recombined`)
    """

    def __init__(self, model: DSVAE, guide: Posterior, contrastive: Contrastive | None = None) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.contrastive = contrastive
        self.recombining = False
        self.elbo = SequenceELBO()
        self.estimators: dict[str, str] = {}

    def forward(self, batch: Batch, weights: KLWeights) -> dict[str, Tensor]:
        """Means over the batch, scalars in nats per sequence: "loss" (weighted) and the unweighted `TERMS`.

        Contrastive terms are part of the loss alone. ``estimators`` tells afterwards how the KL of each site was computed.
        """
        x = self.model.likelihood.prepare(batch.frames)
        weigh = {"f": weights.static, "z": weights.dynamic}
        model, guide = weigh_kl(_unregistered(self.model), _unregistered(self.guide), weigh)
        if self.recombining and self.training and self.guide.views:
            seen = GuideInput.of(x, batch.mask, batch.lengths, batch.times)
            guide = functools.partial(guide, looks=recombined(self.model, self.guide, seen))
        terms = self.elbo.terms(model, guide, x, batch.mask, batch.lengths, batch.times)
        self.estimators = dict(terms.estimators)
        loss = terms.loss
        if self.contrastive is not None and self.training:
            clip = GuideInput.of(x, batch.mask, batch.lengths, batch.times)
            loss = loss - self.contrastive.gain(self.contrastive.terms(self.guide, clip))
        return {
            "loss": loss,
            "elbo": terms.elbo.mean(),
            "reconstruction": terms.reconstruction.mean(),
            "kl_static": terms.kl["f"].mean(),
            "kl_dynamic": terms.kl["z"].mean(),
        }


def _unregistered(module: PyroModule) -> Callable[..., Any]:
    """The module as a Pyro program that does not tell Pyro of its parameters, about 60 messages a step.

    They are for optimisers that take parameters from the global store; this objective is optimised by `torch.optim`.
    """
    return functools.partial(nn.Module.__call__, module)
