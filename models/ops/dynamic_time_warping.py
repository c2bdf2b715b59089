"""Dynamic time warping, the distance of series of different speed, and the nearest neighbour by it."""

import torch
from torch import Tensor


def warping_distances(x: Tensor, length: int, others: Tensor, lengths: Tensor) -> Tensor:
    """Dynamic time warping distances from one series to others: the cheapest alignment of all steps of both,

        D(s, t) = |x_s - y_t|^2 + min(D(s - 1, t), D(s, t - 1), D(s - 1, t - 1)),

    and the root of D at the last steps.

    Source: Sakoe & Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE Transactions on
    Acoustics, Speech, and Signal Processing 26, 1978.

    Args:
        x: (T, P).
        length: Its steps.
        others: (N, T, P).
        lengths: (N,) their steps.

    Returns:
        (N,) float64.
    """
    x, others = x[:length].double(), others[:, : int(lengths.max())].double()
    cost = torch.cdist(x.expand(len(others), -1, -1), others).square()
    count, rows, columns = cost.shape
    # Diagonals s + t = d, by s; entries on one do not depend on each other.
    before, last = (torch.full((count, rows + 1), torch.inf, dtype=torch.float64) for _ in range(2))
    ends = torch.empty(count, dtype=torch.float64)
    steps = torch.arange(rows)
    for d in range(rows + columns - 1):
        s = steps[(d - steps >= 0) & (d - steps < columns)]
        best = torch.minimum(torch.minimum(last[:, s], last[:, s + 1]), before[:, s])
        new = torch.full_like(last, torch.inf)
        new[:, s + 1] = cost[:, s, d - s] + (best if d else torch.zeros_like(best))
        before, last = last, new
        ended = lengths - 1 == d - (rows - 1)
        ends[ended] = new[ended, rows]
    return ends.sqrt()


def nearest_by_warping(x: Tensor, lengths: Tensor, classes: Tensor, others: Tensor, other_lengths: Tensor) -> Tensor:
    """(M,) the class of the nearest of x (N, T, P) for each of ``others`` (M, T, P)."""
    nearest = [
        warping_distances(clip, int(length), x, lengths).argmin()
        for clip, length in zip(others, other_lengths, strict=True)
    ]
    return classes[torch.stack(nearest)]
