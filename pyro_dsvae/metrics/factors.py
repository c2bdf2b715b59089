"""Factors to report: the labels, and the parts of labels whose class names are a product of words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData


@dataclass(frozen=True)
class Part:
    """A coarser label.

    Attributes:
        name: What it is called in tables.
        label: The label that it is a part of.
        of: (classes of the label,) int64: class of the label -> class of the part.
        classes: Names of the part's classes.
    """

    name: str
    label: str
    of: Tensor
    classes: tuple[str, ...]


def parts_of(labels: Mapping[str, Label]) -> list[Part]:
    """Parts of every label whose classes are all pairs "a b" of some words a with some words b.

    "walk front", "walk left", …, "slash right" has two: walk/…/slash and front/left/right. They show which latent holds the
    direction that a figure looks in, which the label joins with its action.
    """
    found = []
    for name, label in labels.items():
        words = [tuple(kind.split()) for kind in label.classes]
        if {len(w) for w in words} != {2}:
            continue
        axes = [list(dict.fromkeys(w[place] for w in words)) for place in (0, 1)]
        if min(map(len, axes)) < 2 or len(set(words)) != len(words) or len(words) != len(axes[0]) * len(axes[1]):
            continue
        for place, axis in enumerate(axes):
            of = torch.tensor([axis.index(w[place]) for w in words])
            found.append(Part(f"{name}: {'/'.join(axis)}", name, of, tuple(axis)))
    return found


def with_parts(data: SequenceData, parts: list[Part]) -> SequenceData:
    """The data with the parts as further labels, each with the role of the label it belongs to."""
    labels = dict(data.labels)
    for part in parts:
        whole = labels[part.label]
        labels[part.name] = Label(part.of[whole.values], part.classes, whole.role)
    return replace(data, labels=labels)


def marginals(log_p: Mapping[str, Tensor], parts: list[Part]) -> dict[str, Tensor]:
    """Log probabilities (N, classes) by label, and those of the parts beside them."""
    found = dict(log_p)
    for part in parts:
        whole = log_p[part.label]
        columns = [whole[:, part.of == kind].logsumexp(1) for kind in range(len(part.classes))]
        found[part.name] = torch.stack(columns, dim=1)
    return found
