"""Filtering of a discrete Markov chain that is seen through noise, without a loop over time."""

import torch
from torch import Tensor


def predict_states(initial: Tensor, transition: Tensor, evidence: Tensor) -> Tensor:
    """log p(s_t | x_<t), normalised, of a Markov chain with K states: the forward algorithm.

    The products of the T matrices exp(transition + evidence_t) are computed by odd-even reduction: O(T K^3) work, O(log T)
    calls. Everything is a sum of logarithms, and the largest entry of each product is subtracted, so neither long sequences
    nor extreme evidence costs precision.

    Args:
        initial: log p(s_1), ``(*B, K)``.
        transition: log p(s_t = j | s_{t-1} = i) in row i, ``(*B, K, K)``. With ``initial`` it broadcasts to the batch of
            ``evidence``.
        evidence: log p(x_t | s_t, x_<t), ``(*B, T, K)``.

    Returns:
        ``(*B, T, K)``.
    """
    # A factor common to all states of a step changes nothing.
    evidence = _reduced(evidence, -1)
    first = _reduced(initial + evidence[..., 0, :], -1)
    matrices = transition.unsqueeze(-3) + evidence[..., 1:, :].unsqueeze(-2)
    filtered = _prefixes(first, matrices)[..., :-1, :].log_softmax(-1)
    predicted = torch.logsumexp(filtered.unsqueeze(-1) + transition.unsqueeze(-3), dim=-2)
    start = initial.log_softmax(-1).expand(*evidence.shape[:-2], -1)
    return torch.cat([start.unsqueeze(-2), predicted.log_softmax(-1)], dim=-2)


def _prefixes(first: Tensor, matrices: Tensor) -> Tensor:
    """a_0, a_0 M_1, a_0 M_1 M_2, ... ``(*B, N + 1, K)``, each up to a factor, from a_0 ``(*B, K)`` and M
    ``(*B, N, K, K)``, all as logarithms.
    """
    count = matrices.shape[-3]
    if count == 0:
        return first.unsqueeze(-2)
    second = _times(first, matrices[..., 0, :, :])
    odd_pairs = matrices[..., 1::2, :, :][..., : (count - 1) // 2, :, :]
    odd = _prefixes(second, _product(odd_pairs, matrices[..., 2::2, :, :]))
    even = _times(odd[..., : count // 2, :], matrices[..., 1::2, :, :])
    even = torch.cat([first.unsqueeze(-2), even], dim=-2)
    paired = odd.shape[-2]
    pairs = torch.stack([even[..., :paired, :], odd], dim=-2).flatten(-3, -2)
    return pairs if even.shape[-2] == paired else torch.cat([pairs, even[..., -1:, :]], dim=-2)


def _times(row: Tensor, matrix: Tensor) -> Tensor:
    return _reduced(torch.logsumexp(row.unsqueeze(-1) + matrix, dim=-2), -1)


def _product(left: Tensor, right: Tensor) -> Tensor:
    return _reduced(torch.logsumexp(left.unsqueeze(-1) + right.unsqueeze(-3), dim=-2), (-2, -1))


def _reduced(values: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Without the largest, which is held fixed: a common factor drops out when the result is normalised."""
    return values - values.detach().amax(dims, keepdim=True)
