"""The Rosenblatt transform of mixtures of normals."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

HALVINGS = 60
# The smallest tail that is told from none, 37 standard deviations out.
TINY = 1e-300


class NormalMixture(NamedTuple):
    """A mixture of K normals and its map from the base space N(0, I), all in float64.

    Attributes:
        log_weights: Logarithms of the weights, ``(*B, K)``, normalised.
        loc: Means, ``(*B, K, D)``.
        scale_tril: Cholesky factors of the covariances, ``(*B, K, D, D)``.
    """

    log_weights: Tensor
    loc: Tensor
    scale_tril: Tensor

    def to_base(self, value: Tensor) -> Tensor:
        """e_d = Phi^-1 F(value_d | value_<d) ``(*B, D)``, accurate far out in the tails."""
        noise = []
        state = self._opening()
        for d, v in enumerate(value.split(1, dim=-1)):
            standard = self._standard(state, d, v)
            below, above = (torch.logsumexp(state[0] + log_ndtr(s), -1) for s in (standard, -standard))
            # From the smaller of both tails, whose logarithm has digits left.
            tail = torch.minimum(below, above).exp().clamp(min=TINY)
            noise.append(torch.where(below < above, ndtri(tail), -ndtri(tail)))
            state = self._seen(state, d, standard)
        return torch.stack(noise, dim=-1) if noise else value

    def from_base(self, noise: Tensor) -> Tensor:
        """The inverse of `to_base`, by bisection."""
        values = []
        state = self._opening()
        for d, e in enumerate(noise.split(1, dim=-1)):
            centre, scale = self._conditional(state, d)
            # The quantile of a mixture lies between those of its parts.
            all_ = centre + scale * e
            low, high = all_.min(-1, keepdim=True).values, all_.max(-1, keepdim=True).values
            sign = torch.where(e < 0, 1.0, -1.0).to(e)
            target = log_ndtr(-e.abs())
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                tail = torch.logsumexp(state[0] + log_ndtr(sign * (middle - centre) / scale), -1, keepdim=True)
                right = (tail < target) == (sign > 0)
                low, high = torch.where(right, middle, low), torch.where(right, high, middle)
            value = (low + high) / 2
            values.append(value)
            state = self._seen(state, d, self._standard(state, d, value))
        return torch.cat(values, dim=-1) if values else noise

    def _opening(self) -> tuple[Tensor, list[Tensor]]:
        """Log weights given the dimensions so far, and the noise of those in every part."""
        return self.log_weights, []

    def _conditional(self, state: tuple[Tensor, list[Tensor]], d: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(*B, K)`` of dimension d in every part, given those before it."""
        centre = self.loc[..., d]
        if state[1]:
            centre = centre + (self.scale_tril[..., d, :d] * torch.stack(state[1], dim=-1)).sum(-1)
        return centre, self.scale_tril[..., d, d]

    def _standard(self, state: tuple[Tensor, list[Tensor]], d: int, value: Tensor) -> Tensor:
        centre, scale = self._conditional(state, d)
        return (value - centre) / scale

    def _seen(self, state: tuple[Tensor, list[Tensor]], d: int, standard: Tensor) -> tuple[Tensor, list[Tensor]]:
        likely = state[0] - standard.square() / 2 - self.scale_tril[..., d, d].log()
        return likely.log_softmax(-1), [*state[1], standard]
