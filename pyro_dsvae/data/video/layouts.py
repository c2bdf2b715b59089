"""What the folders above clips mean: who is seen, what they do, which part of the data it is."""

import re
from collections.abc import Sequence

from pyro_dsvae.data.dataset import SPLITS
from pyro_dsvae.models.errors import UsageError

SPLIT, SUBJECT, SKIPPED = "split", "subject", "-"
SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
# id10001, 001, subject_3, S005
_IDENTIFIER = re.compile(
    r"(?:\d{3,}|(?:id|s|p|n|sub|subject|subj|person|speaker|actor|user|participant)[ _-]?\d+)", re.I
)


def recognised(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """A name for each level of folders: "split", "subject", "expression", "class", or "-" for what is no label.

        train|validation|test / …        split
        id10001/clip                     subject                  as in VoxCeleb, without recordings
        id10001/recording/clip           subject, -               as in VoxCeleb
        ApplyLipstick/clip               class                    as in UCF101
        001/anger/take                   subject, expression      as in MUG: names of the second level recur
        anger/001/take                   class, subject

    Args:
        folders: Of each clip, the names from the root down. Levels that not all clips have are passed over.

    Example:
        >>> from pyro_dsvae.data.video.layouts import recognised
        >>> recognised([("001", "anger"), ("001", "fear"), ("002", "anger"), ("002", "fear")])
        ('subject', 'expression')
    """
    depth = min(map(len, folders))
    levels = [[names[i] for names in folders] for i in range(depth)]
    found: list[str] = []
    if levels and {name.lower() for name in levels[0]} <= set(SPLIT_WORDS) and len(set(levels[0])) > 1:
        found.append(SPLIT)
        levels = levels[1:]
    if levels:
        who = _identify(levels[0])
        if len(levels) == 1:
            found.append(SUBJECT if who else "class")
        elif not _recur(levels[0], levels[1]):
            found += [SUBJECT if who else "class", SKIPPED]
        elif not who and _identify(levels[1]):
            found += ["class", SUBJECT]
        else:
            found += [SUBJECT, "expression"]
    return (*found, *[SKIPPED] * (depth - len(found)))


def named(given: str, folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The names that a user gives to the levels, such as "subject/expression".

    Raises:
        UsageError: Where clips have fewer levels, or a name comes twice.
    """
    names = tuple(name.strip() for name in given.split("/"))
    depth = min(map(len, folders))
    told = [name for name in names if name != SKIPPED]
    if len(names) > depth or "" in names or len(set(told)) != len(told):
        raise UsageError(
            f"folders = {given!r}; it names each level above the clips once, from the top, such as subject/expression, with - "
            f"for one that is no label, and here all clips have {depth} level{'s' if depth != 1 else ''}",
            "data.folders",
        )
    return (*names, *[SKIPPED] * (depth - len(names)))


def takes_of_groups(names: Sequence[str]) -> list[str] | None:
    """Of UCF101's names, v_ApplyLipstick_g01_c04, the group, whose clips are of one film; None for other names."""
    found = [re.fullmatch(r"(.*_g\d+)_c\d+", name.rpartition("/")[2].partition(".")[0]) for name in names]
    return [each.group(1) for each in found if each] if all(found) else None


def split_of(word: str) -> int:
    """The index into `SPLITS` of a word.

    Raises:
        UsageError: For another word.
    """
    if word.lower() not in SPLIT_WORDS:
        raise UsageError(f"the split {word!r} is none of {', '.join(SPLITS)}")
    return SPLIT_WORDS[word.lower()]


def _identify(names: Sequence[str]) -> bool:
    return all(_IDENTIFIER.fullmatch(name) for name in names)


def _recur(above: Sequence[str], below: Sequence[str]) -> bool:
    """Whether most names of a level occur under more than one of the level above."""
    pairs = set(zip(above, below, strict=True))
    counts = [sum(name == other for _, other in pairs) for name in set(below)]
    return sum(count > 1 for count in counts) > len(counts) / 2
