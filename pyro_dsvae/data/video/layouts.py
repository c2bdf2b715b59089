"""What the folders above clips mean: who is seen, what they do, which part of the data it is."""

import re
from collections.abc import Sequence

from pyro_dsvae.data.folders.described import Described
from pyro_dsvae.data.folders.levels import RECORDING, SKIPPED, SPLIT, SUBJECT, is_split, named, split_of
from pyro_dsvae.data.folders.tree import Source

# id10001, 001, subject_3, S005
_IDENTIFIER = re.compile(
    r"(?:\d{3,}|(?:id|s|p|n|sub|subject|subj|person|speaker|actor|user|participant)[ _-]?\d+)", re.I
)


def by_folders(sources: Sequence[Source], given: str | None) -> Described:
    """What the folders above clips say.

    Args:
        sources: The clips.
        given: The names of the levels, where the user gives them.

    Raises:
        UsageError: For names of levels that are not there.
    """
    folders = [source.folders for source in sources]
    levels = recognised(folders) if given is None else named(given, folders, "clips", "subject/expression")
    columns = {name: [each[i] for each in folders] for i, name in enumerate(levels) if name != SKIPPED}
    split = [split_of(word) for word in columns.pop(SPLIT)] if SPLIT in columns else None
    owners, owner = columns.get(SUBJECT), SUBJECT
    if owners is None:
        owners, owner = takes_of_groups([source.name for source in sources]), "group"
    if owners is None and SKIPPED in levels:
        at = levels.index(SKIPPED)
        owners, owner = ["/".join(each[: at + 1]) for each in folders], RECORDING
    counts = [f"{len(set(values))} x {name}" for name, values in columns.items()]
    told = "/".join((*levels, "clip"))
    said = f"folders are taken as {told}" + (f" ({', '.join(counts)})" if counts else "")
    if not any(folders):
        said = "no sub-folders, so no labels"
    return Described(columns, owners, owner, split, said)


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
    if levels and is_split(levels[0]):
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


def takes_of_groups(names: Sequence[str]) -> list[str] | None:
    """Of UCF101's names, v_ApplyLipstick_g01_c04, the group, whose clips are of one film; None for other names."""
    found = [re.fullmatch(r"(.*_g\d+)_c\d+", name.rpartition("/")[2].partition(".")[0]) for name in names]
    return [each.group(1) for each in found if each] if all(found) else None


def _identify(names: Sequence[str]) -> bool:
    return all(_IDENTIFIER.fullmatch(name) for name in names)


def _recur(above: Sequence[str], below: Sequence[str]) -> bool:
    """Whether most names of a level occur under more than one of the level above."""
    pairs = set(zip(above, below, strict=True))
    counts = [sum(name == other for _, other in pairs) for name in set(below)]
    return sum(count > 1 for count in counts) > len(counts) / 2
