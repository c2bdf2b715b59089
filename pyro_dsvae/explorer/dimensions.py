"""The dimensions of f and z that a run uses most, and what each means."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.actions.traverse import told, use_of_dimensions, values_of
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
    letter, values = ("f", codes.f) if latent == "static" else ("z", codes.z.flatten(0, 1))
    nats = use_of_dimensions(library.run, library.clips, codes, latent)
    found = []
    for index in nats.argsort(descending=True)[:number].tolist():
        about = told(values_of(codes, latent, index), library.labels)
        name = f"{letter} {index}" + ("" if about is None else f": {about.label} ({about.share:.0%})")
        found.append(Dimension(latent, index, name, *_range(values[:, index], latent)))
    return found


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
