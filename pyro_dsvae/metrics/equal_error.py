"""Verification: are two sequences of the same class, by the angle between their codes?"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def equal_error_rate(codes: Tensor, classes: Tensor, reference: Tensor | None = None) -> float:
    """The equal error rate of the cosine between codes, over all pairs of different sequences.

    Source: the measure of speaker verification, such as in Martin et al., "The DET curve in assessment of detection task
    performance", Eurospeech 1997.

    Args:
        codes: (N, K), one for each sequence. Each dimension is less its mean, and counts as much as it varies: one that tells
            nothing of a sequence stays near its mean.
        classes: (N,) int64.
        reference: (M, K), whose means are taken; None for those of ``codes``.

    Returns:
        From 0 to 1, a half for codes that know nothing; NaN where all sequences, or no two, are of one class.

    Example:
        >>> import torch
        >>> from pyro_dsvae.metrics.equal_error import equal_error_rate
        >>> equal_error_rate(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), torch.tensor([0, 0, 1, 1]))
        0.0
    """
    known = codes if reference is None else reference
    unit = normalize(codes.double() - known.double().mean(0), dim=-1)
    one, other = torch.triu_indices(len(codes), len(codes), offset=1)
    return equal_error_of_scores((unit @ unit.T)[one, other], classes[one] == classes[other])


def equal_error_of_scores(scores: Tensor, same: Tensor) -> float:
    """The rate at which false alarms and misses are equally many, as the threshold runs through the scores.

    Where no threshold makes both equal, it is on the line between the two that come closest.

    Args:
        scores: (M,) of trials, high for the same class.
        same: (M,) bool, whether a trial is of the same class.
    """
    targets, others = int(same.sum()), int((~same).sum())
    if targets == 0 or others == 0:
        return float("nan")
    ordered, order = scores.sort(descending=True)
    accepted = same[order]
    # One threshold after each run of equal scores, and one above all.
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    start = torch.zeros(1, dtype=torch.float64)
    misses = torch.cat([start + 1, 1 - accepted.double().cumsum(0)[last] / targets])
    alarms = torch.cat([start, (~accepted).double().cumsum(0)[last] / others])
    at = int((alarms >= misses).double().argmax())
    if at == 0:
        return float(alarms[0])
    above, below = (misses - alarms)[at - 1], (alarms - misses)[at]
    share = above / (above + below)
    return float(alarms[at - 1] + share * (alarms[at] - alarms[at - 1]))
