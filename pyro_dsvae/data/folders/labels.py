"""Labels of windows, and lines about what was left out."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_dsvae.data.factors import Label, Role
from pyro_dsvae.data.folders.cache import Entry
from pyro_dsvae.data.folders.tree import Found
from pyro_dsvae.data.names import listed
from pyro_dsvae.models.errors import UsageError, did_you_mean

# Lines about sources that are left out; more are counted.
SAID = 20
Asked = list[str] | str | None


def roles_of(labels: Collection[str], dynamic: Collection[str], asked: Mapping[Role, Asked]) -> dict[str, Role]:
    """The role of each label.

    Args:
        labels: Their names.
        dynamic: Names of labels that say what happens, where nothing is asked.
        asked: Names that the user gave each role.

    Raises:
        UsageError: For a name that is no label's.
    """
    roles: dict[str, Role] = {name: "dynamic" if name.lower() in dynamic else "static" for name in labels}
    for role, given in asked.items():
        for name in (given or "").split(",") if not isinstance(given, list) else given:
            if name.strip() and name.strip() not in labels:
                near = did_you_mean(name.strip(), labels) or f"; it is one of {', '.join(labels) or 'none'}"
                raise UsageError(f"there is no label {name.strip()!r}{near}", f"data.{role}")
            if name.strip():
                roles[name.strip()] = role
    return roles


def labels_of(values: Mapping[str, Sequence[str]], counts: NDArray[Any], roles: Mapping[str, Role]) -> dict[str, Label]:
    """Labels of windows.

    Args:
        values: From the name of a label to the class of each source.
        counts: How many windows each source has.
        roles: Of each label.
    """
    labels = {}
    for name, of in values.items():
        classes, numbers = np.unique(np.repeat(of, counts), return_inverse=True)
        labels[name] = Label(torch.from_numpy(numbers.astype(np.int64)), tuple(classes.tolist()), roles[name])
    return labels


def passed_over(found: Found, thing: str) -> list[str]:
    """Lines about names, folders and files that are no sources."""
    lines = [f"left out, since its name is no text: {name}" for name in found.unnameable]
    if found.empty:
        lines.append(f"folders without a {thing}: {listed(found.empty)}")
    if found.others:
        lines.append(f"files that are no {thing}s: {counted(found.others)}")
    return lines


def refused(entries: Sequence[Entry], labels: Mapping[str, Sequence[str]], thing: str) -> list[str]:
    """Sources that could not be used, a line each, and classes of which none could."""
    gone = [entry for entry in entries if entry.refused]
    lines = [f"{entry.name} {entry.refused}" for entry in gone[:SAID]]
    if gone:
        rest = f", {len(gone) - SAID:,} of them not named here" if len(gone) > SAID else ""
        lines.append(f"left out {len(gone):,} of {len(entries):,} {thing}s{rest}")
    for name, values in labels.items():
        here = {value for value, entry in zip(values, entries, strict=True) if entry.windows}
        none = sorted(set(values) - here)
        lines += [f"no {thing} of {name} {listed(none)} could be used"] if none else []
    return lines


def counted(counts: Counter[str]) -> str:
    """The commonest first: "120 .mp4, 3 .gif"; a single kind without its number."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common(6)) + (", …" if len(counts) > 6 else "")
