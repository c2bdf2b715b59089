"""The module that is optimised: a model and a guide under one ELBO."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.guide_input import Clip
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.kl_weights import weigh_kl
from pyro_dsvae.inference.training.recombination import recombined
from pyro_dsvae.models.dsvae import DSVAE

TERMS = ("elbo", "reconstruction", "kl_static", "kl_dynamic")


class Batch(NamedTuple):
    """Stored frames (B, T, \\*frame); mask, lengths and times as in `DSVAE.forward`."""

    frames: Tensor
    mask: Tensor | None = None
    lengths: Tensor | None = None
    times: Tensor | None = None


@dataclass(frozen=True)
class Sequences:
    """Some rows of a data set, without a copy of them.

    frames, mask, lengths, times  of all sequences, as in `Batch`
    rows                          (N,) int64: the sequences that belong to this part
    """

    frames: Tensor
    mask: Tensor | None
    lengths: Tensor | None
    rows: Tensor
    times: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Tensor, device: torch.device) -> Batch:
        """The sequences at these positions of ``rows``, on ``device``."""
        rows = self.rows[positions]
        frames, *others = (None if v is None else _taken(v, rows, device) for v in self.stored())
        assert frames is not None
        return Batch(frames, *others)

    def stored(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Frames, mask, lengths and times of the whole data set."""
        return self.frames, self.mask, self.lengths, self.times

    def elsewhere(self, move: Callable[[Tensor | None], Tensor | None]) -> "Sequences":
        """The same part of the data set, stored where ``move`` puts it."""
        frames, mask, lengths, times = (move(v) for v in self.stored())
        assert frames is not None
        return Sequences(frames, mask, lengths, self.rows, times)


def _taken(values: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """``values[rows]`` on ``device``. Nothing waits: from memory that is not pinned a copy to a GPU would."""
    taken = values[rows.to(values.device, non_blocking=True)]
    if device.type == "cuda" and taken.device.type == "cpu":
        taken = taken.pin_memory()
    return taken.to(device, non_blocking=True)


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
            seen = Clip.of(x, batch.mask, batch.lengths, batch.times)
            guide = functools.partial(guide, looks=recombined(self.model, self.guide, seen))
        terms = self.elbo.terms(model, guide, x, batch.mask, batch.lengths, batch.times)
        self.estimators = dict(terms.estimators)
        loss = terms.loss
        if self.contrastive is not None and self.training:
            clip = Clip.of(x, batch.mask, batch.lengths, batch.times)
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
