"""Do two samples come from one distribution? Maximum mean discrepancy, with an exact p-value."""

from collections.abc import Sequence

import torch
from torch import Tensor

# The median of all distances is as good from this many points as from more.
MEDIAN_OF = 1_000


def pair_matrix(x: Tensor, y: Tensor) -> Tensor:
    """The matrix h (n, n) of the discrepancy between x (n, d) and y (n, d), with zeros on the diagonal.

        h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j),    k(a, b) = exp(-|a - b|^2 / 2 l^2)

    2 l^2 is the median squared distance of the points of both samples together.
    """
    points = torch.cat([x, y]).double()
    square = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    some = torch.arange(0, len(points), max(1, len(points) // MEDIAN_OF))
    width = square[some][:, some][~torch.eye(len(some), dtype=torch.bool)].median()
    k = torch.exp(-square / width.clamp(min=torch.finfo(torch.float64).tiny))
    n = len(x)
    h = k[:n, :n] + k[n:, n:] - k[:n, n:] - k[n:, :n]
    return h.fill_diagonal_(0)


def swap_test(h: Tensor, permutations: int, generator: torch.Generator) -> tuple[float, float]:
    """The unbiased MMD^2 and its p-value, from h (n, n) of n pairs.

        MMD^2 = 1 / (n (n - 1)) sum_{i != j} h_ij,    swapped: 1 / (n (n - 1)) sum_{i != j} s_i s_j h_ij,  s_i = +-1

    Where x_i and y_i have one distribution, swapping the two changes nothing, so the p-value is exact even if every pair
    has a distribution of its own (other lengths, other times). Only pairs need be independent of each other. It is
    (1 + swaps at least as large) / (1 + permutations).

    Source: Gretton, Borgwardt, Rasch, Schölkopf & Smola, "A Kernel Two-Sample Test", JMLR 13, 2012 (lemma 6).
    """
    n = len(h)
    signs = 2.0 * torch.randint(0, 2, (permutations, n), generator=generator).double() - 1
    observed = h.sum() / (n * (n - 1))
    swapped = ((signs @ h) * signs).sum(1) / (n * (n - 1))
    # Equal up to rounding counts as equal.
    reached = (swapped >= observed - 1e-12 * observed.abs()).sum()
    return float(observed), (1 + int(reached)) / (1 + permutations)


def standardised(samples: Sequence[Tensor]) -> list[Tensor]:
    """Samples (n, d), every entry on the scale of all of them together, which swapping does not change."""
    together = torch.cat(list(samples)).double()
    scale = together.std(0).clamp(min=1e-12)
    return [(sample - together.mean(0)) / scale for sample in samples]
