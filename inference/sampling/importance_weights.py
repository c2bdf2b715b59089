"""The mean of importance weights, in logarithms, and how well it is known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogMean:
    """Logarithm of the mean weight of every sequence, each (N,), float64, in nats.

    Attributes:
        value: log (1/K sum_k w_k): of an unbiased estimate, so itself too low by about half the squared error.
        standard_error: se(mean w) / mean w, the delta method for the logarithm. It is right where it is small (below .3,
            say) and the weights have a variance (k-hat below .5). Where they have none it is too small, because the draws
            that would show it are those that did not occur.
        effective_sample_size: (sum w)^2 / sum w^2, between 1 and K.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor

    @classmethod
    def of(cls, log_weights: Tensor, stratum: Tensor | None = None) -> "LogMean":
        """For log weights (K, N) of independent draws.

        Args:
            log_weights: (K, N).
            stratum: (K,) bool, where a fixed number of draws came from each of two sources: the numbers add no error
                then.
        """
        count = len(log_weights)
        total = log_weights.logsumexp(0)
        shares = (log_weights - total).exp()
        strata = [shares] if stratum is None else [shares[stratum], shares[~stratum]]
        # Shares are K times smaller than weights over their mean, so K parts of this sum make up the squared error.
        error = torch.stack([len(s) * s.var(0) for s in strata]).sum(0).sqrt()
        # Where every weight is zero nothing is known.
        nothing = total.isneginf()
        return cls(
            total - math.log(count),
            error.masked_fill(nothing, math.inf),
            (1 / shares.square().sum(0)).masked_fill(nothing, 0.0),
        )


def bounds(log_weights: Tensor) -> Mapping[int, Tensor]:
    """k -> E[log (1/k sum of k weights)] (N,) for k = 1, 10, 100, ... and K, from log weights (K, N).

    The draws are cut into blocks of k. In expectation each bound is below the evidence and at least the one before; where 10,
    100, ... divide K it is at least that in every sample.

    Source: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.
    """
    count, sizes = len(log_weights), [1]
    while sizes[-1] * 10 < count:
        sizes.append(sizes[-1] * 10)
    return {k: _bound(log_weights, k) for k in (*sizes, count)}


def _bound(log_weights: Tensor, size: int) -> Tensor:
    blocks = log_weights[: len(log_weights) // size * size].unflatten(0, (-1, size))
    return (blocks.logsumexp(1) - math.log(size)).mean(0)
