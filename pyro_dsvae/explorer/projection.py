"""The static latents of many clips as points of a plane."""

import torch
from torch import Tensor


def project(f: Tensor) -> Tensor:
    """The first two principal components (n, 2) of f (n, F), with the larger loading of each positive."""
    centred = f - f.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    points = centred @ (directions * largest.sign()).T
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))
