"""Contrastive terms beside the ELBO: information of f and of z about the clip, and of f and z about each other.

    loss = -ELBO - weight_f I(f; x) - weight_z I(z; x) + weight_mi I(f; z)

The first two terms are InfoNCE bounds over pairs of views. The last is estimated from densities within the batch. With
any of them the objective does not bound the evidence; the ELBO that is reported does not contain them.

Source: Bai, Wang & Gomes, "Contrastively Disentangled Sequential Variational Autoencoder", NeurIPS 2021.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.latent_density import LatentDensity
from pyro_dsvae.inference.training.contrastive_views import content_view, motion_view
from pyro_dsvae.models.distributions.density import unwrapped
from pyro_dsvae.models.errors import UsageError, check_positive


class ContrastiveTerms(NamedTuple):
    """Estimates, scalars in nats; 0 where the weight is 0.

    Attributes:
        static: I(f; x).
        dynamic: I(z_1:T; x).
        shared: I(f; z_t), the mean over steps.
    """

    static: Tensor
    dynamic: Tensor
    shared: Tensor


@dataclass(frozen=True)
class Contrastive:
    """Weights of the contrastive terms, by default those of the paper's code.

    Attributes:
        weight_f: Weight of I(f; x), by InfoNCE between a clip and its frames in another order.
        weight_z: Weight of I(z; x), by InfoNCE between a clip and a recoloured and blurred copy; images only.
        weight_mi: Weight of the penalty on I(f; z), by minibatch weighted sampling; for posteriors with independent steps.
        temperature: Divides the cosines of both InfoNCE terms.
    """

    weight_f: float = 10.0
    weight_z: float = 10.0
    weight_mi: float = 1.0
    temperature: float = 0.5

    def __post_init__(self) -> None:
        for name in ("weight_f", "weight_z", "weight_mi"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"contrastive.{name} is {getattr(self, name)}; it must be a finite number of at least 0"
                )
        check_positive("contrastive.temperature", self.temperature)

    def check(self, frame_shape: tuple[int, ...], static_size: int) -> None:
        """Refuse frames or models that have no such terms.

        Raises:
            UsageError: For vectors where images are needed, and for a model without f.
        """
        if static_size == 0 and (self.weight_f or self.weight_mi):
            raise UsageError(
                "without a static part there is no I(f; x) and no I(f; z): set weight_f and weight_mi to 0, "
                "or take a static_size above 0",
                "contrastive.weight_f",
                "contrastive.weight_mi",
                "static_size",
            )
        if len(frame_shape) != 3 and self.weight_z:
            raise UsageError(
                f"frames of shape {frame_shape} cannot be recoloured and blurred: set weight_z to 0",
                "contrastive.weight_z",
            )

    def terms(self, guide: LatentDensity, clip: GuideInput) -> ContrastiveTerms:
        """The estimates for one batch, along draws of f and z of its own, with gradients.

        Raises:
            UsageError: Where steps or dimensions of the posterior depend on each other and ``weight_mi`` is not 0.
        """
        zero = clip.x.new_zeros(())
        q_f = guide.static(clip)
        f = q_f.rsample()
        static = dynamic = shared = zero
        if self.weight_f:
            static = info_nce(f, guide.static(content_view(clip)).rsample(), self.temperature)
        if self.weight_z or self.weight_mi:
            q_z = guide.dynamic(clip, f)
            z = q_z.rsample()
            if self.weight_z:
                view = motion_view(clip)
                # With f of the view itself: given the same f, two paths could be told by their f instead of their motion.
                other = guide.dynamic(view, guide.static(view).rsample()).rsample()
                dynamic = info_nce(_existing(z, clip), _existing(other, clip), self.temperature)
            if self.weight_mi:
                log_f = _pairs(q_f, f, guide).sum(-1)
                log_z = _pairs(q_z, z, guide).sum(-1).movedim(-1, 0)
                valid = clip.steps.valid
                shared = mutual_information(log_f, log_z, None if valid is None else valid.T)
        return ContrastiveTerms(static, dynamic, shared)

    def gain(self, terms: ContrastiveTerms) -> Tensor:
        """The weighted sum of the terms, by which the loss falls: a scalar."""
        return self.weight_f * terms.static + self.weight_z * terms.dynamic - self.weight_mi * terms.shared


def info_nce(u: Tensor, v: Tensor, temperature: float = 0.5) -> Tensor:
    """A lower bound on the mutual information of two views' latents u, v (B, P), a scalar in nats.

        log B + mean_i (log softmax_j(s_ij)_i + log softmax_j(s_ji)_i) / 2,   s_ij = cos(u_i, v_j) / temperature

    Row i of both is one sequence, all other rows are its negatives. Both directions are bounds in expectation, so their mean
    is. It is at most log B, 0 where the scores tell no pair apart, and with cosines at most log B - log(1 + (B - 1)
    exp(-2 / temperature)).

    Source: van den Oord, Li & Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018.
    """
    # By hand, not as a product of matrices, which would be of half the precision under autocast.
    scores = (normalize(u, dim=-1).unsqueeze(1) * normalize(v, dim=-1)).sum(-1) / temperature
    there, back = (scores.log_softmax(dim).diagonal() for dim in (1, 0))
    return math.log(len(u)) + (there + back).mean() / 2


def mutual_information(log_f: Tensor, log_z: Tensor, exists: Tensor | None = None) -> Tensor:
    """I(f; z) under the aggregate of the batch, q(f, z) = sum_j q(f | x_j) q(z | x_j) / B, a scalar in nats.

        mean_i [log sum_j q(f_i | x_j) q(z_i | x_j) - log sum_j q(f_i | x_j) - log sum_j q(z_i | x_j)] + log B

    Minibatch weighted sampling puts 1 / (B N) for every 1 / B, N being the size of the data set: with that the value is
    higher by log(N / B), and the gradient is the same. Here it is the information under the batch's own aggregate: in
    expectation between 0 and log B, which it reaches where both tell every clip from the others, and off by O(1 / B) from
    that of the population.

    Source: Chen et al., "Isolating Sources of Disentanglement in VAEs", NeurIPS 2018 (the estimator).

    Args:
        log_f: (B, B), in row i and column j: log q(f_i | x_j).
        log_z: (T, B, B): the same of z_t; the mean over steps is returned.
        exists: (T, B) bool, or None: step t of sequence i exists; others are neither counted nor in a mixture.
    """
    count = torch.full(log_z.shape[:1], log_z.shape[-1], dtype=log_z.dtype, device=log_z.device)
    log_f = log_f.expand(log_z.shape)
    if exists is not None:
        count = exists.sum(-1).to(log_z.dtype).clamp(min=1)
        # Its own column stays, so that no row is empty: the gradient of an empty sum is not a number.
        columns = exists.unsqueeze(-2) | torch.eye(log_z.shape[-1], dtype=torch.bool, device=log_z.device)
        log_f, log_z = (v.masked_fill(~columns, -math.inf) for v in (log_f, log_z))
    each = (log_f + log_z).logsumexp(-1) - log_f.logsumexp(-1) - log_z.logsumexp(-1) + count.log().unsqueeze(-1)
    if exists is None:
        return each.mean()
    return torch.where(exists, each, torch.zeros_like(each)).sum() / exists.sum()


def _existing(z: Tensor, clip: GuideInput) -> Tensor:
    """Paths (B, T, D) as vectors (B, T D), zero where a step does not exist."""
    valid = clip.steps.valid
    return (z if valid is None else torch.where(valid.unsqueeze(-1), z, torch.zeros_like(z))).flatten(1)


def _pairs(q: Any, value: Tensor, guide: LatentDensity) -> Tensor:
    """Log densities ``(B, B, *event)`` of every value under the posterior of every clip, elementwise.

    Where q(z) depends on f it is that of the column's own f, so that the networks need not run for all pairs. For
    `Factorised` this changes nothing.
    """
    q = unwrapped(q)
    if q.event_shape:
        raise UsageError(
            f"I(f; z) needs a posterior whose steps and dimensions are independent (LSTM, Factorised, CausalLSTM), and "
            f"{type(guide).__name__} is not: set weight_mi to 0",
            "contrastive.weight_mi",
        )
    return q.log_prob(value.unsqueeze(1))
