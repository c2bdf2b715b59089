"""The dimensions of f and z that a run uses most, and what each means."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.actions.traverse import told, values_of
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.inference.latent_space.traversal import DEVIATIONS, OUTER


@dataclass(frozen=True)
class Dimension:
    """One dimension of a latent.

    Attributes:
        latent: Of which.
        index: Which.
        name: It, and the label that it tells most about.
        low, high: Of f the values that it takes over clips, from the 2nd to the 98th percentile; of z moves of all steps.
    """

    latent: Literal["static", "dynamic"]
    index: int
    name: str
    low: float
    high: float


def used(library: Library, latent: Literal["static", "dynamic"], number: int) -> list[Dimension]:
    """The ``number`` dimensions with most information, in order."""
    codes = library.codes
    if latent == "static":
        letter, values, scale = "f", codes.f, codes.f_scale
    else:
        exists = torch.arange(codes.z.shape[1]) < torch.tensor(library.clips.frame_counts).unsqueeze(1)
        letter, values, scale = "z", codes.z[exists], codes.z_scale[exists]
    found = []
    for index in information(values, scale).argsort(descending=True)[:number].tolist():
        about = told(values_of(codes, latent, index), library.labels)
        name = f"{letter} {index}" + ("" if about is None else f": {about.label} ({about.share:.0%})")
        found.append(Dimension(latent, index, name, *_range(values[:, index], latent)))
    return found


def information(mean: Tensor, scale: Tensor) -> Tensor:
    """What each dimension says of which clip, or which step of which clip, is before it.

        (log V - mean over n of log v_n) / 2        nats, with V the variance of means plus the mean of v

    As `pyro_dsvae.inference.latent_checks.usage.latent_usage` defines it, which decodes draws besides. Of a guide without
    density it is the variance of the means.

    Args:
        mean: (n, size) of the posterior.
        scale: (n, size) its standard deviation, of which v is the square.

    Returns:
        (size,).
    """
    between = mean.var(0)
    if not (scale > 0).all():
        return between
    return ((between + scale.square().mean(0)).log() / 2 - scale.log().mean(0)).clamp(min=0)


def _range(values: Tensor, latent: str) -> tuple[float, float]:
    if latent == "static":
        low, high = torch.quantile(values, torch.tensor([OUTER, 1 - OUTER]).to(values)).tolist()
        return low, high
    reach = DEVIATIONS * float(values.std())
    return -reach, reach


def moved(f: Tensor, z: Tensor, settings: dict[Dimension, float | None]) -> tuple[Tensor, Tensor]:
    """Latents f (1, F) and z (1, T, D) with dimensions of f set to values, and those of z moved at all steps.

    None leaves a dimension as it is.
    """
    f, z = f.clone(), z.clone()
    for dimension, value in settings.items():
        if value is None:
            continue
        if dimension.latent == "static":
            f[:, dimension.index] = value
        else:
            z[..., dimension.index] += value
    return f, z
