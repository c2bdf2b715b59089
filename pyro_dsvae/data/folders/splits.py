"""The split of each clip or recording: as folders or a table say, or drawn, all that belong together in one part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.data.folders.cache import Entry
from pyro_dsvae.data.folders.described import Described
from pyro_dsvae.data.tables.splits import check_fractions, drawn_split, enough
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """How sources are split where nothing says.

    Attributes:
        owners: Whether all that is of one owner stays together; None where that is so if owners are known.
        owner: What an owner is, as "subject".
        thing: What a source is, as "clip".
        alone: What a source is where it stands for itself, as "file".
        validation, test: Fractions.
        seed: Of the draw.
    """

    owners: bool | None
    owner: str
    thing: str
    alone: str
    validation: float
    test: float
    seed: int

    def __post_init__(self) -> None:
        check_fractions(self.validation, self.test, self.seed)

    def group(self, described: Described) -> str:
        """What stays together."""
        return described.owner if described.owners is not None and self.owners is not False else self.alone

    def of(self, names: Sequence[str], described: Described, used: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(n,) index into `SPLITS`.

        Args:
            names: Of the sources.
            described: What is known of them.
            used: (n,) whether a source has a window; others are not drawn.

        Raises:
            UsageError: Where owners are needed and not known, or a part is empty.
        """
        if self.owners and described.owners is None:
            raise UsageError(
                f"no level of folders and no column is a {self.owner}; name it, or split by {self.alone}",
                "data.by",
            )
        together = described.owners is not None and self.owners is not False
        groups = np.array(described.owners if together else names)
        split = np.zeros(len(names), np.uint8) if described.split is None else np.array(described.split, np.uint8)
        if described.split is None or not (split[used] == 1).any():
            drawn = used & (split == 0)  # where a training and a test part are given, from the first
            here = np.unique(groups[drawn])
            parts = drawn_split(len(here), self.validation, self.test if described.split is None else 0.0, self.seed)
            split[drawn] = parts[np.searchsorted(here, groups[drawn])]
        missing = [name for i, name in enumerate(SPLITS) if not (split[used] == i).any()]
        if missing:
            count, group = len(np.unique(groups[used])), self.group(described)
            other = f", or split by {self.alone} with --data.by {self.alone}" if together else ""
            remedy = enough(count, group, f"{group}s") if described.split is None else "change them"
            raise UsageError(
                f"no {self.thing} is for {' and '.join(missing)}: validation = {self.validation} and test = {self.test} of "
                f"{count} {group}{'s' if count != 1 else ''}; {remedy}{other}",
                "data.validation",
                "data.test",
            )
        return split

    def in_words(self, described: Described, split: NDArray[np.uint8], windows: NDArray[np.int64]) -> str:
        """By what was split, and how many windows each part has.

        Args:
            described: What is known of the sources.
            split: (n,) of each.
            windows: (n,) that each has.
        """
        how = "as the folders or the table say" if described.split else f"by {self.group(described)}"
        parts = ", ".join(f"{int(windows[split == i].sum()):,} {name}" for i, name in enumerate(SPLITS))
        return f"split {how}, seed {self.seed}: {parts}"


def twins(entries: Sequence[Entry], split: NDArray[np.uint8], thing: str) -> str:
    """A sentence about sources that hold the same windows and are in two parts of the data; empty where there are none.

    Args:
        entries, split, thing: As in `check_leaks`.
    """
    first: dict[str, int] = {}
    both = [(first.setdefault(entry.sha256, i), i) for i, entry in enumerate(entries) if entry.windows]
    both = [(one, other) for one, other in both if split[one] != split[other]]
    if not both:
        return ""
    one, other = both[0]
    names, parts = (entries[one].name, entries[other].name), (SPLITS[split[one]], SPLITS[split[other]])
    of = f" (1 of {len(both):,} such pairs)" if len(both) > 1 else ""
    return f"{' and '.join(names)} hold the same {thing}, and are for {' and '.join(parts)}{of}; leave one of them out"


def check_leaks(
    entries: Sequence[Entry], split: NDArray[np.uint8], described: Described | None, thing: str, alone: str = ""
) -> None:
    """Refuse parts of the data that share what they should not.

    Args:
        entries: What was read of n sources.
        split: (n,) of each.
        described: Whose they are, where all that is of one owner should be in one part; else None.
        thing: What a source is, as "clip".
        alone: What ``by`` is where an owner may be in several parts, as "file"; empty where its user chose owners.

    Raises:
        UsageError: Where two sources hold the same windows and are in two parts, or an owner is.
    """
    if same := twins(entries, split, thing):
        raise UsageError(same)
    owners = () if described is None else described.owners or ()
    parts: dict[str, set[str]] = {}
    for owner, part, entry in zip(owners, split, entries, strict=False):
        if entry.windows:
            parts.setdefault(owner, set()).add(SPLITS[part])
    both = sorted(owner for owner, found in parts.items() if len(found) > 1)
    if both and described is not None:
        where = " and ".join(sorted(parts[both[0]], key=SPLITS.index))
        more = f" (and {len(both) - 1} more {described.owner}s are in several parts)" if len(both) > 1 else ""
        remedy = f"by = {alone} takes them so" if alone else f"with by = {described.owner} each is in one part"
        raise UsageError(
            f"{described.owner} {both[0]} is in {where}{more}, as the folders or the table say; {remedy}", "data.by"
        )
