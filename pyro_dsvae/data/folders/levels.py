"""Names for the levels of folders above a source."""

from collections.abc import Sequence

from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.models.errors import UsageError

SPLIT, SUBJECT, RECORDING, SKIPPED = "split", "subject", "recording", "-"
SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}


def named(given: str, folders: Sequence[tuple[str, ...]], things: str, example: str) -> tuple[str, ...]:
    """The names that a user gives to the levels, such as "subject/expression".

    Args:
        given: The names, from the top.
        folders: Of each source, the names of its folders from the root down.
        things: What the sources are, as "clips".
        example: Of names.

    Raises:
        UsageError: Where sources have fewer levels, or a name comes twice.
    """
    names = tuple(name.strip() for name in given.split("/"))
    depth = min(map(len, folders))
    told = [name for name in names if name != SKIPPED]
    if len(names) > depth or "" in names or len(set(told)) != len(told):
        raise UsageError(
            f"folders = {given!r}; it names each level above the {things} once, from the top, such as {example}, with - "
            f"for one that is no label, and here all {things} have {depth} level{'s' if depth != 1 else ''}",
            "data.folders",
        )
    return (*names, *[SKIPPED] * (depth - len(names)))


def is_split(names: Sequence[str]) -> bool:
    """Whether a level of folders says which part of the data a source is for."""
    return {name.lower() for name in names} <= set(SPLIT_WORDS) and len(set(names)) > 1


def split_of(word: str) -> int:
    """The index into `SPLITS` of a word.

    Raises:
        UsageError: For another word.
    """
    if word.lower() not in SPLIT_WORDS:
        raise UsageError(f"the split {word!r} is none of {', '.join(SPLITS)}")
    return SPLIT_WORDS[word.lower()]
